"""No byte of a person is anywhere below the warehouse where it has no right to be."""

from __future__ import annotations

import io
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from pyiceberg.avro.file import AvroFile
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.typedef import Record

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.manifests import live_entries
from stedi_assets.lakehouse.storage.storage import HINT
from stedi_assets.lakehouse.vacuum import vacuum
from stedi_assets.resources import open_storage as storage_of
from stedi_assets_tests.support import (
    TABLES,
    catalog_of,
    change_table,
    counts,
    customer,
    deliver,
    device,
    phone,
    refresh,
    snapshots,
    static_table,
    under,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stedi_assets.lakehouse.storage.storage import Storage
    from stedi_assets.settings import Settings
    from stedi_assets_tests.conftest import IcebergReader

NOW = timedelta(0)
TIME = 1_600_000_000_000
BIRTHDAY = "19{}-07-{}"
GONE, NEVER, STAYS = "zzgone@x.io", "aanever@x.io", "mmstays@x.io"
PEOPLE = {GONE: ("51", "11"), NEVER: ("52", "12"), STAYS: ("53", "13")}


def words_of(email: str) -> dict[str, str]:
    """What is told of a person, each text found nowhere else."""
    year, day = PEOPLE[email]
    name = email.partition("@")[0]
    return {
        "email": email,
        "customername": f"Name of {name}",
        "phone": f"+49 {year}{day} 4711",
        "serialnumber": f"serial-{year}-{day}",
        "birthday": BIRTHDAY.format(year, day),
    }


def record(email: str, landed: int, consents: bool) -> dict[str, Any]:
    since = TIME if consents else None
    return customer(**words_of(email), lastupdatedate=landed, sharewithresearchasofdate=since)


def readings(email: str, first: int) -> dict[str, Any]:
    times = range(TIME + first, TIME + first + 10)
    return {
        "accelerometer": phone(email, *times),
        "step_trainer": device(words_of(email)["serialnumber"], *times),
    }


def on(*places: tuple[str, str]) -> pytest.MarkDecorator:
    """Runs a test for these deployments, each with names or pseudonyms in the training set."""
    ids = ["-".join(place) for place in places]
    return pytest.mark.parametrize(("new_folder", "subjects"), places, indirect=True, ids=ids)


on_this_machine = on(("local", "pseudonyms"), ("local", "names"))
everywhere = on(("local", "pseudonyms"), ("local", "names"), ("aws", "pseudonyms"))
"""What is in a file has to do with names; which files there are, with the deployment."""


@pytest.fixture
def subjects(request: pytest.FixtureRequest) -> str:
    """How the training set tells people apart: by `names` or by `pseudonyms`."""
    return str(request.param)


@pytest.fixture
def settings(subjects: str, folder: Path) -> Settings:
    """A lakehouse of three people: all have devices, and two of them consent."""
    for number, email in enumerate(PEOPLE):
        deliver(
            folder / "landing",
            f"{number}.json",
            customer=[record(email, TIME, email != NEVER)],
            **readings(email, 100 * number),
        )
    return under(folder, pseudonymize=subjects == "pseudonyms")


@pytest.fixture
def warehouse(settings: Settings) -> Storage:
    return storage_of(settings)


def withdraw(settings: Settings, folder: Path) -> None:
    deliver(folder / "landing", "withdrawal.json", customer=[record(GONE, TIME + 1, False)])
    assert refresh(settings).success


def told(storage: Storage) -> Iterator[tuple[str, str]]:
    """Location and decoded content of each file of the tables."""
    for file in storage.files(f"{storage.root}/warehouse"):
        with storage.io.new_input(file.location).open() as opened:
            content = opened.read()
        yield file.location, f"{content!r} {_decoded(file.location, content, storage)}"


def _decoded(location: str, content: bytes, storage: Storage) -> str:
    if location.endswith(".parquet"):
        parquet = pq.ParquetFile(io.BytesIO(content))
        bounds = [
            str(parquet.metadata.row_group(group).column(column).statistics)
            for group in range(parquet.num_row_groups)
            for column in range(parquet.metadata.num_columns)
        ]
        return f"{parquet.read().to_pylist()} {bounds} {parquet.metadata.metadata}"
    if location.endswith(".avro"):
        with AvroFile[Record](storage.io.new_input(location)) as records:
            rows = [_plain(row) for row in records]
            return f"{rows} {records.header.meta}"
    return content.decode()


def _plain(value: Any) -> Any:
    """Everything in an Avro record, however deep."""
    if isinstance(value, Record):
        return [_plain(value[position]) for position in range(len(value))]
    return value


def places(storage: Storage, *emails: str) -> set[str]:
    """Where below the warehouse a person is told of, by folder: `<zone>/<table>/<kind>`."""
    words = [word for email in emails for word in words_of(email).values()]
    return {
        "/".join(location.removeprefix(f"{storage.root}/warehouse/").split("/")[:3])
        for location, content in told(storage)
        if any(word in content for word in words)
    }


LANDING = {
    "landing/customer_landing/data",
    "landing/accelerometer_landing/data",
    "landing/step_trainer_landing/data",
    "landing/device_matches/data",
    "landing/device_ownership/data",
}


@everywhere
def test_who_never_consented_is_in_no_file_outside_the_landing_zone(
    settings: Settings, warehouse: Storage, folder: Path
) -> None:
    assert refresh(settings).success
    assert places(warehouse, NEVER) == LANDING
    assert "curated/customers_curated/data" in places(warehouse, STAYS)
    withdraw(settings, folder)
    assert places(warehouse, NEVER) == LANDING


@everywhere
def test_who_withdrew_is_in_no_file_outside_the_landing_zone_after_a_vacuum(
    settings: Settings, warehouse: Storage, folder: Path
) -> None:
    assert refresh(settings).success
    withdraw(settings, folder)
    vacuum(warehouse, NOW, NOW)
    assert places(warehouse, GONE) == LANDING
    assert counts(settings)["machine_learning_curated"] == 10


@pytest.fixture
def audited_wrongly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of customers that break the consent rule, whoever they are."""

    def one(customer_trusted: Any) -> Any:
        return customer_trusted.count()

    change_table(monkeypatch, "customer_trusted", consent=one)


@everywhere
@pytest.mark.usefixtures("audited_wrongly")
def test_candidate_that_breaks_the_consent_rule_goes_with_its_files(
    settings: Settings, warehouse: Storage, read_iceberg: IcebergReader
) -> None:
    result = refresh(settings)
    assert not result.success
    [failed] = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert (failed.check_name, failed.metadata["violations"].value) == ("consent", 2)
    state = catalog_of(settings).state("customer_trusted")
    assert (state.published, state.candidate) == (None, None)
    assert places(warehouse, *PEOPLE) == LANDING
    assert read_iceberg(catalog_of(settings).metadata_location("customer_trusted")) == []
    left = [f.location for f in warehouse.files(state.location)]
    assert [name for name in left if not name.endswith((".json", ".avro", HINT))] == []
    vacuum(warehouse, NOW, NOW)


@on_this_machine
@pytest.mark.usefixtures("audited_wrongly")
def test_dropping_a_candidate_that_was_cut_short_is_finished_by_the_vacuum(
    settings: Settings, warehouse: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(type(warehouse.io), "delete", lambda *_: None)
        assert not refresh(settings).success
    assert places(warehouse, *PEOPLE) > LANDING
    vacuum(warehouse, timedelta(days=1), NOW)
    assert places(warehouse, *PEOPLE) == LANDING


@on_this_machine
@pytest.mark.usefixtures("audited_wrongly")
def test_candidate_left_by_a_killed_refresh_goes_with_the_next(
    settings: Settings, warehouse: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: Any) -> None:
        raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "drop_candidate", killed)
        assert not refresh(settings).success
    assert catalog_of(settings).candidate("customer_trusted")
    assert not refresh(settings).success
    assert catalog_of(settings).candidate("customer_trusted") is None
    assert places(warehouse, *PEOPLE) == LANDING


# Tables made before


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Snapshots as PyIceberg makes them by itself, with bounds and deleted files."""
    plain = "stedi_assets.lakehouse.manifests"
    monkeypatch.setattr(f"{plain}._without_bounds", lambda file: file)
    monkeypatch.setattr(
        "pyiceberg.io.pyarrow.parquet_file_to_data_file",
        lambda io, metadata, file: parquet_file_to_data_file(
            io, metadata.model_copy(update={"properties": {}}), file
        ),
    )
    return monkeypatch


@everywhere
def test_vacuum_rewrites_metadata_that_tells_of_people_and_nothing_is_to_do_then(
    telling: pytest.MonkeyPatch,
    settings: Settings,
    warehouse: Storage,
    folder: Path,
    read_iceberg: IcebergReader,
) -> None:
    assert refresh(settings).success
    catalog = catalog_of(settings)
    tagged = catalog.published("machine_learning_curated")
    assert tagged
    catalog.tag(tagged, "before")
    withdraw(settings, folder)
    telling.undo()
    assert "landing/customer_landing/metadata" in places(warehouse, *PEOPLE)
    published, rows = snapshots(settings), counts(settings)

    told = vacuum(warehouse, NOW, NOW, dry_run=True)
    assert set(told.rewritten) == set(TABLES) - {"quarantine"}
    assert vacuum(warehouse, NOW, NOW).rewritten == told.rewritten
    vacuum(warehouse, NOW, NOW)
    kinds = {place.rpartition("/")[2] for place in places(warehouse, *PEOPLE)}
    assert kinds == {"data"}
    assert counts(settings) == rows
    for name in TABLES:
        location = catalog.metadata_location(name)
        assert len(read_iceberg(location)) == static_table(location).scan().count() == rows[name]
        state = catalog.state(name)
        assert [at_rows for _, at_rows in state.history] == [rows[name]]
        again = state.snapshot(published[name])
        assert again and again == state.published
    kept = catalog.state("machine_learning_curated").tagged("before")
    assert kept
    assert (kept.files, kept.rows_id) == (tagged.files, str(tagged.id))
    before = snapshots(settings)
    assert refresh(settings).success
    assert snapshots(settings) == before
    assert vacuum(warehouse, NOW, NOW).rewritten == ()


# What manifests say


@everywhere
def test_snapshot_has_one_manifest_of_live_files_without_bounds(
    settings: Settings, warehouse: Storage, folder: Path
) -> None:
    assert refresh(settings).success
    withdraw(settings, folder)
    for name in TABLES:
        table = warehouse.iceberg.load_table((warehouse.namespace, name))
        found = table.current_snapshot()
        assert found
        manifests = found.manifests(table.io)
        assert len(manifests) == (1 if counts(settings)[name] else 0)
        entries = [
            entry
            for manifest in manifests
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False)
        ]
        assert all(entry.status != ManifestEntryStatus.DELETED for entry in entries)
        assert not any(e.data_file.lower_bounds or e.data_file.upper_bounds for e in entries)
        assert all(entry.data_file.value_counts for entry in entries)
        assert found.summary
        said = found.summary.additional_properties
        assert int(said["total-records"]) == sum(e.data_file.record_count for e in entries)
        assert int(said["total-data-files"]) == len(entries)


@on_this_machine
def test_kept_files_stay_those_of_the_snapshot_that_added_them(
    settings: Settings, folder: Path
) -> None:
    assert refresh(settings).success
    first = snapshots(settings)["customer_landing"]
    deliver(folder / "landing", "more.json", customer=[record(STAYS, TIME + 5, True)])
    assert refresh(settings).success
    where = storage_of(settings)
    table = where.iceberg.load_table((where.namespace, "customer_landing"))
    found = table.current_snapshot()
    assert found
    added = {entry.snapshot_id: entry.status for entry in live_entries(found, table.io)}
    assert added == {
        first: ManifestEntryStatus.EXISTING,
        found.snapshot_id: ManifestEntryStatus.ADDED,
    }
