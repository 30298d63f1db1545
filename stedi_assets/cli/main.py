"""The `stedi` command: a thin layer over the same Dagster job that the UI runs.

Heavy modules are imported by the commands that use them.
"""

import gc
import os
import shlex
import sys
from importlib.metadata import version
from io import TextIOWrapper
from typing import Annotated, Any, TextIO

import typer
from typer.core import TyperCommand, TyperGroup

from stedi_assets.cli import interrupts
from stedi_assets.cli.change import dev, rebuild, refresh, sample, tag, vacuum
from stedi_assets.cli.forget import forget
from stedi_assets.cli.keys import rotate_key
from stedi_assets.cli.rights import hold, person, release, withdrawals
from stedi_assets.cli.risk import risk
from stedi_assets.cli.show import report, show, status
from stedi_assets.cli.terminal import stop
from stedi_assets.lakehouse.faults import sentence, unforeseen


class _WithoutTypesOfFlags:
    """Shows no type of an option that is there or not."""

    def get_params(self, ctx: Any) -> Any:
        params = super().get_params(ctx)  # type: ignore[misc]  # of the class it is mixed into
        for param in params:
            if getattr(param, "is_flag", False):
                param.metavar = ""
        return params


class _Command(_WithoutTypesOfFlags, TyperCommand):
    """A command of `stedi`."""


class _Group(_WithoutTypesOfFlags, TyperGroup):
    """`stedi` itself."""


app = typer.Typer(cls=_Group, no_args_is_help=True, pretty_exceptions_enable=False)
_COMMANDS = (
    *(refresh, dev, rebuild, status, tag, vacuum, show, report, risk),
    *(person, hold, release, withdrawals, forget, rotate_key, sample),
)
for _command in _COMMANDS:
    app.command(cls=_Command)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"stedi {version('stedi-assets')}")
        raise typer.Exit


@app.callback()
def _describe(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_print_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """The STEDI lakehouse."""


_DEVELOPING = sys.flags.dev_mode


def main() -> None:
    """Run the command; an error is a sentence, never a traceback."""
    # The libraries bring many objects that stay. Looking for garbage among them as often as Python
    # does by itself takes a good part of the start-up.
    gc.set_threshold(50_000, 20, 50)
    os.umask(0o077)  # it writes about people, and so does the history of runs
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a terminal may know few characters
            stream.reconfigure(errors="backslashreplace")
    interrupts.raise_error()
    try:
        code = _run()
        interrupts.ignore()
    except KeyboardInterrupt:  # once more, while the first one ended the command
        interrupts.ignore()
        code = 1
    if interrupted := interrupts.exit_code():
        code = interrupted
        stop(interrupts.SENTENCE)
    for stream in (sys.stdout, sys.stderr):
        _flush(stream)
    sys.exit(code)


def _run() -> int:
    try:
        app()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else bool(end.code)
    except (KeyboardInterrupt, BrokenPipeError):  # of a pipe: whoever reads has seen enough
        return 1
    except Exception as error:
        if interrupts.exit_code():  # a library may have made another error of it
            return 1
        if (message := sentence(error)) is None:
            if _DEVELOPING:
                raise
            message = _describe_unforeseen(error)
        stop(message)
        return 1
    return 0


def _describe_unforeseen(error: Exception) -> str:
    words = ["EMAIL" if "@" in word else word for word in sys.argv[1:]]  # a screen may be shared
    command = shlex.join(["python", "-X", "dev", "-m", "stedi_assets", *words])
    return (
        f"{unforeseen(error)} What is published stays. Its message may quote data and is not shown "
        f"here; {command} shows all of it."
    )


def _flush(stream: TextIO) -> None:
    try:
        stream.flush()
    except BrokenPipeError:  # Python would try again, and complain
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    except OSError as error:
        if stream is not sys.stderr:
            stop(f"The output could not be written: {error.strerror}.")
