"""What is known of the landing files that were taken in."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.landing.ledger import (
    Entry,
    LedgerReader,
    merge_segments,
    read_ledger,
    read_rejects,
    write_ledger,
)
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


def test_parts_of_a_ledger_are_read_in_order(tmp_path: Path) -> None:
    io, folder = storage_in(tmp_path).io, str(tmp_path)
    first = write_ledger(folder, ENTRIES, io)
    now_taken = Entry("b.json", 2, "w", "e", rows=3)
    second = write_ledger(folder, [now_taken], io, [first])
    third = write_ledger(folder, [Entry("c.json", 1, "v", "f")], io, [first, second], ["a.json"])
    assert read_ledger(second, io) == [ENTRIES[0], now_taken]
    assert [entry.path for entry in read_ledger(third, io)] == ["b.json", "c.json"]
    assert read_ledger(first, io) == ENTRIES
    assert pq.read_metadata(second).num_rows == 1


def test_merged_parts_say_the_same(tmp_path: Path) -> None:
    io, folder = storage_in(tmp_path).io, str(tmp_path)
    first = write_ledger(folder, ENTRIES, io)
    second = write_ledger(folder, [Entry("c.json", 1, "v", "f")], io, [first], ["b.json"])
    third = write_ledger(folder, [Entry("c.json", 2, "w", "g")], io, [first, second])
    parts = LedgerReader(io).segments(third)
    assert list(parts) == [first, second, third]
    entries, gone = merge_segments([parts[second], parts[third]])
    merged = write_ledger(folder, entries, io, [first], gone)
    assert read_ledger(merged, io) == read_ledger(third, io)
    assert [entry.path for entry in entries] == ["c.json"]


def test_quarantined_rows_of_all_parts_are_counted(tmp_path: Path) -> None:
    io, folder = storage_in(tmp_path).io, str(tmp_path)
    entries = [
        Entry(f"{number}.json", 1, "v", "d", quarantined=number, rejects=f"r{number % 2}")
        for number in range(1, 4)
    ]
    path = None
    for entry in entries:
        before: list[str] = list(LedgerReader(io).segments(path)) if path else []
        path = write_ledger(folder, [entry], io, before)
    assert path
    assert read_rejects(path, io) == ({"r0", "r1"}, 6)
