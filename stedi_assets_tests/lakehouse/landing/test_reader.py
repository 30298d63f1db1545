"""Many landing files at once become Parquet, each accounted for."""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import EndpointConnectionError

from stedi_assets.lakehouse.faults import DamagedError, LakehouseError
from stedi_assets.lakehouse.landing import parquet, reader, text
from stedi_assets.lakehouse.landing.ledger import LandingFileError, LandingFolder
from stedi_assets.lakehouse.landing.lines import read_lines
from stedi_assets.lakehouse.landing.reader import Counts, Parsed, parse
from stedi_assets.lakehouse.storage import aws_faults  # noqa: F401  (explains AWS's errors)
from stedi_assets_tests.lakehouse.conftest import storage_in
from stedi_assets_tests.lakehouse.landing.formats import OTHERS
from stedi_assets_tests.lakehouse.landing.records import EPOCH, LANDED_AT, READING
from stedi_assets_tests.support import on_this_machine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
    from stedi_assets.lakehouse.table import Table

Rows = list[dict[str, Any]]


class Landing:
    """A landing folder of accelerometer readings, and what becomes of its files."""

    def __init__(self, root: Path, engine: DuckDBEngine, tables: dict[str, Table]) -> None:
        self.root, self.engine, self.tables = root, engine, tables
        self.storage = storage_in(root)
        self.folder = LandingFolder(str(root), self.storage)
        self.parsed = Parsed()

    def parse(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        self.parsed = parse(
            self.engine,
            list(files),
            landing=self.folder,
            source="accelerometer",
            table=self.tables["accelerometer_landing"],
            quarantine=self.tables["quarantine"],
            folder=str(self.root / "out"),
            rejects=str(self.root / "rejects"),
            landed_at=LANDED_AT,
        )

    def rows(self) -> Rows:
        return [row for path in self.parsed.rows for row in self._read(path)]

    def rejects(self) -> Rows:
        return self._read(self.parsed.rejects) if self.parsed.rejects else []

    def _read(self, path: str) -> Rows:
        with self.storage.io.new_input(path).open() as file:
            found: Rows = pq.read_table(file).to_pylist()
        return found

    def by_file(self) -> dict[str, tuple[int, int]]:
        """Rows and rejects of each file, as they were written; checks the counts."""
        rows, rejects = (
            Counter(row["source_file"] for row in found) for found in (self.rows(), self.rejects())
        )
        for path, counts in self.parsed.counts.items():
            assert counts.objects == counts.rows + counts.quarantined
            assert (counts.rows, counts.quarantined) == (rows[path], rejects[path])
        return {path: (rows[path], rejects[path]) for path in self.parsed.counts}


@pytest.fixture
def landing(folder: Path, engine: DuckDBEngine, tables: dict[str, Table]) -> Landing:
    return Landing(folder, engine, tables)


def lines(*objects: str | Mapping[str, Any]) -> bytes:
    """A file of JSON lines; a text is a line as it is."""
    texts = (o if isinstance(o, str) else json.dumps(o) for o in objects)
    return "".join(text + "\n" for text in texts).encode()


def test_row_has_what_its_object_says_and_where_it_landed(landing: Landing) -> None:
    spelled = READING | {"user": " Ann@X.io"}
    landing.parse({"a.json": lines(spelled), "b.json": lines("garbage", spelled)})
    expected = spelled | {"serialnumber": None, "person": "ann@x.io", "landed_at": LANDED_AT}
    rows = sorted(landing.rows(), key=lambda row: row["source_file"])
    assert rows == [expected | {"source_file": name} for name in ("a.json", "b.json")]
    assert landing.rejects() == [
        {
            "source": "accelerometer",
            "source_file": "b.json",
            "position": 0,
            "raw": "garbage",
            "reason": "not a JSON object",
            "landed_at": LANDED_AT,
            "person": None,
        }
    ]


def test_one_awkward_file_changes_nothing_about_its_neighbours(landing: Landing) -> None:
    files = {f"{i}.json": lines(*[READING | {"timestamp": EPOCH + i}] * 3) for i in range(7)}
    expected = dict.fromkeys(files, (3, 0))
    awkward = {
        "pretty.json": (json.dumps(READING, indent=2).encode(), (1, 0)),
        "late.json": (lines(*[READING] * 90, json.dumps(READING, indent=2)), (91, 0)),
        "bad.json": (lines(READING, "garbage", READING), (2, 1)),
        "spelled.json": (lines({key.upper(): v for key, v in READING.items()}), (1, 0)),
        "array.json": (json.dumps([READING, READING]).encode(), (2, 0)),
        "packed.json.gz": (gzip.compress(lines(READING, READING)), (2, 0)),
        "packed.json": (gzip.compress(lines(READING, READING)), (2, 0)),
        "plain.json.gz": (lines(READING, READING), (2, 0)),
        "damaged.json.gz": (gzip.compress(lines(READING))[:-1], (1, 1)),
        "archive.json": (b"PK\x03\x04" + bytes(100_000), (0, 1)),
        "wide.json": (lines(READING, READING).decode().encode("utf-16"), (2, 0)),
        "empty.json": (b"", (0, 0)),
        "empty.json.gz": (gzip.compress(b""), (0, 0)),
    }
    landing.parse(files | {name: content for name, (content, _) in awkward.items()})
    assert landing.by_file() == expected | {name: found for name, (_, found) in awkward.items()}


def test_file_of_another_format_is_one_reject_with_its_first_bytes(landing: Landing) -> None:
    landing.parse({"a.json": b"%PDF-1.7\n1 0 obj\n" + b"x" * 100_000})
    [reject] = landing.rejects()
    assert reject["reason"] == "the file is a PDF document, not JSON"
    assert reject["raw"] == ("%PDF-1.7\n1 0 obj\n" + "x" * 100_000)[: 64 << 10]
    assert landing.parsed.counts["a.json"].reason == reject["reason"]


def test_most_common_reason_is_told(landing: Landing) -> None:
    landing.parse({"a.json": lines("oops", READING, '{"user":', "oops")})
    counts = replace(landing.parsed.counts["a.json"], profile=None, reasons=None)
    assert counts == Counts(4, 1, 3, "not a JSON object")


@on_this_machine
def test_more_ways_to_spell_the_keys_than_are_written_at_once_are_read(landing: Landing) -> None:
    spelled = [
        {key[:i] + key[i:j].upper() + key[j:]: value for key, value in READING.items()}
        for i in range(4)
        for j in range(i + 1, 9)
    ]
    files = {f"{i}.json": lines(*[each] * 50) for i, each in enumerate(spelled)}
    landing.parse(files)
    assert landing.by_file() == dict.fromkeys(files, (50, 0))


NAMES = (
    "with space.json",
    "ünïcødé 日本.json",
    "day=2024-01-01/part.json",
    "[1].json",
    "part*.json",
    "part?.json",
    "it's.json",
    'say "hi".json',
    "{a,b}.json",
    "back\\slash.json",
    "100%25.json",
    "a#b.json",
    "UPPER.JSON",
    "packed.JSON.GZ",
)


@pytest.mark.parametrize("name", NAMES)
def test_file_is_read_once_whatever_its_name(landing: Landing, name: str) -> None:
    others = {"1.json": lines(READING), "part1.json": lines(READING), "a.json": lines(READING)}
    landing.parse({name: lines(READING, READING), **others})
    assert landing.by_file() == {name: (2, 0)} | dict.fromkeys(others, (1, 0))


# Files taken out again


def test_rows_of_single_files_can_be_taken_out_again(landing: Landing) -> None:
    landing.parse({"good.json": lines(*[READING] * 3), "bad.json": lines(READING, "oops")})
    io, [file, *others] = landing.storage.io, landing.parsed.rows
    kept = [parquet.without(["bad.json"], path, io) for path in (file, *others)]
    landing.parsed.rows = [path for path in kept if path]
    assert Counter(row["source_file"] for row in landing.rows()) == {"good.json": 3}
    assert landing.parsed.rejects
    assert parquet.without(["bad.json"], landing.parsed.rejects, io) is None


# Faults


def test_file_that_is_gone_is_named(landing: Landing) -> None:
    landing.parse({"a.json": lines(READING)})
    (landing.root / "a.json").unlink()
    content = landing.parsed.counts
    with pytest.raises(LandingFileError, match="deleted while it was read") as raised:
        parse(
            landing.engine,
            list(content),
            landing=landing.folder,
            source="accelerometer",
            table=landing.tables["accelerometer_landing"],
            quarantine=landing.tables["quarantine"],
            folder=str(landing.root / "out"),
            rejects=str(landing.root / "rejects"),
            landed_at=LANDED_AT,
        )
    assert list(raised.value.faults) == ["a.json"]


class Odd:
    """Stands in for the reader of lines: one that meets an error behind some files' first row."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __call__(self, blocks: Iterator[bytes], *others: Any) -> Iterator[Any]:
        content = b"".join(blocks)
        yield from read_lines(iter([content.replace(b"odd", b"")]), *others)
        if b"odd" in content:
            raise self.error


def test_error_that_was_not_foreseen_is_that_of_its_file(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "read_lines", Odd(ValueError("ann@x.io has moved")))
    with pytest.raises(LandingFileError) as raised:
        landing.parse({"a.json": lines(READING), "bob@x.io.json": lines(READING, "odd")})
    [(path, said)] = raised.value.faults.items()
    assert path == "bob@x.io.json"
    assert said.startswith("•••.json could not be read. It stopped with ValueError")
    assert "x.io" not in said
    assert raised.value.__cause__ is None


@pytest.mark.parametrize(
    "error", [MemoryError(), KeyboardInterrupt(), LakehouseError("Mend it."), DamagedError("a")]
)
def test_error_that_is_no_fault_of_a_file_stays_what_it_is(
    landing: Landing, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(reader, "read_lines", Odd(error))
    with pytest.raises(type(error)) as raised:
        landing.parse({"a.json": lines(READING, "odd")})
    assert raised.value is error


def test_error_of_aws_that_passes_stays_what_it_is(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = EndpointConnectionError(endpoint_url="https://s3")
    monkeypatch.setattr(reader, "read_lines", Odd(error))
    with pytest.raises(EndpointConnectionError):
        landing.parse({"a.json": lines(READING, "odd")})


def test_error_of_writing_stays_what_it_is(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(*_: Any) -> None:
        raise ValueError("no space")

    monkeypatch.setattr(parquet.RowWriter, "write", write)
    with pytest.raises(ValueError, match="no space"):
        landing.parse({"a.json": lines("oops")})


LOST = {
    "another format": (OTHERS["a PDF document"], True),
    "another format in a gzip file": (gzip.compress(OTHERS["a zip archive"]), True),
    "cut off": (gzip.compress(lines(READING))[:-1], True),
    "cut off in an object": (gzip.compress(bytes(range(32, 123)) * 9)[:60], True),
    "cut off at once": (gzip.compress(lines(READING))[:12], True),
    "damaged": (gzip.compress(lines(READING))[:-8] + bytes(8), True),
    "cut off in what is too long": (
        gzip.compress(b'{"user": "' + random.Random(0).randbytes(9 << 20).hex().encode())[:-9],
        True,
    ),
    "whole": (gzip.compress(lines(READING, "oops")), False),
    "cut off, but not packed": (lines(READING) + b'{"user": "a', False),
    "empty": (b"", False),
}


@pytest.mark.parametrize(("content", "lost"), LOST.values(), ids=LOST.keys())
def test_file_is_lost_where_it_or_its_rest_cannot_be_read(
    landing: Landing, content: bytes, lost: bool
) -> None:
    landing.parse({"a.json": content, "b.json": lines(READING, "oops")})
    counts = landing.parsed.counts
    assert (counts["a.json"].lost, counts["b.json"].lost) == (lost, False)
    assert counts["a.json"].quarantined or not lost


@on_this_machine
def test_rejects_are_written_before_they_fill_the_memory(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "FLUSHED", 1_000)
    landing.parse({"a.json": lines(*["x" * 300] * 40)})
    assert landing.parsed.rejects is not None
    assert pq.read_metadata(landing.parsed.rejects).num_row_groups > 5
    assert landing.by_file() == {"a.json": (0, 40)}


@on_this_machine
def test_file_of_many_blocks_is_read_as_a_whole(
    landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(text, "BLOCK", 10_000)
    monkeypatch.setattr(reader, "_FILES_AHEAD", 2)
    files = {f"{i}.json": lines(*[READING] * 2_000, "oops", *[READING] * 999) for i in range(5)}
    landing.parse(files)
    assert landing.by_file() == dict.fromkeys(files, (2_999, 1))
