"""A compaction gives tables fewer files, and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.catalog import Catalog, PublishConflictError
from stedi_assets.lakehouse.compaction import (
    ALIKE,
    compact,
    files_to_merge,
    segments_to_merge,
    target_size,
)
from stedi_assets.lakehouse.engines.duckdb import FILE_SIZE, DuckDBEngine
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.ledger import LedgerReader, Segment
from stedi_assets.lakehouse.vacuum import vacuum
from stedi_assets.privacy import retention
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh import method
from stedi_assets.refresh.plan import look_ahead
from stedi_assets.resources import open_lakehouse
from stedi_assets.tables import SOURCES
from stedi_assets_tests.support import (
    ANN,
    BOB,
    TABLES,
    catalog_of,
    customer,
    deliver,
    device,
    on_this_machine,
    phone,
    refresh,
    stage,
    under,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from stedi_assets.lakehouse.compaction import Compacted
    from stedi_assets.lakehouse.state import Snapshot
    from stedi_assets.settings import Settings
    from stedi_assets_tests.conftest import IcebergReader, Lakehouses

DELIVERIES = 3
LANDING = tuple(SOURCES)
NOW, DAY = timedelta(0), timedelta(days=1)


@pytest.fixture(autouse=True)
def derive_what_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Derive each table from what changed, however small it is."""
    monkeypatch.setattr(method, "FEW_BYTES", 0)


@pytest.fixture
def folder(new_folder: Callable[[], Path], lakehouses: Lakehouses) -> Path:
    """A folder of a deployment with a lakehouse that was refreshed a few times."""
    folder = new_folder()
    if isinstance(folder, Path):  # of this machine
        return lakehouses.as_made(take_in_deliveries)
    take_in_deliveries(folder)
    return folder


@pytest.fixture
def settings(folder: Path) -> Settings:
    return settings_in(folder)


def settings_in(folder: Path) -> Settings:
    return under(folder, max_quarantine_share=0.5, retention="7d")


def take_in_deliveries(folder: Path) -> None:
    deliver(
        folder / "landing",
        "0.json",
        customer=[customer(ANN, "d", lastupdatedate=1), customer(BOB, "e", lastupdatedate=1)],
        accelerometer=[*phone(ANN, *range(40)), *phone(BOB, *range(100, 140))],
        step_trainer=[*device("d", *range(40)), *device("e", *range(100, 140))],
    )
    assert refresh(settings_in(folder)).success
    for number in range(DELIVERIES):
        deliver_some(folder, number)
        assert refresh(settings_in(folder)).success


def deliver_some(folder: Path, number: int) -> None:
    """Some rows for each landing table, and for quarantine."""
    deliver(
        folder / "landing",
        f"{number + 1}.json",
        customer=[customer(f"{number}@x.io", lastupdatedate=1)],
        accelerometer=phone(ANN, 50 + number),
    )
    [reading] = device("d", 50 + number)
    text = f'{json.dumps(reading)}\n{{"serialNumber": "d{number}"}}\n'
    write(folder / "landing", "step_trainer", f"{number + 1}.json", text)


def compacted(settings: Settings, **options: Any) -> Compacted:
    return compact(open_lakehouse(settings), LANDING, "quarantine", **options)


def published(settings: Settings) -> dict[str, Snapshot]:
    found = map(catalog_of(settings).published, TABLES)
    return {snapshot.table: snapshot for snapshot in found if snapshot}


def rows_of(settings: Settings, read_iceberg: IcebergReader) -> dict[str, Counter[str]]:
    """The rows of each table, as DuckDB's own reader of Iceberg sees them."""
    catalog = catalog_of(settings)
    return {
        name: Counter(
            json.dumps(row, sort_keys=True) for row in read_iceberg(catalog.metadata_location(name))
        )
        for name in TABLES
    }


def is_up_to_date(settings: Settings) -> bool:
    return look_ahead(open_lakehouse(settings), settings, policy_of(settings)).is_up_to_date


def said(snapshots: Mapping[str, Snapshot]) -> dict[str, dict[str, str]]:
    """What snapshots say of themselves, but for what a compaction changes."""
    own = {"same-as", "rows-since", "ledger"}
    return {
        name: {key: value for key, value in each.properties.items() if key not in own}
        for name, each in snapshots.items()
    }


def test_tables_have_fewer_files_and_the_same_rows(
    settings: Settings, read_iceberg: IcebergReader
) -> None:
    before, rows = published(settings), rows_of(settings, read_iceberg)
    accounts = {name: catalog_of(settings).state(name).account for name in TABLES}
    told = compacted(settings, dry_run=True)
    assert published(settings) == before
    done = compacted(settings)
    assert done == told
    after = published(settings)
    for name in (*LANDING, "quarantine", "accelerometer_trusted", "machine_learning_curated"):
        assert len(before[name].files) >= DELIVERIES
        assert len(after[name].files) == 1
        assert done.files[name] == (len(before[name].files), 1)
    assert rows_of(settings, read_iceberg) == rows
    ids = [{name: each.rows_id for name, each in states.items()} for states in (before, after)]
    assert ids[0] == ids[1]
    assert said(after) == said(before)
    assert {n: s.committed_at for n, s in after.items()} == {
        n: s.committed_at for n, s in before.items()
    }
    assert {name: catalog_of(settings).state(name).account for name in TABLES} == accounts
    assert is_up_to_date(settings)
    assert compacted(settings).files == {}
    for name in LANDING:
        [old, new] = [ledger_of(settings, states[name]) for states in (before, after)]
        assert (len(old), len(new)) == (DELIVERIES + 1, 1)
        [taken, kept] = [[e for part in parts for e in part.entries] for parts in (old, new)]
        assert [replace(entry, rejects=None) for entry in kept] == [
            replace(entry, rejects=None) for entry in taken
        ]
        named = {entry.rejects for entry in kept if entry.rejects}
        assert named == ({*after["quarantine"].files} if name == "step_trainer_landing" else set())


def ledger_of(settings: Settings, snapshot: Snapshot) -> list[Segment]:
    """The parts of a landing table's ledger."""
    path = snapshot.properties["ledger"]
    return list(LedgerReader(catalog_of(settings).io).segments(path).values())


@on_this_machine
def test_table_is_derived_from_what_came_after_a_compaction(
    folder: Path, settings: Settings, read_iceberg: IcebergReader
) -> None:
    before = published(settings)
    compacted(settings)
    deliver_some(folder, DELIVERIES)
    assert refresh(settings).success
    after = published(settings)
    made = after["accelerometer_trusted"].properties["made"]
    inputs = ("accelerometer_landing", "customer_landing", "customer_trusted")
    rows_in = sum(after[name].rows for name in inputs)
    assert made == f"from what changed: 3 of {rows_in} rows, in {', '.join(inputs)}"
    assert "from what changed" in after["machine_learning_curated"].properties["made"]
    rows = rows_of(settings, read_iceberg)
    assert rows["quarantine"].total() == before["quarantine"].rows + 1
    # A computation of the whole finds the same rows.
    job = lakehouse_definitions(settings).resolve_job_def("recompute_lakehouse")
    checks = job.execute_in_process(raise_on_error=False).get_asset_check_evaluations()
    compared = [check.passed for check in checks if check.check_name == "recomputed"]
    assert compared
    assert all(compared)
    assert published(settings)["machine_learning_curated"].rows == DELIVERIES + 1 + 80
    assert rows_of(settings, read_iceberg) == rows


@on_this_machine
def test_state_of_before_a_compaction_stays_until_it_expires(
    folder: Path, settings: Settings
) -> None:
    catalog = catalog_of(settings)
    before = published(settings)["machine_learning_curated"]
    catalog.tag(before, "v1")
    since = catalog.state(before.table).published_since(None)
    compacted(settings)
    removed = vacuum(catalog.storage, NOW, NOW)
    state = catalog_of(settings).state(before.table)
    assert state.tagged("v1") == before
    assert all(Path(file).exists() for file in before.files)
    # An untagged one is found by the id of its rows.
    gone = before.properties["input.accelerometer_trusted"]
    found = catalog_of(settings).state("accelerometer_trusted").snapshot(int(gone))
    assert found == published(settings)["accelerometer_trusted"]
    assert removed.snapshots["accelerometer_trusted"] >= DELIVERIES
    # The compacted training set is no other training set.
    assert state.published_since(before.id) == []
    assert [each.rows_id for each in state.published_since(None)] == [since[-1].rows_id]


@on_this_machine
def test_change_is_told_by_files_of_before_where_a_table_waited_over_a_compaction(
    folder: Path, settings: Settings
) -> None:
    before = published(settings)["accelerometer_landing"]
    deliver(folder / "landing", "late.json", accelerometer=phone(BOB, 150, 151))
    assert refresh(settings, only=["accelerometer_landing"]).success
    compacted(settings)
    after = published(settings)["accelerometer_landing"]
    lakehouse = open_lakehouse(settings)
    change = lakehouse.change(before, after)
    assert change.rows.removed is None
    assert change.rows.added is not None
    assert change.rows.added.count().to_pyarrow().as_py() == 2


@on_this_machine
def test_withdrawn_person_stays_out(folder: Path, settings: Settings) -> None:
    compacted(settings)
    gone = customer(ANN, "d", lastupdatedate=2, sharewithresearchasofdate=None)
    deliver(folder / "landing", "withdrawal.json", customer=[gone])
    assert refresh(settings).success
    compacted(settings)
    vacuum(catalog_of(settings).storage, NOW, NOW)
    trusted = folder / "lakehouse" / "warehouse" / "trusted"
    files = list(trusted.rglob("*.parquet"))
    values = {v for file in files for row in pq.read_table(file).to_pylist() for v in row.values()}
    assert BOB in values
    assert ANN not in values


@on_this_machine
@pytest.mark.parametrize(
    ("step", "table"),
    [
        (s, t)
        for s in ("stage", "publish")
        for t in (
            "accelerometer_landing",
            "step_trainer_landing",
            "quarantine",
            "machine_learning_curated",
        )
    ],
)
def test_killed_compaction_leaves_what_was_published(  # noqa: PLR0913, PLR0917  (its fixtures)
    step: str,
    table: str,
    folder: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    read_iceberg: IcebergReader,
) -> None:
    before, rows = published(settings), rows_of(settings, read_iceberg)
    work = getattr(Catalog, step)

    def killed(self: Catalog, what: Any, *arguments: Any) -> Any:
        if table in (what, getattr(what, "table", None)):
            raise KeyboardInterrupt
        return work(self, what, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, step, killed)
        with pytest.raises(KeyboardInterrupt):
            compacted(settings)
    assert published(settings)[table] == before[table]
    assert rows_of(settings, read_iceberg) == rows
    if table != "quarantine":  # its files have other names in ledgers now
        compacted(settings)
        assert len(published(settings)[table].files) == 1
        assert is_up_to_date(settings)
    else:
        assert refresh(settings).success
        assert is_up_to_date(settings)
        assert len(published(settings)[table].files) == 1
    assert rows_of(settings, read_iceberg) == rows


@on_this_machine
def test_lost_rows_are_not_published(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    before = published(settings)
    merge = DuckDBEngine.merge

    def lossy(self: DuckDBEngine, files: list[str], *arguments: Any) -> str:
        return merge(self, files[1:], *arguments)

    monkeypatch.setattr(DuckDBEngine, "merge", lossy)
    with pytest.raises(LakehouseError, match="what was published stays"):
        compacted(settings)
    assert published(settings) == before
    assert all(catalog_of(settings).candidate(name) is None for name in TABLES)


@on_this_machine
def test_table_that_waits_or_is_damaged_or_written_to_is_left_alone(
    folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = published(settings)
    waiting = stage(settings, "customer_trusted", [customer(BOB)])
    Path(before["accelerometer_trusted"].files[0]).unlink()
    publish = Catalog.publish

    def conflict(self: Catalog, candidate: Snapshot, *arguments: Any) -> None:
        if candidate.table == "customer_landing":
            raise PublishConflictError("Another refresh wrote to it.")
        publish(self, candidate, *arguments)

    monkeypatch.setattr(Catalog, "publish", conflict)
    with pytest.raises(LakehouseError, match="accelerometer_trusted"):
        retention.vacuum(open_lakehouse(settings), settings, DAY)
    after = published(settings)
    for name in ("customer_trusted", "accelerometer_trusted", "customer_landing"):
        assert after[name] == before[name]
    assert catalog_of(settings).candidate("customer_trusted") == waiting
    assert len(after["accelerometer_landing"].files) == 1


def test_files_are_merged_with_those_that_are_as_small() -> None:
    tiny = {f"tiny-{i}": 1_000 for i in range(20)}
    small = {"small": ALIKE}
    middle = {"middle": 3 * ALIKE}
    large = {"large": FILE_SIZE // 2, "as written": FILE_SIZE + 1, "larger": 10 * FILE_SIZE}
    assert [sorted(g) for g in files_to_merge(tiny | small | middle | large)] == [
        sorted([*tiny, *small])
    ]
    assert files_to_merge(middle | large) == []
    assert files_to_merge(middle | {"like it": 3 * ALIKE}) == [["like it", "middle"]]
    halves = {f"half-{i}": FILE_SIZE // 2 - 1 for i in range(4)}
    assert [len(group) for group in files_to_merge(halves)] == [2, 2]


def test_table_of_many_files_gets_larger_ones() -> None:
    hundreds = {str(number): FILE_SIZE for number in range(900)}
    assert files_to_merge(hundreds) == []
    thousands = {str(number): FILE_SIZE for number in range(4_000)}
    groups = files_to_merge(thousands)
    assert {len(group) for group in groups} == {4}
    assert len(groups) == 1_000
    assert files_to_merge({str(number): 4 * FILE_SIZE for number in range(1_000)}) == []
    assert target_size(1 << 50) == 128 << 20


@pytest.mark.parametrize(
    ("sizes", "number"),
    [
        ([], 0),
        ([1], 0),
        ([1, 1, 1], 3),
        ([10 * ALIKE, 1, 1], 2),
        ([10 * ALIKE, 9 * ALIKE], 0),
        ([2 * ALIKE, ALIKE, ALIKE], 3),
        ([9 * ALIKE, 2 * ALIKE, ALIKE, ALIKE], 3),
    ],
)
def test_last_parts_of_a_ledger_are_merged(sizes: list[int], number: int) -> None:
    assert segments_to_merge([Segment((), (), (), size) for size in sizes]) == number


def test_every_byte_is_rewritten_a_few_times_in_all() -> None:
    sizes: dict[str, int] = {}
    written = most = 0
    nights, night = 1_000, 20 * 40_000
    for number in range(nights):
        sizes |= {f"{number}-{i}": 40_000 for i in range(20)}
        for group in files_to_merge(sizes):
            size = sum(sizes.pop(file) for file in group)
            sizes[f"{number}-{group[0]}"] = size
            written += size
            assert size <= FILE_SIZE
        most = max(most, len(sizes))
    assert sum(sizes.values()) == nights * night
    assert written < 10 * nights * night
    assert most < nights * night / (FILE_SIZE / 2) + 12
