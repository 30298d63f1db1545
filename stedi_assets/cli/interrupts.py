"""Ctrl-C and SIGTERM: whenever they come, the command ends with one sentence.

Imports next to nothing, as it is there before all that takes time to load.
"""

import os
import signal
import sys
from contextlib import suppress
from threading import Timer
from types import FrameType
from typing import Any

SENTENCE = "Interrupted; nothing is lost: run the command again."

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_PAUSE = 0.1
"""Seconds after which a signal that was lost is sent again."""

_received: list[int] = []
_pipe: list[int] = []
_timers: list[Timer] = []


def end_at_once() -> None:
    """Let a signal end the process, as long as there is nothing to clear up.

    An error could be swallowed by a module that is being loaded.
    """
    _handle(_end)


def _end(number: int, _: FrameType | None) -> None:
    with suppress(OSError):
        os.write(2, f"{SENTENCE}\n".encode())
    os._exit(128 + number)


def raise_error() -> None:
    """Let a signal raise KeyboardInterrupt, so that what runs is cleared up."""
    if not _pipe:
        # Dagster handles signals by itself while it runs. The pipe tells in any case.
        _pipe.extend(os.pipe())
        for end in _pipe:
            os.set_blocking(end, False)
    _received.clear()
    signal.set_wakeup_fd(_pipe[1], warn_on_full_buffer=False)
    sys.unraisablehook = _send_again
    _handle(signal.default_int_handler)


def ignore() -> None:
    """There is nothing left to interrupt."""
    for timer in _timers:
        timer.cancel()
    _handle(signal.SIG_IGN)


def hold(held: bool) -> None:
    """Let Ctrl-C wait, or come; processes that start meanwhile never get it.

    At a terminal, Ctrl-C goes to all of them, and each would print a traceback of its own.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK if held else signal.SIG_UNBLOCK, {signal.SIGINT})


def exit_code() -> int | None:
    """The exit code, as of a shell, if a signal came; None otherwise."""
    if _pipe:
        with suppress(BlockingIOError):
            _received.extend(number for number in os.read(_pipe[0], 512) if number in _SIGNALS)
    return 128 + _received[0] if _received else None


def take_as_end() -> None:
    """What came was the way to end this command: it is no interruption."""
    exit_code()
    _received.clear()


def _handle(handler: Any) -> None:
    for number in _SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as of a job in the background
            signal.signal(number, handler)


def _send_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Send a signal again if it came where nothing can be raised, as in a destructor."""
    if isinstance(unraisable.exc_value, Exception | None):
        sys.__unraisablehook__(unraisable)
    else:
        timer = Timer(_PAUSE, os.kill, (os.getpid(), signal.SIGINT))
        timer.daemon = True
        _timers.append(timer)
        timer.start()
