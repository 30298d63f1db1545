"""A training row can be traced to the landing files that its readings came from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from stedi_assets.privacy.person import LandingZoneError
from stedi_assets.privacy.trace import UnknownRowError, trace
from stedi_assets.read import read_table
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    KEY,
    at,
    customer,
    deliver,
    device,
    phone,
    refresh,
    subject_id,
    time_shift,
    under,
)

if TYPE_CHECKING:
    import pandas as pd

    from stedi_assets.settings import Settings

ANNS, BOBS, CYS = "annsdevice", "bobsdevice", "cysdevice"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Ann, Bob and Cy move in the same milliseconds; Cy does not consent."""
    folder = tmp_path_factory.mktemp("folder")
    landing = folder / "landing"
    deliver(
        landing,
        "first.json",
        customer=[
            customer(ANN, ANNS),
            customer(BOB, BOBS),
            customer(CY, CYS, sharewithresearchasofdate=None),
        ],
        # They share most times, and the last one tells whose device is whose.
        accelerometer=[
            *phone(ANN, *range(9), 20),
            *phone(BOB, *range(9), 30),
            *phone(CY, *range(9), 40),
        ],
        step_trainer=[*device(ANNS, *range(10), 20), *device(CYS, *range(9), 40)],
    )
    deliver(landing, "anns.json", accelerometer=phone(ANN, 9), step_trainer=device(ANNS, 3))
    deliver(landing, "bobs.json", step_trainer=device(BOBS, *range(10), 30))
    deliver(landing, "old_app.json", accelerometer=phone(None, 9, serialnumber=BOBS))
    settings = under(folder)
    assert refresh(settings).success
    return settings


def files(found: pd.DataFrame) -> list[tuple[str, str, int]]:
    assert list(found.columns) == ["source", "source_file", "readings"]
    return [
        (source, path.split("/")[-1], readings)
        for source, path, readings in found.itertuples(index=False)
    ]


def test_row_comes_from_the_file_of_its_sensor_and_that_of_its_phone(settings: Settings) -> None:
    assert files(trace(subject_id(ANN), at(9), settings)) == [
        ("step_trainer", "first.json", 1),
        ("accelerometer", "anns.json", 1),
    ]


def test_files_of_others_who_moved_at_that_time_are_not_named(settings: Settings) -> None:
    assert files(trace(subject_id(BOB), at(5), settings)) == [
        ("step_trainer", "bobs.json", 1),
        ("accelerometer", "first.json", 1),
    ]


def test_shifted_time_is_traced_to_the_same_files(settings: Settings, tmp_path: Path) -> None:
    shifted = under(tmp_path, landing=settings.landing_root, times="shifted")
    assert refresh(shifted).success
    time = at(9) + time_shift(ANN)
    assert files(trace(subject_id(ANN), time, shifted)) == files(
        trace(subject_id(ANN), at(9), settings)
    )
    with pytest.raises(UnknownRowError, match="has no row of that subject_id"):
        trace(subject_id(ANN), at(9), shifted)


def test_reading_that_landed_twice_has_both_files(settings: Settings) -> None:
    assert files(trace(subject_id(ANN), at(3), settings)) == [
        ("step_trainer", "anns.json", 1),
        ("step_trainer", "first.json", 1),
        ("accelerometer", "first.json", 1),
    ]


def test_reading_that_came_without_a_user_is_found(settings: Settings) -> None:
    assert ("accelerometer", "old_app.json", 1) in files(trace(subject_id(BOB), at(9), settings))


def test_answer_names_nobody(settings: Settings) -> None:
    said = trace(subject_id(ANN), at(3), settings).to_csv()
    assert not [name for name in (ANN, BOB, CY, ANNS, BOBS, CYS) if name in said]


@pytest.mark.parametrize(
    ("email", "time"), [(CY, 3), (ANN, 99)], ids=["without consent", "at another time"]
)
def test_what_is_in_no_training_row_is_not_traced(
    settings: Settings, email: str, time: int
) -> None:
    with pytest.raises(UnknownRowError, match="has no row of that subject_id at"):
        trace(subject_id(email), at(time), settings)


def test_under_another_key_it_says_so(settings: Settings) -> None:
    other = settings.model_copy(update={"pseudonym_key": SecretStr(KEY[::-1])})
    with pytest.raises(UnknownRowError, match="set STEDI_PSEUDONYM_KEY to the key it was made wit"):
        trace(subject_id(ANN), at(3), other)


def test_without_the_landing_zone_it_says_so(settings: Settings) -> None:
    zone = Path(settings.lakehouse) / "warehouse/landing"
    away = zone.rename(zone.with_name("away"))
    try:
        with pytest.raises(LandingZoneError, match="needs the landing zone, which cannot be read"):
            trace(subject_id(ANN), at(3), settings)
        assert read_table("machine_learning_curated", settings=settings).to_pyarrow().num_rows
    finally:
        away.rename(zone)
