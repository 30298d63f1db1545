"""Files that are duplicates, change or move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stedi_assets.lakehouse.faults import LakehouseError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Land = Callable[..., Path]
from stedi_assets_tests.lakehouse.landing.ingest.support import FOLDER, TABLE, Lakehouse, readings


def test_same_content_under_another_name_is_skipped(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1, 2))
    lakehouse.refresh()
    land("b.json", readings(1, 2))
    found = lakehouse.refresh()
    assert [entry.duplicate_of for entry in found.new] == [f"{FOLDER}/a.json"]
    assert found.taken == []
    assert lakehouse.times() == [1, 2]


def test_same_content_twice_in_a_refresh_is_taken_in_once(lakehouse: Lakehouse, land: Land) -> None:
    for name in ("b.json", "a.json", "c.json"):
        land(name, readings(1, 2))
    found = lakehouse.refresh()
    assert [entry.duplicate_of for entry in found.new] == [
        None,
        f"{FOLDER}/a.json",
        f"{FOLDER}/a.json",
    ]
    assert lakehouse.times() == [1, 2]


def test_duplicate_is_remembered(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    land("b.json", readings(1))
    lakehouse.refresh()
    assert lakehouse.refresh().new == ()


def test_changed_file_is_reported_and_not_taken_in_again(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    land("a.json", readings(1, 2))
    land("b.json", readings(3))
    found = lakehouse.refresh()
    assert found.changed == (f"{FOLDER}/a.json",)
    assert [entry.path for entry in found.new] == [f"{FOLDER}/b.json"]
    assert lakehouse.times() == [1, 3]


def test_changed_file_of_the_same_size_is_reported(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    land("a.json", readings(2))
    assert lakehouse.refresh().changed == (f"{FOLDER}/a.json",)


def test_touched_file_is_not_reported(lakehouse: Lakehouse, land: Land) -> None:
    path = land("a.json", readings(1))
    lakehouse.refresh()
    path.write_bytes(path.read_bytes())
    found = lakehouse.refresh()
    assert (found.candidate, found.changed) == (None, ())


def test_removed_file_keeps_its_rows(lakehouse: Lakehouse, land: Land) -> None:
    path = land("a.json", readings(1))
    lakehouse.refresh()
    path.unlink()
    land("b.json", readings(2))
    lakehouse.refresh()
    assert lakehouse.times() == [1, 2]


def test_file_removed_and_back_again_is_not_taken_in_twice(
    lakehouse: Lakehouse, land: Land
) -> None:
    path = land("a.json", readings(1))
    lakehouse.refresh()
    path.unlink()
    lakehouse.refresh()
    land("a.json", readings(1))
    assert lakehouse.refresh().candidate is None
    assert lakehouse.times() == [1]


def test_another_landing_root_starts_anew(
    lakehouse: Lakehouse, land: Land, root: Path, folder: Path
) -> None:
    path = land("a.json", readings(1))
    lakehouse.refresh()
    other = folder / "other" / FOLDER / "a.json"
    other.parent.mkdir(parents=True)
    other.write_bytes(path.read_bytes())
    land("b.json", readings(2))
    lakehouse.use_root(folder / "other")
    assert [entry.path for entry in lakehouse.refresh().new] == [f"{FOLDER}/a.json"]
    assert lakehouse.times() == [1]
    lakehouse.use_root(root)
    lakehouse.refresh()
    assert lakehouse.times() == [1, 2]


def test_landing_root_without_files_does_not_empty_the_table(
    lakehouse: Lakehouse, land: Land, folder: Path
) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    lakehouse.use_root(folder / "typo")
    with pytest.raises(LakehouseError, match="STEDI_LANDING"):
        lakehouse.ingest.assert_usable({TABLE: "step_trainer"})
    assert lakehouse.times() == [1]
