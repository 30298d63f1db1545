"""What the tests of Spark share."""

import json
from collections.abc import Iterator

import pytest

from stedi_assets_tests.lakehouse.engines.spark.servers import QUICK, QUICK_JAVA, without_spark

LOCAL = json.dumps(
    QUICK | {"spark.master": "local[2]", "spark.driver.extraJavaOptions": QUICK_JAVA}
)
"""STEDI_SPARK_CONF of a Spark in this process."""


@pytest.fixture(scope="session")
def spark() -> Iterator[str]:
    """STEDI_SPARK_CONF of a Spark in this process, which ends with the tests."""
    if reason := without_spark():
        pytest.skip(reason)
    from pyspark.sql import SparkSession  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
        yield LOCAL
    if session := SparkSession.getActiveSession():
        session.stop()
