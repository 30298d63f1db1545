"""A run whose process died must not keep others in the queue for hours."""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stedi_assets.defs import dead_runs
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.support import under

JOBS = ("refresh_lakehouse",)


@dg.op
def nothing() -> None: ...


@dg.job(name="refresh_lakehouse")
def refresh() -> None:
    nothing()


@dg.job
def other() -> None:
    nothing()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_runs, "_ENDING", 0.0)


@pytest.fixture
def tables(tmp_path: Path) -> Lakehouse:
    return open_lakehouse(under(tmp_path, landing=None))


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    launcher = {"module": "dagster", "class": "DefaultRunLauncher"}
    with dg.DagsterInstance.local_temp(str(tmp_path), {"run_launcher": launcher}) as made:
        yield made


def started(
    instance: dg.DagsterInstance, age: float = 200, job: dg.JobDefinition = refresh, **tags: str
) -> str:
    """A run that started so many seconds ago."""
    run = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTING, tags=tags)
    event = dg.DagsterEvent(dg.DagsterEventType.RUN_START.value, job.name)
    instance.report_dagster_event(event, run.run_id, timestamp=time.time() - age)
    return run.run_id


def status(instance: dg.DagsterInstance, run_id: str) -> str:
    run = instance.get_run_by_id(run_id)
    assert run
    return run.status.value


@pytest.mark.parametrize(
    ("given", "locked", "ends"),
    [
        ({}, False, True),
        ({}, True, False),  # it is at work, or waits for the one that is
        ({"age": 100}, False, False),  # it may not have come to the lock
        ({"job": other}, False, False),
        ({"lakehouse": "/of/another/folder"}, False, False),
    ],
)
def test_run_ends_that_says_it_is_at_work_and_does_not_lock_the_lakehouse(
    instance: dg.DagsterInstance,
    tables: Lakehouse,
    given: dict[str, Any],
    locked: bool,
    ends: bool,
) -> None:
    run_id = started(instance, **given)
    with tables.locked(print) if locked else nullcontext():
        dead_runs.end_dead_runs(instance, tables, JOBS)
    assert status(instance, run_id) == ("FAILURE" if ends else "STARTED")


def test_runs_that_may_be_on_another_machine_are_left_alone(tables: Lakehouse) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        run_id = started(instance)
        dead_runs.end_dead_runs(instance, tables, JOBS)
        assert status(instance, run_id) == "STARTED"
