"""The `stedi` command in this process, in a project of a test's own, and what it said."""

import signal
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

import pytest

from stedi_assets.cli import main
from stedi_assets_tests.support import KEY, deliver

T = 1_655_564_400_000
"""A time that is plausible in a landing file."""


@dataclass(frozen=True)
class Answer:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """All it said."""
        return self.out + self.err


def deliver_people(landing: Path, name: str = "a.json") -> None:
    """Write landing files of Ann, who consents, and of Bob, who does not; both have a device."""
    for person, since in (("ann", T), ("bob", None)):
        email, times = f"{person}@x.io", [T + 1_000 * i + (person == "bob") for i in range(6)]
        deliver(
            landing,
            f"{person}-{name}",
            customer=[
                {
                    "customerName": "N",
                    "email": email,
                    "serialNumber": f"dev-{person}",
                    "registrationDate": T,
                    "lastUpdateDate": T,
                    "shareWithResearchAsOfDate": since,
                }
            ],
            accelerometer=[
                {"user": email, "timestamp": time, "x": 0.5, "y": 1.0, "z": -1.0} for time in times
            ],
            step_trainer=[
                {
                    "serialNumber": f"dev-{person}",
                    "sensorReadingTime": time,
                    "distanceFromObject": 100,
                }
                for time in times
            ],
        )


def isolate(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let commands use the lakehouse in that folder, and no history of this checkout's."""
    patch.setenv("STEDI_LAKEHOUSE", str(folder / "lakehouse"))
    patch.setenv("STEDI_PSEUDONYM_KEY", KEY)
    patch.delenv("STEDI_LANDING", raising=False)


def stedi(patch: pytest.MonkeyPatch, *words: str) -> Answer:
    """Run the command as a shell does, but in this process."""
    patch.setattr(sys, "argv", ["stedi", *words])
    out, err = StringIO(), StringIO()
    signals = signal.SIGINT, signal.SIGTERM
    hook = sys.unraisablehook
    handlers = [signal.getsignal(number) for number in signals]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
            main.main()
    finally:
        signal.set_wakeup_fd(-1)
        sys.unraisablehook = hook
        for number, handler in zip(signals, handlers, strict=True):
            signal.signal(number, handler)
    return Answer(int(ended.value.code or 0), out.getvalue(), err.getvalue())
