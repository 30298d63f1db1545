"""What errors of DuckDB mean; its messages may quote rows."""

import re

import duckdb

from stedi_assets.lakehouse.duckdb_sql import is_of_http
from stedi_assets.lakehouse.faults import (
    NO_SPACE,
    WORDS,
    DamagedError,
    Explanation,
    about_file,
    chain,
    named_in,
    register,
)

_NO_MEMORY = (
    "The engine ran out of memory: give it more with STEDI_MEMORY_LIMIT, or let it do less at once "
    "with STEDI_THREADS."
)
_UNKNOWN = (
    "The engine failed with {kind}. Its message may quote data and is not shown here; call the "
    "table's rule in a Python shell to see it."
)
_NO_PARQUET = re.compile(
    r"too small to be a Parquet|No magic bytes|Parquet file \"|Failed to read file|Is a directory"
)


def explain_duckdb(error: BaseException) -> Explanation | None:
    """Say what an error of DuckDB means, except of HTTP: the storage explains those."""
    if not isinstance(error, duckdb.Error) or is_of_http(error):
        return None
    return _explanation_of_damage(error) or Explanation(_sentence(error))


def is_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C ended a query: DuckDB then raises an error like any other."""
    return any(
        isinstance(cause, duckdb.InterruptException)
        or (isinstance(cause, RuntimeError) and str(cause) == "Query interrupted")
        for cause in chain(error)
    )


def _explanation_of_damage(error: duckdb.Error) -> Explanation | None:
    message = str(error)
    if isinstance(error, duckdb.OutOfMemoryException) or any(word in message for word in WORDS):
        return None
    damaged: DamagedError | None = None
    if named := named_in(error):
        file = _without_brackets(named)
        if "No files found" in message:
            damaged = DamagedError(file, missing=True)
        elif _NO_PARQUET.search(message):
            damaged = DamagedError(file)
    if not damaged and type(error) is duckdb.Error:  # from the Parquet reader
        damaged = DamagedError("A data file of the tables")
    return Explanation(str(damaged), is_damage=True) if damaged else None


def _sentence(error: duckdb.Error) -> str:
    message = str(error)
    for words, template in WORDS.items():
        if words in message:
            return about_file(template, error)
    if isinstance(error, duckdb.OutOfMemoryException):
        spills = "temp_dir" in message
        return NO_SPACE.format(place="what the engine spills") if spills else _NO_MEMORY
    return _UNKNOWN.format(kind=type(error).__name__)


def _without_brackets(pattern: str) -> str:
    """The location in a pattern whose wildcards were put in brackets."""
    return re.sub(r"\[([*?[])\]", r"\1", pattern)


register(explain_duckdb)
