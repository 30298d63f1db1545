"""A vacuum removes what nobody can see any more, and nothing else."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.vacuum import vacuum
from stedi_assets.resources import open_storage as storage_of
from stedi_assets_tests.support import (
    ANN,
    BOB,
    TABLES,
    catalog_of,
    counts,
    customer,
    deliver,
    device,
    on_this_machine,
    phone,
    refresh,
    snapshots,
    stage,
    under,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stedi_assets.lakehouse.storage.storage import Storage
    from stedi_assets.settings import Settings
    from stedi_assets_tests.conftest import IcebergReader, Lakehouses

NOW, DAY = timedelta(0), timedelta(days=1)
TIME = 1_600_000_000_000


def times(first: int, end: int) -> range:
    return range(TIME + first, TIME + end)


@pytest.fixture
def folder(new_folder: Callable[[], Path], lakehouses: Lakehouses) -> Path:
    """A folder of a deployment with a lakehouse in which two people consent."""
    folder = new_folder()
    if isinstance(folder, Path):  # of this machine
        return lakehouses.as_made(take_in_two_people)
    take_in_two_people(folder)
    return folder


@pytest.fixture
def settings(folder: Path) -> Settings:
    return settings_in(folder)


def settings_in(folder: Path) -> Settings:
    return under(folder, max_quarantine_share=0.5)


def take_in_two_people(folder: Path) -> None:
    deliver(
        folder / "landing",
        "first.json",
        customer=[
            customer(ANN, "d", lastupdatedate=TIME, sharewithresearchasofdate=TIME),
            customer(BOB, "e", lastupdatedate=TIME, sharewithresearchasofdate=TIME),
        ],
        accelerometer=[*phone(ANN, *times(0, 10)), *phone(BOB, *times(20, 30))],
        step_trainer=[*device("d", *times(0, 10)), *device("e", *times(20, 30))],
    )
    [readable] = device("d", TIME + 10)
    half = f'{json.dumps(readable)}\n{{"serialNumber": "d"}}\n'
    write(folder / "landing", "step_trainer", "half.json", half)
    assert refresh(settings_in(folder)).success


@pytest.fixture
def lakehouse(settings: Settings) -> Storage:
    return storage_of(settings)


def withdraw(folder: Path, settings: Settings) -> None:
    gone = customer(ANN, "d", lastupdatedate=TIME + 1, sharewithresearchasofdate=None)
    deliver(folder / "landing", "withdrawal.json", customer=[gone])
    assert refresh(settings).success


def files(storage: Storage) -> set[str]:
    return {file.location for file in storage.files(f"{storage.root}/warehouse")}


def rows_of_files(storage: Storage, *zones: str) -> Iterator[dict[str, Any]]:
    """Rows of every Parquet file in these zones, whether a snapshot refers to it or not."""
    for location in files(storage):
        if location.endswith(".parquet") and any(
            f"/warehouse/{zone}/" in location for zone in zones
        ):
            with storage.io.new_input(location).open() as file:
                yield from pq.read_table(file).to_pylist()


def test_nothing_is_removed_after_a_refresh(lakehouse: Storage) -> None:
    before = files(lakehouse)
    removed = vacuum(lakehouse, DAY, NOW)
    assert (removed.snapshots, removed.files, removed.uploads) == ({}, (), 0)
    assert files(lakehouse) == before


def test_file_that_no_snapshot_refers_to_goes_once_it_is_old_enough(lakehouse: Storage) -> None:
    orphan = f"{Catalog(lakehouse).state('customer_trusted').location}/data/killed/1.parquet"
    with lakehouse.io.new_output(orphan).create() as file:
        file.write(b"rows")
    assert vacuum(lakehouse, DAY, DAY).files == ()
    assert [file.location for file in vacuum(lakehouse, DAY, NOW, dry_run=True).files] == [orphan]
    assert orphan in files(lakehouse)
    assert [file.location for file in vacuum(lakehouse, DAY, NOW).files] == [orphan]
    assert orphan not in files(lakehouse)


def test_withdrawn_person_is_in_no_file_once_older_snapshots_are_gone(
    folder: Path, settings: Settings, lakehouse: Storage, read_iceberg: IcebergReader
) -> None:
    withdraw(folder, settings)
    assert any(row.get("email") == ANN for row in rows_of_files(lakehouse, "trusted"))
    published, rows = snapshots(settings), counts(settings)
    assert vacuum(lakehouse, DAY, NOW).snapshots == {}
    removed = vacuum(lakehouse, NOW, NOW)
    assert set(removed.snapshots) == set(TABLES)  # also the empty ones that tables begin with
    assert not any(ANN in row.values() for row in rows_of_files(lakehouse, "trusted", "curated"))
    assert (snapshots(settings), counts(settings)) == (published, rows)
    for table in TABLES:
        seen = read_iceberg(catalog_of(settings).metadata_location(table))
        assert len(seen) == rows[table]


def test_refreshes_go_on_after_a_vacuum(
    folder: Path, settings: Settings, lakehouse: Storage
) -> None:
    withdraw(folder, settings)
    vacuum(lakehouse, NOW, NOW)
    before, rows = snapshots(settings), counts(settings)
    assert refresh(settings).success
    assert snapshots(settings) == before
    deliver(folder / "landing", "more.json", accelerometer=phone(BOB, *times(30, 31)))
    assert refresh(settings).success
    assert counts(settings) == rows | {
        "accelerometer_landing": rows["accelerometer_landing"] + 1,
        "accelerometer_trusted": rows["accelerometer_trusted"] + 1,
    }
    assert rows["quarantine"] == 1


@on_this_machine
def test_candidate_and_tagged_snapshot_stay(
    folder: Path, settings: Settings, lakehouse: Storage
) -> None:
    catalog = catalog_of(settings)
    published = catalog.published("customer_trusted")
    assert published
    catalog.tag(published, "v1")
    tagged = published.id
    withdraw(folder, settings)
    held_back = stage(settings, "customer_trusted", [customer(BOB)])
    removed = vacuum(lakehouse, NOW, NOW)
    assert removed.snapshots["customer_trusted"] == 1  # the empty one
    state = catalog_of(settings).state("customer_trusted").snapshot(tagged)
    assert state
    assert catalog_of(settings).candidate("customer_trusted") == held_back
    kept = files(lakehouse)
    assert {*held_back.files, *state.files} <= kept


def test_files_of_a_killed_refresh_go_and_the_next_refresh_is_right(
    folder: Path, settings: Settings, lakehouse: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise RuntimeError("killed")

    deliver(folder / "landing", "more.json", accelerometer=phone(BOB, *times(30, 31)))
    before = files(lakehouse)
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "stage", killed)
        checks = refresh(settings).get_asset_check_evaluations()
        assert any("RuntimeError" in (check.description or "") for check in checks)
    left_behind = files(lakehouse) - before
    assert left_behind
    assert {file.location for file in vacuum(lakehouse, DAY, NOW).files} == left_behind
    assert refresh(settings).success
    assert counts(settings)["accelerometer_trusted"] == 21


def test_listing_without_the_tables_files_removes_nothing(
    lakehouse: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(lakehouse)
    monkeypatch.setattr(type(lakehouse), "files", lambda *_: iter(()))
    with pytest.raises(LakehouseError, match="nothing was removed"):
        vacuum(lakehouse, NOW, NOW)
    monkeypatch.undo()
    assert files(lakehouse) == before


def test_unfinished_uploads_go(aws: Any) -> None:
    folder = aws.folder()
    settings = under(folder)
    deliver(folder / "landing", "a.json", customer=[customer(ANN)])
    assert refresh(settings).success
    client = aws.s3.client()
    key = {"Bucket": folder.bucket, "Key": f"{folder.key}/lakehouse/warehouse/big.parquet"}
    begun = client.create_multipart_upload(**key)["UploadId"]
    client.upload_part(**key, UploadId=begun, PartNumber=1, Body=b"rows")
    storage = storage_of(settings)
    assert vacuum(storage, DAY, DAY).uploads == 0
    assert vacuum(storage, DAY, NOW).uploads == 1
    left = client.list_multipart_uploads(Bucket=folder.bucket, Prefix=folder.key)
    assert not left.get("Uploads")


def test_lakehouse_on_s3_belongs_to_one_database(aws: Any) -> None:
    folder = aws.folder()
    settings = under(folder)
    deliver(folder / "landing", "a.json", customer=[customer(ANN)])
    assert refresh(settings).success
    other = settings.model_copy(update={"database": f"{settings.database}_other"})
    result = refresh(other)
    assert not result.success
    assert counts(other) == {}
    with pytest.raises(LakehouseError, match=f"tables of the Glue database {settings.database}:"):
        vacuum(storage_of(other), NOW, NOW)
    assert vacuum(storage_of(settings), DAY, NOW).files == ()


@on_this_machine
@pytest.mark.parametrize("kind", ["metadata", "manifest list"])
def test_damaged_table_keeps_no_other_from_being_cleared(
    kind: str, folder: Path, settings: Settings, lakehouse: Storage
) -> None:
    withdraw(folder, settings)
    table = lakehouse.iceberg.load_table((lakehouse.namespace, "device_ownership"))
    snapshot = table.current_snapshot()
    assert snapshot
    damaged = table.metadata_location if kind == "metadata" else snapshot.manifest_list
    with lakehouse.io.new_output(damaged).create(overwrite=True) as file:
        file.write(b"damaged")
    removed = vacuum(lakehouse, NOW, NOW, shared={"quarantine"})
    assert len(removed.damaged) == 1
    assert "stedi rebuild" in removed.damaged[0]
    assert set(removed.snapshots) == set(TABLES) - {"device_ownership"}
    assert not any(ANN in row.values() for row in rows_of_files(lakehouse, "trusted", "curated"))
