"""Runs that died with their process: Dagster's default launcher does not notice."""

from datetime import UTC, datetime, timedelta
from time import sleep

import dagster as dg

from stedi_assets.lakehouse.lakehouse import Lakehouse

STARTING = timedelta(minutes=3)
"""How long a run takes at most from its launch until it locks the lakehouse."""

_ENDING = 2.0
"""Seconds a run takes at most to report its end, once it has unlocked the lakehouse."""


def end_dead_runs(
    instance: dg.DagsterInstance, lakehouse: Lakehouse, jobs: tuple[str, ...]
) -> None:
    """Mark runs as failed that claim to be running but do not lock the lakehouse.

    Otherwise they keep all others in the queue. If runs may be on another machine nothing is done:
    its locks cannot be seen from here.

    Args:
        instance: Knows the runs.
        lakehouse: The lakehouse.
        jobs: The jobs whose runs lock it.
    """
    if not isinstance(instance.run_launcher, dg.DefaultRunLauncher):
        return
    suspects = _suspects(instance, lakehouse, jobs)
    if not suspects or lakehouse.is_locked():
        return
    sleep(_ENDING)
    for run_id in suspects:
        run = instance.get_run_by_id(run_id)
        if run and run.status == dg.DagsterRunStatus.STARTED and not lakehouse.is_locked():
            instance.report_run_failed(run, "Its process is gone; a refresh goes on from there.")


def _suspects(
    instance: dg.DagsterInstance, lakehouse: Lakehouse, jobs: tuple[str, ...]
) -> list[str]:
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    limit = (datetime.now(UTC) - STARTING).timestamp()
    return [
        record.dagster_run.run_id
        for record in instance.get_run_records(started)
        if record.dagster_run.job_name in jobs
        and record.dagster_run.tags.get("lakehouse", lakehouse.storage.root)
        == lakehouse.storage.root
        and (record.start_time or 0) < limit
    ]
