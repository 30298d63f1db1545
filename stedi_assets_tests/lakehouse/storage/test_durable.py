"""What a catalog refers to is on the disk, and private, before it does."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.storage.durable import LocalFileIO
from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.lakehouse.storage.storage import HINT
from stedi_assets.lakehouse.table import Column, Table, Zone

STEPS = Table(
    "steps",
    Zone.TRUSTED,
    "Steps taken.",
    "team:x",
    (Column("at", "int64", True, "when", False, False),),
    (),
    None,
    "1",
)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Files and folders in the order in which they were synced."""
    found: list[Path] = []
    fsync = os.fsync

    def note(descriptor: int) -> None:
        found.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    return found


@pytest.fixture
def loose() -> object:
    """Rights that leave everything open to all."""
    before = os.umask(0)
    yield
    os.umask(before)


def modes(folder: Path) -> set[int]:
    return {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


@pytest.mark.usefixtures("loose")
def test_written_file_and_its_new_folders_are_synced_and_private(
    tmp_path: Path, synced: list[Path]
) -> None:
    path = tmp_path / "a/b/c.txt"
    with LocalFileIO().new_output(str(path)).create() as file:
        file.write(b"rows")
        assert path not in synced
    assert synced == [tmp_path, tmp_path / "a", path, path.parent]
    assert modes(tmp_path) == {0o700, 0o600}
    assert path.read_bytes() == b"rows"


def test_file_that_is_there_is_overwritten_only_where_asked_to(tmp_path: Path) -> None:
    output = LocalFileIO().new_output(str(tmp_path / "a"))
    for content in (b"longer", b"new"):
        with output.create(overwrite=True) as file:
            file.write(content)
    assert (tmp_path / "a").read_bytes() == b"new"
    with pytest.raises(FileExistsError):
        output.create()
    assert (len(output), output.exists()) == (3, True)
    with output.to_input_file().open() as opened:
        assert opened.read() == b"new"


def test_file_may_be_deleted_twice(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for _ in range(2):
        LocalFileIO().delete(str(tmp_path / "a"))
    assert not (tmp_path / "a").exists()


def test_all_files_of_a_table_are_synced_before_the_catalog_has_them(
    tmp_path: Path, synced: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = LocalStorage(tmp_path / "lakehouse")
    catalog = Catalog(storage)
    catalog.ensure(STEPS)
    location = Path(catalog.state("steps").location)
    commit_table = storage.iceberg.commit_table
    unsynced: list[Path] = []

    def commit(*args: Any) -> object:
        unsynced.extend(path for path in location.rglob("*") if path not in synced)
        return commit_table(*args)

    monkeypatch.setattr(storage.iceberg, "commit_table", commit)
    engine = DuckDBEngine(storage)
    files = engine.write(
        Query.of(engine.backend.sql("SELECT 1::BIGINT AS at")), f"{location}/data", {}
    )
    catalog.publish(catalog.stage("steps", files, {}))
    assert unsynced == []
    # A hint for other readers is synced under a name of its own, and then renamed.
    written = [path for path in location.rglob("*") if path.is_file()]
    named = [path for path in written if path.name != HINT]
    assert {path.suffix for path in named} == {".parquet", ".avro", ".json"}
    for path in (*named, location, location / "data", location / "metadata"):
        assert path in synced


def test_folder_is_synced_after_the_file_in_it(tmp_path: Path, synced: list[Path]) -> None:
    storage = LocalStorage(tmp_path)
    path = tmp_path / "warehouse/a.parquet"
    path.parent.mkdir()
    path.touch()
    storage.check_written([str(path)])
    assert synced[0] == path
    assert {*synced[1:]} == {path.parent, tmp_path}
