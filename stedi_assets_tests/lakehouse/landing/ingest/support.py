"""What an ingest is given."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import shared_engine
from stedi_assets.lakehouse.landing.ingest import Ingest
from stedi_assets.lakehouse.landing.ledger import LandingFolder
from stedi_assets_tests.support import DAY_ONE, at

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from stedi_assets.lakehouse.landing.ingest import Ingested
    from stedi_assets.lakehouse.state import Snapshot
    from stedi_assets.lakehouse.storage.storage import Storage
    from stedi_assets.lakehouse.table import Table
    from stedi_assets_tests.conftest import IcebergReader

    Land = Callable[..., Path]


TABLE = "step_trainer_landing"


FOLDER = "step_trainer/landing"


def readings(*times: int) -> list[dict[str, Any]]:
    """Sensor readings at times counted from `DAY_ONE`."""
    return [
        {"sensorReadingTime": at(time), "serialNumber": "s", "distanceFromObject": time / 2}
        for time in times
    ]


def lines(objects: Iterable[Any]) -> bytes:
    return "".join(json.dumps(found) + "\n" for found in objects).encode()


class Lakehouse:
    """The landing table of the step trainer, refreshes of it, and what readers see.

    Readers use DuckDB's own Iceberg reader.
    """

    read: IcebergReader

    def __init__(self, root: Path, storage: Storage, tables: dict[str, Table]) -> None:
        self.catalog, self.table = Catalog(storage), tables[TABLE]
        self._storage, self._quarantine = storage, tables["quarantine"]
        self._engine = shared_engine(storage)
        self.catalog.ensure(self._quarantine)
        self.use_root(root)

    def use_root(self, root: Path) -> None:
        landing = LandingFolder(str(root), self._storage)
        self.ingest = Ingest(landing, self.catalog, self._engine, self._quarantine, {}, ordered=())

    def stage(self, run_id: str = "run") -> Ingested:
        return self.ingest.stage("step_trainer", self.table, run_id)

    def refresh(self) -> Ingested:
        found = self.stage()
        if found.candidate:
            self.catalog.publish(found.candidate)
        return found

    def quarantine(self) -> list[dict[str, Any]] | None:
        """What the candidate of `quarantine` holds; nothing where there is none."""
        staged = self.ingest.stage_quarantine([TABLE], "run")
        return None if staged is None else self.rows(staged)

    def rows(self, snapshot: Snapshot | None) -> list[dict[str, Any]]:
        """The rows of a snapshot's files."""
        found = []
        for file in snapshot.files if snapshot else ():
            with self.catalog.io.new_input(file).open() as opened:
                found += pq.read_table(opened).to_pylist()
        return found

    def refresh_quarantine(self) -> None:
        if staged := self.ingest.stage_quarantine([TABLE], "run"):
            self.catalog.publish(staged)

    def published(self, table: str = TABLE) -> list[dict[str, Any]]:
        return self.read(self.catalog.metadata_location(table))

    def times(self, snapshot: Snapshot | None = None) -> list[int]:
        """Times of the readings of a snapshot, or of those that readers see, from `DAY_ONE`."""
        found = self.rows(snapshot) if snapshot else self.published()
        return sorted(row["sensorreadingtime"] - DAY_ONE for row in found)
