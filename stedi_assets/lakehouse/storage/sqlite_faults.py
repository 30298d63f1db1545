"""What errors of SQLite mean: in the catalog, or in the history of Dagster's runs."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from stedi_assets.lakehouse.faults import (
    NO_SPACE,
    READ_ONLY,
    WAY_BACK,
    Explanation,
    LakehouseError,
    register,
)

_DAMAGED = f"{{place}} is damaged: {WAY_BACK}."
_SENTENCES = {
    "is locked": (
        "Another process has locked {place} for a long time; nothing is lost: see which one it is, "
        "and try again."
    ),
    "is full": NO_SPACE,
    "readonly": READ_ONLY,
    "unable to open": "{place} cannot be opened: see that it is a file, and that the user who runs "
    "this may read and write it and its folder.",
    "disk I/O error": "{place} cannot be read or written: check its disk, and the space left on "
    "it.",
    "malformed": _DAMAGED,
    "not a database": _DAMAGED,
    "no such table": _DAMAGED,
    "no such column": _DAMAGED,
}
"""What to say, by words of SQLite's messages."""


class DatabaseError(LakehouseError):
    """A database cannot be opened, read or written."""

    def __init__(self, explanation: Explanation) -> None:
        """Say what is wrong with it."""
        super().__init__(explanation.sentence)
        self.is_damage = explanation.is_damage


def explain_sqlite(
    error: BaseException, place: str = "The database with the history of Dagster's runs"
) -> Explanation | None:
    """Say what an error of SQLite means; its own message quotes what was written."""
    original = error.orig if isinstance(error, DBAPIError) else error
    if not isinstance(original, sqlite3.Error):
        return None
    message = str(original)
    for words, sentence in _SENTENCES.items():
        if words in message:
            return Explanation(sentence.format(place=place), is_damage=sentence is _DAMAGED)
    return None


@contextmanager
def opening(database: Path) -> Iterator[None]:
    """If a file cannot be opened as a database, name it."""
    try:
        yield
    except DBAPIError as error:
        if explanation := explain_sqlite(error, str(database)):
            raise DatabaseError(explanation) from error
        raise


def name_file(engine: Engine, database: Path) -> None:
    """Let a database's errors name its file, if a person can mend them."""

    def explain(context: ExceptionContext) -> DatabaseError | None:
        explanation = explain_sqlite(context.original_exception, str(database))
        return DatabaseError(explanation) if explanation else None

    event.listen(engine, "handle_error", explain)


register(explain_sqlite)
