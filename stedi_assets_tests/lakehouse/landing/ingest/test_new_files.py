"""New landing files are taken in, each once."""

from __future__ import annotations

import gzip
import time
from typing import TYPE_CHECKING

import pytest

from stedi_assets.lakehouse.engines.duckdb import shared_engine
from stedi_assets.lakehouse.landing.reader import LandingReader
from stedi_assets.settings import SettingsError
from stedi_assets_tests.lakehouse.conftest import storage_in
from stedi_assets_tests.support import at

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stedi_assets.lakehouse.table import Table

    Land = Callable[..., Path]
from stedi_assets_tests.lakehouse.landing.ingest.support import (
    FOLDER,
    TABLE,
    Lakehouse,
    lines,
    readings,
)


def test_row_says_which_file_it_came_from(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    land("2024/01/b.json", readings(2))
    lakehouse.refresh()
    rows = lakehouse.published()
    assert len({row.pop("landed_at") for row in rows}) == 1
    assert sorted(rows, key=lambda row: row["sensorreadingtime"]) == [
        {
            "sensorreadingtime": at(time),
            "serialnumber": "s",
            "distancefromobject": time / 2,
            "source_file": f"{FOLDER}/{name}",
        }
        for time, name in ((1, "a.json"), (2, "2024/01/b.json"))
    ]


def test_rows_and_rejects_say_when_the_refresh_began_that_took_them_in(
    lakehouse: Lakehouse, land: Land, root: Path
) -> None:
    began = []
    for number in (1, 2):
        land(f"{number}.json", [*readings(number), {}])
        began.append(time.time_ns() // 1_000_000)
        lakehouse.use_root(root)  # as the next refresh does
        lakehouse.refresh()
        lakehouse.refresh_quarantine()
    for table in (TABLE, "quarantine"):
        rows = sorted(lakehouse.published(table), key=lambda row: row["source_file"])
        first, second = (row["landed_at"] for row in rows)
        assert began[0] <= first <= began[1] <= second <= time.time_ns() // 1_000_000


def test_second_refresh_takes_in_the_new_files_only(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1, 2))
    lakehouse.refresh()
    land("b.json", readings(3))
    found = lakehouse.refresh()
    assert [entry.path for entry in found.new] == [f"{FOLDER}/b.json"]
    assert [entry.path for entry in found.entries] == [f"{FOLDER}/a.json", f"{FOLDER}/b.json"]
    assert lakehouse.times() == [1, 2, 3]


def test_file_once_taken_in_is_not_parsed_again(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    monkeypatch.setattr(LandingReader, "parse", None)
    found = lakehouse.refresh()
    assert (found.candidate, found.new, found.changed) == (None, (), ())
    assert lakehouse.times() == [1]


def test_entry_accounts_for_the_objects_of_its_file(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", [*readings(1, 2), {"serialNumber": "s"}, {}])
    [entry] = lakehouse.refresh().new
    assert (entry.objects, entry.rows, entry.quarantined) == (4, 2, 2)


def test_plain_and_packed_files_are_taken_in_alike(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1, 2))
    land("b.json.gz", gzip.compress(lines(readings(5, 2))))
    land("C.JSON", readings(3))
    land("D.Json.GZ", gzip.compress(lines(readings(7, 2))))
    lakehouse.refresh()
    assert lakehouse.times() == [1, 2, 2, 2, 3, 5, 7]


def test_other_files_are_left_alone(lakehouse: Lakehouse, land: Land, root: Path) -> None:
    land("a.json", readings(1))
    for name in ("b.json.tmp", "c.csv", "_SUCCESS", "d.json.bz2", "json"):
        land(name, readings(2))
    (root / FOLDER / "folder.json").mkdir()
    found = lakehouse.refresh()
    assert lakehouse.times() == [1]
    assert found.listing.ignored == tuple(
        f"{FOLDER}/{name}" for name in ("_SUCCESS", "b.json.tmp", "c.csv", "d.json.bz2", "json")
    )


NAMES = (
    "with space.json",
    "ünïcødé 日本.json",
    "day=2024-01-01/part.json",
    "[1].json",
    "part*.json",
    "it's.json",
)


def test_files_of_any_name_are_taken_in_once(lakehouse: Lakehouse, land: Land) -> None:
    for number, name in enumerate(["1.json", "part1.json", *NAMES]):
        land(name, readings(number))
    lakehouse.refresh()
    lakehouse.refresh()
    assert lakehouse.times() == list(range(len(NAMES) + 2))
    assert {row["source_file"] for row in lakehouse.published()} > {f"{FOLDER}/{n}" for n in NAMES}


@pytest.mark.parametrize("name", ["with space", "ünïcødé", "x=1", "[1]", "a*", "it's"])
def test_landing_root_and_lakehouse_may_have_any_name(
    folder: Path, name: str, tables: dict[str, Table]
) -> None:
    root = folder / name / "landing"
    if str(folder).startswith("s3://") and set(name) & set("[*"):
        with pytest.raises(SettingsError, match="wildcards"):
            storage_in(folder / name)
        return
    (root / FOLDER).mkdir(parents=True)
    (root / FOLDER / "a.json").write_bytes(lines(readings(1)))
    (root / FOLDER / "b.json").write_bytes(lines([readings(2)]))
    storage = storage_in(folder / name)
    lakehouse = Lakehouse(root, storage, tables)
    lakehouse.refresh()
    published = lakehouse.catalog.published(TABLE)
    assert published
    assert lakehouse.times(published) == [1, 2]
    assert published.files[0].startswith(f"{folder / name}/")
    opened = shared_engine(storage).open(published.name, published.files, tables[TABLE].types)
    assert opened.to_pyarrow().num_rows == 2


@pytest.mark.parametrize("exists", [True, False], ids=["empty folder", "no folder"])
def test_first_refresh_of_an_empty_source_gives_an_empty_table(
    lakehouse: Lakehouse, root: Path, exists: bool
) -> None:
    if exists:
        (root / FOLDER).mkdir(parents=True)
    found = lakehouse.refresh()
    assert (found.entries, found.changed) == ((), ())
    assert lakehouse.published() == []
    assert lakehouse.refresh().candidate is None


@pytest.mark.parametrize("name", ["a.json", "a.json.gz"])
def test_empty_file_is_taken_in_without_rows(lakehouse: Lakehouse, land: Land, name: str) -> None:
    land(name, b"")
    [entry] = lakehouse.refresh().new
    assert (entry.objects, entry.duplicate_of) == (0, None)
    assert lakehouse.published() == []
    assert lakehouse.refresh().candidate is None


def test_empty_files_are_no_duplicates_of_one_another(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", b"")
    land("b.json", b"")
    assert [entry.duplicate_of for entry in lakehouse.refresh().new] == [None, None]
