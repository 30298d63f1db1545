"""The graph as Dagster sees it, spelled out so that a change of it shows in review.

It is the same on every deployment, and loads without a network and without credentials: a code
location that waits for AWS would not start where AWS does not answer.
"""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.storage.s3 import S3Storage
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.graph import BLOCKING_CHECKS, GROUPS, OTHER_CHECKS
from stedi_assets_tests.support import PROJECT, TABLES

DEPLOYMENTS = {
    "local": {},
    "aws": {"deployment": "aws", "lakehouse": "s3://acme-stedi/lakehouse"},
}


DEPENDENCIES = {
    "customer_files": set(),
    "accelerometer_files": set(),
    "step_trainer_files": set(),
    "customer_landing": {"customer_files"},
    "accelerometer_landing": {"accelerometer_files"},
    "step_trainer_landing": {"step_trainer_files"},
    "quarantine": {"customer_files", "accelerometer_files", "step_trainer_files"},
    "customer_trusted": {"customer_landing", "quarantine"},
    "accelerometer_trusted": {"accelerometer_landing", "customer_landing", "customer_trusted"},
    "customers_curated": {"customer_trusted", "accelerometer_trusted"},
    "device_matches": {"step_trainer_landing", "accelerometer_landing", "customer_landing"},
    "device_ownership": {"step_trainer_landing", "device_matches", "customer_landing"},
    "step_trainer_trusted": {
        "step_trainer_landing",
        "device_ownership",
        "customers_curated",
        "accelerometer_landing",
        "customer_landing",
    },
    "machine_learning_curated": {
        "step_trainer_trusted",
        "device_ownership",
        "accelerometer_trusted",
    },
    "lakehouse_report": {"quarantine", "machine_learning_curated"},
}


JOBS = {"refresh_lakehouse", "recompute_lakehouse", "vacuum_lakehouse", "forget_people"}

SCHEDULES = {
    "nightly_refresh": "refresh_lakehouse",
    "nightly_vacuum": "vacuum_lakehouse",
    "nightly_recomputation": "recompute_lakehouse",
}

SENSORS = {"landing_files", "training_sets", "report_automation"}


class ConnectedError(AssertionError):
    """Something asked for a network connection."""


def refuse(*_: object) -> NoReturn:
    raise ConnectedError


@pytest.fixture(scope="module", params=DEPLOYMENTS)
def deployment(request: pytest.FixtureRequest) -> Iterator[str]:
    """A deployment, while nothing can connect and there are no credentials."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            if name.startswith(("AWS_", "STEDI_")):
                patch.delenv(name)
        patch.setenv("AWS_CONFIG_FILE", os.devnull)
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield request.param


@pytest.fixture(scope="module")
def definitions(deployment: str) -> dg.Definitions:
    return lakehouse_definitions(Settings.load(**DEPLOYMENTS[deployment]))


@pytest.fixture(scope="module")
def specs(definitions: dg.Definitions) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


def test_assets_and_their_groups(specs: dict[str, dg.AssetSpec]) -> None:
    assert {name: spec.group_name for name, spec in specs.items()} == GROUPS


def test_dependencies(specs: dict[str, dg.AssetSpec]) -> None:
    assert {
        name: {dependency.asset_key.to_user_string() for dependency in spec.deps}
        for name, spec in specs.items()
    } == DEPENDENCIES


@pytest.mark.parametrize(
    ("blocking", "wanted"), [(True, BLOCKING_CHECKS), (False, OTHER_CHECKS)], ids=["yes", "no"]
)
def test_checks_and_which_of_them_block(
    definitions: dg.Definitions, blocking: bool, wanted: dict[str, set[str]]
) -> None:
    graph = definitions.resolve_asset_graph()
    checks: dict[str, set[str]] = {name: set() for name in wanted}
    for key in graph.asset_check_keys:
        if graph.get_check_spec(key).blocking is blocking:
            checks[key.asset_key.to_user_string()].add(key.name)
    assert checks == wanted


def test_jobs(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert {name for name in repository.job_names if not name.startswith("__")} == JOBS


def running_sensors(definitions: dg.Definitions) -> set[str]:
    """Sensors that need not be switched on first; there are no others."""
    sensors = definitions.get_repository_def().sensor_defs
    assert {sensor.default_status for sensor in sensors} == {dg.DefaultSensorStatus.RUNNING}
    assert all(sensor.description for sensor in sensors)
    return {sensor.name for sensor in sensors}


def test_refreshes_are_requested_as_files_land(
    definitions: dg.Definitions, deployment: str
) -> None:
    assert running_sensors(definitions) == SENSORS
    sensor = definitions.get_repository_def().get_sensor_def("landing_files")
    assert [target.job_name for target in sensor.targets] == ["refresh_lakehouse"]
    assert sensor.minimum_interval_seconds == {"local": 10, "aws": 60}[deployment]


def test_webhook_makes_sensors_that_alert_it(deployment: str) -> None:
    settings = Settings.load(**DEPLOYMENTS[deployment], webhook="https://hooks.example.com/x")
    assert running_sensors(lakehouse_definitions(settings)) == SENSORS | {
        "alert_of_failed_run",
        "alert_of_failed_checks",
    }


def test_schedules_run_at_night_without_being_switched_on(definitions: dg.Definitions) -> None:
    schedules = definitions.get_repository_def().schedule_defs
    assert {schedule.name: schedule.job_name for schedule in schedules} == SCHEDULES
    assert {schedule.default_status for schedule in schedules} == {dg.DefaultScheduleStatus.RUNNING}


def test_nothing_but_the_report_is_automated(definitions: dg.Definitions) -> None:
    automated = definitions.resolve_all_asset_specs()
    assert [spec.key.path for spec in automated if spec.automation_condition] == [
        ["lakehouse_report"]
    ]


@pytest.mark.parametrize("name", ["refresh_lakehouse", "recompute_lakehouse"])
def test_refresh_makes_tables_only(definitions: dg.Definitions, name: str) -> None:
    job = definitions.resolve_job_def(name)
    made = {key.to_user_string() for key in job.asset_layer.executable_asset_keys}
    assert made == set(TABLES)


def test_everything_loads_under_every_choice_of_settings(deployment: str) -> None:
    for values in ({"pseudonymize": False}, {"consent_scope": "from_consent_date"}):
        settings = Settings.load(**DEPLOYMENTS[deployment], **values)
        dg.Definitions.validate_loadable(lakehouse_definitions(settings))


def test_every_asset_says_what_it_is_and_shows_its_columns(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        assert spec.description, name
        if spec.group_name in {"sources", "report"}:
            continue
        schema = spec.metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema), name
        assert all(column.description for column in schema.columns), name


def test_schemas_are_the_same_on_every_deployment(specs: dict[str, dg.AssetSpec]) -> None:
    elsewhere = lakehouse_definitions(Settings.load(**DEPLOYMENTS["local"]))
    schemas = {
        spec.key.to_user_string(): spec.metadata.get("dagster/column_schema")
        for spec in elsewhere.resolve_all_asset_specs()
    }
    assert {
        name: spec.metadata.get("dagster/column_schema") for name, spec in specs.items()
    } == schemas


def test_s3_resource_of_dagster_is_what_the_lakehouse_on_aws_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = Settings.load(**DEPLOYMENTS["aws"], s3_endpoint="https://s3.example.com")
    made: list[S3Resource] = []
    get_client = S3Resource.get_client

    def remembering(resource: S3Resource) -> Any:
        made.append(resource)
        return get_client(resource)

    monkeypatch.setattr(S3Resource, "get_client", remembering)
    for name in ("AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "us-east-1")
    lakehouse = open_lakehouse(settings)
    assert isinstance(lakehouse.storage, S3Storage)
    assert lakehouse.storage.root == "s3://acme-stedi/lakehouse"
    assert lakehouse.storage.client.meta.endpoint_url == "https://s3.example.com"
    assert [resource.endpoint_url for resource in made] == ["https://s3.example.com"]


LOAD = """
import socket, sys
def refuse(*_):
    raise AssertionError("connected")
socket.socket.connect = socket.getaddrinfo = refuse
from stedi_assets_tests.support import PROJECT
from stedi_assets.definitions import defs
defs.get_repository_def().load_all_definitions()
watched = ("boto3", "dagster_pyspark", "matplotlib", "sqlglot.lineage")
print(*(name in sys.modules for name in watched))
"""


@pytest.mark.parametrize(
    ("deployment_to_load", "engine"), [("local", "duckdb"), ("aws", "duckdb"), ("local", "spark")]
)
def test_code_location_imports_what_it_needs_draws_and_derives_nothing_and_connects_to_nothing(
    tmp_path: Path, deployment_to_load: str, engine: str
) -> None:
    # Java would be connected to.
    needed = deployment_to_load == "aws", engine == "spark"
    values = DEPLOYMENTS[deployment_to_load] | {"engine": engine}
    variables = {f"STEDI_{name.upper()}": value for name, value in values.items()}
    place = {"HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    script = tmp_path / "load.py"  # under `-c`, importing pyspark exits
    script.write_text(LOAD)
    loaded = subprocess.run(
        [sys.executable, script],
        env={"PATH": os.environ["PATH"]} | place | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (loaded.returncode, loaded.stdout.strip()) == (
        0,
        f"{needed[0]} {needed[1]} False False",
    ), loaded.stderr
