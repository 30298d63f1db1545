"""What went wrong with Spark, for the person who can mend it."""

import re
from urllib.parse import unquote

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from stedi_assets.lakehouse.faults import DamagedError


def explain_spark(error: BaseException) -> str | None:
    """Say what an error of Spark means; its own message may quote rows, SQL and keys."""
    match error:
        case PySparkException():
            return _damaged(error) or _failed(condition(error) or type(error).__name__)
        case Py4JError():
            return _failed(_java_class(error))
    return None


def condition(error: PySparkException) -> str | None:
    """Name of what went wrong, which quotes no data; Spark 3.5 has another word for it."""
    ask = error.getCondition if hasattr(error, "getCondition") else error.getErrorClass
    return ask()


def _damaged(error: PySparkException) -> str | None:
    """What to say where a file of a table is missing or cannot be read."""
    kind = condition(error) or ""
    if not kind.startswith(("FAILED_READ_FILE", "PATH_NOT_FOUND")):
        return None
    asked: dict[str, str] = getattr(error, "getMessageParameters", dict)() or {}
    place = re.sub(r"^file:/+", "/", asked.get("path", "A data file of the tables").strip("`'"))
    missing = kind == "PATH_NOT_FOUND" or kind.endswith("FILE_NOT_EXIST")
    return str(DamagedError(unquote(place), missing=missing))


def _java_class(error: Py4JError) -> str:
    thrown = getattr(error, "java_exception", None)
    return str(thrown.getClass().getSimpleName()) if thrown is not None else type(error).__name__


def _failed(what: str) -> str:
    return (
        f"Spark failed with {what}. Its message may quote data and is not shown here; the logs of "
        "Spark's driver and executors have it. What was published stays: refresh again when Spark "
        "is well."
    )
