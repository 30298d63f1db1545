"""What the AWS Glue job runs: makes the rows of one table with Glue's Spark.

`stedi_assets/lakehouse/engines/glue.py` orders which table, and from which snapshots. The process
that orders it commits and checks the rows.
"""

import argparse
import os
from dataclasses import asdict
from typing import Any

import boto3
import pyarrow.parquet as pq
from dagster_pipes import (
    PipesCliArgsParamsLoader,
    PipesS3ContextLoader,
    PipesS3MessageWriter,
    open_dagster_pipes,
)
from pyspark.sql import SparkSession

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.glue import Order, Written
from stedi_assets.lakehouse.engines.spark import REDACTED, SILENT, SQL, SparkEngine
from stedi_assets.lakehouse.faults import LakehouseError, sentence
from stedi_assets.lakehouse.query import Query
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.release import policy_to_make
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings
from stedi_assets.tables import definition
from stedi_assets.tables.definition import query_of
from stedi_assets.tables.identity import PSEUDONYM_KEYS


def main() -> None:
    """Do what the order says; the key of `subject_id` comes from the secret in the arguments."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--pseudonym-key-secret", required=True)
    arguments, _ = parser.parse_known_args()
    # Every client asks for a region; nothing says that Glue sets one.
    os.environ.setdefault("AWS_DEFAULT_REGION", arguments.pseudonym_key_secret.split(":")[3])
    s3 = boto3.client("s3")
    with open_dagster_pipes(
        params_loader=PipesCliArgsParamsLoader(),  # type: ignore[no-untyped-call]
        context_loader=PipesS3ContextLoader(client=s3),
        message_writer=PipesS3MessageWriter(client=s3),
    ) as pipes:
        failure: LakehouseError | None = None
        try:
            result = make(Order(**pipes.extras), arguments.pseudonym_key_secret)
            pipes.report_custom_message(asdict(result))
        except Exception as error:
            failure = _as_lakehouse_error(error)
        # Raised above, it would carry its cause along, and Glue, S3 and Dagster keep all of an
        # error: messages of Spark may quote rows, and SQL with the keys of `subject_id`.
        if failure:
            raise failure


def _as_lakehouse_error(error: Exception) -> LakehouseError:
    message = sentence(error) or f"{type(error).__name__}, a mistake in the program."
    return LakehouseError(message).with_traceback(error.__traceback__)


def make(order: Order, secret: str) -> Written:
    """Write the rows of the ordered table.

    Args:
        order: Which table to make, from what, and where.
        secret: ARN of the secret that holds the key of `subject_id`.

    Raises:
        LakehouseError: The order cannot be met; the message says why.
    """
    key = boto3.client("secretsmanager").get_secret_value(SecretId=secret)["SecretString"]
    settings = Settings.load(**order.settings, pseudonym_key=key)
    storage = open_storage(settings)
    engine = SparkEngine(storage, _session)
    query = _query(order, engine, Catalog(storage), settings)
    if query.fingerprint() != order.rule_digest:
        raise LakehouseError(
            f"The Glue job would make another {order.table}: give it the same version of the "
            "project, of ibis and of sqlglot, and the same pseudonym key, as the process that "
            "started it."
        )
    files = engine.write(query, order.folder, order.field_ids)
    return Written(files, sum(_rows(storage.io.new_input(file)) for file in files))


def _session() -> SparkSession:
    conf = SQL | SILENT | {REDACTED: PSEUDONYM_KEYS}
    session = SparkSession.builder.config(map={**conf}).getOrCreate()
    session.sparkContext.setLogLevel(conf["spark.log.level"])  # where the session was there already
    return session


def _query(order: Order, engine: SparkEngine, catalog: Catalog, settings: Settings) -> Query:
    tables = {}
    for name, snapshot_id in order.inputs.items():
        snapshot = catalog.state(name).snapshot(int(snapshot_id))
        if snapshot is None:
            raise LakehouseError(f"{name} has no snapshot {snapshot_id} any more: refresh again.")
        tables[name] = engine.open(snapshot.name, snapshot.files, snapshot.types)
    table = definition(order.table)
    assert table.rule
    policy = policy_to_make(table, catalog, tables, policy_of(settings))
    return query_of(table.rule, tables, policy).select(order.columns)


def _rows(file: Any) -> int:
    with file.open() as stream:
        return int(pq.read_metadata(stream).num_rows)
