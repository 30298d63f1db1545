"""Shows how far the work is: a line that changes on a terminal, a line now and then elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Lock, Thread, current_thread, main_thread

from rich.console import Console
from rich.text import Text

from stedi_assets.cli import BEGAN, interrupts
from stedi_assets.lakehouse.progress import Progress

INTERVAL = 30.0
"""Seconds between two lines where there is no terminal."""

_UNITS = ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)


class ShownProgress(Progress):
    """What is being done, as a sentence."""

    def __init__(self) -> None:
        """Nothing is being done yet but to load the command."""
        self._lock = Lock()
        self.begin("starting")

    def begin(self, work: str, total: int = 0, size: int = 0) -> None:
        """Something else is being done from now on."""
        _stop_if_interrupted()
        with self._lock:
            self._work, self._total, self._size = work, total, size
            self._count = self._bytes = 0

    def advance(self, count: int = 0, size: int = 0) -> None:
        """So many more, or bytes of them, are done."""
        _stop_if_interrupted()
        with self._lock:
            self._count += count
            self._bytes += size

    def __str__(self) -> str:
        """What, how much of it is done, and how long the command has run."""
        with self._lock:
            total = f" {self._count:,} of {self._total:,}" if self._total else ""
            size = f", {_size(self._bytes, self._size)}" if self._size else ""
            work = f"{self._work}{total}{size}"
        minutes, seconds = divmod(int(time.perf_counter() - BEGAN), 60)
        return f"{work}, {minutes}:{seconds:02}"

    def __rich__(self) -> Text:
        """The same for a terminal."""
        return Text(str(self))


@contextmanager
def shown_progress(console: Console) -> Iterator[ShownProgress]:
    """Show how far the work is while it is done."""
    progress = ShownProgress()
    if console.is_terminal and not console.is_dumb_terminal:
        spinner = "dots" if console.encoding.startswith("utf") else "line"
        with console.status(progress, spinner=spinner, refresh_per_second=5):
            yield progress
    else:
        with _lines(progress, console):
            yield progress


@contextmanager
def _lines(progress: ShownProgress, console: Console) -> Iterator[None]:
    done = Event()

    def tell() -> None:
        while not done.wait(INTERVAL):
            console.print(str(progress), markup=False, highlight=False, emoji=False, soft_wrap=True)

    thread = Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        # Not for ever: it may wait for a lock that a signal left taken, such as that of imports.
        thread.join(1.0)


def _stop_if_interrupted() -> None:
    """Raise what a library swallowed: a signal that came while one of its modules was loaded.

    Raises:
        KeyboardInterrupt: A signal came, and the command goes on all the same.
    """
    if current_thread() is main_thread() and interrupts.exit_code():
        raise KeyboardInterrupt


def _size(done: int, total: int) -> str:
    """Bytes done of all, in the largest unit of which there is one."""
    unit, factor = next(((u, f) for u, f in reversed(_UNITS) if total >= f), _UNITS[0])
    return f"{min(done, total) / factor:,.1f} of {total / factor:,.1f} {unit}"
