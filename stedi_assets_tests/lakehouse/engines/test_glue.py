"""Tables made by a Glue job: a Glue API on this machine runs the job's script by spark-submit.

The tables are in a folder, as the Spark of a package cannot read S3; order and answer are on S3.
"""

import hmac
import json
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread
from typing import IO, Any

import dagster as dg
import ibis
import ibis.expr.types as ir
import pytest
from pydantic import SecretStr

from stedi_assets import glue_job, resources
from stedi_assets.cli import main
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.engines.glue import GlueEngine, Order, Written
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.privacy.policy import policy_of
from stedi_assets.read import read_table
from stedi_assets.resources import S3Clients, open_lakehouse, open_storage
from stedi_assets.settings import Settings, SettingsError
from stedi_assets.tables.definition import query_of
from stedi_assets.tables.identity import pseudonym
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.trusted.customer_trusted import customer_trusted
from stedi_assets_tests.aws_servers import BUCKET
from stedi_assets_tests.conftest import Aws
from stedi_assets_tests.support import (
    ANN,
    KEY,
    PROJECT,
    TABLES,
    at,
    catalog_of,
    customer,
    deliver,
    device,
    phone,
    publish,
    refresh,
    release_key,
    snapshots,
    subject_id,
    table_named,
    under,
)

SCRIPT = PROJECT / "deploy/glue_job.py"
JOB, TABLE, SERIAL = "a-job", "machine_learning_curated", "serial-4711"
SPARK = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
}
SUBMIT: list[str | Path] = [  # as Glue starts a job, and so with as much in the log
    *(Path(sys.executable).with_name("spark-submit"), "--master", "local[1]"),
    *chain.from_iterable(("--conf", f"{name}={value}") for name, value in SPARK.items()),
]


class Jobs:
    """A Glue API whose job runs are processes of this machine."""

    def __init__(self, defaults: dict[str, str], environment: dict[str, str]) -> None:
        self.started: list[dict[str, Any]] = []
        self.command: list[str | Path] = [*SUBMIT, SCRIPT]
        self.log = ""
        self._defaults = defaults
        self._environment = environment
        self._runs: dict[str, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def start(self, asked: dict[str, Any]) -> dict[str, Any]:
        self.started.append(asked)
        arguments = self._defaults | asked["Arguments"]
        log = TemporaryFile()
        run = subprocess.Popen(
            [*self.command, *chain.from_iterable(arguments.items())],
            env=self._environment,
            stdout=log,
            stderr=log,
        )
        name = f"jr_{len(self._runs)}"
        self._runs[name] = run, log
        return {"JobRunId": name}

    def end(self, asked: dict[str, Any]) -> dict[str, Any]:
        run, log = self._runs[asked["RunId"]]
        known = {"Id": asked["RunId"], "JobName": asked["JobName"]}
        code = run.wait()
        log.seek(0)
        self.log = log.read().decode()
        if code == 0:
            return {"JobRun": {**known, "JobRunState": "SUCCEEDED"}}
        *_, said = re.findall(r"^[\w.]+Error: .*", self.log, re.MULTILINE)  # as Glue does
        return {"JobRun": {**known, "JobRunState": "FAILED", "ErrorMessage": said}}

    def __enter__(self) -> "Jobs":
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        for run, log in self._runs.values():
            run.kill()
            run.wait()
            log.close()
        self._server.shutdown()
        self._server.server_close()


def _handler(jobs: Jobs) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            operation = self.headers["X-Amz-Target"].removeprefix("AWSGlue.")
            answer = jobs.start(asked) if operation == "StartJobRun" else jobs.end(asked)
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture(scope="module")
def secret(aws: Aws) -> str:
    made = aws.glue.client("secretsmanager").create_secret(Name="key", SecretString=KEY)
    return str(made["ARN"])


@pytest.fixture(scope="module")
def jobs(aws: Aws, secret: str) -> Iterator[Jobs]:
    given = {
        k: v for k, v in os.environ.items() if not k.startswith("STEDI_") and "REGION" not in k
    }
    environment = given | {
        "AWS_ENDPOINT_URL_S3": aws.s3.endpoint,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws.glue.endpoint,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(SCRIPT.parents[1]),
    }
    with Jobs({"--pseudonym-key-secret": secret}, environment) as jobs:
        yield jobs


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lakehouse that lacks the training set alone."""
    folder = tmp_path_factory.mktemp("lakehouse")
    deliver(
        folder / "landing",
        "a.json",
        customer=[customer(ANN, SERIAL)],
        accelerometer=phone(ANN, *range(6)),
        step_trainer=device(SERIAL, *range(6)),
    )
    settings = under(folder)
    assert refresh(settings, only=[name for name in TABLES if name != TABLE]).success
    return settings


@pytest.fixture
def on_glue(monkeypatch: pytest.MonkeyPatch, aws: Aws, jobs: Jobs, settings: Settings) -> None:
    """Let the tables of that lakehouse be made by the job."""
    engine = GlueEngine(
        immediate=open_lakehouse(settings).engine,
        job=JOB,
        exchange=f"s3://{BUCKET}/pipes",
        settings={"lakehouse": settings.lakehouse},
        new_s3_client=S3Clients(aws.s3.endpoint),
        endpoint=jobs.endpoint,
    )
    monkeypatch.setattr(resources, "_here", lambda *_: engine)


def exchanged(aws: Aws) -> dict[str, str]:
    """What lies on S3 of the exchange with jobs."""
    s3 = aws.s3.client()
    found = s3.list_objects_v2(Bucket=BUCKET, Prefix="pipes/").get("Contents", ())
    return {
        key: s3.get_object(Bucket=BUCKET, Key=key)["Body"].read().decode()
        for key in (each["Key"] for each in found)
    }


def failure(result: dg.ExecuteInProcessResult) -> str:
    """The sentence that the one step ended with."""
    [event] = result.get_step_failure_events()
    failed = event.step_failure_data.user_failure_data
    assert failed, event.step_failure_data.error
    return str(failed.description)


@pytest.mark.skipif(not shutil.which("java"), reason="Spark takes Java")
@pytest.mark.usefixtures("on_glue")
def test_table_is_made_by_the_job_and_published_here(
    aws: Aws, jobs: Jobs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    start = jobs.start

    def look(asked: dict[str, Any]) -> dict[str, str]:
        seen.extend([json.dumps(asked), *exchanged(aws).values()])
        return start(asked)

    monkeypatch.setattr(jobs, "start", look)
    result = refresh(settings, only=[TABLE])
    assert result.success, failure(result)
    rows = read_table(TABLE, settings=settings).to_pyarrow().to_pylist()
    assert [(row["subject_id"], row["sensorreadingtime"]) for row in sorted(rows, key=str)] == [
        (subject_id(ANN), at(time)) for time in range(6)
    ]
    assert [asked["JobName"] for asked in jobs.started] == [JOB]
    told = " ".join([*seen, *exchanged(aws).values(), jobs.log])
    assert '"rows": 6' in told  # the order and the answer are among them
    assert '"inputs"' in told
    assert "INFO SparkContext" in told
    assert "INFO FileSourceStrategy" not in told  # which tells of plans
    derived = [hmac.digest(KEY.encode(), use, "sha256").hex() for use in (b"inner", b"outer")]
    for private in (KEY, *derived, ANN, SERIAL, subject_id(ANN)):
        assert private not in told
    assert refresh(settings, only=[TABLE]).success
    assert len(jobs.started) == 1  # nothing changed, so there was nothing to order


@pytest.mark.skipif(not shutil.which("java"), reason="Spark takes Java")
@pytest.mark.usefixtures("on_glue")
def test_set_with_pseudonyms_of_its_own_is_made_by_the_job(
    jobs: Jobs, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings.model_copy(update={"pseudonym_scope": "release"})
    engine = open_lakehouse(own).engine
    assert isinstance(engine, GlueEngine)
    before = len(jobs.started)
    told = {**engine.settings, "pseudonym_scope": "release"}
    monkeypatch.setattr(resources, "_here", lambda *_: replace(engine, settings=told))
    result = refresh(own, only=[TABLE])
    assert result.success, failure(result)
    published = catalog_of(own).published(TABLE)
    assert published
    key = release_key(published.properties["release"])
    rows = read_table(TABLE, settings=own).to_pyarrow().to_pylist()
    assert {row["subject_id"] for row in rows} == {subject_id(ANN, key)}
    assert len(jobs.started) == before + 1


FAILING = """
from pyspark.errors import PySparkException

from stedi_assets_tests.support import PROJECT, table_named
from stedi_assets import glue_job

row = "@".join({parts})  # for the stack shows lines of this file


def make(*_):
    try:
        raise ValueError(row)
    except ValueError as error:
        raise PySparkException(row) from error


glue_job.make = make
glue_job.main()
"""


@pytest.mark.usefixtures("on_glue")
def test_job_that_fails_gives_a_sentence_without_rows_and_publishes_nothing(
    aws: Aws,
    jobs: Jobs,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failing = tmp_path / "failing.py"
    failing.write_text(FAILING.format(parts=ANN.split("@")))
    monkeypatch.setattr(jobs, "command", [sys.executable, failing])
    # Readings from before a consent date, which that scope leaves out, would be taken out.
    monkeypatch.setattr("stedi_assets.defs.failures.take_out", lambda *_: ([], {}))
    published, instance = snapshots(settings), dg.DagsterInstance.ephemeral()
    other = settings.model_copy(update={"consent_scope": "from_consent_date"})
    result = refresh(other, instance, only=["accelerometer_trusted"])
    assert re.fullmatch(
        rf"Glue job {JOB} run jr_\d completed with status FAILED : .*Spark failed with "
        r"PySparkException\..*",
        failure(result),
    )
    events = map(str, instance.all_logs(result.run_id))
    told = " ".join([*events, *exchanged(aws).values(), jobs.log])
    assert "PySparkException" in told
    assert ANN not in told
    assert snapshots(settings) == published
    assert catalog_of(settings).candidate("accelerometer_trusted") is None


# What a job makes of an order; with DuckDB in Spark's place, for the time that Spark takes

Meet = Callable[[Order], Written]


@pytest.fixture
def meet(aws: Aws, secret: str, monkeypatch: pytest.MonkeyPatch) -> Meet:
    """Has an order met by a job, which knows no settings but those in the order."""

    def met(order: Order) -> Written:
        with monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("STEDI_")]:
                patch.delenv(name)
            patch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws.glue.endpoint)
            patch.setattr(glue_job, "SparkEngine", lambda storage, _: DuckDBEngine(storage))
            return glue_job.make(Order(**json.loads(json.dumps(asdict(order)))), secret)

    return met


@pytest.fixture(scope="module")
def on_aws(aws: Aws) -> Settings:
    """A lakehouse on S3 with the consenting customer Ann, whose tables a Glue job is to make."""
    settings = under(aws.folder(), engine="glue", glue_job=JOB)
    publish(settings, "customer_landing", [customer(ANN)])
    publish(settings, "quarantine", [])
    catalog_of(settings).ensure(table_named("customer_trusted"))
    return settings


def order_of(settings: Settings) -> Order:
    """The order of customer_trusted that the process gives under these settings."""
    lakehouse = open_lakehouse(settings)
    assert isinstance(lakehouse.engine, GlueEngine)
    inputs = [lakehouse.published(name) for name in ("customer_landing", "quarantine")]
    state = lakehouse.catalog.state("customer_trusted")
    tables = {read.table: lakehouse.open(read) for read in inputs}
    query = query_of(customer_trusted, tables, policy_of(settings)).select(tuple(state.types))
    return Order(
        table="customer_trusted",
        inputs={read.table: read.rows_id for read in inputs},
        columns=query.schema.names,
        field_ids=state.field_ids,
        rule_digest=query.fingerprint(),
        folder=f"{state.location}/data",
        settings=lakehouse.engine.settings,
    )


def test_order_says_all_that_a_job_needs_and_no_secret(on_aws: Settings, meet: Meet) -> None:
    order = order_of(on_aws)
    assert KEY not in repr(order)
    written = meet(order)
    assert written.rows == 1
    [file] = written.files
    assert file.startswith(f"{on_aws.lakehouse}/warehouse/trusted/customer_trusted/data/")


def test_job_with_another_rule_or_key_writes_nothing(on_aws: Settings, meet: Meet) -> None:
    before = sorted(file.location for file in open_storage(on_aws).files(on_aws.lakehouse))
    with pytest.raises(LakehouseError, match="same version of the project, of ibis and of sqlglot"):
        meet(replace(order_of(on_aws), rule_digest="of another version"))
    assert sorted(file.location for file in open_storage(on_aws).files(on_aws.lakehouse)) == before


def test_job_whose_input_expired_says_so(on_aws: Settings, meet: Meet) -> None:
    with pytest.raises(LakehouseError, match="customer_landing has no snapshot 1 any more"):
        meet(replace(order_of(on_aws), inputs={"customer_landing": "1"}))


def test_pseudonym_key_is_part_of_what_process_and_job_compare(on_aws: Settings) -> None:
    def subjects(customer_landing: ir.Table, policy: Policy) -> ir.Table:
        return customer_landing.select(subject_id=pseudonym(customer_landing.email, policy))

    tables = {"customer_landing": ibis.table({"email": "string"}, name="customer_landing__1")}
    digests = {
        query_of(subjects, tables, policy_of(settings)).fingerprint()
        for key in (KEY, KEY[::-1])
        for settings in [on_aws.model_copy(update={"pseudonym_key": SecretStr(key)})]
    }
    assert len(digests) == 2


def test_glue_takes_a_lakehouse_on_aws(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="STEDI_ENGINE=glue needs STEDI_DEPLOYMENT=aws"):
        under(tmp_path, landing=None, engine="glue")


def test_refresh_on_emr_has_the_key_of_the_secret(
    aws: Aws, secret: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[tuple[list[str], str | None]] = []
    monkeypatch.setattr(
        main, "main", lambda: ran.append((sys.argv[1:], os.environ.get("STEDI_PSEUDONYM_KEY")))
    )
    monkeypatch.setattr(sys, "argv", ["emr_refresh.py", secret])
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", "")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", aws.glue.endpoint)
    runpy.run_path(str(SCRIPT.with_name("emr_refresh.py")))
    assert ran == [(["refresh"], KEY)]
