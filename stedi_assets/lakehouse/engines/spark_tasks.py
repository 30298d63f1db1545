"""What a task of Spark does: reads landing files, on the machine it was sent to.

It reads them with the same code as the embedded engine, a DuckDB in each task, so that both engines
take the same rows out of the same file. Only counts and names of files go back to the driver.
"""

import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa

from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine, shared_engine
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
            # A task has one core. The memory is beside that of the executor's Java.
            return Done(self.work(shared_engine(self.storage, self.memory, 1, scratch), share))
        except Exception as error:
            return Failed(list(chain(error)))
