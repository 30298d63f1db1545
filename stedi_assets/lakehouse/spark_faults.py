"""What went wrong with Spark, for the person who can mend it."""

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

_START = "JAVA_GATEWAY_EXITED"


def explain_spark(error: BaseException) -> str | None:
    """Say what an error of Spark means; its own message may quote rows, SQL and keys."""
    match error:
        case PySparkException() if _condition(error) == _START:
            return (
                "Spark could not start: STEDI_ENGINE=spark takes Java 17 or 21 (`java -version`; "
                "JAVA_HOME where there are several), and a Spark configuration that it accepts "
                "(STEDI_SPARK_CONF). What Java said is above, or in the log of the run."
            )
        case PySparkException():
            return _failed(_condition(error) or type(error).__name__)
        case Py4JError():
            return _failed(_java_class(error))
    return None


def _condition(error: PySparkException) -> str | None:
    # Spark 3.5 has another word for it.
    ask = error.getCondition if hasattr(error, "getCondition") else error.getErrorClass
    return ask()


def _java_class(error: Py4JError) -> str:
    thrown = getattr(error, "java_exception", None)
    return str(thrown.getClass().getSimpleName()) if thrown is not None else type(error).__name__


def _failed(what: str) -> str:
    return (
        f"Spark failed with {what}. Its message may quote data and is not shown here; the logs of "
        "Spark's driver and executors have it. Nothing was published: refresh again when it is "
        "mended, or where a cluster was out of reach (STEDI_SPARK_CONF), when it is back."
    )
