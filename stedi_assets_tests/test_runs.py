import os
import socket
import subprocess

import dagster as dg
import pytest

from stedi_assets.runs import end_dead_runs, process_tag


@dg.op
def nothing() -> None: ...


@dg.job
def job() -> None:
    nothing()


@pytest.fixture(scope="module")
def dead() -> int:
    """Process id of a process that has ended."""
    process = subprocess.Popen(["true"])
    process.wait()
    return process.pid


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.SUCCESS])
def test_only_a_started_run_whose_process_is_gone_is_ended(
    dead: int, status: dg.DagsterRunStatus
) -> None:
    tags = {
        "dead": {"stedi/process": f"{socket.gethostname()}:{dead}"},
        "alive": process_tag(),
        "elsewhere": {"stedi/process": f"another.{socket.gethostname()}:{dead}"},
        "launched by Dagster": {},
    }
    with dg.DagsterInstance.ephemeral() as instance:
        runs = {}
        for name, tag in tags.items():
            run = instance.create_run_for_job(job, status=status, tags=tag)
            runs[run.run_id] = name
        end_dead_runs(instance)
        ended = {
            runs[run.run_id]
            for run in instance.get_runs()
            if run.status == dg.DagsterRunStatus.FAILURE
        }
    assert ended == ({"dead"} if status == dg.DagsterRunStatus.STARTED else set())


def test_tag_names_this_process() -> None:
    assert process_tag() == {"stedi/process": f"{socket.gethostname()}:{os.getpid()}"}
