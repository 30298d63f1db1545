"""Whole refreshes, from landing files to published tables."""

import contextlib
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import ibis.expr.types as ir
import pytest
from pyiceberg.table import Table as IcebergTable

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.landing.ledger import Content, LandingFolder
from stedi_assets.lakehouse.landing.reader import LandingReader
from stedi_assets.read import read_table
from stedi_assets.sample.landing_files import Sample, SampleSummary, write_sample
from stedi_assets.settings import ConsentScope, Settings
from stedi_assets.tables.identity import owned_readings
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.trusted import accelerometer_trusted as right
from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    KEY,
    PROJECT,
    SHARED,
    TABLES,
    at,
    catalog_of,
    change_table,
    counts,
    customer,
    deliver,
    device,
    on_this_machine,
    phone,
    refresh,
    snapshots,
    static_table,
    subject_id,
    under,
    write,
)

DATA = SHARED
SOURCES = {
    "customer": "customer_landing",
    "accelerometer": "accelerometer_landing",
    "step_trainer": "step_trainer_landing",
}

FIRST = {
    "customer": [
        customer(ANN, "d", registrationdate=1),
        customer(BOB, "e", registrationdate=1, sharewithresearchasofdate=24),
        customer(CY, "f", registrationdate=1, sharewithresearchasofdate=None),
    ],
    "accelerometer": [
        *phone(ANN, *range(10)),
        *phone(BOB, *range(20, 30)),
        *phone(CY, *range(40, 50)),
    ],
    "step_trainer": [
        *device("d", *range(10)),
        *device("e", *range(20, 30)),
        *device("f", *range(40, 50)),
    ],
}
FIRST_COUNTS = {
    "customer_landing": 3,
    "accelerometer_landing": 30,
    "step_trainer_landing": 30,
    "quarantine": 0,
    "customer_trusted": 2,
    "accelerometer_trusted": 20,
    "customers_curated": 2,
    "device_ownership": 3,
    "step_trainer_trusted": 20,
    "machine_learning_curated": 20,
}
SECOND = {"accelerometer": phone(ANN, 10), "step_trainer": device("d", 10)}
SECOND_COUNTS = FIRST_COUNTS | {
    "accelerometer_landing": 31,
    "step_trainer_landing": 31,
    "accelerometer_trusted": 21,
    "step_trainer_trusted": 21,
    "machine_learning_curated": 21,
}


FALL_OF_CONSENT = [("customer_trusted", "consent_share")]
"""What warns where one of few people withdraws."""

SENSOR_READINGS = {("stedi-2023", "from_consent_date"): {"step_trainer_trusted": 11_297}}
"""Expected counts of real deliveries, besides those of `expected.json`."""


after_first_refresh = pytest.mark.parametrize("folder", ["refreshed"], indirect=True)
"""For a test on this machine that begins where the first delivery was taken in."""


class FirstRefresh:
    """A lakehouse on this machine after its first refresh, to be had any number of times."""

    def __init__(self, folder: Path, spare: Path) -> None:
        self._folder, self._spare = folder / "project", spare / "project"
        deliver(self._folder / "landing", "first.json", **FIRST)
        assert refresh(under(self._folder)).success
        shutil.copytree(self._folder, self._spare)

    def again(self) -> Path:
        """Its folder as it was; always the same one, for tables know where they are."""
        shutil.rmtree(self._folder)
        return Path(shutil.copytree(self._spare, self._folder))


@pytest.fixture(scope="module")
def first_refresh(tmp_path_factory: pytest.TempPathFactory) -> FirstRefresh:
    return FirstRefresh(*map(tmp_path_factory.mktemp, ("refreshed", "spare")))


@pytest.fixture
def folder(request: pytest.FixtureRequest, new_folder: Callable[[], Path]) -> Path:
    """A folder of a deployment, for one test; see `after_first_refresh`."""
    if not hasattr(request, "param"):
        return new_folder()
    first: FirstRefresh = request.getfixturevalue("first_refresh")
    return first.again()


@pytest.fixture
def landing(folder: Path) -> Path:
    """Landing folder with the first delivery."""
    if not (folder / "landing").exists():
        deliver(folder / "landing", "first.json", **FIRST)
    return folder / "landing"


@pytest.fixture
def settings(folder: Path, landing: Path) -> Settings:
    return under(folder)


Start = Callable[[str, str], subprocess.Popen[bytes]]


def copy(source: Path, target: Path) -> None:
    """Copy all files below a folder; the target may be on S3."""
    for path in source.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(source).as_posix()
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def failed_checks(result: dg.ExecuteInProcessResult) -> list[tuple[str, str]]:
    return [
        (found.asset_key.to_user_string(), found.check_name)
        for found in result.get_asset_check_evaluations()
        if not found.passed
    ]


def changed(before: dict[str, int], settings: Settings) -> set[str]:
    """Tables of which another snapshot is published now."""
    return {table for table, snapshot in snapshots(settings).items() if before[table] != snapshot}


# Real deliveries


@pytest.mark.parametrize(
    ("new_folder", "name", "scope"),
    [
        ("local", "stedi-2023", "any"),
        ("aws", "stedi-2023", "any"),
        ("local", "stedi-2023", "from_consent_date"),
        ("local", "stedi-2022", "any"),
    ],
    indirect=["new_folder"],
)
def test_real_deliveries_give_the_expected_counts(
    folder: Path, name: str, scope: ConsentScope
) -> None:
    if not DATA.is_dir():
        pytest.skip(f"the real deliveries are not here: {DATA} is no folder")
    expected = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))[name][scope]
    copy(DATA / name, folder / "landing")
    settings = under(folder, consent_scope=scope)
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    expected |= SENSOR_READINGS.get((name, scope), {})
    assert counts(settings) | expected == counts(settings)


# Refreshing again


@pytest.fixture(scope="module")
def first(new_folder: Callable[[], Path]) -> tuple[Settings, dg.ExecuteInProcessResult]:
    """A lakehouse that has taken in the first delivery, for tests that leave it alone."""
    folder = new_folder()
    deliver(folder / "landing", "first.json", **FIRST)
    settings = under(folder)
    return settings, refresh(settings)


def test_first_refresh_publishes_every_table(
    first: tuple[Settings, dg.ExecuteInProcessResult],
) -> None:
    settings, result = first
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == FIRST_COUNTS


def test_refresh_without_news_leaves_every_table_alone(
    first: tuple[Settings, dg.ExecuteInProcessResult],
) -> None:
    settings, _ = first
    catalog = catalog_of(settings)
    before = [catalog.metadata_location(table) for table in TABLES]
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert [catalog.metadata_location(table) for table in TABLES] == before


def test_refresh_reads_new_files_only(
    settings: Settings, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refresh(settings)
    before = snapshots(settings)
    deliver(landing, "second.json", **SECOND)
    read: list[str] = []
    parse = LandingReader.parse

    def spy(reader: LandingReader, contents: Any, *folders: str) -> Any:
        read.extend(contents)
        return parse(reader, contents, *folders)

    monkeypatch.setattr(LandingReader, "parse", spy)
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert read == ["accelerometer/landing/second.json", "step_trainer/landing/second.json"]
    assert counts(settings) == SECOND_COUNTS
    # A customer who gains a reading is no other customer; but tables follow their inputs.
    assert changed(before, settings) == set(TABLES) - {
        "customer_landing",
        "quarantine",
        "customer_trusted",
    }


@on_this_machine
@after_first_refresh
def test_landing_rows_outlive_their_file(settings: Settings, landing: Path) -> None:
    (landing / "accelerometer/landing/first.json").unlink()
    deliver(landing, "second.json", **SECOND)
    refresh(settings)
    assert counts(settings) == SECOND_COUNTS


def test_withdrawal_removes_customer_from_every_trusted_and_curated_table(
    settings: Settings, landing: Path, read_iceberg: IcebergReader
) -> None:
    refresh(settings)
    withdrawn = customer(f" {ANN.upper()}", "d", lastupdatedate=2, sharewithresearchasofdate=None)
    deliver(landing, "withdrawal.json", customer=[withdrawn])
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, FALL_OF_CONSENT)
    catalog = catalog_of(settings)
    for table in TABLES:
        if catalog.state(table).zone != "landing":
            rows = read_iceberg(catalog.metadata_location(table))
            values = {value for row in rows for value in row.values()}
            assert rows, table
            assert not values & {ANN, "d", subject_id(ANN)}, table


@on_this_machine
@after_first_refresh
def test_withdrawal_counts_though_another_source_is_held_back(
    settings: Settings, landing: Path
) -> None:
    withdrawn = customer(ANN, "d", lastupdatedate=2, sharewithresearchasofdate=None)
    deliver(landing, "withdrawal.json", customer=[withdrawn])
    write(landing, "step_trainer", "garbage.json", "upload failed\n")
    result = refresh(settings)
    assert ("step_trainer_landing", "readable") in failed_checks(result)
    assert counts(settings) == FIRST_COUNTS | {
        "customer_landing": 4,
        "customer_trusted": 1,
        "accelerometer_trusted": 10,
        "customers_curated": 1,
        "step_trainer_trusted": 10,
        "machine_learning_curated": 10,
    }


def test_without_landing_files_the_refresh_fails_and_nothing_is_published(folder: Path) -> None:
    settings = under(folder, landing=None)
    assert not refresh(settings).success
    assert [table for table in TABLES if catalog_of(settings).find(table)] == []


# A transformation gone wrong


def accelerometer_trusted(
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
) -> ir.Table:
    """The rule with a mistake: the left join keeps the readings of everybody."""
    readings = owned_readings(accelerometer_landing, customer_landing)
    joined = readings.left_join(customer_trusted, readings.user == customer_trusted.email)
    return joined.select(*readings.columns)


@on_this_machine
@after_first_refresh
def test_table_that_breaks_a_rule_stays_at_its_last_good_snapshot_with_all_after_it(
    settings: Settings, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshots(settings)
    deliver(landing, "second.json", **SECOND)
    with monkeypatch.context() as patch:
        change_table(patch, "accelerometer_trusted", rule=accelerometer_trusted)
        result = refresh(settings)
    assert not result.success
    assert ("accelerometer_trusted", "consent") in failed_checks(result)
    assert {table for table, _ in failed_checks(result)} == {"accelerometer_trusted"}
    assert changed(before, settings) == {
        "accelerometer_landing",
        "step_trainer_landing",
        "device_ownership",
    }
    # It held readings of people without consent.
    assert catalog_of(settings).candidate("accelerometer_trusted") is None

    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == SECOND_COUNTS
    assert catalog_of(settings).candidate("accelerometer_trusted") is None


@on_this_machine
def test_rejected_table_is_rejected_again_until_its_rule_is_mended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_table(monkeypatch, "accelerometer_trusted", rule=accelerometer_trusted)
    for _ in range(2):
        result = refresh(settings)
        assert not result.success
        assert ("accelerometer_trusted", "consent") in failed_checks(result)
    assert "accelerometer_trusted" not in counts(settings)


@on_this_machine
@after_first_refresh
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda table: table.drop("x"), "x: column is missing"),
        (lambda table: table.mutate(x=table.x.cast("string")), "x: is string instead of float64"),
    ],
    ids=["missing", "another type"],
)
def test_table_without_the_columns_of_its_contract_is_not_written(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[ir.Table], ir.Table],
    sentence: str,
) -> None:
    before = snapshots(settings)

    def rule(
        accelerometer_landing: ir.Table,
        customer_landing: ir.Table,
        customer_trusted: ir.Table,
        policy: Policy,
    ) -> ir.Table:
        return wrong(
            right.accelerometer_trusted(
                accelerometer_landing, customer_landing, customer_trusted, policy
            )
        )

    change_table(monkeypatch, "accelerometer_trusted", rule=rule)
    result = refresh(settings)
    assert not result.success
    assert failed_checks(result)[0] == ("accelerometer_trusted", "contract")
    said = [e.description for e in result.get_asset_check_evaluations() if not e.passed]
    assert said[0] is not None
    assert sentence in said[0]
    assert changed(before, settings) == set()


# Unreadable files


def quarantined(settings: Settings) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        read_table("quarantine", settings=settings).to_pyarrow().to_pylist()
    )
    return rows


@pytest.fixture
def garbage(landing: Path) -> Path:
    """A file of the second delivery, mostly unreadable."""
    deliver(landing, "second.json", **SECOND)
    good = json.dumps(device("d", 11)[0])
    text = f"{good}\nupload failed\nupload failed\nupload failed\n"
    return write(landing, "step_trainer", "third.json", text)


def test_file_with_too_many_unreadable_objects_is_held_back_alone(
    settings: Settings, garbage: Path
) -> None:
    result = refresh(settings)
    assert failed_checks(result) == [("step_trainer_landing", "readable")]
    assert counts(settings) == SECOND_COUNTS
    [found] = [e for e in result.get_asset_check_evaluations() if not e.passed]
    assert found.description is not None
    assert f"step_trainer/landing/{garbage.name}: 3 of 4" in found.description


@on_this_machine
def test_removing_the_unreadable_file_heals(settings: Settings, garbage: Path) -> None:
    assert failed_checks(refresh(settings)) == [("step_trainer_landing", "readable")]
    garbage.unlink()
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == SECOND_COUNTS


@on_this_machine
def test_mending_the_unreadable_file_heals(settings: Settings, garbage: Path) -> None:
    assert failed_checks(refresh(settings)) == [("step_trainer_landing", "readable")]
    garbage.write_text("")
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == SECOND_COUNTS


@on_this_machine
def test_allowing_more_unreadable_objects_publishes_the_readable_ones(
    settings: Settings, garbage: Path, folder: Path
) -> None:
    assert failed_checks(refresh(settings)) == [("step_trainer_landing", "readable")]
    assert garbage.exists()
    result = refresh(under(folder, max_quarantine_share=0.8))
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == SECOND_COUNTS | {
        "step_trainer_landing": 32,
        "step_trainer_trusted": 22,
        "quarantine": 3,
    }
    after = snapshots(settings)
    assert refresh(settings).success  # what is in stays in, under the old setting too
    assert snapshots(settings) == after


# Interrupted and simultaneous runs


@on_this_machine
@pytest.mark.parametrize(
    ("method", "call", "done"),
    [
        ("stage", 1, True),  # customer_landing
        ("stage", 4, False),  # quarantine
        ("stage", 6, True),  # accelerometer_trusted
        ("publish", 1, False),
        ("publish", 7, True),
        ("publish", 10, False),  # machine_learning_curated
    ],
)
def test_run_after_an_interrupted_one_neither_loses_nor_repeats_a_row(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, method: str, call: int, done: bool
) -> None:
    original, calls = getattr(Catalog, method), 0

    def interrupted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != call:
            return original(*args)
        if done:
            original(*args)
        raise RuntimeError("interrupted")

    monkeypatch.setattr(Catalog, method, interrupted)
    assert not refresh(settings).success
    monkeypatch.undo()
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == FIRST_COUNTS


@on_this_machine
@pytest.mark.parametrize("call", [1, 9])
def test_run_after_one_interrupted_while_it_made_a_table_succeeds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    original, calls = IcebergTable.transaction, 0

    def interrupted(table: IcebergTable) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise RuntimeError("interrupted")
        return original(table)

    monkeypatch.setattr(IcebergTable, "transaction", interrupted)
    assert not refresh(settings).success
    monkeypatch.undo()
    assert refresh(settings).success
    assert counts(settings) == FIRST_COUNTS


REFRESH = """
from stedi_assets.settings import Settings
from stedi_assets_tests.support import refresh
raise SystemExit(not refresh(Settings.load()).success)
"""
KILLED = """
import os
from stedi_assets_tests.support import PROJECT, SHARED
from stedi_assets.lakehouse.catalog import Catalog
publish, published = Catalog.publish, []
def killed(catalog, candidate):
    if len(published) == 4:
        os._exit(9)
    published.append(publish(catalog, candidate))
Catalog.publish = killed
"""


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Start:
    """Starts a refresh in a process of its own."""

    def start(name: str, script: str) -> subprocess.Popen[bytes]:
        file = tmp_path / f"{name}.py"  # under `-c`, importing pyspark exits
        file.write_text(script)
        variables = {
            "PYTHONPATH": str(PROJECT),
            "STEDI_DEPLOYMENT": settings.deployment,
            "STEDI_DATABASE": settings.database,
            "STEDI_LAKEHOUSE": settings.lakehouse,
            "STEDI_LANDING": settings.landing_root,
            "STEDI_PSEUDONYM_KEY": KEY,
        }
        return subprocess.Popen([sys.executable, file], env=os.environ | variables)

    return start


@on_this_machine
def test_run_after_a_killed_one_is_not_locked_out_and_completes_it(
    settings: Settings, start: Start
) -> None:
    with start("killed", KILLED + REFRESH) as killed:
        assert killed.wait(timeout=60) == 9
    assert 0 < len(counts(settings)) < len(TABLES)
    assert refresh(settings).success
    assert counts(settings) == FIRST_COUNTS


@on_this_machine
def test_two_refreshes_at_once_both_end_and_neither_doubles_a_row(
    settings: Settings, start: Start
) -> None:
    with start("one", REFRESH) as one, start("two", REFRESH) as two:
        assert [one.wait(timeout=120), two.wait(timeout=120)] == [0, 0]
    assert counts(settings) == FIRST_COUNTS


# What a snapshot says


def test_snapshots_say_what_they_were_made_from(
    first: tuple[Settings, dg.ExecuteInProcessResult],
) -> None:
    settings, result = first
    catalog, ids = catalog_of(settings), snapshots(settings)
    inputs = {
        "quarantine": {"customer_landing", "accelerometer_landing", "step_trainer_landing"},
        "customer_trusted": {"customer_landing", "quarantine"},
        "accelerometer_trusted": {
            "accelerometer_landing",
            "customer_landing",
            "customer_trusted",
        },
        "customers_curated": {"customer_trusted", "accelerometer_trusted"},
        "device_ownership": {
            "step_trainer_landing",
            "accelerometer_landing",
            "customer_landing",
        },
        "step_trainer_trusted": {
            "step_trainer_landing",
            "device_ownership",
            "customers_curated",
            "accelerometer_landing",
            "customer_landing",
        },
        "machine_learning_curated": {
            "step_trainer_trusted",
            "device_ownership",
            "accelerometer_trusted",
        },
    }
    for table in TABLES:
        iceberg = static_table(catalog.metadata_location(table))
        snapshot = iceberg.current_snapshot()
        assert snapshot is not None
        assert snapshot.summary is not None
        said = snapshot.summary.additional_properties
        assert said["stedi.run-id"] == result.run_id
        assert said["total-records"] == str(FIRST_COUNTS[table])
        assert {
            key.removeprefix("stedi.input."): int(value)
            for key, value in said.items()
            if key.startswith("stedi.input.")
        } == {name: ids[name] for name in inputs.get(table, ())}
        assert table == "quarantine" or len(said["stedi.fingerprint"]) == 64


# Settings that change


@on_this_machine
@after_first_refresh
def test_consent_scope_recomputes_what_depends_on_it(settings: Settings, folder: Path) -> None:
    before = snapshots(settings)
    assert refresh(under(folder, consent_scope="from_consent_date")).success
    assert changed(before, settings) == {
        "accelerometer_trusted",
        "customers_curated",
        "step_trainer_trusted",
        "machine_learning_curated",
    }
    assert counts(settings) == FIRST_COUNTS | {
        "accelerometer_trusted": 15,
        "step_trainer_trusted": 15,
        "machine_learning_curated": 15,
    }
    assert refresh(settings).success
    assert counts(settings) == FIRST_COUNTS


@on_this_machine
def test_user_and_serialnumber_come_and_go_with_pseudonymize(
    settings: Settings, folder: Path, read_iceberg: IcebergReader
) -> None:
    catalog, table = catalog_of(settings), "machine_learning_curated"

    def rows() -> list[dict[str, Any]]:
        return sorted(
            read_iceberg(catalog.metadata_location(table)),
            key=lambda row: row["sensorreadingtime"],
        )

    refresh(settings)
    before, first = snapshots(settings), rows()
    for _ in range(2):  # columns that come back are other columns to Iceberg
        assert refresh(under(folder, pseudonymize=False)).success
        assert changed(before, settings) == {table}
        owners = {subject_id(ANN): (ANN, "d"), subject_id(BOB): (BOB, "e")}
        assert rows() == [
            row | dict(zip(("user", "serialnumber"), owners[row["subject_id"]], strict=True))
            for row in first
        ]
        assert refresh(settings).success
        assert changed(before, settings) == {table}
        assert rows() == first


@on_this_machine
@after_first_refresh
def test_table_stays_readable_while_its_new_columns_are_not_published(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = read_table("machine_learning_curated", settings=settings)
    columns, rows = published.columns, published.to_pyarrow().num_rows

    def interrupted(*_: Any) -> None:
        raise RuntimeError("interrupted")

    monkeypatch.setattr(Catalog, "publish", interrupted)
    assert not refresh(under(folder, pseudonymize=False)).success
    still_published = read_table("machine_learning_curated", settings=settings)
    assert still_published.columns == columns
    assert still_published.to_pyarrow().num_rows == rows


@on_this_machine
@after_first_refresh
def test_older_snapshot_stays_readable_after_columns_came(settings: Settings, folder: Path) -> None:
    older = snapshots(settings)["machine_learning_curated"]
    assert refresh(under(folder, pseudonymize=False)).success
    rows = read_table("machine_learning_curated", older, settings=settings).to_pyarrow().to_pylist()
    assert len(rows) == FIRST_COUNTS["machine_learning_curated"]


@on_this_machine
@after_first_refresh
def test_another_key_recomputes_the_pseudonyms_only(settings: Settings, folder: Path) -> None:
    before, key = snapshots(settings), KEY[::-1]
    assert refresh(under(folder, pseudonym_key=key)).success
    assert changed(before, settings) == {"machine_learning_curated"}
    rows = read_table("machine_learning_curated", settings=settings).to_pyarrow().to_pylist()
    assert {row["subject_id"] for row in rows} == {subject_id(ANN, key), subject_id(BOB, key)}


# The sample with every defect


class SampleRun:
    """A refresh over the sample with every defect."""

    def __init__(self, folder: Path, local: Path, home: Path) -> None:
        sample = Sample(
            customers=200,
            files=3,
            shared_serials=True,
            changing_consent=True,
            malformed=True,
            late_readings=True,
        )
        self.local, self.home = local, home
        self.summary: SampleSummary = write_sample(local, sample)
        copy(local, folder / "landing")
        self.settings = under(folder, max_quarantine_share=0.0)
        with dg.DagsterInstance.ephemeral() as instance:
            self.strict = refresh(self.settings, instance)
            self.events = list(instance.all_logs(self.strict.run_id))
        self.settings = under(folder, max_quarantine_share=1.0)
        with dg.DagsterInstance.local_temp(str(home)) as instance:
            self.result = refresh(self.settings, instance)
            self.events += instance.all_logs(self.result.run_id)


@pytest.fixture(scope="module")
def sample(new_folder: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> SampleRun:
    return SampleRun(new_folder(), *map(tmp_path_factory.mktemp, ("sample", "dagster")))


def test_sample_with_every_defect_is_published(sample: SampleRun) -> None:
    evaluations = sample.result.get_asset_check_evaluations()
    failed = [found for found in evaluations if not found.passed]
    # People whom unreadable records name are suspended, which is said.
    assert {found.severity for found in failed} <= {dg.AssetCheckSeverity.WARN}
    assert sample.result.success


@pytest.mark.parametrize("source", SOURCES)
def test_every_object_of_the_sample_is_landed_or_quarantined(
    sample: SampleRun, source: str
) -> None:
    rows = [row for row in quarantined(sample.settings) if row["source"] == source]
    landed = counts(sample.settings)[SOURCES[source]]
    assert (landed, len(rows)) == (
        sample.summary.objects[source],
        sample.summary.unreadable[source],
    )


@pytest.mark.parametrize("table", TABLES)
def test_duckdbs_iceberg_reader_sees_what_is_published(
    sample: SampleRun, table: str, read_iceberg: IcebergReader
) -> None:
    def key(row: dict[str, Any]) -> str:
        return json.dumps(row, sort_keys=True)

    published = read_table(table, settings=sample.settings).to_pyarrow().to_pylist()
    seen = read_iceberg(catalog_of(sample.settings).metadata_location(table))
    assert seen
    assert sorted(seen, key=key) == sorted(published, key=key)


PERSONAL = re.compile(
    r'"(?:email|user|customername|phone|serialnumber)"\s*:\s*("(?:[^"\\]|\\.){6,}?")', re.IGNORECASE
)


def personal_values(landing: Path) -> set[str]:
    """E-mails, names, phones and serial numbers in the landing files, wherever in these."""
    values: set[str] = set()
    for path in landing.rglob("*.json*"):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = zlib.decompressobj(wbits=31).decompress(content)
        found = PERSONAL.findall(content.decode("utf-8", "replace"))
        values |= {json.loads(text, strict=False).strip().lower() for text in found}
    return values


def stored(home: Path) -> Iterator[str]:
    """All that a Dagster instance keeps below a folder, as text."""
    for path in filter(Path.is_file, home.rglob("*")):
        yield path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".db":  # where a long text may be in pieces
            with contextlib.closing(sqlite3.connect(path)) as database:
                yield from database.iterdump()


def test_nothing_personal_is_in_what_dagster_stores(sample: SampleRun) -> None:
    personal = personal_values(sample.local)
    landed = read_table("customer_landing", settings=sample.settings).to_pyarrow().to_pylist()
    assert {record["email"].strip().lower() for record in landed} <= personal
    assert {record["customername"].lower() for record in landed} <= personal
    assert {record["phone"] for record in landed} <= personal
    devices = read_table("step_trainer_landing", settings=sample.settings).serialnumber
    assert set(devices.to_pyarrow().to_pylist()) <= personal
    assert len(personal) > 700

    log = [json.dumps(json.loads(e.to_json()), ensure_ascii=False).lower() for e in sample.events]
    assert any("new objects are unreadable" in entry for entry in log)
    assert any("audit_seconds" in entry for entry in log)
    assert any("where_rows_went" in entry for entry in log)
    kept = "\n".join(stored(sample.home)).lower()
    assert all(told in kept for told in ("where_rows_went", "\\u2022", "refresh_lakehouse"))
    whole = "\n".join(log) + kept.replace("\\\\", "\\")
    escaped = {json.dumps(value)[1:-1] for value in personal}
    assert [value for value in (*personal, *escaped, KEY) if value in whole] == []


@on_this_machine
@after_first_refresh
def test_consent_column_renamed_upstream_warns_and_takes_effect(
    settings: Settings, landing: Path
) -> None:
    renamed = [
        {"email": f"p{i}@x.io", "researchConsent": at(5), "registrationDate": at(1)}
        for i in range(100)
    ]
    deliver(landing, "renamed.json", customer=renamed)
    result = refresh(settings)
    warnings = [found for found in result.get_asset_check_evaluations() if not found.passed]
    assert result.success
    assert {found.severity for found in warnings} == {dg.AssetCheckSeverity.WARN}
    assert any("sharewithresearchasofdate" in (found.description or "") for found in warnings)
    assert counts(settings) == FIRST_COUNTS | {"customer_landing": 103}


@on_this_machine
@after_first_refresh
def test_withdrawal_beside_unreadable_records_takes_effect_and_the_check_is_red(
    settings: Settings, landing: Path
) -> None:
    withdrawn = customer(ANN, "d", lastupdatedate=2, sharewithresearchasofdate=None)
    deliver(landing, "withdrawal.json", customer=[withdrawn])
    write(landing, "customer", "junk.json", "upload failed\n" * 9)
    result = refresh(settings)
    assert ("customer_landing", "readable") in failed_checks(result)
    assert counts(settings) == FIRST_COUNTS | {
        "customer_landing": 4,
        "quarantine": 9,
        "customer_trusted": 1,
        "accelerometer_trusted": 10,
        "customers_curated": 1,
        "step_trainer_trusted": 10,
        "machine_learning_curated": 10,
    }


@on_this_machine
@after_first_refresh
@pytest.mark.parametrize(
    "spelled", [ANN, ANN.upper(), f"\u200b{ANN}\u00a0"], ids=["plain", "capitals", "invisible"]
)
def test_unreadable_record_suspends_its_person_until_a_readable_one_lands(
    settings: Settings, landing: Path, spelled: str
) -> None:
    garbled = customer(spelled, "d") | {"lastupdatedate": "yesterday"}
    deliver(landing, "garbled.json", customer=[garbled])
    refresh(settings)
    without_ann = FIRST_COUNTS | {
        "quarantine": 1,
        "customer_trusted": 1,
        "accelerometer_trusted": 10,
        "customers_curated": 1,
        "step_trainer_trusted": 10,
        "machine_learning_curated": 10,
    }
    assert counts(settings) == without_ann
    deliver(landing, "readable.json", customer=[customer(ANN, "d", registrationdate=1)])
    refresh(settings)
    assert counts(settings) == FIRST_COUNTS | {"customer_landing": 4, "quarantine": 1}


@on_this_machine
@after_first_refresh
def test_trouble_with_one_source_does_not_keep_a_withdrawal_from_the_others(
    settings: Settings, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshots(settings)
    withdrawn = {"email": ANN, "registrationDate": at(99), "lastUpdateDate": at(99)}
    deliver(landing, "withdrawn.json", customer=[withdrawn])
    growing = write(landing, "step_trainer", "growing.json", "")
    examine = LandingFolder.examine

    def grow_while_read(folder: LandingFolder, paths: list[str]) -> list[Content]:
        found = examine(folder, paths)
        if "step_trainer/landing/growing.json" in paths:
            growing.write_text(growing.read_text() + "\n")
        return found

    monkeypatch.setattr(LandingFolder, "examine", grow_while_read)
    result = refresh(settings)
    readable = ("step_trainer_landing", "readable")
    assert failed_checks(result) == [readable, *FALL_OF_CONSENT]
    assert "step_trainer_landing" not in changed(before, settings)
    assert ANN not in set(read_table("customer_trusted", settings=settings).email.to_pandas())
    assert ANN not in set(read_table("accelerometer_trusted", settings=settings).user.to_pandas())
