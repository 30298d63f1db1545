"""What a task of Spark does, on the machine it was sent to.

Landing files are read with the same code as the embedded engine's, a DuckDB in each task, so that
both engines take the same rows out of the same file. Only counts and names of files go back to the
driver.
"""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain as joined
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.engines.duckdb import FILE_SIZE, DuckDBEngine
from stedi_assets.lakehouse.faults import chain
from stedi_assets.lakehouse.storage.storage import Storage


@dataclass(frozen=True)
class Done:
    """The result of a share."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """The error of a share, with its causes, which pickling would leave out.

    A transient error is left to the retry of the step, as in one process: AWS was asked often
    enough by then.
    """

    errors: Sequence[BaseException]

    @property
    def error(self) -> BaseException:
        """The error, with its causes."""
        for error, cause in pairwise(self.errors):
            error.__cause__ = cause
        return self.errors[0]


@dataclass(frozen=True)
class Tasks:
    """Work and its shares, one a task.

    Attributes:
        work: Deals with a share, by means of a DuckDB.
        shares: The items of each task, pickled: a task receives all, and unpacks its own.
        storage: Where files are.
        memory: What the DuckDB of a task may take.
    """

    work: Callable[[DuckDBEngine, Sequence[Any]], Any]
    shares: Sequence[bytes]
    storage: Storage
    memory: str

    def run(self, numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Deal with the shares of these numbers; yields each outcome, pickled."""
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                outcome = pickle.dumps(self._outcome(pickle.loads(self.shares[number])))
                yield pa.record_batch({"result": pa.array([outcome], pa.binary())})

    def _outcome(self, share: Sequence[Any]) -> Done | Failed:
        # Spark removes this folder with the executor; nobody would clean up one on another machine.
        scratch = Path(os.environ["SPARK_LOCAL_DIRS"].split(",")[0])
        try:
            # Of its own, as tasks of Sail are threads of one process. A task has one core. The
            # memory is beside that of the executor's Java.
            return Done(self.work(DuckDBEngine(self.storage, self.memory, 1, scratch), share))
        except Exception as error:
            return Failed(list(chain(error)))


@dataclass(frozen=True)
class Writing:
    """Writes rows as Parquet files, with Iceberg's id of each column, which Sail leaves out.

    Attributes:
        storage: Where files are.
        folder: Where they go.
        schema: Columns of the rows.
        field_ids: Id of each column.
    """

    storage: Storage
    folder: str
    schema: pa.Schema
    field_ids: Mapping[str, int]

    def run(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Write the rows; yields the name of each file."""
        rows = (batch for batch in batches if batch.num_rows)
        while (first := next(rows, None)) is not None:
            yield pa.record_batch({"file": pa.array([self._write(joined([first], rows))])})

    def _write(self, batches: Iterator[pa.RecordBatch]) -> str:
        """Write one file, of a few batches more than fit into its size at most."""
        schema = pa.schema(
            field.with_metadata({"PARQUET:field_id": str(self.field_ids[field.name])})
            if field.name in self.field_ids
            else field
            for field in self.schema
        )
        location = f"{self.folder}/{uuid4().hex}.parquet"
        with (
            self.storage.io.new_output(location).create() as file,
            pq.ParquetWriter(file, schema) as writer,
        ):
            for group in _groups(batches):
                writer.write_table(pa.Table.from_batches(group).cast(schema))
                if file.tell() >= FILE_SIZE:
                    break
        return location


_GROUP_ROWS = 122_880
"""Rows of a row group, as many as DuckDB writes."""


def _groups(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    """The batches, in groups that are worth a row group."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(each.num_rows for each in group) >= _GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group
