"""Prints what a refresh would do with each table, and why."""

import textwrap
from collections.abc import Collection

from rich.console import Console

from stedi_assets.cli.terminal import tell
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.explain import Prospect
from stedi_assets.refresh.explain import explain as look
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings

_NAME, _WIDE = 26, 79
"""Columns of the name of a table, and from how many on a sentence fits beside it."""


def explain(
    settings: Settings, console: Console, tables: Collection[str], *, full: bool = False
) -> None:
    """Say what a refresh would do with tables; nothing is computed, written or locked.

    Args:
        settings: Which lakehouse.
        console: Where to print it.
        tables: The tables, with those they are made from.
        full: Whether the refresh would compare them with a full computation.
    """
    for prospect in look(open_lakehouse(settings), settings, policy_of(settings), tables):
        tell(console, _lines(prospect, console.width), None if prospect.changes else "dim")
    if full:
        comparison = "Each table that has a rule would also be computed in full, and compared."
        tell(console, textwrap.fill(comparison, console.width))


def _lines(prospect: Prospect, width: int) -> str:
    beside = width >= _WIDE
    wrapped = textwrap.wrap(prospect.sentence, max(width - (_NAME if beside else 2), 20))
    if not beside:
        return "\n".join([prospect.table, *(f"  {line}" for line in wrapped)])
    first, *rest = wrapped
    return "\n".join(
        [f"{prospect.table:{_NAME}}{first}", *(f"{'':{_NAME}}{line}" for line in rest)]
    )
