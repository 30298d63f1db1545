"""Whole refreshes: real deliveries, and what a second refresh does."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.landing.reader import LandingReader
from stedi_assets.settings import ConsentScope, Settings
from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.refresh.pipeline.support import (
    DATA,
    FALL_OF_CONSENT,
    FIRST_COUNTS,
    SECOND,
    SECOND_COUNTS,
    SENSOR_READINGS,
    after_first_refresh,
    changed,
    copy,
    failed_checks,
)
from stedi_assets_tests.support import (
    ANN,
    TABLES,
    catalog_of,
    counts,
    customer,
    deliver,
    on_this_machine,
    refresh,
    snapshots,
    subject_id,
    under,
    write,
)


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


@on_this_machine
@after_first_refresh
def test_tables_are_looked_up_a_few_times(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On AWS each time is a request to Glue."""
    asked = []
    load = Catalog.load

    def counted(self: Catalog, table: str) -> Any:
        asked.append(table)
        return load(self, table)

    monkeypatch.setattr(Catalog, "load", counted)
    assert refresh(settings).success
    assert len(asked) < 9 * len(TABLES)
