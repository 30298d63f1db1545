"""How a refresh looks in Dagster when something is held back."""

import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.refresh.findings import Finding
from stedi_assets.settings import Settings
from stedi_assets_tests.support import (
    ANN,
    BOB,
    TABLES,
    counts,
    customer,
    deliver,
    device,
    phone,
    refresh,
    under,
    write,
)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lakehouse of Ann and Bob, who consent, before its first refresh."""
    deliver(
        tmp_path / "landing",
        "first.json",
        customer=[customer(ANN, "d"), customer(BOB, "e")],
        accelerometer=[*phone(ANN, *range(10)), *phone(BOB, *range(20, 30))],
        step_trainer=[*device("d", *range(10)), *device("e", *range(20, 30))],
    )
    return under(tmp_path)


@pytest.fixture
def garbage(settings: Settings) -> Path:
    """A file of phone readings of which most cannot be read."""
    text = json.dumps(phone(ANN, 10)[0]) + "\nupload failed" * 3
    return write(Path(settings.landing_root), "accelerometer", "second.json", text)


def run_of(settings: Settings, instance: dg.DagsterInstance) -> tuple[str, list[str], list[str]]:
    """How a refresh ended, the steps that failed in it, and the tables that were materialized."""
    result = refresh(settings, instance)
    run = instance.get_run_by_id(result.run_id)
    assert run
    failed = [event.step_key or "" for event in result.get_step_failure_events()]
    made = [e.asset_key.path[-1] for e in result.get_asset_materialization_events() if e.asset_key]
    return run.status.value, failed, made


def result_of(table: str, check: str, instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    key = dg.AssetCheckKey(dg.AssetKey(table), check)
    record = instance.get_latest_asset_check_evaluation_record(key)
    assert record
    assert record.evaluation
    return record.evaluation


def test_file_that_is_held_back_fails_the_run_once_all_tables_are_made(
    settings: Settings, garbage: Path, instance: dg.DagsterInstance
) -> None:
    refresh(settings, instance)
    withdrawn = customer(BOB, "e", sharewithresearchasofdate=None)
    deliver(Path(settings.landing_root), "third.json", customer=[withdrawn])
    status, failed, made = run_of(settings, instance)
    assert (status, failed) == ("FAILURE", ["machine_learning_curated_all_files"])
    assert set(made) == set(TABLES)
    assert counts(settings)["customer_trusted"] == 1
    last = result_of("machine_learning_curated", "all_files", instance)
    assert (last.passed, last.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert "readable of accelerometer_landing" in (last.description or "")
    garbage.unlink()
    assert run_of(settings, instance)[:2] == ("SUCCESS", [])
    assert result_of("machine_learning_curated", "all_files", instance).passed


def test_check_executed_alone_says_again_what_is_held_back(
    settings: Settings, garbage: Path, instance: dg.DagsterInstance
) -> None:
    refresh(settings, instance)
    before = result_of("accelerometer_landing", "readable", instance)
    assert (before.passed, garbage.name in (before.description or "")) == (False, True)
    published = counts(settings)
    result = execute(settings, instance, "accelerometer_landing", "readable", "completeness")
    assert [found.check_name for found in result.get_asset_check_evaluations()] == [
        "completeness",
        "readable",
    ]
    assert result.get_asset_materialization_events() == []
    again = result_of("accelerometer_landing", "readable", instance)
    assert (again.passed, again.description) == (False, before.description)
    assert result_of("accelerometer_landing", "completeness", instance).passed
    assert counts(settings) == published


def test_check_executed_alone_looks_at_the_candidate_that_waits(
    settings: Settings, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(settings, instance)
    deliver(Path(settings.landing_root), "second.json", step_trainer=device("d", 11))
    with monkeypatch.context() as patch:
        patch.setattr("stedi_assets.refresh.land.check_objects", never_balanced)
        status, *_ = run_of(settings, instance)
        assert status == "FAILURE"
        waiting = result_of("step_trainer_landing", "completeness", instance)
        assert waiting.metadata["candidate_rows"].value == 21
        execute(settings, instance, "step_trainer_landing", "completeness")
        assert not result_of("step_trainer_landing", "completeness", instance).passed
    execute(settings, instance, "step_trainer_landing", "completeness")
    assert result_of("step_trainer_landing", "completeness", instance).passed
    assert counts(settings)["step_trainer_landing"] == 20  # a check publishes nothing


def never_balanced(name: str, *_: object) -> Finding:
    return Finding("completeness", False, f"{name}: an object is missing.")


def execute(
    settings: Settings, instance: dg.DagsterInstance, table: str, *checks: str
) -> dg.ExecuteInProcessResult:
    """Execute checks without their table, as the button in the UI does."""
    keys = [dg.AssetCheckKey(dg.AssetKey(table), check) for check in checks]
    job = dg.define_asset_job("alone", selection=dg.AssetSelection.checks(*keys))
    definitions = dg.Definitions.merge(lakehouse_definitions(settings), dg.Definitions(jobs=[job]))
    return definitions.resolve_job_def("alone").execute_in_process(instance=instance)
