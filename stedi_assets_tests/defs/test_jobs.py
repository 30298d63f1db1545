from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.defs import jobs
from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.settings import Settings
from stedi_assets_tests.support import customer, deliver, refresh, under


def vacuum(settings: Settings) -> dg.ExecuteInProcessResult:
    job = lakehouse_definitions(settings).resolve_job_def("vacuum_lakehouse")
    return job.execute_in_process(raise_on_error=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lakehouse that took in files twice, and keeps nothing that was replaced."""
    for name in ("first.json", "second.json"):
        deliver(tmp_path / "landing", name, customer=[customer(name)])
        found = under(tmp_path, retention=timedelta(0))
        assert refresh(found, only=["customer_landing"]).success
    return found


def files(settings: Settings) -> set[Path]:
    return {path for path in Path(settings.lakehouse).rglob("*.parquet")}


def test_vacuum_job_merges_small_files_and_removes_what_no_snapshot_refers_to(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(settings)
    assert vacuum(settings).success
    merged = files(settings) - before
    assert {file.parent.name for file in merged} == {"data", "ledger"}
    assert files(settings) > before  # they are too young
    monkeypatch.setattr(jobs, "SAFETY_AGE", timedelta(0))
    assert vacuum(settings).success
    assert files(settings) == merged


def test_vacuum_job_has_nothing_to_do_before_the_first_refresh(tmp_path: Path) -> None:
    assert vacuum(under(tmp_path, landing=None)).success
    assert not (tmp_path / "lakehouse" / "catalog.db").exists()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.mark.parametrize(("late", "runs"), [(0, 1), (23, 1), (24, 0), (72, 0)])
def test_of_several_missed_nights_the_last_is_made_up_for(
    instance: dg.DagsterInstance, late: int, runs: int
) -> None:
    due = datetime.now(UTC) - timedelta(hours=late)
    for schedule in jobs.schedules():
        context = dg.build_schedule_context(instance, scheduled_execution_time=due)
        assert len(schedule.evaluate_tick(context).run_requests or ()) == runs
