"""What is known of the landing files that were taken in."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.landing.ledger import Entry, read_ledger, write_ledger
from stedi_assets_tests.lakehouse.conftest import storage_in

if TYPE_CHECKING:
    from pathlib import Path

ENTRIES = [
    Entry("a.json", 1, "v", "d", objects=2, rows=1, quarantined=1, reason="oops", lost=True),
    Entry("b.json", 1, "v", "d", held_back=0.5),
]


def test_ledger_is_read_as_it_was_written(tmp_path: Path) -> None:
    io = storage_in(tmp_path).io
    path = write_ledger(str(tmp_path), ENTRIES, io)
    assert read_ledger(path, io) == ENTRIES
    assert pq.read_schema(path).field("lost").type == pa.bool_()


def test_ledger_of_before_it_said_what_was_lost_is_read(tmp_path: Path) -> None:
    old = [{k: v for k, v in asdict(entry).items() if k != "lost"} for entry in ENTRIES]
    pq.write_table(pa.Table.from_pylist(old), tmp_path / "ledger.parquet")
    found = read_ledger(str(tmp_path / "ledger.parquet"), storage_in(tmp_path).io)
    assert [(entry.path, entry.lost) for entry in found] == [("a.json", False), ("b.json", False)]
