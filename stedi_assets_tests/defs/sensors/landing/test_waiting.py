"""What the sensor waits for, and for how long."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest

from stedi_assets.defs.sensors import landing as sensor
from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.defs.sensors.landing.support import FIRST, HOUR, Watch
from stedi_assets_tests.support import (
    ANN,
    customer,
    deliver,
    write,
)


@pytest.mark.parametrize(
    ("job", "status", "waits"),
    [
        ("refresh_lakehouse", "NOT_STARTED", True),
        ("refresh_lakehouse", "STARTING", True),
        ("refresh_lakehouse", "STARTED", True),
        ("recompute_lakehouse", "STARTED", True),
        ("__ASSET_JOB", "NOT_STARTED", True),
        ("another_job", "NOT_STARTED", False),
        ("refresh_lakehouse", "SUCCESS", False),
        ("refresh_lakehouse", "FAILURE", False),
    ],
)
def test_burst_waits_for_a_run_that_has_not_begun_or_just_did(
    watch: Watch, landing: Path, job: str, status: str, waits: bool
) -> None:
    watch.run(job, dg.DagsterRunStatus[status])
    deliver(landing, "first.json", **FIRST)
    if waits:
        assert (
            watch.reason()
            == "A refresh is queued or at work; new files: 3; it or the next takes them in."
        )
        deliver(landing, "second.json", customer=[customer("bob@x.io")])
        assert (
            watch.reason()
            == "A refresh is queued or at work; new files: 4; it or the next takes them in."
        )
    else:
        assert watch.requests() == dict.fromkeys(FIRST, "1")


def test_burst_waits_for_a_run_in_the_queue_however_long(
    watch: Watch, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def records(wanted: dg.RunsFilter) -> list[Any]:
        run = SimpleNamespace(job_name="refresh_lakehouse")
        queued = dg.DagsterRunStatus.QUEUED in wanted.statuses and not wanted.updated_after
        return [SimpleNamespace(dagster_run=run)] if queued else []

    # Dagster puts no run into its queue without a code location.
    monkeypatch.setattr(watch.instance, "get_run_records", records)
    deliver(landing, "first.json", **FIRST)
    watch.ahead = HOUR
    assert "new files: 3; it or the next takes them in" in watch.reason()


def test_run_whose_process_is_gone_is_not_waited_for(watch: Watch, landing: Path) -> None:
    for status in (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED):
        watch.run("refresh_lakehouse", status)
    deliver(landing, "first.json", **FIRST)
    watch.ahead = HOUR
    assert watch.requests() == dict.fromkeys(FIRST, "1")


def test_burst_waits_for_a_refresh_at_work(taken_in: Watch) -> None:
    landing = Path(taken_in.settings.landing_root)
    deliver(landing, "second.json", customer=[customer("bob@x.io")])
    with open_lakehouse(taken_in.settings).locked(print):
        assert (
            taken_in.reason()
            == "A refresh is queued or at work; new files: 1; it or the next takes them in."
        )
    assert taken_in.requests() == {"customer": "1"}


def test_files_that_are_still_arriving_are_waited_for_but_not_for_long(
    watch: Watch, landing: Path
) -> None:
    watch.ahead = 0
    deliver(landing, "first.json", **FIRST)
    assert "New files: 3, and more may be on their way" in watch.reason()
    watch.ahead = sensor.STILL_ARRIVING
    assert watch.look().run_requests
    watch.ahead = 0
    waited = time.time() - sensor.WAITED_ENOUGH - 1
    os.utime(landing / "customer" / "landing" / "first.json", (waited, waited))
    assert watch.requests() == dict.fromkeys(FIRST, "1")


def test_file_of_the_future_is_not_waited_for(watch: Watch, landing: Path) -> None:
    path = write(landing, "customer", "a.json", json.dumps(customer(ANN)))
    os.utime(path, (time.time() + HOUR,) * 2)
    assert watch.requests() == {"customer": "1"}


def test_files_left_unread_are_requested_again_with_growing_pauses(
    watch: Watch, landing: Path
) -> None:
    deliver(landing, "first.json", **FIRST)
    requested, keys = [], set()
    for minute in (0, 0.9, 1, 2, 5.9, 6, 20.9, 21, 30, 80.9, 81, 140.9, 141):
        watch.ahead = 100 + 60 * minute
        if minute == 30:
            assert "Files left unread by the last refresh: 3" in watch.reason()
        for request in watch.tick().run_requests or []:
            requested.append(minute)
            keys.add(request.run_key)
    assert requested == [0, 1, 6, 21, 81, 141]
    assert len(keys) == len(requested)


def test_new_file_does_not_wait_for_those_left_unread(watch: Watch, landing: Path) -> None:
    deliver(landing, "first.json", **FIRST)
    assert watch.requests() == dict.fromkeys(FIRST, "1")
    assert "left unread by the last refresh: 3" in watch.reason()
    deliver(landing, "second.json", customer=[customer("bob@x.io")])
    assert watch.requests()["customer"] == "2"
    # What was left over of that is no reason to hurry.
    (landing / "customer" / "landing" / "second.json").unlink()
    watch.tick()
    assert "left unread by the last refresh: 3" in watch.reason()
