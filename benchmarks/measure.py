"""Measures a command: time, CPU and memory of its process and of all that it starts."""

import os
import select
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

_INTERVAL = 0.05
_GRACE = 10
"""Seconds that processes of a command may outlive it: a JVM takes a while to shut down."""


@dataclass(frozen=True)
class Run:
    """What a command took; memory is the peak of all its processes at once, in 10^6 bytes."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    output: str = ""
    rows: Mapping[str, int] = field(default_factory=dict)


class CommandError(RuntimeError):
    """A measured command failed; the message is the last line of its output."""


def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float
) -> Run:
    """Run a command in a folder, with no other environment than the one given, to its end.

    Raises:
        CommandError: It failed, or took more seconds than `timeout`.
    """
    os.sync()  # so that it does not wait for writes of the one before
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
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
        session = _Session(process.pid)
        try:
            pidfd = os.pidfd_open(process.pid)
            while not select.select([pidfd], [], [], _INTERVAL)[0]:
                session.look()
                if time.perf_counter() - started > timeout:
                    raise CommandError(f"It took more than {timeout:,.0f} seconds.")
            seconds = time.perf_counter() - started
            os.close(pidfd)
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            while session.look() and time.perf_counter() - started < seconds + _GRACE:
                time.sleep(_INTERVAL)
        finally:
            session.kill()
            process.wait()
        output.seek(0)
        errors.seek(0)
        text = output.read()
        if process.returncode:
            lines = (errors.read().strip() or text.strip()).splitlines()
            raise CommandError(lines[-1] if lines else "It failed without a word.")
    # Spark's JVM is reaped by nobody here; the session has seen it, to the last look.
    cpu_seconds = max(usage.ru_utime + usage.ru_stime, sum(session.cpu_seconds.values()))
    return Run(round(seconds, 3), round(cpu_seconds, 2), round(session.peak / 1e6, 1), text)


class _Session:
    """The processes of a session, looked up in /proc.

    They are told by their session and not by their parent: Spark's JVM outlives the Python that
    started it, and has another parent then.
    """

    def __init__(self, leader: int) -> None:
        self.peak = 0
        self.cpu_seconds: dict[int, float] = {}
        self._leader = leader

    def look(self) -> bool:
        """Record what the processes have taken so far; tells whether there are any."""
        processes = self._processes()
        # Not at first sight: before it runs a program, a process has its parent's memory.
        running = processes.keys() & self.cpu_seconds.keys()
        self.peak = max(self.peak, sum(processes[pid][1] for pid in running))
        self.cpu_seconds |= {pid: seconds for pid, (seconds, _) in processes.items()}
        return bool(processes)

    def kill(self) -> None:
        """Kill what is left."""
        for pid in self._processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _processes(self) -> dict[int, tuple[float, int]]:
        """CPU seconds and resident bytes of each process that is at work."""
        processes = {}
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError):
                if os.getsid(pid := int(name)) == self._leader:
                    stat = Path(f"/proc/{pid}/stat").read_text()
                    state, *fields = stat.rpartition(")")[2].split()
                    seconds = (int(fields[10]) + int(fields[11])) / os.sysconf("SC_CLK_TCK")
                    if state != "Z":
                        processes[pid] = seconds, int(fields[20]) * os.sysconf("SC_PAGE_SIZE")
        return processes
