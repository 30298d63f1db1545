"""What a snapshot says, and what becomes of tables when settings change."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.read import read_table
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.refresh.pipeline.support import FIRST_COUNTS, after_first_refresh, changed
from stedi_assets_tests.support import (
    ANN,
    BOB,
    KEY,
    TABLES,
    catalog_of,
    counts,
    on_this_machine,
    refresh,
    snapshots,
    static_table,
    subject_id,
    under,
)


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
        "device_matches": {
            "step_trainer_landing",
            "accelerometer_landing",
            "customer_landing",
        },
        "device_ownership": {"step_trainer_landing", "device_matches", "customer_landing"},
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
