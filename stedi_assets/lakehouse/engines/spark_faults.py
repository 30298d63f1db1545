"""What went wrong with Spark, for the person who can mend it."""

import re
from urllib.parse import unquote

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from stedi_assets.lakehouse.faults import DamagedError, Explanation, register


def explain_spark(error: BaseException) -> Explanation | None:
    """Say what an error of Spark means; its own message may quote rows, SQL and keys."""
    match error:
        case PySparkException():
            return _damaged(error) or _failed(condition(error) or type(error).__name__)
        case Py4JError():
            return _damaged(error) or _failed(_java_class(error))
    return None


def condition(error: PySparkException) -> str | None:
    """Name of the error, which quotes no data; Spark 3.5 calls it an error class."""
    get = error.getCondition if hasattr(error, "getCondition") else error.getErrorClass
    return get()


_READ = re.compile(
    r"\[(?:FAILED_READ_FILE|PATH_NOT_FOUND)[^]]*] .*?(?:file|path does not exist:) "
    r"(file:/+\S.*?|s3a?://.*?)\. ",
    re.IGNORECASE,
)
"""The file in the message of a failed stage, whose error names no condition."""


def _damaged(error: PySparkException | Py4JError) -> Explanation | None:
    """The explanation, if a file of a table is missing or cannot be read."""
    kind, parameters = "", dict[str, str]()
    if isinstance(error, PySparkException):
        kind, parameters = condition(error) or "", _parameters(error)
    if str(error).startswith("Parquet error"):  # of Sail, which names no file
        return Explanation(str(DamagedError("A data file of the tables")), is_damage=True)
    match = _READ.search(str(error))
    if not match and not kind.startswith(("FAILED_READ_FILE", "PATH_NOT_FOUND")):
        return None
    place = parameters.get("path") or (match[1] if match else "A data file of the tables")
    missing = "PATH_NOT_FOUND" in f"{kind} {error}" or "FILE_NOT_EXIST" in f"{kind} {error}"
    file = unquote(re.sub(r"^file:/+", "/", place.strip("`'")))
    return Explanation(str(DamagedError(file, missing=missing)), is_damage=True)


def _parameters(error: PySparkException) -> dict[str, str]:
    get = getattr(error, "getMessageParameters", dict)
    return dict(get() or {})


def _java_class(error: Py4JError) -> str:
    cause = getattr(error, "java_exception", None)
    return str(cause.getClass().getSimpleName()) if cause is not None else type(error).__name__


def _failed(what: str) -> Explanation:
    if what == "RETRIES_EXCEEDED":  # of Spark Connect
        return Explanation(
            "Spark's server ended while it worked, or cannot be reached any more. What was "
            "published stays: refresh again. If that repeats itself, the server may need more "
            "memory than there is."
        )
    return Explanation(
        f"Spark failed with {what}. Its message may quote data and is not shown here; the logs of "
        "Spark's driver and executors have it. What was published stays: refresh again when Spark "
        "is well."
    )


register(explain_spark)
