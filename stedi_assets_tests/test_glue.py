"""Tables made by a Glue job: a Glue API on this machine runs the job's script as a process.

The tables are in a folder, as the Spark of a package cannot read S3; order and answer are on S3.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import chain
from pathlib import Path
from tempfile import TemporaryFile
from threading import Thread
from typing import IO, Any

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

from stedi_assets import definitions, read_table
from stedi_assets.lakehouse.glue import OnGlue
from stedi_assets.lakehouse.resource import Embedded, LocalLakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.aws_servers import BUCKET
from stedi_assets_tests.conftest import Aws
from stedi_assets_tests.support import (
    ANN,
    KEY,
    TABLES,
    customer,
    deliver,
    device,
    phone,
    refresh,
    subject_id,
    under,
)

SCRIPT = Path(__file__).parents[1] / "deploy/glue_job.py"
JOB, TABLE, SERIAL = "a-job", "machine_learning_curated", "serial-4711"
SPARK = (
    "--master local[1] --conf spark.ui.enabled=false --conf spark.sql.shuffle.partitions=1 "
    "--conf spark.driver.host=127.0.0.1 --conf spark.driver.bindAddress=127.0.0.1 "
    "--conf spark.driver.extraJavaOptions='-XX:TieredStopAtLevel=1 -XX:+UseSerialGC' pyspark-shell"
)

needs_java = pytest.mark.skipif(not shutil.which("java"), reason="Spark takes Java")


class Jobs:
    """A Glue API whose job runs are processes of this machine."""

    def __init__(self, defaults: dict[str, str], environment: dict[str, str]) -> None:
        self.started: list[dict[str, Any]] = []
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
            [sys.executable, SCRIPT, *chain.from_iterable(arguments.items())],
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
        if run.wait() == 0:
            return {"JobRun": {**known, "JobRunState": "SUCCEEDED"}}
        log.seek(0)
        said = log.read().decode().strip().splitlines()[-1]  # of a traceback, as Glue does
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
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STEDI_")} | {
        "AWS_ENDPOINT_URL_S3": aws.s3.endpoint,
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": aws.glue.endpoint,
        "PYSPARK_SUBMIT_ARGS": SPARK,
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
    compute = OnGlue(
        here=Embedded(),
        s3=S3Resource(endpoint_url=aws.s3.endpoint),
        exchange=f"s3://{BUCKET}/pipes",
        job=JOB,
        settings={"lakehouse": settings.lakehouse},
        endpoint=jobs.endpoint,
    )
    tables = LocalLakehouse(root=settings.lakehouse, compute=compute)
    monkeypatch.setattr(definitions, "lakehouse", lambda _: tables)


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


@needs_java
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
        (subject_id(ANN), time) for time in range(6)
    ]
    assert [asked["JobName"] for asked in jobs.started] == [JOB]
    seen += exchanged(aws).values()
    told = " ".join(seen)
    assert '"rows": 6' in told  # the order and the answer are among them
    assert '"inputs"' in told
    for private in (KEY, ANN, SERIAL, subject_id(ANN)):
        assert private not in told
    assert refresh(settings, only=[TABLE]).success
    assert len(jobs.started) == 1  # nothing changed, so there was nothing to order
