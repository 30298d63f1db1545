"""Readers that are given a table's folder see what is published, and nothing older or newer."""

import os
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import StaticTable

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.storage import durable
from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.lakehouse.vacuum import vacuum
from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.support import on_this_machine, stage, table_named, under

TABLE = "device_ownership"
pytestmark = on_this_machine


@pytest.fixture
def storage(folder: Path) -> LocalStorage:
    return LocalStorage(folder / "lakehouse")


def put(storage: LocalStorage, email: str) -> Snapshot:
    """A candidate of one row."""
    row = {"serialnumber": "s", "basis": "sole_claim", "email": email}
    numbers = {"readings": 1, "matched": 1, "runner_up_matched": 0}
    return stage(under(storage.folder.parent, landing=None), TABLE, [{**row, **numbers}])


def publish(storage: LocalStorage, email: str) -> None:
    Catalog(storage).publish(put(storage, email))


def folder_of(storage: LocalStorage) -> Path:
    return Path(Catalog(storage).state(TABLE).location)


def hint_of(storage: LocalStorage) -> Path:
    return folder_of(storage) / "metadata/version-hint.text"


def seen(storage: LocalStorage, read_iceberg: IcebergReader) -> list[str]:
    """Whom readers of the folder see, each of them."""
    folder = str(folder_of(storage))
    by_duckdb = [row["email"] for row in read_iceberg(folder)]
    by_pyiceberg = StaticTable.from_metadata(folder).scan().to_arrow()["email"].to_pylist()
    by_polars = pl.scan_iceberg(folder).collect()["email"].to_list()
    assert sorted(by_duckdb) == sorted(by_pyiceberg) == sorted(by_polars)
    return by_duckdb


def lock(storage: LocalStorage) -> None:
    """What every command does first that writes."""
    with open_lakehouse(under(storage.folder.parent, landing=None)).locked(print):
        pass


def test_folder_shows_what_is_published_and_no_candidate(
    storage: LocalStorage, read_iceberg: IcebergReader
) -> None:
    publish(storage, "ann")
    put(storage, "bob")
    lock(storage)  # points to the metadata that has the candidate, too
    assert hint_of(storage).read_text() in Catalog(storage).metadata_location(TABLE)
    assert seen(storage, read_iceberg) == ["ann"]
    assert hint_of(storage).stat().st_mode & 0o777 == 0o600


def test_hint_follows_each_publication(storage: LocalStorage, read_iceberg: IcebergReader) -> None:
    for email in ("ann", "bob"):
        publish(storage, email)
        assert seen(storage, read_iceberg) == [email]


def test_next_command_mends_the_hint_of_a_refresh_that_was_killed(
    storage: LocalStorage, read_iceberg: IcebergReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(storage, "ann")
    candidate = put(storage, "bob")
    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "point_readers", lambda self: None)  # killed before
        Catalog(storage).publish(candidate)
    assert seen(storage, read_iceberg) == ["ann"]
    lock(storage)
    assert seen(storage, read_iceberg) == ["bob"]


def test_hint_that_cannot_be_renewed_goes_and_fails_nothing(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(storage, "ann")

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(durable, "replace", full)
    publish(storage, "bob")
    assert not hint_of(storage).exists()


def test_hints_go_where_the_catalog_cannot_be_read_or_has_no_such_table(
    storage: LocalStorage,
) -> None:
    publish(storage, "ann")
    hint = hint_of(storage)
    Catalog(storage).drop(TABLE)
    lock(storage)
    assert not hint.exists()

    Catalog(storage).ensure(table_named(TABLE))
    lock(storage)
    assert hint_of(storage).exists()
    (storage.folder / "catalog.db").write_text("damaged")
    hints = list(storage.folder.rglob("version-hint.text"))
    assert hints
    LocalStorage(storage.folder).point_readers()
    assert not any(hint.exists() for hint in hints)


def test_nothing_is_made_where_there_is_no_lakehouse(storage: LocalStorage) -> None:
    storage.point_readers()
    assert not storage.folder.exists()


def test_nothing_is_made_where_the_warehouse_is_gone(storage: LocalStorage) -> None:
    publish(storage, "ann")
    shutil.rmtree(storage.folder / "warehouse")
    storage.point_readers()
    assert not (storage.folder / "warehouse").exists()


def test_vacuum_keeps_the_hint_and_what_it_names(
    storage: LocalStorage, read_iceberg: IcebergReader
) -> None:
    for email in ("ann", "bob"):
        publish(storage, email)
    old = hint_of(storage)
    os.utime(old, (0, 0))
    assert vacuum(storage, timedelta(0), timedelta(0)).files
    assert seen(storage, read_iceberg) == ["bob"]
    lock(storage)
    assert seen(storage, read_iceberg) == ["bob"]


def test_whoever_reads_meanwhile_sees_the_old_hint_or_the_new_one(folder: Path) -> None:
    path = folder / "version-hint.text"
    path.write_text("old")
    with path.open() as opened:
        durable.replace(path, "new")
        assert opened.read() == "old"
    assert path.read_text() == "new"
    assert [file.name for file in folder.iterdir()] == [path.name]


# What an older version left behind


def test_table_whose_files_lack_ids_is_read_by_names(
    storage: LocalStorage, read_iceberg: IcebergReader
) -> None:
    publish(storage, "ann")
    catalog = Catalog(storage)
    state, published = catalog.state(TABLE), catalog.published(TABLE)
    path = f"{state.location}/data/{uuid4().hex}.parquet"
    row = {name: [1 if kind == "int64" else "bob"] for name, kind in state.types.items()}
    with catalog.io.new_output(path).create() as file:
        pq.write_table(pa.table(row), file)
    assert published
    catalog.publish(catalog.stage(TABLE, [*published.files, path], {}))
    assert sorted(seen(storage, read_iceberg)) == ["ann", "bob"]
