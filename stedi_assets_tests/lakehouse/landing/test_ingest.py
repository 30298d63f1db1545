"""Each landing file once, whatever happens to the files and to the refresh."""

from __future__ import annotations

import gzip
import json
import time
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import shared_engine
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing import reader as reader_module
from stedi_assets.lakehouse.landing.ingest import Ingest
from stedi_assets.lakehouse.landing.ledger import LandingFileError, LandingFolder
from stedi_assets.lakehouse.landing.reader import LandingReader
from stedi_assets.settings import SettingsError
from stedi_assets_tests.lakehouse.conftest import storage_in
from stedi_assets_tests.support import DAY_ONE, at, refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from stedi_assets.lakehouse.landing.ingest import Ingested
    from stedi_assets.lakehouse.landing.ledger import Listing
    from stedi_assets.lakehouse.landing.reader import Parsed
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
        self.ingest = Ingest(landing, self.catalog, self._engine, self._quarantine)

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


@pytest.fixture
def root(folder: Path) -> Path:
    """The landing root."""
    return folder / "landing"


@pytest.fixture
def land(root: Path) -> Land:
    """Writes a step trainer file: objects as JSON lines, or content as it is."""

    def write(name: str, content: bytes | Iterable[Any]) -> Path:
        path = root / "step_trainer" / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes):
            content = lines(content)
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def lakehouse(
    root: Path, storage: Storage, tables: dict[str, Table], read_iceberg: IcebergReader
) -> Lakehouse:
    made = Lakehouse(root, storage, tables)
    made.read = read_iceberg
    return made


# New files


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


# Empty


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


# Duplicates and changes


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


# Interruptions


def test_refresh_killed_before_its_commit_neither_loses_nor_repeats(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1, 2))
    lakehouse.refresh()
    land("b.json", [*readings(3), {}])
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "stage", killed)
        with pytest.raises(KeyboardInterrupt):
            lakehouse.stage()
    assert lakehouse.times() == [1, 2]
    assert lakehouse.catalog.candidate(TABLE) is None
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    assert lakehouse.times() == [1, 2, 3]
    assert len(lakehouse.published("quarantine")) == 1


def test_refresh_killed_before_it_publishes_neither_loses_nor_repeats(
    lakehouse: Lakehouse, land: Land
) -> None:
    land("a.json", readings(1, 2))
    lakehouse.stage()
    assert lakehouse.published() == []
    lakehouse.refresh()
    assert lakehouse.times() == [1, 2]
    assert lakehouse.refresh().candidate is None


def killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_waiting_candidate_is_used_again_where_nothing_changed(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1))
    first = lakehouse.stage("one")
    monkeypatch.setattr(LandingReader, "parse", None)
    second = lakehouse.stage("two")
    assert second == first


CHANGES = ["file added", "file changed", "file changed in place", "file removed"]


@pytest.mark.parametrize("change", CHANGES)
def test_waiting_candidate_is_made_anew_where_files_changed(
    lakehouse: Lakehouse, land: Land, change: str
) -> None:
    land("a.json", readings(1))
    path = land("b.json", readings(2))
    lakehouse.stage()
    if change == "file added":
        land("c.json", readings(3))
    elif change == "file changed":
        land("b.json", readings(4, 5))
    elif change == "file changed in place":
        land("b.json", readings(4))
    else:
        path.unlink()
    expected = dict(zip(CHANGES, ([1, 2, 3], [1, 4, 5], [1, 4], [1]), strict=True))[change]
    found = lakehouse.refresh()
    assert found.changed == ()
    assert lakehouse.times(found.candidate) == expected
    assert lakehouse.times() == expected


def test_waiting_candidate_goes_when_its_only_file_does(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    path = land("b.json", readings(2))
    lakehouse.stage()
    path.unlink()
    found = lakehouse.stage()
    assert found.candidate is None
    assert lakehouse.catalog.candidate(TABLE) is None
    assert [entry.path for entry in found.entries] == [f"{FOLDER}/a.json"]


class MeddledReader(LandingReader):
    """A reader during whose work something happens to a file."""

    meddle: Any

    def parse(self, paths: Sequence[str], folder: str, rejects: str) -> Parsed:
        parsed = super().parse(paths, folder, rejects)
        if f"{FOLDER}/a.json" in paths:
            self.meddle()
        return parsed


@pytest.mark.parametrize(
    ("meddle", "said"),
    [
        (lambda path: path.write_text(f"{path.read_text()}{{}}\n"), "changed"),
        (lambda path: path.unlink(), "deleted"),
    ],
)
def test_file_that_changes_while_it_is_read_waits_and_no_other_does(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch, meddle: Any, said: str
) -> None:
    land("b.json", readings(2))
    lakehouse.refresh()
    path = land("a.json", readings(1))
    land("c.json", readings(3))
    meddling = staticmethod(lambda: meddle(path))
    monkeypatch.setattr(MeddledReader, "meddle", meddling, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(reader_module, "LandingReader", MeddledReader)
        landed = lakehouse.refresh()
    assert list(landed.waiting) == [f"{FOLDER}/a.json"]
    assert said in landed.waiting[f"{FOLDER}/a.json"]
    assert lakehouse.times() == [2, 3]
    land("a.json", readings(4))
    assert lakehouse.refresh().waiting == {}
    assert lakehouse.times() == [2, 3, 4]


def test_file_deleted_right_after_it_was_listed_is_all_that_is_not_taken_in(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    path = land("b.json", readings(2))

    def list_and_delete(*arguments: Any) -> Listing:
        found = list_files(*arguments)
        path.unlink(missing_ok=True)
        return found

    list_files = LandingFolder.listing
    monkeypatch.setattr(LandingFolder, "listing", list_and_delete)
    landed = lakehouse.stage()
    assert landed.candidate is None
    [(waiting, said)] = landed.waiting.items()
    assert waiting == f"{FOLDER}/b.json"
    assert said.endswith(f"{FOLDER}/b.json was deleted while it was read.")


def test_file_that_cannot_be_read_waits_and_no_other_does(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1))
    land("b.json", readings(2))
    with monkeypatch.context() as patch:
        refuse(patch, "b.json")
        landed = lakehouse.refresh()
        assert list(landed.waiting) == [f"{FOLDER}/b.json"]
        assert lakehouse.times() == [1]
        assert lakehouse.refresh().candidate is None
    assert lakehouse.refresh().waiting == {}
    assert lakehouse.times() == [1, 2]


def test_table_is_not_made_anew_without_a_file_that_cannot_be_read(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1))
    land("b.json", readings(2))
    lakehouse.refresh()
    refuse(monkeypatch, "b.json")
    with pytest.raises(LandingFileError, match=r"b\.json may not be read"):
        lakehouse.ingest.stage("step_trainer", lakehouse.table, "run", anew=True)


# Landing roots


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


# Quarantine


def test_quarantine_says_what_could_not_be_read_and_where(lakehouse: Lakehouse, land: Land) -> None:
    path = land("a.json", [*readings(1), {"serialNumber": "s"}])
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    [reject] = lakehouse.published("quarantine")
    assert reject.pop("landed_at")
    raw = '{"serialNumber": "s"}'
    assert reject == {
        "source": "step_trainer",
        "source_file": f"{FOLDER}/a.json",
        "position": path.read_text().index(raw),
        "raw": raw,
        "reason": "sensorreadingtime is missing",
        "person": None,
    }


def test_rejects_of_a_candidate_vanish_with_its_bad_file(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    bad = land("b.json", b"garbage\n")
    lakehouse.stage()
    assert [row["raw"] for row in lakehouse.quarantine() or ()] == ["garbage"]
    bad.unlink()
    lakehouse.stage()
    assert not lakehouse.quarantine()


def test_rejects_of_a_repaired_file_vanish_before_its_publication(
    lakehouse: Lakehouse, land: Land
) -> None:
    land("a.json", b"garbage\n")
    lakehouse.stage()
    lakehouse.quarantine()
    land("a.json", readings(1))
    lakehouse.refresh()
    assert not lakehouse.quarantine()
    assert lakehouse.times() == [1]


def test_rejects_of_published_files_stay(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", b"garbage\n")
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    land("b.json", [*readings(1), {}])
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    assert sorted(row["raw"] for row in lakehouse.published("quarantine")) == ["garbage", "{}"]
    assert lakehouse.quarantine() is None


def test_quarantine_of_nothing_is_an_empty_table(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    assert lakehouse.published("quarantine") == []
    assert lakehouse.quarantine() is None


def test_waiting_quarantine_is_used_again(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", b"garbage\n")
    lakehouse.stage()
    first = lakehouse.ingest.stage_quarantine([TABLE], "one")
    assert lakehouse.ingest.stage_quarantine([TABLE], "two") == first


def test_quarantine_does_not_wait_for_sources_that_never_landed(
    lakehouse: Lakehouse, land: Land
) -> None:
    land("a.json", b"garbage\n")
    lakehouse.refresh()
    staged = lakehouse.ingest.stage_quarantine([TABLE, "customer_landing"], "run")
    assert [row["raw"] for row in lakehouse.rows(staged)] == ["garbage"]
