"""The tables the way the exercise's usual solutions make them: five AWS Glue jobs in PySpark.

Each job is a Spark application of its own: it reads files, runs one query and writes files. What
such solutions leave out is left out here: no catalog to keep, no contract, no quarantine, nothing
known of an earlier run, every job over all files. The fields of the landing files are declared,
which spares Spark the pass over them that it takes to find them out.

On clean data the customers and the accelerometer readings are those of `stedi refresh`. Two answers
differ:

- step_trainer_trusted trusts the serial number on the customer's record. A second device that no
  record mentions is lost, and under the fulfilment defect nearly every device is.
- machine_learning_curated joins on the time alone, so it pairs one person's device with the phone
  of everybody who moved in the same millisecond.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

LANDING = {
    "customer": """
        serialNumber STRING, shareWithPublicAsOfDate BIGINT, birthDay STRING,
        registrationDate BIGINT, shareWithResearchAsOfDate BIGINT, customerName STRING,
        email STRING, lastUpdateDate BIGINT, phone STRING, shareWithFriendsAsOfDate BIGINT
    """,
    "accelerometer": "user STRING, timestamp BIGINT, x DOUBLE, y DOUBLE, z DOUBLE",
    "step_trainer": "sensorReadingTime BIGINT, serialNumber STRING, distanceFromObject DOUBLE",
}


@dataclass(frozen=True)
class Job:
    """A job: the files it reads, by the name its query has for them, and the query."""

    inputs: tuple[str, ...]
    query: str


JOBS = {
    "customer_trusted": Job(
        ("customer_landing",),
        """
        SELECT * FROM customer_landing WHERE shareWithResearchAsOfDate IS NOT NULL
        """,
    ),
    "accelerometer_trusted": Job(
        ("accelerometer_landing", "customer_trusted"),
        """
        SELECT a.* FROM accelerometer_landing a JOIN customer_trusted c ON a.user = c.email
        """,
    ),
    "customers_curated": Job(
        ("customer_trusted", "accelerometer_trusted"),
        """
        SELECT DISTINCT c.* FROM customer_trusted c JOIN accelerometer_trusted a
        ON c.email = a.user
        """,
    ),
    "step_trainer_trusted": Job(
        ("step_trainer_landing", "customers_curated"),
        """
        SELECT s.* FROM step_trainer_landing s JOIN customers_curated c
        ON s.serialNumber = c.serialNumber
        """,
    ),
    "machine_learning_curated": Job(
        ("step_trainer_trusted", "accelerometer_trusted"),
        """
        SELECT s.sensorReadingTime, s.serialNumber, s.distanceFromObject, a.user, a.x, a.y, a.z
        FROM step_trainer_trusted s JOIN accelerometer_trusted a
        ON s.sensorReadingTime = a.timestamp
        """,
    ),
}
"""The jobs, by the table they make, in the order they have to run in."""


def main() -> None:
    """Run a job on all cores of this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", choices=JOBS)
    parser.add_argument("landing", type=Path, help="root of the landing folders")
    parser.add_argument("out", type=Path, help="folder for the tables")
    options = parser.parse_args()
    spark = _session(options.job, options.out)
    run_job(spark, options.job, options.landing, options.out)
    spark.stop()


def run_job(spark: SparkSession, name: str, landing: Path, out: Path) -> None:
    """Make a table as Parquet files in the folder `out`/NAME."""
    job = JOBS[name]
    for table in job.inputs:
        _read(spark, table, landing, out).createOrReplaceTempView(table)
    spark.sql(job.query).write.mode("overwrite").parquet(str(out / name))


def _read(spark: SparkSession, table: str, landing: Path, out: Path) -> DataFrame:
    source = table.removesuffix("_landing")
    if source in LANDING:
        return spark.read.schema(LANDING[source]).json(str(landing / source / "landing"))
    return spark.read.parquet(str(out / table))


def _session(job: str, out: Path) -> SparkSession:
    from pyspark.sql import SparkSession  # noqa: PLC0415

    # Spark's default heap, 1 GB, is for a cluster's driver; here the driver does the work.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (
        SparkSession.builder.appName(job)
        .master("local[*]")
        .config("spark.driver.memory", f"{memory // 2 >> 20}m")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.local.dir", str(out / "scratch"))
        .config("spark.sql.warehouse.dir", str(out / "warehouse"))
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )


if __name__ == "__main__":
    main()
