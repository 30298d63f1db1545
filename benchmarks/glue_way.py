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

    python glue_way.py JOB LANDING OUT
"""

import os
import re
import sys
from pathlib import Path

LANDING = {
    "customer_landing": """
        serialNumber STRING, shareWithPublicAsOfDate BIGINT, birthDay STRING,
        registrationDate BIGINT, shareWithResearchAsOfDate BIGINT, customerName STRING,
        email STRING, lastUpdateDate BIGINT, phone STRING, shareWithFriendsAsOfDate BIGINT
    """,
    "accelerometer_landing": "user STRING, timestamp BIGINT, x DOUBLE, y DOUBLE, z DOUBLE",
    "step_trainer_landing": """
        sensorReadingTime BIGINT, serialNumber STRING, distanceFromObject DOUBLE
    """,
}
"""The fields of the landing files, by the name that the queries have for them."""

JOBS = {
    "customer_trusted": """
        SELECT * FROM customer_landing WHERE shareWithResearchAsOfDate IS NOT NULL
    """,
    "accelerometer_trusted": """
        SELECT a.* FROM accelerometer_landing a JOIN customer_trusted c ON a.user = c.email
    """,
    "customers_curated": """
        SELECT DISTINCT c.* FROM customer_trusted c JOIN accelerometer_trusted a
        ON c.email = a.user
    """,
    "step_trainer_trusted": """
        SELECT s.* FROM step_trainer_landing s JOIN customers_curated c
        ON s.serialNumber = c.serialNumber
    """,
    "machine_learning_curated": """
        SELECT s.sensorReadingTime, s.serialNumber, s.distanceFromObject, a.user, a.x, a.y, a.z
        FROM step_trainer_trusted s JOIN accelerometer_trusted a
        ON s.sensorReadingTime = a.timestamp
    """,
}
"""The query of each job, by the table it makes, in the order they have to run in."""


def inputs(query: str) -> list[str]:
    """The tables that a query reads."""
    return re.findall(r"(?:FROM|JOIN) (\w+)", query)


def run_job(job: str, landing: Path, out: Path) -> None:
    """Make a table as Parquet files in the folder `out`/JOB, on all cores of this machine."""
    from pyspark.sql import SparkSession  # noqa: PLC0415

    # Spark's default heap, 1 GB, is for a cluster's driver; here the driver does the work.
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    spark = (
        SparkSession.builder.appName(job)
        .master("local[*]")
        .config("spark.driver.memory", f"{memory // 2 >> 20}m")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.local.dir", str(out / "scratch"))
        .config("spark.sql.warehouse.dir", str(out / "warehouse"))
        .config("spark.ui.enabled", "false")
        .getOrCreate()
    )
    for table in inputs(JOBS[job]):
        if fields := LANDING.get(table):
            folder = landing / table.removesuffix("_landing") / "landing"
            files = spark.read.schema(fields).json(str(folder))
        else:
            files = spark.read.parquet(str(out / table))
        files.createOrReplaceTempView(table)
    spark.sql(JOBS[job]).write.mode("overwrite").parquet(str(out / job))
    spark.stop()


if __name__ == "__main__":
    run_job(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
