"""What the errors of a database in a file mean: of the catalog's, or of Dagster's history."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from stedi_assets.lakehouse.faults import NO_SPACE, READ_ONLY, WAY_BACK, LakehouseError

_DAMAGED = f"{{place}} is damaged: {WAY_BACK}."
_SENTENCES = {
    "is locked": (
        "{place} is in use by another process for a long time; nothing is lost: see what holds it, "
        "and try again."
    ),
    "is full": NO_SPACE,
    "readonly": READ_ONLY,
    "unable to open": "{place} cannot be opened: see that it is a file, and that the user who runs "
    "this may read and write it and its folder.",
    "disk I/O error": "{place} cannot be read or written: see to its disk, and to what space is "
    "left on it.",
    "malformed": _DAMAGED,
    "not a database": _DAMAGED,
    "no such table": _DAMAGED,
    "no such column": _DAMAGED,
}
"""What to say, by words of SQLite's messages."""


def explain_sqlite(error: BaseException, place: str) -> str | None:
    """Say what an error of SQLite means; its own message quotes what was written."""
    found = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(found, sqlite3.Error):
        return None
    said = str(found)
    return next((s.format(place=place) for words, s in _SENTENCES.items() if words in said), None)


@contextmanager
def opening(database: Path) -> Iterator[None]:
    """Name the file where it cannot be opened as a database."""
    try:
        yield
    except DBAPIError as error:
        if said := explain_sqlite(error, str(database)):
            raise LakehouseError(said) from error
        raise


def name_file(engine: Engine, database: Path) -> None:
    """Let all errors of a database name its file, as far as a person can mend them."""

    def named(context: ExceptionContext) -> LakehouseError | None:
        said = explain_sqlite(context.original_exception, str(database))
        return LakehouseError(said) if said else None

    event.listen(engine, "handle_error", named)
