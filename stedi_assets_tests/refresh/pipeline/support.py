"""Small deliveries with their counts, and what a refresh changed."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stedi_assets.defs.checks import FROM_FILES
from stedi_assets.read import read_table
from stedi_assets.settings import Settings
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    SHARED,
    customer,
    deliver,
    device,
    phone,
    refresh,
    snapshots,
    under,
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
    "device_matches": 3,
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


def take_in_first(folder: Path) -> None:
    deliver(folder / "landing", "first.json", **FIRST)
    assert refresh(under(folder)).success


Start = Callable[[str, str], subprocess.Popen[bytes]]


def copy(source: Path, target: Path) -> None:
    """Copy all files below a folder; the target may be on S3."""
    for path in source.rglob("*"):
        if path.is_file():
            place = target / path.relative_to(source).as_posix()
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())


def failed_checks(result: dg.ExecuteInProcessResult) -> list[tuple[str, str]]:
    """The checks that failed, but for `all_files`, which fails with those of the landing zone."""
    last = ("machine_learning_curated", "all_files")
    failed = {
        (found.asset_key.to_user_string(), found.check_name): found.severity
        for found in result.get_asset_check_evaluations()
        if not found.passed
    }
    checked = {found.check_name for found in result.get_asset_check_evaluations()}
    held_back = any(
        table in FROM_FILES and severity == dg.AssetCheckSeverity.ERROR
        for (table, _), severity in failed.items()
    )
    assert "all_files" not in checked or held_back == (failed.pop(last, None) is not None)
    return list(failed)


def changed(before: dict[str, int], settings: Settings) -> set[str]:
    """Tables of which another snapshot is published now."""
    return {table for table, snapshot in snapshots(settings).items() if before[table] != snapshot}


def quarantined(settings: Settings) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = (
        read_table("quarantine", settings=settings).to_pyarrow().to_pylist()
    )
    return rows
