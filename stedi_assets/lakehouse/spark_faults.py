"""What went wrong with Spark, for the person who can mend it."""

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException


def explain_spark(error: BaseException) -> str | None:
    """Say what an error of Spark means; its own message may quote rows, SQL and keys."""
    match error:
        case PySparkException():
            return _failed(condition(error) or type(error).__name__)
        case Py4JError():
            return _failed(_java_class(error))
    return None


def condition(error: PySparkException) -> str | None:
    """Name of what went wrong, which quotes no data; Spark 3.5 has another word for it."""
    ask = error.getCondition if hasattr(error, "getCondition") else error.getErrorClass
    return ask()


def _java_class(error: Py4JError) -> str:
    thrown = getattr(error, "java_exception", None)
    return str(thrown.getClass().getSimpleName()) if thrown is not None else type(error).__name__


def _failed(what: str) -> str:
    return (
        f"Spark failed with {what}. Its message may quote data and is not shown here; the logs of "
        "Spark's driver and executors have it. What was published stays: refresh again when Spark "
        "is well."
    )
