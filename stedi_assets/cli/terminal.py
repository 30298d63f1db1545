"""How commands speak to a person: what they print, and how they stop."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from stedi_assets.cli import interrupts
from stedi_assets.lakehouse.names import printable

if TYPE_CHECKING:
    from stedi_assets.settings import Settings


class _Terminal(Console):
    """Stays silent once nobody reads its output, so that the work still ends well.

    Where it is no terminal, a sentence stays in one line, for whatever reads that.
    """

    def print(self, *objects: Any, **how: Any) -> None:
        if not self.is_terminal and all(isinstance(each, str) for each in objects):
            how.setdefault("soft_wrap", True)
        super().print(*objects, **how)

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


@contextmanager
def beside_dagster(console: Console) -> Iterator[None]:
    """Give a console a file descriptor of its own.

    While a step runs, Dagster sends what goes to the process's standard output to a file: half of
    what moves the cursor would never reach the terminal.
    """
    before = console.file
    try:
        descriptor = os.dup(before.fileno())
    except (OSError, ValueError):  # it writes to no descriptor
        yield
        return
    before.flush()
    with open(descriptor, "w", encoding=console.encoding, errors="backslashreplace") as file:
        console.file = file
        try:
            yield
        finally:
            console.file = before


out = _Terminal()
_errors = _Terminal(stderr=True)


def load_settings() -> "Settings":
    """The settings; ends the command where one is wrong."""
    from stedi_assets.settings import Settings, SettingsError  # noqa: PLC0415

    try:
        return Settings.load()
    except SettingsError as error:
        raise stop(str(error)) from None


def tell(console: Console, sentence: str, style: str | None = None) -> None:
    """Print a sentence to a console, whatever signs are in it."""
    console.print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)


def say(sentence: str) -> None:
    """Print a sentence, whatever signs are in it."""
    tell(out, sentence)


def warn(sentence: str) -> None:
    """Print a warning."""
    tell(_errors, printable(sentence), "yellow")


def stop(sentence: str) -> typer.Exit:
    """Print what went wrong; raise what this returns to end the command."""
    tell(_errors, "\n".join(map(printable, sentence.splitlines())), "red")
    return typer.Exit(1)


def confirm(question: str) -> bool:
    """Ask for a yes; ends the command where nobody can answer."""
    try:
        return typer.confirm(question)
    except typer.Abort:  # Ctrl-C, too
        out.print()
        if interrupts.exit_code():
            raise KeyboardInterrupt from None
        raise stop("Nobody answered; with --yes it does not ask.") from None
