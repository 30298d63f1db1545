"""What the tests of Spark share."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import pytest

from stedi_assets_tests.lakehouse.engines.spark.servers import QUICK, QUICK_JAVA, without_java

ON_JAVA = json.dumps(
    QUICK | {"spark.master": "local[2]", "spark.driver.extraJavaOptions": QUICK_JAVA}
)
"""STEDI_SPARK_CONF of a Spark on a JVM of this process."""


@contextmanager
def _sail() -> Iterator[str]:
    if find_spec("pysail") is None:
        pytest.skip("pysail is not installed: pip install -e '.[spark]'")
    yield "{}"
    from stedi_assets.lakehouse.engines import sail, spark  # noqa: PLC0415

    for session in spark._with_sail.values():  # noqa: SLF001
        session.stop()
    spark._with_sail.clear()  # noqa: SLF001
    for server in sail._running:  # noqa: SLF001
        server.stop()
    # PySpark would take every later session of the process for one of a server.
    os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)


@contextmanager
def _java() -> Iterator[str]:
    if reason := without_java():
        pytest.skip(reason)
    from pyspark.sql import SparkSession  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        yield ON_JAVA
    if session := SparkSession.getActiveSession():
        session.stop()


@pytest.fixture(scope="module")
def sail() -> Iterator[str]:
    """STEDI_SPARK_CONF of Sail on this machine; its server ends with the module's tests."""
    with _sail() as conf:
        yield conf


@pytest.fixture(scope="module", params=["sail", "java"])
def spark(request: pytest.FixtureRequest) -> Iterator[str]:
    """STEDI_SPARK_CONF of each Spark of this machine, which ends with the module's tests."""
    with _sail() if request.param == "sail" else _java() as conf:
        yield conf
