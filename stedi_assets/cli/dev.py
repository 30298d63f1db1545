"""Serves the Dagster UI on the lakehouse, and says in a line what each run does."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import Thread
from urllib.error import URLError
from urllib.request import urlopen

import dagster as dg

from stedi_assets.cli import interrupts
from stedi_assets.cli.history import instance_of
from stedi_assets.defs.jobs import VACUUM, WRITING_TABLES
from stedi_assets.defs.run_failures import failures_of
from stedi_assets.defs.sensors.landing import NEW_FILES
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.settings import PROJECT, Settings

HOST, FIRST_PORT = "127.0.0.1", 3000
_TRIED_PORTS = 100
_TO_STOP = 60
"""Seconds that Dagster has to end by itself."""

_STAMPED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d ")
_OF_RUN = re.compile(r"\S+ \S+ \S+ - dagster - \w+ - \w+ - [0-9a-f-]{36} ")
"""How a line of Dagster begins, and one that a run writes: those are in the run's log, too."""

_QUIET = "ignore:Function `dev_command` is superseded"

_JOBS = {*WRITING_TABLES, VACUUM}

Say = Callable[[str], None]


def serve(settings: Settings, port: int | None, say: Say) -> int:
    """Serve the UI until somebody stops it, by Ctrl-C or SIGTERM.

    Args:
        settings: Which lakehouse.
        port: Where; the first free one from 3000 on where it is None.
        say: Prints a line.

    Returns:
        What Dagster ended with; 0 if it was asked to end.
    """
    signal.signal(signal.SIGHUP, signal.default_int_handler)  # a closed terminal ends it, too
    with instance_of(settings) as instance:
        with _reserved_port(port) as reserved, _dagster(settings, reserved, say) as process:
            address = f"http://{HOST}:{reserved}"
            try:
                _wait_until_up(address, process)
                say(f"The Dagster UI is at {address} (Ctrl-C ends it).")
                runs = _Runs(instance, address)
                while process.poll() is None:
                    for line in runs.news():
                        say(line)
                    time.sleep(1)
            except KeyboardInterrupt:
                interrupts.take_as_end()
                say("Ending Dagster.")
                return 0
            return process.wait()


@contextmanager
def _dagster(settings: Settings, port: int, say: Say) -> Iterator[subprocess.Popen[str]]:
    """Dagster's webserver, daemon and code location; they end with the block."""
    workspace = PROJECT / "workspace.yaml"
    code = ["-w", str(workspace)] if workspace.exists() else ["-m", "stedi_assets.definitions"]
    home = settings.dagster_home
    where = ["-h", HOST, "-p", str(port), *code]
    command = [sys.executable, "-m", "dagster", "dev", *where, "--log-level", "warning"]
    process = subprocess.Popen(
        command,
        cwd=home,
        env=os.environ | settings.places | {"DAGSTER_HOME": str(home), "PYTHONWARNINGS": _QUIET},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="backslashreplace",
        start_new_session=True,  # Ctrl-C reaches this process alone, which ends the others in order
    )
    assert process.stdout
    Thread(target=_pass_on, args=(process.stdout, say), daemon=True).start()
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(_TO_STOP)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # or a second Ctrl-C
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def _reserved_port(wanted: int | None) -> Iterator[int]:
    """A free port, which no other `stedi dev` takes before the block ends.

    Dagster takes a while to listen. Until then, the UDP port of the same number says that the port
    is taken: nothing else uses that, and the system frees it at once.
    """
    for port in [wanted] if wanted else range(FIRST_PORT, FIRST_PORT + _TRIED_PORTS):
        with socket.socket() as probe, socket.socket(type=socket.SOCK_DGRAM) as reservation:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
                reservation.bind((HOST, port))
            except OSError:
                continue
            probe.close()
            yield port
            return
    taken = f"port {wanted}" if wanted else f"the {_TRIED_PORTS} ports from {FIRST_PORT} on"
    raise LakehouseError(f"Something else uses {taken}, or you may not: choose one with --port.")


def _pass_on(lines: Iterable[str], say: Say) -> None:
    """Print what Dagster's services have to say, and not what a run logs."""
    of_run = False
    for line in lines:
        if _STAMPED.match(line):
            of_run = bool(_OF_RUN.match(line))
        if not of_run:
            say(line.rstrip())


def _wait_until_up(address: str, process: subprocess.Popen[str]) -> None:
    while process.poll() is None:
        try:
            with urlopen(f"{address}/server_info", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)


class _Runs:
    """Tells of runs that began or ended since it was asked last."""

    def __init__(self, instance: dg.DagsterInstance, address: str) -> None:
        self._instance = instance
        self._address = address
        self._since = datetime.now(UTC)
        self._known: dict[str, dg.DagsterRunStatus] = {}

    def news(self) -> Iterator[str]:
        """A line for each run that began, and for each that ended, with what failed."""
        records = self._instance.get_run_records(dg.RunsFilter(updated_after=self._since))
        for record in reversed(records):
            run = record.dagster_run
            if self._known.get(run.run_id) != run.status:
                self._known[run.run_id] = run.status
                yield from self._lines(run, record)

    def _lines(self, run: dg.DagsterRun, record: dg.RunRecord) -> Iterator[str]:
        what = run.job_name if run.job_name in _JOBS else _selected(run)
        if run.status == dg.DagsterRunStatus.STARTED:
            yield f"{_now()} {what} began{_reason(run)}."
        elif run.is_finished:
            seconds = (record.end_time or 0) - (record.start_time or record.end_time or 0)
            yield f"{_now()} {what} ended in {seconds:.0f} s: {run.status.value.lower()}."
            if run.status != dg.DagsterRunStatus.SUCCESS:
                for failure in failures_of(self._instance, run.run_id):
                    yield f"  {failure.rule} of {failure.table}: {failure.sentence}"
                yield f"  {self._address}/runs/{run.run_id}"


def _selected(run: dg.DagsterRun) -> str:
    """The assets that somebody selected or, where there are none, the checks."""
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    checks = sorted(
        f"{key.name} of {key.asset_key.to_user_string()}" for key in run.asset_check_selection or ()
    )
    return ", ".join(assets or checks) or run.job_name


def _reason(run: dg.DagsterRun) -> str:
    """Why a run began, where a sensor asked for it."""
    files = {
        name.removeprefix(NEW_FILES): count
        for name, count in run.tags.items()
        if name.startswith(NEW_FILES)
    }
    sources = ", ".join(f"{source} {count}" for source, count in files.items())
    return f" for new files ({sources})" if files else ""


def _now() -> str:
    return f"{datetime.now():%H:%M:%S}"
