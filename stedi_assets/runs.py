"""Runs that a terminal starts: Dagster neither launches nor watches their process."""

import os
import socket

import dagster as dg

_PROCESS = "stedi/process"


def process_tag() -> dict[str, str]:
    """Tag of a run that is executed in this process."""
    return {_PROCESS: f"{socket.gethostname()}:{os.getpid()}"}


def end_dead_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs as failed whose process was killed; else they keep all others in the queue."""
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    for record in instance.get_run_records(started):
        run = record.dagster_run
        host, _, pid = run.tags.get(_PROCESS, "").partition(":")
        if host == socket.gethostname() and not _lives(int(pid)):
            instance.report_run_failed(run, "Its process was killed; refresh again.")


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
