"""What went wrong, for the person who can mend it.

A sentence each, without anything of the data and without secrets: the engine's messages may quote
rows, those of AWS name access keys.
"""

import sys
from dataclasses import dataclass

import duckdb

_FORBIDDEN, _NOT_FOUND, _SERVER_ERROR = 403, 404, 500
_NO_CONNECTION = ("could not establish connection", "connection error", "timeout", "timed out")


class LakehouseError(RuntimeError):
    """Something that a person can mend; the message says what and how."""


@dataclass(frozen=True)
class Fault:
    """What to say of an error.

    Attributes:
        passing: Whether it may be gone at the next try, though nobody mends anything.
    """

    sentence: str
    passing: bool = False


def explain(error: BaseException) -> Fault | None:
    """Say what an error means; nothing where it is a mistake in the program.

    The causes of an error are looked at, too: libraries wrap those of others.
    """
    known: BaseException | None = error
    while known is not None:
        if fault := _explain(known):
            return fault
        known = known.__cause__
    return None


def _explain(error: BaseException) -> Fault | None:
    match error:
        case LakehouseError():
            return Fault(str(error))
        case duckdb.OutOfMemoryException():
            return Fault(
                "The engine ran out of memory: give it more with STEDI_MEMORY_LIMIT, or let it do "
                "less at once with STEDI_THREADS."
            )
        case duckdb.IOException() if fault := _explain_transfer(error):
            return fault
        case duckdb.Error():
            return Fault(
                f"The engine failed with {type(error).__name__}. Its message may quote data and is "
                "not shown here; call the table's rule in a Python shell to see it."
            )
    if "botocore.exceptions" in sys.modules:  # else the error is none of theirs
        from stedi_assets.lakehouse.aws_faults import explain_aws  # noqa: PLC0415

        return explain_aws(error)
    return None


def _explain_transfer(error: duckdb.IOException) -> Fault | None:
    """What the engine met while it read or wrote objects of a bucket."""
    status = getattr(error, "status_code", None)
    if status == _FORBIDDEN:
        return Fault(
            "S3 refused the engine a file: the credentials are wrong or have expired, or they lack "
            "a permission on landing files or warehouse."
        )
    if status == _NOT_FOUND:
        return Fault("S3 has no such bucket or file any more that the engine needs; refresh again.")
    message = str(error).lower()
    if (status or 0) >= _SERVER_ERROR or any(known in message for known in _NO_CONNECTION):
        return Fault(
            "S3 did not answer the engine, or was too busy, over several tries; nothing was "
            "published: refresh again.",
            passing=True,
        )
    return None
