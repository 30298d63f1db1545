"""What a task of Spark does: reads landing files, on the machine it was sent to.

It reads them with the same code as the embedded engine, a DuckDB in each task, so that both engines
take the same rows out of the same file. Only counts and names of files go back to the driver.
"""

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from stedi_assets.lakehouse.embedded import DuckDBEngine, shared_engine
from stedi_assets.lakehouse.storage import Storage


@dataclass(frozen=True)
class Done:
    """The result of a share."""

    result: Any


@dataclass(frozen=True)
class Failed:
    """What kept a share from being done; another try would meet it, too."""

    error: Exception


@dataclass(frozen=True)
class Tasks:
    """Work and its shares, one a task.

    Attributes:
        work: Deals with a share, by means of a DuckDB.
        shares: The items of each task.
        storage: Where files are.
        memory: What the DuckDB of a task may take.
    """

    work: Callable[[DuckDBEngine, Sequence[Any]], Any]
    shares: Sequence[Sequence[Any]]
    storage: Storage
    memory: str

    def run(self, numbers: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Deal with the shares of these numbers; gives each outcome, pickled."""
        for batch in numbers:
            for number in batch.column(0).to_pylist():
                outcome = pickle.dumps(self._outcome(self.shares[number]))
                yield pa.record_batch({"result": pa.array([outcome], pa.binary())})

    def _outcome(self, share: Sequence[Any]) -> Done | Failed:
        try:
            # A task has one core. The memory is beside that of the executor's Java.
            return Done(self.work(shared_engine(self.storage, self.memory, 1), share))
        except Exception as error:
            return Failed(error)
