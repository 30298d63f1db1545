"""Whoever asks what is held about them is told all of it, and nothing about anybody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from stedi_assets.privacy.access import copy_of_data, is_nothing, what_is_held
from stedi_assets.privacy.explained import PARTS
from stedi_assets.privacy.known import unknown_people
from stedi_assets.privacy.person import LandingZoneError
from stedi_assets.privacy.training_sets import tag_training_set
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    KEY,
    at,
    catalog_of,
    customer,
    deliver,
    device,
    phone,
    publish,
    refresh,
    subject_id,
    under,
)

if TYPE_CHECKING:
    from stedi_assets.settings import Settings

ANNS, BOBS = "annsdevice", "bobsdevice"
MADE_FROM = {
    "customer_landing",
    "accelerometer_landing",
    "step_trainer_landing",
    "device_matches",
    "device_ownership",
}
PUBLISHED = {
    "customer_trusted",
    "accelerometer_trusted",
    "customers_curated",
    "step_trainer_trusted",
    "machine_learning_curated",
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Ann is in a tagged training set, and withdrew since; the newest of Bob cannot be read."""
    folder = tmp_path_factory.mktemp("folder")
    landing = folder / "landing"
    deliver(
        landing,
        "bob@x.io.json",
        customer=[customer("Ann@x.io", ANNS, lastupdatedate=10), customer(BOB, BOBS)],
        accelerometer=[*phone(ANN, *range(6)), *phone(BOB, *range(20, 26))],
        step_trainer=[*device(ANNS, *range(6)), *device(BOBS, *range(20, 26))],
    )
    settings = under(folder, max_quarantine_share=1)
    assert refresh(settings).success
    catalog = catalog_of(settings)
    training_set = catalog.published("machine_learning_curated")
    assert training_set
    tag_training_set(catalog, training_set)
    withdrawal = customer(ANN, ANNS, lastupdatedate=20, sharewithresearchasofdate=None)
    deliver(
        landing,
        "later.json",
        customer=[withdrawal, {"email": BOB, "sharewithresearchasofdate": True}],
        accelerometer=[{"user": ANN, "timestamp": "noon"}],
    )
    assert refresh(settings).success
    return settings


def rows(held: dict[str, Any], *states: str) -> dict[str, int]:
    """Rows of each table in a state."""
    return {row["table"]: row["rows"] for row in held["tables"] if row["state"] in states}


def test_records_say_what_each_said_of_consent_and_when_it_landed(settings: Settings) -> None:
    first, latest = what_is_held("ANN@X.io", settings)["records"]
    assert (first["record"]["email"], latest["record"]["email"]) == ("Ann@x.io", ANN)
    assert (first["is_latest"], latest["is_latest"]) == (False, True)
    assert (first["research"], latest["research"]) == ("2022-06-18T15:00:00.001+00:00", None)
    assert first["landed_at"] < latest["landed_at"]
    assert latest["source_file"] == "customer/landing/later.json"


def test_it_says_whether_a_person_is_suspended_and_why(settings: Settings) -> None:
    standing = {
        email: [what_is_held(email, settings)[name] for name in ("is_used", "suspended", "why")]
        for email in (ANN, BOB, CY)
    }
    assert standing == {
        ANN: [False, False, "their latest record has no research consent"],
        BOB: [
            False,
            True,
            "suspended: the newest that landed about them could not be read "
            "(customer/landing/later.json, byte 120)",
        ],
        CY: [False, False, "no customer record of theirs landed"],
    }


def test_readings_are_counted_by_file(settings: Settings) -> None:
    readings = what_is_held(ANN, settings)["readings"]
    assert [(row["table"], row["source_file"], row["readings"]) for row in readings] == [
        ("accelerometer_landing", "accelerometer/landing/bob@x.io.json", 6),
        ("step_trainer_landing", "step_trainer/landing/bob@x.io.json", 6),
    ]
    assert readings[0]["latest"] == "2022-06-18T15:00:00.005+00:00"


def test_devices_come_with_their_proof(settings: Settings) -> None:
    [device] = what_is_held(BOB, settings)["devices"]
    assert (device["serialnumber"], device["proof"]) == (BOBS, "shared_readings")


def test_quarantine_is_told(settings: Settings) -> None:
    [reject] = what_is_held(ANN, settings)["quarantine"]
    assert (reject["source"], reject["position"]) == ("accelerometer", 0)
    assert json.loads(reject["raw"]) == {"user": ANN, "timestamp": "noon"}


def test_every_state_that_holds_a_person_is_told(settings: Settings) -> None:
    held = what_is_held(ANN, settings)
    assert rows(held, "published").keys() == {*MADE_FROM, "quarantine"}
    assert rows(held, "older").keys() == {*MADE_FROM, *PUBLISHED} - {"step_trainer_landing"}
    [training_set] = [row for row in held["tables"] if row["tags"]]
    assert training_set["table"] == "machine_learning_curated"
    assert training_set["rows"] == 6
    assert training_set["state"] == "older"


def test_sets_under_another_key_are_told_apart(settings: Settings) -> None:
    other = settings.model_copy(update={"pseudonym_key": SecretStr(KEY[::-1])})
    held = what_is_held(ANN, other)
    assert held["subject_id"] == subject_id(ANN, KEY[::-1])
    assert rows(held, "older")["machine_learning_curated"] is None
    assert rows(held, "older")["customer_trusted"] == 1


def test_withdrawals_of_a_person_are_told(settings: Settings) -> None:
    [withdrawal] = what_is_held(ANN, settings)["withdrawals"]
    assert withdrawal.keys() == {
        "why",
        "landed_at",
        "took_effect_at",
        "vacuumed_at",
        "training_sets",
    }
    assert (withdrawal["why"], withdrawal["vacuumed_at"]) == ("withdrew", None)
    assert withdrawal["landed_at"] < withdrawal["took_effect_at"]
    [tagged] = catalog_of(settings).state("machine_learning_curated").tags
    assert withdrawal["training_sets"] == (tagged.name,)
    [suspension] = what_is_held(BOB, settings)["withdrawals"]
    assert suspension["why"] == "suspended"
    assert what_is_held(CY, settings)["withdrawals"] == []


def test_each_part_of_a_copy_is_explained_before_it(settings: Settings) -> None:
    names = list(copy_of_data(ANN, settings))
    assert names[0] == "about this file"
    assert names[1::2] == [f"about {name}" for name in names[2::2]]
    assert {"records", "withdrawals", "tables", "accelerometer_landing"} < {*names}
    copy = copy_of_data(ANN, settings)
    assert all(copy[name].endswith(".") for name in names[1::2])
    assert {*PARTS} == {*names[2::2]}


def test_every_state_is_told_however_many_there_are(tmp_path: Path) -> None:
    settings = under(tmp_path, landing=None)
    for _ in range(25):
        publish(settings, "customer_trusted", [customer(ANN)])
    copy = copy_of_data(ANN, settings)
    assert [each["state"] for each in copy["tables"]] == ["older"] * 24 + ["published"]
    assert len(what_is_held(ANN, settings)["tables"]) == 25


def test_of_a_stranger_nothing_is_held(settings: Settings) -> None:
    assert is_nothing(what_is_held(CY, settings))
    assert not is_nothing(what_is_held(ANN, settings))


def test_only_who_is_in_no_table_is_unknown(settings: Settings, tmp_path: Path) -> None:
    assert unknown_people([BOB, " Cy@X.io", ANN], settings) == [CY]
    # Their landing files are gone, and the tables made anew: an older state has them.
    older = under(tmp_path, landing=None)
    for people in ([customer(ANN)], [customer(BOB)]):
        publish(older, "customer_trusted", people)
    assert unknown_people([ANN], older) == unknown_people([BOB], older) == []
    assert unknown_people([CY], older) == [CY]


def test_before_the_first_refresh_nothing_is_held(tmp_path: Path) -> None:
    assert unknown_people([ANN], under(tmp_path, landing=None)) == [ANN]
    assert is_nothing(what_is_held(ANN, under(tmp_path, landing=None)))


def test_copy_has_all_readings_and_names_nobody_else(settings: Settings) -> None:
    copy = copy_of_data(ANN, settings)
    times = [reading["timestamp"] for reading in copy["accelerometer_landing"]]
    assert times == [at(time) for time in range(6)]
    assert {reading["serialnumber"] for reading in copy["step_trainer_landing"]} == {ANNS}
    assert BOB not in json.dumps(copy)
    assert "bob" in json.dumps(what_is_held(ANN, settings))


def test_copy_leaves_out_readings_of_others_on_the_same_device(tmp_path: Path) -> None:
    deliver(
        tmp_path / "landing",
        "a.json",
        customer=[customer(ANN, ANNS), customer(BOB)],
        accelerometer=[*phone(ANN, *range(10)), *phone(BOB, *range(20, 26))],
        step_trainer=device(ANNS, *range(10), *range(20, 26)),
    )
    settings = under(tmp_path)
    assert refresh(settings).success
    for person, times in ((ANN, range(10)), (BOB, range(20, 26))):
        readings = copy_of_data(person, settings)["step_trainer_landing"]
        assert [each["sensorreadingtime"] for each in readings] == [at(time) for time in times]


def test_copy_leaves_out_what_names_several_people(tmp_path: Path) -> None:
    both = {"email": ANN, "contact": {"email": BOB}, "sharewithresearchasofdate": True}
    deliver(
        tmp_path / "landing",
        "a.json",
        customer=[customer(ANN), both],
        accelerometer=phone(ANN, 1),
        step_trainer=device(ANNS, 1),
    )
    settings = under(tmp_path, max_quarantine_share=1)
    assert refresh(settings).success
    assert BOB in what_is_held(ANN, settings)["quarantine"][0]["raw"]
    [reject] = copy_of_data(ANN, settings)["quarantine"]
    assert reject["raw"] is None
    assert reject["reason"]
    assert BOB not in json.dumps(copy_of_data(ANN, settings))


def test_without_the_landing_zone_it_says_so(settings: Settings) -> None:
    metadata = Path(catalog_of(settings).metadata_location("accelerometer_landing"))
    content = metadata.read_bytes()
    metadata.write_bytes(b"damaged")
    try:
        with pytest.raises(LandingZoneError, match="about a person needs the landing zone, which"):
            what_is_held(ANN, settings)
    finally:
        metadata.write_bytes(content)
