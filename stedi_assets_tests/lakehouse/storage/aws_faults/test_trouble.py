"""Faults that a person has to mend are told in a sentence."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb
import pytest

from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.faults import explain
from stedi_assets.resources import open_storage
from stedi_assets_tests.aws_servers import BUCKET
from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.fault_proxy import (
    Action,
    access_denied,
    cut_after,
    drop,
    respond,
    slow_down,
    throttled,
)
from stedi_assets_tests.lakehouse.storage.aws_faults.support import (
    SECRETS,
    SILENT,
    Person,
    Site,
    assert_whole,
    everything,
    glue_error,
    s3,
    s3_error,
    said,
)
from stedi_assets_tests.refresh.pipeline.support import SECOND_COUNTS
from stedi_assets_tests.support import (
    catalog_of,
    counts,
    refresh,
    snapshots,
    under,
)


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
        "{place} is needed but no longer there: refresh again, or restore it.",
    ),
    "other region": (
        s3_error(301, "PermanentRedirect"),
        f"The bucket {BUCKET} is in another region: set AWS_DEFAULT_REGION to it.",
    ),
    "dropped": (drop(), SILENT.format("{s3}")),
    "cut": (cut_after(1), SILENT.format("{s3}")),
    "strange": (
        respond(418, b"<html>"),
        "AWS answered {asked} with 418. See what this means in AWS's documentation; what is "
        "published stays.",
    ),
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
