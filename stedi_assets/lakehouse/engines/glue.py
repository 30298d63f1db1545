"""AWS Glue as an engine: its Spark makes the tables, this process does all else.

Each table is made by one run of the job. Dagster Pipes launches it: the order goes to the job, and
what it wrote comes back, as objects on S3. The job is `stedi_assets/glue_job.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import boto3
import dagster as dg
import ibis.expr.types as ir
import pyarrow as pa
from dagster_aws.pipes import PipesGlueClient, PipesS3ContextInjector, PipesS3MessageReader

from stedi_assets.lakehouse.dialect import Dialect
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.engines.engine import Engine
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.query import Query, Statement
from stedi_assets.lakehouse.storage.glue_catalog import glue_client
from stedi_assets.lakehouse.storage.s3_files import split

Item = TypeVar("Item")
Result = TypeVar("Result")

_LOOK = 2.0
"""Seconds between two looks for messages of the job."""


@dataclass(frozen=True)
class Order:
    """What a job is asked to make. It lies on S3 for a day at most: no secrets.

    Attributes:
        table: The table whose rule the job applies.
        inputs: Snapshot id of each table that it is made from.
        columns: Its columns, in order.
        field_ids: Iceberg's id of each column.
        rule_digest: Of the compiled rule, so that the job can tell whether its own is the same.
        folder: Where its files go.
        settings: Settings that the job cannot know.
    """

    table: str
    inputs: Mapping[str, str]
    columns: Sequence[str]
    field_ids: Mapping[str, int]
    rule_digest: str
    folder: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Written:
    """What a job has made.

    Attributes:
        files: Its Parquet files; none if there are no rows.
        rows: Their rows.
    """

    files: list[str]
    rows: int


@dataclass(frozen=True)
class GlueEngine:
    """Has expressions written by a job, and leaves the rest to the engine of this process.

    Attributes:
        immediate: The engine of this process, which reads landing files and audits.
        job: Name of the job.
        exchange: URI below which the order and the answer are.
        settings: Settings that the job cannot know; no secrets.
        new_s3_client: Makes an S3 client.
        endpoint: Another address of the Glue API.
    """

    immediate: Engine
    job: str
    exchange: str
    settings: Mapping[str, Any]
    new_s3_client: Callable[[], Any]
    endpoint: str | None = None

    def open(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files as the table `name`, with columns of these types."""
        return self.immediate.open(name, files, types)

    def open_located(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files with the path of each row's file in the column `FILE`."""
        return self.immediate.open_located(name, files, types)

    @property
    def dialect(self) -> Dialect:
        """The SQL of what is held and fetched, in this process."""
        return self.immediate.dialect

    def hold(self, rows: Statement) -> ir.Table | None:
        """Compute rows in this process and keep them; None if there are none."""
        return self.immediate.hold(rows)

    @property
    def holder(self) -> object:
        """Stands for what holds rows, in this process."""
        return self.immediate.holder

    def held_rows(self, held: ir.Table | None) -> int:
        """How many rows are held there."""
        return self.immediate.held_rows(held)

    def let_go(self) -> None:
        """Forget all rows that are held."""
        self.immediate.let_go()

    def spread(
        self,
        work: Callable[[DuckDBEngine, Sequence[Item]], Result],
        items: Sequence[Item],
        sizes: Sequence[int],
    ) -> list[Result]:
        """Have work done in this process."""
        return self.immediate.spread(work, items, sizes)

    def fetch(self, query: Statement) -> pa.Table:
        """The rows of a query, computed in this process."""
        return self.immediate.fetch(query)

    def fetch_all(self, queries: Sequence[Query]) -> list[pa.Table]:
        """The rows of several queries, computed in this process."""
        return self.immediate.fetch_all(queries)

    def write(self, query: Query, folder: str, field_ids: Mapping[str, int]) -> list[str]:
        """Have the job write the rows of the table that this step makes below `folder`.

        Returns:
            The files with rows; none if there are no rows.

        Raises:
            LakehouseError: The job failed.
        """
        context = dg.AssetExecutionContext.get()
        order = Order(
            table=context.asset_key.path[-1],
            inputs=query.inputs,
            columns=query.schema.names,
            field_ids=field_ids,
            rule_digest=query.fingerprint(),
            folder=folder,
            settings=self.settings,
        )
        written = self._run(order, context)
        context.log.info(f"The Glue job wrote {written.rows} rows in {len(written.files)} files.")
        return written.files

    def _client(self) -> PipesGlueClient:
        """A client for one run of the job."""
        bucket, prefix = split(self.exchange)
        s3 = self.new_s3_client()
        return PipesGlueClient(
            client=glue_client(boto3.Session(), self.endpoint),
            context_injector=PipesS3ContextInjector(
                bucket=bucket, client=s3, key_prefix=f"{prefix}/"
            ),
            message_reader=_Messages(bucket, prefix, s3),
        )

    def _run(self, order: Order, context: dg.AssetExecutionContext) -> Written:
        try:
            run = self._client().run(
                context=context,
                start_job_run_params={"JobName": self.job},
                extras=asdict(order),
            )
        except RuntimeError as error:  # what Pipes raises if the run failed
            raise LakehouseError(" ".join(str(error).split())) from None
        answers = run.get_custom_messages()
        if not answers:
            raise LakehouseError(
                f"The Glue job {self.job} ended without an answer: see that its script is "
                "deploy/glue_job.py and that its role may write to the prefix pipes/."
            )
        return Written(**answers[0])


class _Messages(PipesS3MessageReader):
    """Messages below a prefix, which is all that the job may write to beside the tables."""

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        super().__init__(bucket=bucket, client=client, interval=_LOOK)
        self._prefix = prefix

    @contextmanager
    def get_params(self) -> Iterator[dict[str, Any]]:
        with super().get_params() as params:
            yield {**params, "key_prefix": f"{self._prefix}/{params['key_prefix']}"}
