"""What went wrong, for the person who can mend it.

A sentence each, without anything of the data and without secrets: the engine's messages may quote
rows, those of AWS name access keys.
"""

import errno
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from stedi_assets.lakehouse.landing.names import printable, shown_name

WAY_BACK = "restore it from a backup, or make all tables anew from the landing files: stedi rebuild"
_PACKAGE = Path(__file__).parent.parent


class LakehouseError(RuntimeError):
    """Something that a person can mend; the message says what and how."""


class DamagedError(LakehouseError):
    """A file of a table is missing or cannot be read; what other tables hold is not affected."""

    def __init__(self, place: str, *, missing: bool = False) -> None:
        """Name the file, or say which of a table's it is."""
        self._made_of = place, missing
        what = "is missing" if missing else "is damaged"
        # The names of tables' files are ours.
        shown = printable(place) if "/warehouse/" in place else shown_name(place)
        super().__init__(f"{shown} {what}: {WAY_BACK}.")

    def __reduce__(self) -> tuple[object, ...]:
        """What Spark's tasks met is sent to the driver."""
        place, missing = self._made_of
        return _damaged, (place, missing)


def _damaged(place: str, missing: bool) -> DamagedError:
    return DamagedError(place, missing=missing)


@contextmanager
def damaged(place: str, *, unless: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Say of a file of the lakehouse that it is damaged, where reading it fails.

    Libraries meet what should not be in a file with nearly every kind of error.

    Args:
        place: The file, or whose it is: a file that is missing is named by the error.
        unless: Errors that say something else.
    """
    try:
        yield
    except unless:
        raise
    except FileNotFoundError as error:
        raise DamagedError(named_in(error) or place, missing=True) from error
    except Exception as error:
        if explain(error):
            raise
        raise DamagedError(place) from error


def explain(error: BaseException) -> str | None:
    """Say what an error means; nothing where it is a mistake in the program.

    The causes of an error are looked at, too: libraries wrap those of others.
    """
    return next(filter(None, map(_explain, chain(error))), None)


def sentence(error: BaseException) -> str | None:
    """The same for a person at a terminal or in the UI, where a file alone may be the trouble."""
    if said := explain(error):
        return said
    if isinstance(error, OSError) and error.filename:
        return f"{shown_name(str(error.filename))}: {error.strerror}."
    return None


def unforeseen(error: BaseException) -> str:
    """Say of an error that nothing is known of where it came from; its message may quote data."""
    found = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in found if Path(frame.filename).is_relative_to(_PACKAGE)]
    place = ours[-1] if ours else found[-1] if found else None
    where = f" at {_shortened(place.filename)}:{place.lineno}" if place else ""
    return f"It stopped with {type(error).__name__}{where}, which was not foreseen."


def _shortened(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(_PACKAGE.parent) if path.is_relative_to(_PACKAGE) else path.name)


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Let what is known to go wrong be raised with its sentence alone."""
    try:
        yield
    except LakehouseError as error:
        error.__suppress_context__ = True
        raise
    except Exception as error:
        if said := sentence(error):
            raise LakehouseError(said) from None
        raise


def passes(error: BaseException) -> bool:
    """Whether it may go by itself: AWS was busy or out of reach, so a later try may succeed."""
    if "botocore.exceptions" not in sys.modules:  # then the error is none of theirs
        return False
    from stedi_assets.lakehouse.aws_faults import passes_on_aws  # noqa: PLC0415

    explained = next(filter(_explain, chain(error)), None)
    return explained is not None and passes_on_aws(explained)


def is_damage(error: BaseException) -> bool:
    """Whether a file of the lakehouse is missing or cannot be understood."""
    return (explain(error) or "").endswith(f"{WAY_BACK}.")


def is_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C ended a query: the engine makes an error like others of it."""
    return any(
        isinstance(cause, duckdb.InterruptException)
        or (isinstance(cause, RuntimeError) and str(cause) == "Query interrupted")
        for cause in chain(error)
    )


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def _explain(error: BaseException) -> str | None:
    match error:
        case LakehouseError():
            return str(error)
        case _ if said := _explain_library(error):
            return said
        case duckdb.Error():
            return _explain_engine(error)
        case OSError():
            return _explain_file(error)
        case MemoryError():
            return "This machine has no memory left: give it more, or stop what else needs it."
    return None


def _explain_library(error: BaseException) -> str | None:
    """Say what an error of a library means that is in use; else it is none of theirs."""
    said: str | None = None
    if "botocore.exceptions" in sys.modules:
        from stedi_assets.lakehouse.aws_faults import explain_aws  # noqa: PLC0415

        said = explain_aws(error)
    if not said and "pyspark.errors" in sys.modules:
        from stedi_assets.lakehouse.spark_faults import explain_spark  # noqa: PLC0415

        said = explain_spark(error)
    if not said and "sqlalchemy.exc" in sys.modules:
        from stedi_assets.lakehouse.sqlite_faults import explain_sqlite  # noqa: PLC0415

        said = explain_sqlite(error, "The database with the history of Dagster's runs")
    return said


# Files of this machine

NO_SPACE = (
    "There is no space left on the disk for {place}; what is published stays: make space, and try "
    "again."
)
READ_ONLY = (
    "{place} cannot be written: its disk, or the file system on it, takes nothing but reading."
)
_DENIED = "{place} may not be read or written by the user who runs this: give them the right to it."
_DISK = "The disk of {place} does not answer as it should (input/output error): see to it."
_MANY = "Too many files are open at once, as of {place}: raise the limit (ulimit -n)."
_CODES = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: NO_SPACE,
    errno.EROFS: READ_ONLY,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EIO: _DISK,
    errno.EMFILE: _MANY,
    errno.ENFILE: _MANY,
}
_WORDS = {
    "No space left on device": NO_SPACE,
    "Disk quota exceeded": NO_SPACE,
    "Read-only file system": READ_ONLY,
    "Permission denied": _DENIED,
    "Operation not permitted": _DENIED,
    "Input/output error": _DISK,
    "Too many open files": _MANY,
}
"""The same where a library tells in words alone."""

_QUOTED = re.compile(
    r"""(?:file|pattern|path|directory)\s(['"])((?:/|s3://).+?)\1""", re.DOTALL | re.IGNORECASE
)
"""A file in a library's message; what else is in quotes may be data."""


def _explain_file(error: OSError) -> str | None:
    denied = _DENIED if isinstance(error, PermissionError) else None
    known = _CODES.get(error.errno or 0) or denied
    if not known:
        return None
    return _said(known, error)


def _said(known: str, error: BaseException) -> str:
    named = named_in(error)
    said = known.format(place=shown_name(named) if named else "a file")
    return said[0].upper() + said[1:]


def named_in(error: BaseException) -> str | None:
    """The file that an error names."""
    if isinstance(error, OSError) and error.filename:
        return str(error.filename)
    found = _QUOTED.search(str(error))
    return found[2] if found else None


# The embedded engine

_NO_MEMORY = (
    "The engine ran out of memory: give it more with STEDI_MEMORY_LIMIT, or let it do less at once "
    "with STEDI_THREADS."
)
_NOT_TOLD = (
    "The engine failed with {kind}. Its message may quote data and is not shown here; call the "
    "table's rule in a Python shell to see it."
)
_NO_PARQUET = re.compile(
    r"too small to be a Parquet|No magic bytes|Parquet file \"|Failed to read file|Is a directory"
)


def _explain_engine(error: duckdb.Error) -> str:
    said = str(error)
    for words, known in _WORDS.items():
        if words in said:
            return _said(known, error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return NO_SPACE.format(place="what the engine spills") if "temp_dir" in said else _NO_MEMORY
    if named := named_in(error):
        file = _without_brackets(named)
        if "No files found" in said:
            return str(DamagedError(file, missing=True))
        if _NO_PARQUET.search(said):
            return str(DamagedError(file))
    if type(error) is duckdb.Error:  # of what unpacks Parquet, which knows of no file
        return str(DamagedError("A data file of the tables"))
    return _NOT_TOLD.format(kind=type(error).__name__)


def _without_brackets(pattern: str) -> str:
    """A location, as it was before its wildcards were made none."""
    return re.sub(r"\[([*?[])\]", r"\1", pattern)
