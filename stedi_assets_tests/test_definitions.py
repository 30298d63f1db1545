"""The graph as Dagster sees it, spelled out so that a change of it shows in review."""

import dagster as dg
import pytest

from stedi_assets.definitions import lakehouse_definitions
from stedi_assets.settings import Settings

GROUPS = {
    "customer_landing": "landing",
    "accelerometer_landing": "landing",
    "step_trainer_landing": "landing",
    "quarantine": "landing",
    "customer_trusted": "trusted",
    "accelerometer_trusted": "trusted",
    "customers_curated": "curated",
    "device_ownership": "landing",  # it names people who did not consent
    "step_trainer_trusted": "trusted",
    "machine_learning_curated": "curated",
}

DEPENDENCIES = {
    "customer_landing": set(),
    "accelerometer_landing": set(),
    "step_trainer_landing": set(),
    "quarantine": set(),
    "customer_trusted": {"customer_landing"},
    "accelerometer_trusted": {"accelerometer_landing", "customer_landing", "customer_trusted"},
    "customers_curated": {"customer_trusted", "accelerometer_trusted"},
    "device_ownership": {"step_trainer_landing", "accelerometer_landing", "customer_landing"},
    "step_trainer_trusted": {"step_trainer_landing", "device_ownership", "customers_curated"},
    "machine_learning_curated": {
        "step_trainer_trusted",
        "device_ownership",
        "accelerometer_trusted",
    },
}

LANDING_CHECKS = {"contract", "readable", "completeness", "files"}

# What a landing table does not pass keeps the table back, not the tables after it.
OTHER_CHECKS = {
    "customer_landing": LANDING_CHECKS,
    "accelerometer_landing": LANDING_CHECKS,
    "step_trainer_landing": LANDING_CHECKS,
    "quarantine": {"contract", "completeness"},
    "customer_trusted": set(),
    "accelerometer_trusted": set(),
    "customers_curated": set(),
    "device_ownership": set(),
    "step_trainer_trusted": set(),
    "machine_learning_curated": set(),
}

BLOCKING_CHECKS = {
    "customer_landing": set(),
    "accelerometer_landing": set(),
    "step_trainer_landing": set(),
    "quarantine": set(),
    "customer_trusted": {"contract", "consent", "completeness"},
    "accelerometer_trusted": {"contract", "consent", "completeness"},
    "customers_curated": {"contract", "consent", "completeness"},
    "device_ownership": {"contract", "serial_numbers", "completeness"},
    "step_trainer_trusted": {"contract", "consent", "serial_numbers", "completeness"},
    "machine_learning_curated": {"contract", "consent", "serial_numbers", "completeness"},
}

JOBS = {"refresh_lakehouse"}


@pytest.fixture(scope="module")
def definitions() -> dg.Definitions:
    return lakehouse_definitions(Settings.load())


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
    checks: dict[str, set[str]] = {name: set() for name in GROUPS}
    for key in graph.asset_check_keys:
        if graph.get_check_spec(key).blocking is blocking:
            checks[key.asset_key.to_user_string()].add(key.name)
    assert checks == wanted


def test_jobs(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert {name for name in repository.job_names if not name.startswith("__")} == JOBS


def test_no_schedule_or_sensor_starts_runs_by_itself(definitions: dg.Definitions) -> None:
    repository = definitions.get_repository_def()
    assert [*repository.schedule_defs, *repository.sensor_defs] == []


def test_everything_loads_under_every_choice_of_settings() -> None:
    for values in ({"pseudonymize": False}, {"consent_scope": "from_consent_date"}):
        dg.Definitions.validate_loadable(lakehouse_definitions(Settings.load(**values)))


def test_every_asset_says_what_it_is_and_shows_its_columns(specs: dict[str, dg.AssetSpec]) -> None:
    for name, spec in specs.items():
        assert spec.description, name
        schema = spec.metadata["dagster/column_schema"]
        assert isinstance(schema, dg.TableSchema), name
        assert all(column.description for column in schema.columns), name
