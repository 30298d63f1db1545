"""Refreshes while S3 or Glue fail: what heals, what a person is told, and what never happens.

Requests pass proxies that spoil them; the servers behind these are as good as ever.
"""

import gc
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import duckdb
import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

from stedi_assets.cli.main import main
from stedi_assets.definitions import lakehouse_definitions
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.faults import explain
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings
from stedi_assets_tests.aws_servers import BUCKET, Identity, S3Server
from stedi_assets_tests.conftest import Aws, IcebergReader
from stedi_assets_tests.fault_proxy import (
    Action,
    Exchange,
    FaultProxy,
    Match,
    access_denied,
    cut_after,
    delay,
    drop,
    lose_answer,
    respond,
    slow_down,
    throttled,
)
from stedi_assets_tests.refresh.test_pipeline import FIRST, FIRST_COUNTS, SECOND, SECOND_COUNTS
from stedi_assets_tests.support import (
    ANN,
    KEY,
    TABLES,
    catalog_of,
    counts,
    customer,
    deliver,
    device,
    phone,
    refresh,
    snapshots,
    under,
)

LANDING = ("customer_landing", "accelerometer_landing", "step_trainer_landing", "quarantine")
US, DUCKDB = "Boto3/", "duckdb/"
SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

Rule = tuple[Match, Action, dict[str, int]]


def s3(method: str, part: str = "", by: str = "") -> Match:
    """Requests to S3 by method, by a part of path and query, and by who asks."""

    def match(asked: str, path: str, headers: Message) -> bool:
        return asked == method and part in path and headers.get("User-Agent", "").startswith(by)

    return match


def glue(*operations: str) -> Match:
    """Requests to Glue by operation; all where none is given."""

    def match(method: str, path: str, headers: Message) -> bool:
        return not operations or headers["x-amz-target"].removeprefix("AWSGlue.") in operations

    return match


def everything(method: str, path: str, headers: Message) -> bool:
    return True


def s3_error(status: int, code: str) -> Action:
    """An answer of S3 that tells an access key, as real ones do."""
    key = os.environ.get("AWS_ACCESS_KEY_ID", "")
    body = f"<Error><Code>{code}</Code><AWSAccessKeyId>{key}</AWSAccessKeyId></Error>"
    return respond(status, body.encode())


def glue_error(code: str) -> Action:
    """An answer of Glue that tells an access key, as real ones do."""
    said = f"User {os.environ.get('AWS_ACCESS_KEY_ID', '')} is not authorized"
    body = json.dumps({"__type": code, "message": said})
    return respond(400, body.encode(), "application/x-amz-json-1.1")


@dataclass
class Site:
    """A lakehouse whose requests pass proxies, and what a person sees of it.

    Attributes:
        settings: Through the proxies.
        direct: The same lakehouse, past them.
    """

    folder: Any
    s3: FaultProxy
    glue: FaultProxy
    settings: Settings = field(init=False)
    direct: Settings = field(init=False)

    def __post_init__(self) -> None:
        endpoints = {"s3_endpoint": self.s3.endpoint, "glue_endpoint": self.glue.endpoint}
        self.settings, self.direct = under(self.folder, **endpoints), under(self.folder)

    def deliver(self, name: str, objects: Mapping[str, Any]) -> None:
        deliver(self.folder / "landing", name, **objects)


@pytest.fixture
def proxies(aws: Aws) -> Iterator[tuple[FaultProxy, FaultProxy]]:
    with FaultProxy(aws.s3.endpoint) as before_s3, FaultProxy(aws.glue.endpoint) as before_glue:
        yield before_s3, before_glue


@pytest.fixture
def site(aws: Aws, proxies: tuple[FaultProxy, FaultProxy]) -> Site:
    """A new lakehouse, the first delivery waiting."""
    made = Site(aws.folder(), *proxies)
    made.deliver("first.json", FIRST)
    return made


@pytest.fixture(scope="module")
def refreshed(aws: Aws) -> Any:
    """Folder of a lakehouse with the first delivery published and the second one waiting."""
    folder = aws.folder()
    deliver(folder / "landing", "first.json", **FIRST)
    assert refresh(under(folder)).success
    deliver(folder / "landing", "second.json", **SECOND)
    return folder


@pytest.fixture
def waiting(refreshed: Any, proxies: tuple[FaultProxy, FaultProxy]) -> Site:
    return Site(refreshed, *proxies)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every client give up after a few tries without a pause."""
    retries = ("http_retries = 2", "http_retry_wait_ms = 1", "http_retry_backoff = 1")
    monkeypatch.setattr("stedi_assets.lakehouse.storage.glue_catalog.ATTEMPTS", 3)
    monkeypatch.setattr("stedi_assets.defs.failures.PAUSE", 0.0)
    monkeypatch.setattr("stedi_assets.lakehouse.storage.s3._DUCKDB_RETRIES", retries)
    for module in ("botocore.endpoint", "smart_open.s3"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=lambda _: None))


def land(settings: Settings, *others: str) -> dg.ExecuteInProcessResult:
    """Refresh the landing tables, and these, alone."""
    job = lakehouse_definitions(settings).resolve_job_def("refresh_lakehouse")
    return job.execute_in_process(
        asset_selection=[dg.AssetKey(table) for table in (*LANDING, *others)], raise_on_error=False
    )


def said(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """What a run says of each step that failed and each table that was held back."""
    found = {
        event.step_key or "": event.step_failure_data.user_failure_data
        for event in result.all_events
        if event.is_step_failure
    }
    assert all(found.values()), "a step failed with a stack trace"
    return {step: failure.description or "" for step, failure in found.items() if failure} | {
        evaluation.asset_key.to_user_string(): evaluation.description or ""
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    }


def assert_whole(
    settings: Settings, read_iceberg: IcebergReader, *states: Mapping[str, int]
) -> None:
    """Every table is as one of the states has it; DuckDB's Iceberg reader sees the same rows."""
    catalog, found = catalog_of(settings), counts(settings)
    for table in found:
        assert found[table] in {state[table] for state in states}, table
        rows = read_iceberg(catalog.metadata_location(table))
        assert len(rows) == found[table], table


# Faults that pass


PASSING: dict[str, tuple[list[Rule], list[Rule]]] = {
    "busy": (
        [
            (s3("GET", "/data/", DUCKDB), slow_down(), {"times": 2}),
            (s3("GET", "first.json", US), slow_down(), {"times": 2}),
            (s3("GET", "list-type", US), slow_down(), {"times": 1}),
            (s3("PUT", "/data/", DUCKDB), slow_down(), {"times": 2}),
            (s3("PUT", "/metadata/", US), slow_down(), {"times": 2, "skip": 3}),
            (s3("POST", "/ledger/", US), s3_error(500, "InternalError"), {"times": 1}),
        ],
        [
            (glue("GetTable", "GetDatabase"), throttled(), {"times": 3, "skip": 4}),
            (glue("CreateTable"), throttled(), {"times": 1}),
            (glue("UpdateTable"), throttled(), {"times": 2, "skip": 2}),
        ],
    ),
    "broken": (
        [
            (s3("GET", "/data/", DUCKDB), cut_after(9), {"times": 2}),
            (s3("GET", "first.json", US), cut_after(9), {"times": 1}),
            (s3("GET", "list-type", US), cut_after(9), {"times": 1}),
            (s3("GET", "/metadata/", US), cut_after(9), {"times": 1}),
            (s3("PUT", "/data/", DUCKDB), drop(), {"times": 2}),
            (s3("PUT", "/metadata/", US), lose_answer(), {"times": 2, "skip": 3}),
            (s3("POST", "/ledger/", US), drop(), {"times": 1}),
            (s3("HEAD", "/data/", DUCKDB), delay(0.4), {"times": 3}),
        ],
        [
            (glue("GetTable"), cut_after(40), {"times": 2, "skip": 9}),
            (glue("CreateTable"), drop(), {"times": 1}),
            (glue("UpdateTable"), drop(), {"times": 2, "skip": 2}),
            (glue("UpdateTable"), lose_answer(), {"times": 1, "skip": 5}),
        ],
    ),
}


@pytest.mark.parametrize("fault", PASSING)
def test_refresh_outlasts_what_passes(
    site: Site, fault: str, monkeypatch: pytest.MonkeyPatch, read_iceberg: IcebergReader
) -> None:
    hits: dict[int, int] = {}
    expected: dict[int, int] = {}
    pauses: list[float] = []
    for module in ("botocore.endpoint", "smart_open.s3"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=pauses.append))

    def counted(number: int, action: Action) -> Action:
        def act(exchange: Exchange) -> None:
            hits[number] = hits.get(number, 0) + 1
            action(exchange)

        return act

    for proxy, rules in zip((site.s3, site.glue), PASSING[fault], strict=True):
        for match, action, when in rules:
            number = len(expected)
            expected[number] = when["times"]
            proxy.when(match, counted(number, action), **when)
    result = refresh(site.settings)
    assert (result.success, said(result)) == (True, {})
    assert hits == expected
    assert pauses
    assert min(pauses) > 0
    assert counts(site.direct) == FIRST_COUNTS
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)


def around_publications(
    patch: pytest.MonkeyPatch,
    before: Callable[[Snapshot], object],
    after: Callable[[Snapshot], object] = bool,
) -> None:
    """Do something before and after each publication."""
    publish = Catalog.publish

    def published(catalog: Catalog, candidate: Snapshot) -> None:
        before(candidate)
        publish(catalog, candidate)
        after(candidate)

    patch.setattr(Catalog, "publish", published)


# A server that is killed


@dataclass
class Killable:
    """An S3 server of a test's own, and proxies before it and before Glue."""

    server: S3Server
    site: Site
    started: list[threading.Thread] = field(default_factory=list)

    def kill_and_start(self, _: Exchange) -> None:
        """SIGKILL, and a start while the request is tried again."""
        self.server.kill()
        self.started.append(threading.Thread(target=self.server.start))
        self.started[-1].start()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("killed")) as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture
def killable(aws: Aws, own_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Killable]:
    monkeypatch.setenv("STEDI_S3_ENDPOINT", own_server.endpoint)
    with FaultProxy(own_server.endpoint) as before_s3, FaultProxy(aws.glue.endpoint) as before_glue:
        site = Site(Aws(own_server, aws.glue).folder(), before_s3, before_glue)
        site.deliver("first.json", FIRST)
        yield (made := Killable(own_server, site))
        for thread in made.started:
            thread.join()


@pytest.mark.parametrize(
    ("match", "skip"),
    [
        pytest.param(s3("GET", "accelerometer/landing/", US), 0, id="we read"),
        pytest.param(s3("PUT", "/accelerometer_landing/data/", DUCKDB), 0, id="Parquet"),
        pytest.param(s3("GET", "/accelerometer_landing/data/", DUCKDB), 0, id="the engine reads"),
        pytest.param(s3("PUT", "/accelerometer_landing/metadata/", US), 3, id="metadata"),
    ],
)
def test_server_killed_while_files_are_taken_in(
    killable: Killable, match: Match, skip: int, read_iceberg: IcebergReader
) -> None:
    killable.site.s3.when(match, killable.kill_and_start, skip=skip, times=1)
    result = land(killable.site.settings)
    assert (result.success, said(result)) == (True, {})
    assert len(killable.started) == 1
    assert_whole(killable.site.direct, read_iceberg, FIRST_COUNTS)
    before = snapshots(killable.site.direct)
    assert land(killable.site.direct).success
    assert snapshots(killable.site.direct) == before
    assert counts(killable.site.direct) == {table: FIRST_COUNTS[table] for table in LANDING}


def test_server_killed_around_publications(
    killable: Killable, read_iceberg: IcebergReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once between metadata and catalog, once as soon as the catalog points to it."""
    site = killable.site

    def kill_before(candidate: Snapshot) -> None:
        if candidate.table == "customer_trusted":
            site.glue.when(glue("UpdateTable"), killable.kill_and_start, times=1)

    def kill_after(candidate: Snapshot) -> None:
        if candidate.table == "accelerometer_trusted":
            site.s3.when(everything, killable.kill_and_start, times=1)

    around_publications(monkeypatch, kill_before, kill_after)
    result = refresh(site.settings)
    assert (result.success, said(result)) == (True, {})
    assert len(killable.started) == 2
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    before = snapshots(site.direct)
    assert refresh(site.direct).success
    assert snapshots(site.direct) == before


@pytest.mark.usefixtures("impatient")
def test_server_killed_for_long_fails_the_refresh_and_the_next_one_completes_it(
    killable: Killable, read_iceberg: IcebergReader
) -> None:
    site = killable.site
    site.s3.when(s3("PUT", "/customers_curated/data/"), lambda _: killable.server.kill(), times=1)
    result = refresh(site.settings)
    killable.server.start()
    assert said(result) == {
        "customers_curated": f"{site.s3.endpoint} did not answer over several tries; nothing is "
        "lost: see to the network, and to AWS_DEFAULT_REGION or the endpoint in the settings, and "
        "refresh again."
    }
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    assert refresh(site.direct).success
    assert counts(site.direct) == FIRST_COUNTS


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("CreateTable", "AlreadyExistsException"),
        ("UpdateTable", "ConcurrentModificationException"),
    ],
)
def test_answer_of_glue_that_is_lost_loses_and_doubles_nothing(
    site: Site, operation: str, code: str, read_iceberg: IcebergReader
) -> None:
    """Asked again, Glue says that the table is there already, or has another version by now."""
    site.glue.when(glue(operation), lose_answer(), skip=1, times=1)
    site.glue.when(glue(operation), glue_error(code), skip=1, times=1)
    result = land(site.settings)
    assert all("nothing is lost: refresh again" in sentence for sentence in said(result).values())
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    assert land(site.direct).success
    assert counts(site.direct) == {table: FIRST_COUNTS[table] for table in LANDING}


@pytest.mark.usefixtures("impatient")
def test_publication_of_which_the_answer_is_lost_is_published_once(
    site: Site, read_iceberg: IcebergReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(candidate: Snapshot) -> None:
        if candidate.table == "accelerometer_landing":
            site.glue.when(glue("UpdateTable"), lose_answer(), times=1)
            changed = glue_error("ConcurrentModificationException")
            site.glue.when(glue("UpdateTable"), changed, times=1)

    around_publications(monkeypatch, lose)
    result = land(site.settings)
    assert (result.success, said(result)) == (True, {})
    assert counts(site.direct)["accelerometer_landing"] == FIRST_COUNTS["accelerometer_landing"]
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    result = land(site.direct)
    assert (result.success, said(result)) == (True, {})
    assert counts(site.direct) == {table: FIRST_COUNTS[table] for table in LANDING}


# Uploads that fail


@pytest.mark.usefixtures("impatient")
def test_upload_that_failed_does_not_begin_again(site: Site) -> None:
    upload = open_storage(site.settings).io.new_output(f"{site.folder}/uploaded").create()
    upload.write(b"1")
    site.s3.when(s3("PUT"), drop())
    with pytest.raises(ConnectionClosedError):
        upload.close()
    site.s3.clear()
    del upload
    gc.collect()
    assert site.s3.requests == []
    assert not (site.folder / "uploaded").exists()


@pytest.mark.usefixtures("impatient")
def test_upload_to_a_server_that_went_away_is_tried_by_the_client_alone(
    killable: Killable, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []
    monkeypatch.setattr("smart_open.s3.time", SimpleNamespace(sleep=paused.append))
    direct = killable.site.direct
    upload = open_storage(direct).io.new_output(f"{killable.site.folder}/uploaded").create()
    upload.write(b"1")
    killable.server.kill()
    with pytest.raises(EndpointConnectionError) as error:
        upload.close()
    killable.server.start()
    assert paused == []
    assert explain(error.value) == SILENT.format(direct.s3_endpoint)


# Faults that a person has to mend


Person = Callable[..., tuple[int, str]]


@pytest.fixture
def stedi(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Person:
    """Runs a command as a person does; gives its exit code and what it prints, in one line."""

    def run(settings: Settings, *words: str) -> tuple[int, str]:
        monkeypatch.setattr("stedi_assets.cli.refresh.PROJECT", tmp_path)  # no history is kept
        monkeypatch.setattr("sys.argv", ["stedi", *words])
        given = {
            "DEPLOYMENT": settings.deployment,
            "LAKEHOUSE": settings.lakehouse,
            "LANDING": settings.landing_root,
            "DATABASE": settings.database,
            "S3_ENDPOINT": settings.s3_endpoint,
            "GLUE_ENDPOINT": settings.glue_endpoint,
            "PSEUDONYM_KEY": KEY,
        }
        with pytest.MonkeyPatch.context() as environment:
            for name, value in given.items():
                environment.setenv(f"STEDI_{name}", str(value))
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        printed = "".join(capsys.readouterr())
        assert "Traceback" not in printed
        return int(ended.value.code or 0), " ".join(printed.split())

    return run


@dataclass(frozen=True)
class Trouble:
    """A fault, and the sentence for it."""

    sentence: str
    s3: Action | None = None
    glue: Action | None = None
    environment: Mapping[str, str | None] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)


NO_ACCESS = (
    "AWS does not accept the credentials ({}): they are wrong or have expired. Log in again, or "
    "mend AWS_PROFILE or the keys."
)
NO_CREDENTIALS = (
    "There are no AWS credentials: log in (aws sso login), set AWS_PROFILE, or AWS_ACCESS_KEY_ID "
    "and AWS_SECRET_ACCESS_KEY, or give this machine a role."
)
SILENT = (
    "{} did not answer over several tries; nothing is lost: see to the network, and to "
    "AWS_DEFAULT_REGION or the endpoint in the settings, and refresh again."
)
NOWHERE = "http://127.0.0.1:1"
TROUBLES = {
    "wrong secret": Trouble(
        NO_ACCESS.format("SignatureDoesNotMatch"),
        environment={"AWS_SECRET_ACCESS_KEY": "a guess"},
    ),
    "unknown key": Trouble(
        NO_ACCESS.format("InvalidAccessKeyId"), environment={"AWS_ACCESS_KEY_ID": "nobody"}
    ),
    "expired session": Trouble(NO_ACCESS.format("ExpiredToken"), s3=s3_error(400, "ExpiredToken")),
    "expired session at Glue": Trouble(
        NO_ACCESS.format("ExpiredTokenException"), glue=glue_error("ExpiredTokenException")
    ),
    "no credentials": Trouble(NO_CREDENTIALS, environment=dict.fromkeys(SECRETS)),
    "no region": Trouble(
        "There is no AWS region: set AWS_DEFAULT_REGION.",
        environment={"AWS_REGION": None, "AWS_DEFAULT_REGION": None},
    ),
    "no profile": Trouble(
        "AWS_PROFILE names a profile that AWS's configuration does not have.",
        environment={"AWS_PROFILE": "lost"},
    ),
    "Glue refuses": Trouble(
        "AWS refused GetDatabase {database}: the credentials lack a permission. "
        "deploy/lakehouse.yaml has what each role needs.",
        glue=glue_error("AccessDeniedException"),
    ),
    "Glue is busy": Trouble(
        "AWS was too busy for GetDatabase {database} over several tries "
        "(ThrottlingException); nothing is lost: refresh again.",
        glue=throttled(),
    ),
    "S3 is busy": Trouble(
        "AWS was too busy for GetObject {metadata} over several tries (SlowDown); nothing is lost: "
        "refresh again.",
        s3=slow_down(),
    ),
    "S3 drops connections": Trouble(SILENT.format("{s3}"), s3=drop()),
    "Glue drops connections": Trouble(SILENT.format("{glue}"), glue=drop()),
    "S3 cuts answers": Trouble(SILENT.format("AWS"), s3=cut_after(0)),
    "Glue cuts answers": Trouble(SILENT.format("AWS"), glue=cut_after(9)),
    "no S3": Trouble(SILENT.format(NOWHERE), settings={"s3_endpoint": NOWHERE}),
    "no Glue": Trouble(SILENT.format(NOWHERE), settings={"glue_endpoint": NOWHERE}),
    "no bucket": Trouble(
        "There is no bucket no-such-bucket: make it, or mend STEDI_LAKEHOUSE or STEDI_LANDING.",
        settings={"lakehouse": "s3://no-such-bucket/lakehouse", "database": "elsewhere"},
    ),
}


def asked_for(sentence: str) -> str:
    """The sentence without what was asked for."""
    return re.sub(r"Get\w+ \S+?(?=:? )", "...", sentence)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=list(TROUBLES))
def test_trouble_that_stays_is_told_in_one_sentence_and_publishes_nothing(
    waiting: Site, trouble: Trouble, stedi: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshots(waiting.direct)
    known = {
        "database": waiting.settings.database,
        "metadata": catalog_of(waiting.direct).metadata_location("quarantine"),
        "s3": waiting.s3.endpoint,
        "glue": waiting.glue.endpoint,
    }
    sentence = trouble.sentence.format(**known)
    for proxy, action in ((waiting.s3, trouble.s3), (waiting.glue, trouble.glue)):
        if action:
            proxy.when(everything, action)
    settings = under(
        waiting.folder,
        **{
            "s3_endpoint": waiting.s3.endpoint,
            "glue_endpoint": waiting.glue.endpoint,
            **trouble.settings,
        },
    )
    with pytest.MonkeyPatch.context() as environment:
        for name, value in trouble.environment.items():
            if value is None:
                environment.delenv(name, raising=False)
            else:
                environment.setenv(name, value)
        result = refresh(settings)
        assert (result.success, said(result)) == (False, {"landing": sentence})
        commands = ["refresh"] if "lakehouse" in trouble.settings else ["refresh", "status"]
        for command in commands:  # each asks for something else first
            code, printed = stedi(settings, command)
            assert (code, asked_for(sentence) in asked_for(printed)) == (1, True), printed
    assert snapshots(waiting.direct) == before


def test_refresh_after_all_this_takes_in_what_waited(
    waiting: Site, read_iceberg: IcebergReader
) -> None:
    assert refresh(waiting.settings).success
    assert counts(waiting.direct) == SECOND_COUNTS
    assert_whole(waiting.direct, read_iceberg, SECOND_COUNTS)


ENGINE = {
    "refused": (
        access_denied(),
        "AWS refused {asked}: the credentials lack a permission. deploy/lakehouse.yaml has what "
        "each role needs.",
    ),
    "wrong key": (s3_error(403, "InvalidAccessKeyId"), NO_ACCESS.format("InvalidAccessKeyId")),
    "expired": (s3_error(400, "ExpiredToken"), NO_ACCESS.format("ExpiredToken")),
    "busy": (
        slow_down(),
        "AWS was too busy for {asked} over several tries (SlowDown); nothing is lost: refresh "
        "again.",
    ),
    "no bucket": (
        s3_error(404, "NoSuchBucket"),
        f"There is no bucket {BUCKET}: make it, or mend STEDI_LAKEHOUSE or STEDI_LANDING.",
    ),
    "gone": (
        s3_error(404, "NoSuchKey"),
        "{place} was needed and is not there any more: refresh again, or bring it back.",
    ),
    "other region": (
        s3_error(301, "PermanentRedirect"),
        f"The bucket {BUCKET} is in another region: set AWS_DEFAULT_REGION to that.",
    ),
    "dropped": (drop(), SILENT.format("{s3}")),
    "cut": (cut_after(1), SILENT.format("{s3}")),
    "strange": (respond(418, b"<html>"), "AWS answered {asked} with 418."),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("method", "trouble"),
    [("GET", trouble) for trouble in ENGINE]
    + [("PUT", trouble) for trouble in ENGINE if trouble != "cut"],  # its answer has no body
)
def test_what_the_engine_meets_is_told_with_the_object(
    site: Site, method: str, trouble: str
) -> None:
    action, sentence = ENGINE[trouble]
    engine = DuckDBEngine(open_storage(site.settings))
    read, written = f"{site.folder}/landing/customer/landing/first.json", f"{site.folder}/to a/x"
    command, operation, place = {
        "GET": (f"FROM read_text('{read}')", "reading", read),
        "PUT": (f"COPY (SELECT 1) TO '{written}'", "writing", written),
    }[method]
    site.s3.when(s3(method, "first.json" if method == "GET" else ""), action)
    with pytest.raises(duckdb.Error) as error:
        engine.backend.raw_sql(command).fetchall()
    known = {"asked": f"{operation} {place}", "place": place, "s3": site.s3.endpoint}
    assert explain(error.value) == sentence.format(**known)


# Landing files that come and go


@pytest.mark.usefixtures("impatient")
def test_file_deleted_between_listing_and_reading_is_told_and_nothing_half_loaded(
    aws: Aws, site: Site, read_iceberg: IcebergReader
) -> None:
    site.deliver("short-lived.json", {"accelerometer": phone(ANN, 99)})
    path = "landing/accelerometer/landing/short-lived.json"

    def delete(_: Exchange) -> None:
        (site.folder / path).unlink()

    site.s3.when(s3("GET", "short-lived"), delete, times=1)
    result = land(site.settings)
    assert result.success
    assert said(result) == {
        "accelerometer_landing": "accelerometer_landing: 1 files cannot be read now and are not "
        f"taken in. {site.folder}/{path} was deleted while it was read. Refresh again when they "
        "can be read."
    }
    assert counts(site.direct) == {table: FIRST_COUNTS[table] for table in LANDING}
    result = land(site.settings)
    assert (result.success, said(result)) == (True, {})
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)


@pytest.mark.usefixtures("impatient")
def test_file_replaced_between_listing_and_reading_is_told_and_nothing_half_loaded(
    site: Site,
) -> None:
    def replace(_: Exchange) -> None:
        site.deliver("first.json", {"accelerometer": phone(ANN, 98, 99)})

    site.s3.when(s3("GET", "accelerometer/landing/first"), replace, times=1)
    told = said(land(site.settings))["accelerometer_landing"]
    assert "accelerometer/landing/first.json changed while it was read" in told
    assert counts(site.direct)["accelerometer_landing"] == 0
    assert land(site.settings).success
    assert counts(site.direct)["accelerometer_landing"] == 2


# Permissions


def let_in(
    aws: Aws, patch: pytest.MonkeyPatch, name: str, *denied: str, action: str = "s3:*"
) -> None:
    """Sign as somebody who may do everything but an action below some prefixes."""
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}
    below = [f"arn:aws:s3:::{prefix.removeprefix('s3://')}*" for prefix in denied]
    policy = {
        "Version": "2012-10-17",
        "Statement": [allowed, {"Effect": "Deny", "Action": action, "Resource": below}],
    }
    identity = aws.s3.allow(Identity(name, f"the secret of {name}", policy))
    patch.setenv("AWS_ACCESS_KEY_ID", identity.access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret_key)


def test_landing_files_that_may_not_be_read_wait_and_no_others_do(
    aws: Aws, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"{site.folder}/landing/step_trainer/landing/"
    site.deliver("second.json", {"step_trainer": device("d", 77)})
    with monkeypatch.context() as as_somebody:
        let_in(aws, as_somebody, "no-first", f"{folder}first")
        told = said(land(site.settings))
    assert told == {
        "step_trainer_landing": "step_trainer_landing: 1 files cannot be read now and are not "
        f"taken in. AWS refused GetObject {folder}first.json: the credentials lack a permission. "
        "deploy/lakehouse.yaml has what each role needs. Refresh again when they can be read."
    }
    landed = {table: FIRST_COUNTS[table] for table in LANDING}
    assert counts(site.direct) == landed | {"step_trainer_landing": 1}
    assert land(site.direct).success
    landed["step_trainer_landing"] += 1
    assert counts(site.direct) == landed


def test_landing_folder_that_may_not_be_listed_does_not_keep_the_command_from_the_others(
    waiting: Site, stedi: Person
) -> None:
    waiting.deliver("third.json", {"accelerometer": phone(ANN, 500)})
    before = counts(waiting.direct)
    waiting.s3.when(s3("GET", "landing%2Fcustomer", US), access_denied())
    code, printed = stedi(waiting.settings, "refresh")
    assert code == 1
    sentence = f"AWS refused ListObjectsV2 {waiting.folder}/landing/customer/landing/:"
    assert sentence.replace(" ", "") in printed.replace(" ", "")
    after = counts(waiting.direct)
    for table in ("accelerometer_landing", "accelerometer_trusted"):
        assert after[table] > before[table]


def test_zone_that_may_not_be_written_keeps_its_tables_back_with_all_after_them(
    aws: Aws, site: Site, monkeypatch: pytest.MonkeyPatch, read_iceberg: IcebergReader
) -> None:
    others = ("customer_trusted", "accelerometer_trusted", "customers_curated")
    zone = f"{site.settings.lakehouse}/warehouse/curated/"
    with monkeypatch.context() as as_somebody:
        let_in(aws, as_somebody, "no-curated", zone, action="s3:PutObject")
        told = said(land(site.settings, *others))
    assert set(told) == {"customers_curated"}
    assert told["customers_curated"].startswith(f"AWS refused PutObject {zone}customers_curated/")
    assert "lack a permission" in told["customers_curated"]
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    assert land(site.direct, *others).success
    assert counts(site.direct) == {table: FIRST_COUNTS[table] for table in (*LANDING, *others)}


def test_files_that_may_not_be_deleted_keep_a_table_back(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, proxies: tuple[FaultProxy, FaultProxy]
) -> None:
    site = Site(aws.folder(), *proxies)
    # Of nobody's rows the engine writes an empty file, which nobody is to find.
    site.deliver("refuses.json", {"customer": [customer(ANN, sharewithresearchasofdate=None)]})
    with monkeypatch.context() as as_somebody:
        prefix = f"{site.settings.lakehouse}/warehouse/"
        let_in(aws, as_somebody, "no-delete", prefix, action="s3:DeleteObject")
        told = said(land(site.settings, "customer_trusted"))
    assert set(told) == {"customer_trusted"}
    assert told["customer_trusted"].startswith(f"AWS refused DeleteObject {prefix}")
    assert land(site.direct, "customer_trusted").success
    landed = dict.fromkeys((*LANDING, "customer_trusted"), 0) | {"customer_landing": 1}
    assert counts(site.direct) == landed


# Secrets


@pytest.mark.usefixtures("impatient")
def test_no_secret_is_in_any_log_event_or_error(  # noqa: PLR0913, PLR0917  (what it looks into)
    aws: Aws,
    site: Site,
    stedi: Person,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    person = aws.s3.allow(Identity("AKIARECOGNISABLE", "recognisable/secret'key"))
    token = "recognisable session token"
    secrets = [person.access_key, person.secret_key, token, KEY]
    secrets += [json.dumps(secret)[1:-1] for secret in secrets]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", person.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", person.secret_key)
    for ours in ("stedi_assets", "dagster", "pyiceberg", "smart_open", "filelock"):
        caplog.set_level(logging.DEBUG, ours)
    instance = dg.DagsterInstance.ephemeral()
    printed: list[str] = []

    def refreshed(*commands: str) -> dg.ExecuteInProcessResult:
        result = refresh(site.settings, instance)
        printed.extend(capsys.readouterr())
        printed.extend(stedi(site.settings, command)[1] for command in commands)
        return result

    runs = [refreshed("status")]
    assert runs[0].success

    site.deliver("second.json", SECOND)
    spoilt: list[tuple[FaultProxy, Match, Action]] = [
        (site.s3, everything, s3_error(400, "ExpiredToken")),
        (site.s3, s3("PUT", "/data/", DUCKDB), s3_error(403, "InvalidAccessKeyId")),
        (site.glue, everything, glue_error("AccessDeniedException")),
    ]
    for proxy, match, action in spoilt:
        proxy.when(match, action)
        runs.append(refreshed("refresh", "status"))
        proxy.clear()
    with monkeypatch.context() as unknown:
        unknown.setenv("AWS_SESSION_TOKEN", token)
        runs.append(refreshed("refresh"))
    with monkeypatch.context() as broken:
        broken.setattr("stedi_assets.lakehouse.storage.s3.sql_text", lambda value: f"'{value}")
        runs.append(refreshed())  # DuckDB quotes what it cannot parse
    assert all(said(run) for run in runs[1:])

    catalog, where = catalog_of(site.direct), open_storage(site.settings)
    tables = [where.iceberg.load_table((where.namespace, table)) for table in TABLES]
    described = aws.glue.client().get_tables(DatabaseName=where.namespace)["TableList"]
    definitions = lakehouse_definitions(site.settings)
    records = instance.get_run_records()
    evidence = {
        "events": [entry for run in records for entry in log_of(instance, run)],
        "runs": [repr(run.dagster_run) for run in records],
        "printed": printed,
        "logs": [caplog.text],
        "objects": [
            *map(repr, (site.settings, where, catalog, definitions.resources)),
            *map(str, (site.settings, where, site.settings.model_dump())),
        ],
        "snapshots": [table.metadata.model_dump_json() for table in tables],
        "Glue": [repr(described)],
    }
    assert len(records) == len(runs)
    assert {kind: bool("".join(found)) for kind, found in evidence.items()} == dict.fromkeys(
        evidence, True
    )
    leaks = [
        (kind, secret, text[max(0, text.index(secret) - 100) :][:200])
        for kind, found in evidence.items()
        for text in found
        for secret in secrets
        if secret in text
    ]
    assert leaks == []


def log_of(instance: dg.DagsterInstance, record: dg.RunRecord) -> list[str]:
    """A run's events, each as it is stored: with its error and whatever caused that."""
    return [dg.serialize_value(entry) for entry in instance.all_logs(record.dagster_run.run_id)]
