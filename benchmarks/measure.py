"""Measures a command: time, CPU and memory of its process and of all that it starts.

Memory is the resident memory of all its processes at once, looked up in /proc every 50
milliseconds; a page that two of them share counts in both. Of each process the kernel keeps the
peak, too, so that a peak between two looks is missed only where several processes make it. Where
there is no /proc (macOS), the largest process alone counts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_INTERVAL = 0.05
_GRACE = 10
"""Seconds that what a command started may outlive it: a JVM takes a while to shut down."""
_PROC = Path("/proc")


@dataclass(frozen=True)
class Run:
    """What a command took.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Of user and system, in all its processes.
        megabytes: Peak resident memory of all its processes, in millions of bytes.
        output: What it printed.
        rows: Rows of the tables it made, where they are known.
        parts: Seconds of its parts by name, where they are known.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float
    output: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)
    parts: Mapping[str, float] = field(default_factory=dict)


class CommandError(RuntimeError):
    """A measured command failed; the message is the end of what it said."""


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> Run:
    """Run a command to its end.

    Args:
        command: What to run.
        folder: Where to run it.
        environment: All of its environment.
        timeout: Seconds after which it is killed.

    Raises:
        CommandError: It failed, or took too long.
    """
    os.sync()  # so that it does not wait for what the one before left to write
    with (
        tempfile.TemporaryFile("w+", errors="replace") as output,
        tempfile.TemporaryFile("w+", errors="replace") as errors,
    ):
        started = time.perf_counter()
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            start_new_session=True,
        )
        session = _Session(process.pid, timeout)
        try:
            session.start()
            _, status, usage = os.wait4(process.pid, 0)
            seconds = time.perf_counter() - started
            process.returncode = os.waitstatus_to_exitcode(status)
            session.wait()
        finally:
            session.end()
        if session.timed_out:
            raise CommandError(f"It took more than {timeout:,.0f} seconds.")
        if process.returncode:
            raise CommandError(_tail(errors) or _tail(output) or "It failed without a word.")
        output.seek(0)
        unit = 1_000_000 if sys.platform == "darwin" else 1_000_000 / 1024
        # Spark's JVM is reaped by nobody here; the session has seen it, to the last look.
        cpu_seconds = max(usage.ru_utime + usage.ru_stime, session.cpu_seconds)
        return Run(
            round(seconds, 3),
            round(cpu_seconds, 2),
            round(session.peak / 1e6 or usage.ru_maxrss / unit, 1),
            output.read(),
        )


def _tail(file: IO[str]) -> str:
    file.seek(0)
    return file.read()[-2000:].strip()


class _Session(threading.Thread):
    """Watches the processes of a session.

    They are told by their session and not by their parent: Spark's JVM outlives the Python that
    started it, and has another parent then.

    Attributes:
        peak: Their peak resident memory, in bytes.
        timed_out: Whether they were killed because they took too long.
    """

    def __init__(self, leader: int, timeout: float) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self.timed_out = False
        self._leader = leader
        self._timeout = timeout
        self._cpu: dict[str, float] = {}
        self._others: set[str] = set()
        self._ended = threading.Event()

    @property
    def cpu_seconds(self) -> float:
        """CPU time of each process when it was last seen, summed."""
        return sum(self._cpu.values())

    def run(self) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._ended.wait(_INTERVAL):
            self._look()
            if time.monotonic() > deadline and not self.timed_out:
                self.timed_out = True
                _kill(self._members() or [self._leader])

    def wait(self) -> None:
        """Wait, but not for long, until the last process is gone."""
        deadline = time.monotonic() + _GRACE
        while self._members() and time.monotonic() < deadline:
            time.sleep(_INTERVAL)

    def end(self) -> None:
        """Stop watching, and kill what is left."""
        self._ended.set()
        self.join()
        _kill(self._members())

    def _look(self) -> None:
        resident, highest = 0, 0
        for pid, fields in self._members().items():
            memory = _memory(pid)
            if pid in self._cpu:  # not at first sight: until it runs a program, it has its parent's
                resident += memory.get("VmRSS", 0)
            self._cpu[pid] = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            highest = max(highest, memory.get("VmHWM", 0))
        self.peak = max(self.peak, resident, highest)

    def _members(self) -> dict[str, list[str]]:
        """The session's processes at work, with what /proc/PID/stat tells from the state on."""
        pids = {name for name in _listed(_PROC) if name.isdecimal()}
        self._others &= pids  # a number is given again, one day
        members = {}
        for pid in pids - self._others:
            with suppress(OSError):
                fields = (_PROC / pid / "stat").read_text().rpartition(")")[2].split()
                if int(fields[3]) != self._leader:
                    self._others.add(pid)
                elif fields[0] != "Z":
                    members[pid] = fields
        return members


def _kill(pids: Iterable[str | int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def _listed(folder: Path) -> list[str]:
    return os.listdir(folder) if folder.exists() else []


def _memory(pid: str) -> dict[str, int]:
    """Resident memory of a process and its peak, in bytes; empty where it has ended."""
    with suppress(OSError):
        lines = (_PROC / pid / "status").read_text().splitlines()
        pairs = (line.partition(":") for line in lines if line.startswith(("VmRSS", "VmHWM")))
        return {name: int(value.split()[0]) * 1024 for name, _, value in pairs}
    return {}
