"""Dagster as deploy/ has it run: the programs of compose.yaml, on PostgreSQL, S3 and Glue.

What they may do on S3 is what the roles in lakehouse.yaml may.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg
import pytest
import requests
import yaml
from botocore.exceptions import ClientError
from dagster_graphql import DagsterGraphQLClient

from stedi_assets.read import read_table
from stedi_assets.sample.landing_files import Sample, write_sample
from stedi_assets.settings import Settings
from stedi_assets_tests.aws_servers import Identity
from stedi_assets_tests.cloudformation import REGION, Template
from stedi_assets_tests.conftest import Aws
from stedi_assets_tests.deploy.permissions import PRODUCERS as ROLES_OF_PRODUCERS
from stedi_assets_tests.postgres import PostgresServer, programs
from stedi_assets_tests.support import KEY, PROJECT, TABLES, counts

PROGRAMS = Path(sys.executable).parent
DEPLOY = PROJECT / "deploy"
SERVICES = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
LANDING, LAKEHOUSE = "stedi-landing", "stedi-lakehouse"
DONE = {"SUCCESS", "FAILURE", "CANCELED"}

POSTGRES = programs()
pytestmark = pytest.mark.skipif(
    not POSTGRES, reason="PostgreSQL is not installed (Debian: apt install postgresql)"
)
# The program takes the shell's place. What stays in the background kills it and its children when
# the pipe is closed, however this process ends.
START = 'exec 3<&0; (read -r _ <&3; kill -9 0) & exec "$@" 3<&- </dev/null'


class Deployment:
    """Code location, webserver and daemon, each as its container runs it, but on free ports."""

    def __init__(self, folder: Path, database: Any, environment: dict[str, str]) -> None:
        self.folder, self.database, self.environment = folder, database, environment
        self._ports = {"4000": environment["DAGSTER_CODE_PORT"], "3000": str(free_port())}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def command(self, words: list[str]) -> list[str]:
        """A command of compose.yaml, for here."""
        program, *arguments = words
        for word, instead in {**self._ports, "0.0.0.0": "127.0.0.1"}.items():
            arguments = [
                argument.replace(f":{word}/", f":{instead}/") if argument != word else instead
                for argument in arguments
            ]
        return [str(PROGRAMS / program), *arguments]

    def environment_of(self, name: str) -> dict[str, str]:
        """What a container gets: settings and credentials the code location alone."""
        everything = os.environ | self.environment
        if name == "code":
            return everything
        given = SERVICES[name]["environment"]
        own = {key: value for key, value in given.items() if key not in self.environment}
        assert {key for key in own if not own[key].startswith("$")} == {
            "AWS_EC2_METADATA_DISABLED",
            "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS",
        }
        kept = {
            key: value
            for key, value in everything.items()
            if key in given or not key.startswith(("AWS_", "STEDI_", "DAGSTER_"))
        }
        nowhere = dict.fromkeys(("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"), os.devnull)
        home = {"DAGSTER_HOME": self.environment["DAGSTER_HOME"], "AWS_DEFAULT_REGION": REGION}
        return {**kept, **own, **nowhere, **home}

    def start(self, name: str, words: list[str]) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self._processes[name] = subprocess.Popen(
                ["sh", "-c", START, "sh", *self.command(words)],
                cwd=self.folder,
                env=self.environment_of(name),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self, name: str) -> None:
        """Stop a program as Docker stops a container."""
        process = self._processes.pop(name)
        process.terminate()
        process.wait(180)
        process.communicate()

    def kill(self) -> None:
        for process in self._processes.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()

    def log(self) -> str:
        return "\n".join(path.read_text() for path in self.folder.glob("*.log"))

    def healthy(self, name: str) -> bool:
        """What the container's health check says."""
        _, *words = SERVICES[name]["healthcheck"]["test"]
        return not subprocess.run(
            self.command(words),
            cwd=self.folder,
            env=self.environment_of(name),
            check=False,
            capture_output=True,
        ).returncode

    @property
    def ui(self) -> str:
        """Where the webserver listens."""
        return f"http://127.0.0.1:{self._ports['3000']}"

    def launch(self) -> str:
        """Put a refresh into the queue, as a press on Materialize all does."""
        client = DagsterGraphQLClient("127.0.0.1", port_number=int(self._ports["3000"]))
        run_id: str = client.submit_job_execution(
            "refresh_lakehouse", repository_location_name="stedi"
        )
        return run_id

    def runs(self) -> dict[str, tuple[str, float | None, float | None]]:
        """Status, start and end of each run, as PostgreSQL has them."""
        rows = self.database.query("select run_id, status, start_time, end_time from runs")
        return {run_id: tuple(rest) for run_id, *rest in rows}

    def wait(self, what: Callable[[], Any], seconds: float = 180) -> Any:
        deadline = time.monotonic() + seconds
        while not (found := what()):
            ended = [
                name for name, process in self._processes.items() if process.poll() is not None
            ]
            assert not ended and time.monotonic() < deadline, self.log()
            time.sleep(0.1)
        return found

    def finished(self, *run_ids: str) -> list[tuple[str, float | None, float | None]]:
        """The runs, once they are done."""
        self.wait(lambda: all(self.runs()[run_id][0] in DONE for run_id in run_ids))
        return [self.runs()[run_id] for run_id in run_ids]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


TEMPLATE = Template(
    (DEPLOY / "lakehouse.yaml").read_text(),
    {},
    {"LandingBucket": LANDING, "LakehouseBucket": LAKEHOUSE},
)


def identity(role: str) -> Identity:
    """Who may do on S3 what a role of the template may."""
    (policy,) = TEMPLATE.properties(role)["Policies"]
    statements = [
        statement
        for statement in policy["PolicyDocument"]["Statement"]
        if "arn:aws:s3:" in str(statement["Resource"])
    ]
    document = {"Version": "2012-10-17", "Statement": statements}
    return Identity(role, f"the secret of {role}", document)


PIPELINE, DATA_SCIENTIST = map(identity, ("PipelineRole", "DataScientistRole"))
PRODUCERS = {source: identity(role) for role, source in ROLES_OF_PRODUCERS.items()}


def make_bucket(client: Any, name: str) -> None:
    """Make a bucket of the template, with its encryption."""
    bucket = TEMPLATE.properties(f"{name}Policy")["Bucket"]
    client.create_bucket(Bucket=bucket)
    encryption = TEMPLATE.properties(name)["BucketEncryption"]
    (rule,) = encryption["ServerSideEncryptionConfiguration"]
    by_default = {"ApplyServerSideEncryptionByDefault": rule["ServerSideEncryptionByDefault"]}
    client.put_bucket_encryption(
        Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [by_default]}
    )


@pytest.fixture(scope="module")
def delivered(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """Objects of each source in the landing files, which its producer put there."""
    for who in (PIPELINE, DATA_SCIENTIST, *PRODUCERS.values()):
        aws.s3.allow(who)
    for name in ("LandingBucket", "LakehouseBucket"):
        make_bucket(aws.s3.client(), name)
    folder = tmp_path_factory.mktemp("sample")
    written = write_sample(folder, Sample(customers=200))
    for source, producer in PRODUCERS.items():
        client = aws.s3.client(producer)
        for path in (folder / source).rglob("*.json"):
            key = str(path.relative_to(folder))
            client.put_object(Bucket=LANDING, Key=key, Body=path.read_bytes())
    return dict(written.objects)


@pytest.fixture(scope="module")
def home(aws: Aws, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """DAGSTER_HOME as in the image, and PostgreSQL; nothing of Dagster runs."""
    folder = tmp_path_factory.mktemp("home")
    for name in ("dagster.yaml", "workspace.yaml"):
        (folder / name).write_text((DEPLOY / name).read_text().replace("/tmp/", f"{folder}/"))
    assert POSTGRES
    with (
        PostgresServer(POSTGRES) as database,
        pytest.MonkeyPatch.context() as patch,
    ):
        environment = database.environment() | {
            "DAGSTER_HOME": str(folder),
            "DAGSTER_LOGS_BUCKET": LAKEHOUSE,
            "DAGSTER_CODE_HOST": "127.0.0.1",
            "DAGSTER_CODE_PORT": str(free_port()),
            "AWS_ENDPOINT_URL_S3": aws.s3.endpoint,
            "AWS_ACCESS_KEY_ID": PIPELINE.access_key,
            "AWS_SECRET_ACCESS_KEY": PIPELINE.secret_key,
            "STEDI_DEPLOYMENT": "aws",
            "STEDI_LAKEHOUSE": f"s3://{LAKEHOUSE}",
            "STEDI_LANDING": f"s3://{LANDING}",
            "STEDI_DATABASE": "deployed",
            "STEDI_S3_ENCRYPTION": "AES256",
            "STEDI_PSEUDONYM_KEY": KEY,
        }
        for name, value in environment.items():
            patch.setenv(name, value)
        yield Deployment(folder, database, environment)


@pytest.fixture(scope="module")
def deployment(home: Deployment) -> Iterator[Deployment]:
    """All of it runs."""
    (command,) = (
        line
        for line in (DEPLOY / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
        if line.startswith("CMD ")
    )
    try:
        home.start("code", yaml.safe_load(command.removeprefix("CMD ")))
        home.wait(lambda: home.healthy("code"))
        for name in ("webserver", "daemon"):
            home.start(name, SERVICES[name]["command"])
        for name in ("webserver", "daemon"):
            home.wait(partial(home.healthy, name))
        yield home
    finally:
        home.kill()


class Runs(NamedTuple):
    """Ids of runs: one was killed, another took its place, a third was in the queue meanwhile."""

    killed: str
    again: str
    other: str


@pytest.fixture(scope="module")
def runs(deployment: Deployment, delivered: dict[str, int], aws: Aws) -> Runs:
    """Two refreshes are asked for, and the first is killed while it writes its first table."""
    killed, other = deployment.launch(), deployment.launch()
    deployment.wait(lambda: "/data/" in str(keys(aws)))
    os.kill(worker(killed), signal.SIGKILL)
    parent = f"key = 'dagster/parent_run_id' and value = '{killed}'"
    query = f"select run_id from run_tags where {parent}"
    ((again,),) = deployment.wait(lambda: deployment.database.query(query))
    deployment.finished(killed, again, other)
    return Runs(killed, again, other)


def keys(aws: Aws) -> list[str]:
    """What the lakehouse bucket holds, as the pipeline lists it."""
    found = aws.s3.client(PIPELINE).list_objects_v2(Bucket=LAKEHOUSE)
    return [entry["Key"] for entry in found.get("Contents", ())]


def worker(run_id: str) -> int:
    """Process of a run."""
    with dg.DagsterInstance.get() as instance:
        messages = "\n".join(entry.message for entry in instance.all_logs(run_id))
    found = re.search(r"Started process for run \(pid: (\d+)\)", messages)
    assert found
    return int(found[1])


def test_killed_refresh_runs_again_and_loses_and_repeats_no_row(
    deployment: Deployment, delivered: dict[str, int], runs: Runs
) -> None:
    ended = [status for status, _, _ in deployment.finished(*runs)]
    assert ended == ["FAILURE", "SUCCESS", "SUCCESS"]
    published = counts(Settings.load())
    assert {source: published[f"{source}_landing"] for source in delivered} == delivered
    assert published["machine_learning_curated"] > 0


def test_refreshes_run_one_at_a_time(deployment: Deployment, runs: Runs) -> None:
    times = sorted((start, end) for _, start, end in deployment.finished(*runs) if start and end)
    assert len(times) == len(runs)
    assert all(end <= start for (_, end), (start, _) in pairwise(times))


def test_history_is_in_postgresql(
    deployment: Deployment, delivered: dict[str, int], runs: Runs
) -> None:
    query = deployment.database.query
    # The sensors, and the schedules at night, may have started others.
    assert {run_id for (run_id,) in query("select run_id from runs")} >= set(runs)
    assets = set(query("select asset_key from asset_keys"))
    observed = {(f'["{source}_files"]',) for source in delivered}  # as soon as the sensor looked
    tables = {(f'["{table}"]',) for table in TABLES}
    assert tables <= assets <= tables | observed | {('["lakehouse_report"]',)}
    checked = query(f"""
        select distinct asset_key from asset_check_executions
        where execution_status = 'SUCCEEDED' and run_id in ('{runs.again}', '{runs.other}')
    """)
    assert set(checked) == tables


def test_logs_of_runs_are_on_s3(runs: Runs, aws: Aws) -> None:
    logs = [key.split("/") for key in keys(aws) if key.startswith("compute-logs/")]
    assert {runs.again, runs.other} <= {key[2] for key in logs}


def ask(deployment: Deployment, query: str) -> dict[str, Any]:
    answer = requests.post(f"{deployment.ui}/graphql", json={"query": query}, timeout=60)
    found: dict[str, Any] = answer.json()
    return found


def test_ui_links_to_logs_that_it_cannot_read(deployment: Deployment, runs: Runs) -> None:
    events = ask(
        deployment,
        f"""{{logsForRun(runId: "{runs.other}") {{... on EventConnection {{events {{
        ... on LogsCapturedEvent {{fileKey externalStdoutUrl}}}}}}}}}}""",
    )["data"]["logsForRun"]["events"]
    captured = [event for event in events if event]
    assert captured
    for event in captured:
        key = f"compute-logs/storage/{runs.other}/compute_logs/{event['fileKey']}.out"
        assert event["externalStdoutUrl"].endswith(key)
    log_key = json.dumps([runs.other, "compute_logs", captured[0]["fileKey"]])
    answer = ask(deployment, f"{{capturedLogs(logKey: {log_key}) {{stdout stderr}}}}")
    assert "Unable to locate credentials" in answer["errors"][0]["message"]


def test_data_scientists_read_the_training_set_alone(runs: Runs, aws: Aws) -> None:
    client, read, denied = aws.s3.client(DATA_SCIENTIST), set(), set()
    for key in keys(aws):
        place = "/".join(key.split("/")[: 3 if key.startswith("warehouse/curated/") else 2])
        try:
            client.get_object(Bucket=LAKEHOUSE, Key=key)
            read.add(place)
        except ClientError as error:
            assert error.response["Error"]["Code"] == "AccessDenied"
            denied.add(place)
    assert read == {"warehouse/curated/machine_learning_curated"}
    assert denied - {"report/report.html"} == {
        "warehouse/curated/customers_curated",
        "warehouse/database",
        "warehouse/landing",
        "warehouse/trusted",
        "compute-logs/storage",
    }


@pytest.mark.parametrize("source", PRODUCERS)
def test_producers_read_nothing_and_write_in_no_other_folder(
    runs: Runs, aws: Aws, source: str
) -> None:
    client = aws.s3.client(PRODUCERS[source])
    with pytest.raises(ClientError, match="AccessDenied"):
        client.list_objects_v2(Bucket=LANDING)
    with pytest.raises(ClientError, match="AccessDenied"):
        client.get_object(Bucket=LANDING, Key=f"{source}/landing/{source}-1.json")
    for other in PRODUCERS.keys() - {source}:
        with pytest.raises(ClientError, match="AccessDenied"):
            client.put_object(Bucket=LANDING, Key=f"{other}/landing/forged.json", Body=b"{}")


def test_code_location_finishes_its_refresh_before_it_stops(
    deployment: Deployment, runs: Runs
) -> None:
    last = deployment.launch()
    deployment.wait(lambda: deployment.runs()[last][0] == "STARTED")
    deployment.stop("code")
    assert deployment.runs()[last][0] == "SUCCESS"


def test_pipeline_forgets_a_person(deployment: Deployment, runs: Runs, aws: Aws) -> None:
    result = aws.s3.client(DATA_SCIENTIST)
    key = "athena-results/data-scientists/a.csv"
    result.put_object(Bucket=LAKEHOUSE, Key=key, Body=b"a result")
    customers = read_table("customers_curated", settings=Settings.load())
    email = customers.limit(1).to_pyarrow().to_pylist()[0]["email"]
    said = subprocess.run(
        [PROGRAMS / "stedi", "forget", "-", "--yes"],
        input=email,
        env=deployment.environment_of("code") | {"COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    told = said.stdout + said.stderr
    assert "Forgotten: 1 people" in told
    assert "certificates/000001.json" in keys(aws)
    assert re.findall(r"(s3://\S+) could not be searched", told) == [f"s3://{LAKEHOUSE}/{key}"]
    left = customers_of(email)
    assert left == {name: 0 for name in left}


def customers_of(email: str) -> dict[str, int]:
    """How many rows tables have about somebody."""
    tables = ("customer_landing", "customer_trusted", "customers_curated")
    found = {name: read_table(name, settings=Settings.load()) for name in tables}
    return {
        name: int(table.filter(table.email == email).count().to_pyarrow().as_py())
        for name, table in found.items()
    }


def test_failed_step_is_not_tried_again_by_the_daemon(home: Deployment) -> None:
    @dg.op
    def fail() -> None:
        raise dg.Failure("a person's matter", allow_retries=False)

    @dg.job
    def failing() -> None:
        fail()

    with dg.DagsterInstance.get() as instance:
        run = failing.execute_in_process(instance=instance, raise_on_error=False)
        tags = instance.get_run_by_id(run.run_id).tags  # type: ignore[union-attr]  # it ran
        instance.delete_run(run.run_id)
    assert tags["dagster/failure_reason"] == "STEP_FAILURE"
    assert tags["dagster/will_retry"] == "false"
