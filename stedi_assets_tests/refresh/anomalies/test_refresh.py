"""The check `anomalies` on a real lakehouse, over days that a clock of the test tells."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from rich.console import Console

from stedi_assets.cli import refresh as cli
from stedi_assets.refresh.deliveries import DAY, HOUR
from stedi_assets.refresh.land import Landing
from stedi_assets.report.status import status
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.support import (
    Rows,
    customer,
    deliver,
    device,
    phone,
    refresh,
    under,
)

NOON = 1_777_636_800_000
"""2026-05-01 12:00 UTC, a Friday."""

READINGS = 200
USUAL_DAYS = 10


class Clock:
    """The time that refreshes go by."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def at(self, day: float) -> None:
        now = NOON + int(day * DAY)
        # A thousandth of a second later each time, as Dagster tells its events apart by time.
        self._patch.setattr("time.time_ns", lambda: now * 1_000_000)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def readings(day: int, count: int = READINGS, **fields: object) -> Rows:
    """Phone readings of the hour before they land."""
    times = (NOON + day * DAY - HOUR + second * 1000 for second in range(count))
    return phone("ann@x.io", *times, **fields)


def deliver_day(folder: Path, day: int, accelerometer: Rows) -> None:
    deliver(
        folder / "landing",
        f"{day}.json",
        customer=[customer(f"p{day}@x.io", "d", registrationdate=NOON)],
        accelerometer=accelerometer,
        step_trainer=device("d", *(NOON + day * DAY - second * 1000 for second in range(50))),
    )


def land(settings: Settings) -> None:
    """Take in new files of all sources."""
    landing = Landing(open_lakehouse(settings), settings, "run", rebuild=(), is_last_try=True)
    landing.prepare(all_sources=True)
    for table in SOURCES:
        assert landing.land(table).verdict.published


def usual_days(folder: Path) -> None:
    """Each day at noon each source brings the same."""
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock(patch)
        for day in range(USUAL_DAYS):
            deliver_day(folder, day, readings(day))
            clock.at(day)
            land(under(folder))


@pytest.fixture
def folder(lakehouses: Lakehouses) -> Path:
    return lakehouses.as_made(usual_days)


@pytest.fixture
def settings(folder: Path) -> Settings:
    return under(folder)


def unusual(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """What the check says, of each table where it warns."""
    return {
        found.asset_key.to_user_string(): found.description or ""
        for found in result.get_asset_check_evaluations()
        if found.check_name == "anomalies" and not found.passed
    }


def said(settings: Settings) -> str:
    """What `stedi refresh` says."""
    console = Console(file=io.StringIO(), width=80)
    cli.refresh(settings, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_what_is_as_usual_does_not_warn(folder: Path, settings: Settings, clock: Clock) -> None:
    deliver_day(folder, USUAL_DAYS, readings(USUAL_DAYS))
    clock.at(USUAL_DAYS)
    assert unusual(refresh(settings)) == {}


def test_far_fewer_readings_warn_in_dagster_and_hold_nothing_back(
    folder: Path, settings: Settings, clock: Clock
) -> None:
    deliver_day(folder, USUAL_DAYS, readings(USUAL_DAYS, 30))
    clock.at(USUAL_DAYS)
    result = refresh(settings)
    assert result.success
    assert unusual(result) == {
        "accelerometer_landing": "accelerometer: 30 readings came on 2026-05-11; 170 to 240 are "
        "usual."
    }
    severities = {e.severity for e in result.get_asset_check_evaluations() if not e.passed}
    assert severities == {dg.AssetCheckSeverity.WARN}
    rows = open_lakehouse(settings).published("accelerometer_landing").rows
    assert rows == USUAL_DAYS * READINGS + 30


def test_a_renamed_key_warns_in_what_the_command_prints(
    folder: Path, settings: Settings, clock: Clock
) -> None:
    named = [{**reading, "steps": 1} for reading in readings(USUAL_DAYS)]
    deliver_day(folder, USUAL_DAYS, named)
    clock.at(USUAL_DAYS)
    printed = said(settings)
    assert "100% of the readings that came on 2026-05-11 have a new key, steps." in printed
    assert "Warned: " in printed
    assert "anomalies of accelerometer_landing" in printed


def test_a_source_that_is_silent_is_told_where_others_come_and_where_nothing_is_new(
    folder: Path, settings: Settings, clock: Clock
) -> None:
    deliver_day(folder, USUAL_DAYS, [])
    (folder / "landing/accelerometer/landing" / f"{USUAL_DAYS}.json").unlink()
    clock.at(USUAL_DAYS)
    assert "accelerometer: nothing came after Sunday 2026-05-10" in said(settings)
    clock.at(USUAL_DAYS + 0.1)
    printed = said(settings)
    assert "accelerometer: nothing came after Sunday 2026-05-10" in printed
    assert "Nothing new" in printed
    [anomaly] = status(settings)["anomalies"]
    assert anomaly["kind"] == "silent"


def test_a_pause_of_the_lakehouse_does_not_warn(
    folder: Path, settings: Settings, clock: Clock
) -> None:
    for day in range(USUAL_DAYS, USUAL_DAYS + 5):
        deliver_day(folder, day, readings(day))
    clock.at(USUAL_DAYS + 4)
    assert unusual(refresh(settings)) == {}


def test_a_rebuild_keeps_the_history(folder: Path, settings: Settings, clock: Clock) -> None:
    clock.at(USUAL_DAYS - 0.5)
    landing = Landing(
        open_lakehouse(settings), settings, "run", rebuild=("accelerometer",), is_last_try=True
    )
    landing.prepare(all_sources=True)
    landing.land("accelerometer_landing")
    deliver_day(folder, USUAL_DAYS, readings(USUAL_DAYS, 30))
    clock.at(USUAL_DAYS)
    assert "accelerometer_landing" in unusual(refresh(settings))


def test_a_key_that_names_a_person_is_not_told(
    folder: Path, settings: Settings, clock: Clock
) -> None:
    secret = ["ann@x.io", "+49 170 1234567", "Ann Doe", "sn-0123456789", "a\x1b[31m"]
    named = [{**reading, **dict.fromkeys(secret, 1)} for reading in readings(USUAL_DAYS)]
    deliver_day(folder, USUAL_DAYS, named)
    clock.at(USUAL_DAYS)
    sentence = unusual(refresh(settings))["accelerometer_landing"]
    assert sentence.endswith("have a new key, •••.")
    lakehouse = open_lakehouse(settings)
    ledger = lakehouse.published("accelerometer_landing").properties["ledger"]
    content = Path(ledger).read_bytes()
    assert not any(json.dumps(key).encode() in content for key in secret)


@pytest.fixture
def shrinking(tmp_path: Path, clock: Clock) -> Iterator[Settings]:
    """A lakehouse in whose tables a customer more is each second day, and then most withdraw."""
    (tmp_path / "landing").mkdir()
    settings = under(tmp_path, max_consent_fall=100)
    made = ("customer_landing", "quarantine", "customer_trusted")
    for number in range(6):
        people = range(40) if number == 0 else [39 + number]
        records = [customer(f"p{person}@x.io", registrationdate=NOON) for person in people]
        deliver(tmp_path / "landing", f"{number}.json", customer=records)
        clock.at(2 * number)
        assert refresh(settings, only=made).success
    withdrawn = [
        customer(
            f"p{person}@x.io",
            registrationdate=NOON,
            lastupdatedate=NOON + DAY,
            sharewithresearchasofdate=None,
        )
        for person in range(30)
    ]
    deliver(tmp_path / "landing", "withdrawn.json", customer=withdrawn)
    clock.at(12)
    yield settings


def test_a_table_that_shrinks_by_far_more_than_usual_warns_and_is_published(
    shrinking: Settings,
) -> None:
    made = ("customer_landing", "quarantine", "customer_trusted")
    result = refresh(shrinking, only=made)
    assert result.success
    assert "lost 67% of its rows: 45 before, 15 now" in unusual(result)["customer_trusted"]
    assert open_lakehouse(shrinking).published("customer_trusted").rows == 15
