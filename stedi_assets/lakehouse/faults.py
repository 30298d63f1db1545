"""What went wrong, for the person who can mend it.

A sentence each, without anything of the data and without secrets: the engine's messages may quote
rows, those of AWS name access keys.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb


class LakehouseError(RuntimeError):
    """Something that a person can mend; the message says what and how."""


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
        return f"{error.filename}: {error.strerror}."
    return None


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Let what is known to go wrong be raised with its sentence alone."""
    try:
        yield
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


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def _explain(error: BaseException) -> str | None:
    if isinstance(error, LakehouseError):
        return str(error)
    if "botocore.exceptions" in sys.modules:  # else the error is none of theirs
        from stedi_assets.lakehouse.aws_faults import explain_aws  # noqa: PLC0415

        if said := explain_aws(error):
            return said
    if "pyspark.errors" in sys.modules:
        from stedi_assets.lakehouse.spark_faults import explain_spark  # noqa: PLC0415

        if said := explain_spark(error):
            return said
    match error:
        case duckdb.OutOfMemoryException():
            return (
                "The engine ran out of memory: give it more with STEDI_MEMORY_LIMIT, or let it do "
                "less at once with STEDI_THREADS."
            )
        case duckdb.Error():
            return (
                f"The engine failed with {type(error).__name__}. Its message may quote data and is "
                "not shown here; call the table's rule in a Python shell to see it."
            )
    return None
