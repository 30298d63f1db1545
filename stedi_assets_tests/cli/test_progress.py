"""How far the work is, on a terminal and elsewhere."""

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from stedi_assets.cli.progress import ShownProgress, shown_progress
from stedi_assets.lakehouse.progress import Progress
from stedi_assets_tests.commands import deliver_people, isolate, stedi


class Screen:
    """A terminal, and a console that writes to it."""

    def __init__(self, width: int, encoding: str = "utf-8") -> None:
        self._terminal, theirs = os.openpty()
        os.set_blocking(self._terminal, False)
        self._screen = pyte.Screen(width, 24)
        self._stream = pyte.ByteStream(self._screen)
        self.console = Console(
            file=os.fdopen(theirs, "w", encoding=encoding),
            force_terminal=True,
            width=width,
            _environ={"TERM": "xterm-256color"},
        )

    def lines(self) -> list[str]:
        """What is to be read right now, without the sign that turns."""
        while True:
            try:
                self._stream.feed(os.read(self._terminal, 1 << 16))
            except BlockingIOError:
                return [line.rstrip() for line in self._screen.display if line.strip()]

    def wait_for(self, words: str) -> list[str]:
        end = time.monotonic() + 10
        while words not in "\n".join(lines := self.lines()):
            assert time.monotonic() < end, lines
            time.sleep(0.02)
        return lines


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        (80, ["reading accelerometer files 12 of 100, 1.2 of 11.8 GB, 0:"]),
        (40, ["reading accelerometer files 12 of 100,", "1.2 of 11.8 GB, 0:"]),
    ],
)
def test_terminal_shows_files_and_bytes_of_all(
    monkeypatch: pytest.MonkeyPatch, width: int, expected: list[str]
) -> None:
    monkeypatch.setattr("stedi_assets.cli.progress.BEGAN", time.perf_counter() - 7)
    screen = Screen(width)
    with shown_progress(screen.console) as progress:
        progress.begin("reading accelerometer files", 100, 11_800_000_000)
        progress.advance(12, 1_180_000_000)
        lines = [line[2:] for line in screen.wait_for("12 of 100")]
        assert [re.sub(r":\d\d$", ":", line) for line in lines] == expected
        screen.console.print("customer_landing")
        progress.begin("auditing accelerometer_landing")
        lines = screen.wait_for("auditing accelerometer_landing")
        assert lines[0] == "customer_landing"
    assert screen.lines() == ["customer_landing"]


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_sign_that_turns_is_one_that_the_terminal_knows(encoding: str) -> None:
    screen = Screen(40, encoding)
    with shown_progress(screen.console) as progress:
        progress.begin("auditing quarantine")
        [line] = screen.wait_for("auditing quarantine")
    assert line[0] in r"-\|/"


def test_without_a_terminal_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stedi_assets.cli.progress.INTERVAL", 0.2)
    text = StringIO()
    with shown_progress(Console(file=text, width=20)) as progress:
        progress.begin("reading step_trainer files", 1_000, 2_500_000)
        for _ in range(1_000):
            progress.advance(1, 2_500)
        while not text.getvalue():
            time.sleep(0.02)
    [line, *_] = text.getvalue().splitlines()
    assert line.startswith("reading step_trainer files 1,000 of 1,000, 2.5 of 2.5 MB, ")
    assert len(text.getvalue().splitlines()) < 10


def test_short_work_says_nothing_where_there_is_no_terminal() -> None:
    text = StringIO()
    with shown_progress(Console(file=text)) as progress:
        progress.begin("reading step_trainer files", 1_000, 2_500_000)
    assert not text.getvalue()


class Recorded(ShownProgress):
    """All that was begun, with how much of it was done."""

    def __init__(self) -> None:
        self.work: dict[str, tuple[int, int]] = {}
        self.done: dict[str, tuple[int, int]] = {}
        super().__init__()

    def begin(self, work: str, total: int = 0, size: int = 0) -> None:
        super().begin(work, total, size)
        self.work[work], self.done[work] = (total, size), (0, 0)
        self._name = work

    def advance(self, count: int = 0, size: int = 0) -> None:
        with self._lock:
            before = self.done[self._name]
            self.done[self._name] = before[0] + count, before[1] + size


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    recorded = Recorded()

    @contextmanager
    def shown(_: Console) -> Iterator[Progress]:
        yield recorded

    for module in ("refresh", "change", "show"):
        monkeypatch.setattr(f"stedi_assets.cli.{module}.shown_progress", shown)
    isolate(monkeypatch, tmp_path)
    return recorded


def test_commands_tell_what_is_being_done(
    recorded: Recorded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = tmp_path / "lakehouse/landing"
    deliver_people(landing)
    assert stedi(monkeypatch, "refresh").code == 0
    for source in ("customer", "accelerometer", "step_trainer"):
        files = list((landing / source / "landing").iterdir())
        expected = len(files), sum(file.stat().st_size for file in files)
        for work in (f"checking {source} files", f"reading {source} files"):
            assert recorded.work[work] == recorded.done[work] == expected
        assert f"auditing {source}_landing" in recorded.work
    for table in ("customer_trusted", "machine_learning_curated"):
        assert {f"computing {table}", f"auditing {table}"} <= set(recorded.work)

    assert stedi(monkeypatch, "report", str(tmp_path / "report.html")).code == 0
    pictures, _ = recorded.work["drawing pictures"]
    assert recorded.done["drawing pictures"] == (pictures, 0)

    monkeypatch.setenv("STEDI_RETENTION", "0d")
    assert stedi(monkeypatch, "vacuum", "--older-than", "0m").code == 0
    removed, _ = recorded.work["removing files"]
    assert removed
    assert recorded.work["removing files"] == recorded.done["removing files"]

    assert stedi(monkeypatch, "sample", str(tmp_path), "--customers", "1").code == 0
    assert recorded.work["writing customer files"] == (4, 0)
    assert recorded.done["writing customer files"] == (4, 0)

    recorded.work.clear()
    assert stedi(monkeypatch, "rebuild", "--yes").code == 0
    assert recorded.work["reading customer files"] == recorded.done["reading customer files"]
