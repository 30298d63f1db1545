"""All that names a person is found, and what others have in common with them is told apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

import ibis
import pytest

from stedi_assets.privacy.person import Person, SerialNumber, find_people, is_theirs
from stedi_assets.privacy.policy import policy_of
from stedi_assets.read import read_table
from stedi_assets.tables.identity import pseudonym
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    customer,
    deliver,
    device,
    phone,
    refresh,
    subject_id,
    under,
)

if TYPE_CHECKING:
    from stedi_assets.settings import Settings

ANNS, SHARED, BOBS = "annsdevice", "shareddevice", "bobsdevice"


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Ann has two names, and a phone and a serial number that Bob has, too."""
    folder = tmp_path_factory.mktemp("folder")
    deliver(
        folder / "landing",
        "first.json",
        customer=[
            customer(" Ann@X.io", ANNS, customername="Ann A", phone="0123"),
            customer("ann@x.io", SHARED, customername="Ann B", phone="0123"),
            customer(BOB, SHARED, customername="Bob", phone="0123", sharewithresearchasofdate=None),
            customer(CY, None, sharewithresearchasofdate=None),
        ],
        accelerometer=[
            *phone("ANN@x.io", *range(6)),
            *phone(None, 50, serialnumber=ANNS),
            *phone(BOB, *range(20, 26), 3),
            {"user": BOB, "timestamp": "noon"},
            {"user": [ANN, BOB], "timestamp": "noon"},
        ],
        step_trainer=[
            *device(ANNS, *range(6)),
            *device(BOBS, *range(20, 26)),
            {"serialNumber": ANNS, "sensorReadingTime": "noon"},
            {"serialNumber": f"{ANNS}2", "sensorReadingTime": "noon"},
        ],
    )
    settings = under(folder, max_quarantine_share=1)
    assert refresh(settings).success
    return settings


def test_all_that_names_a_person_is_found(settings: Settings) -> None:
    assert find_people(["ANN@X.IO\u200b "], settings) == [
        Person(
            ANN,
            subject_id(ANN),
            emails=(" Ann@X.io", "ANN@x.io", "ann@x.io"),
            names={"Ann A": 0, "Ann B": 0},
            phones={"0123": 1},
            serial_numbers={
                ANNS: SerialNumber(True, "shared_readings", other_claimants=0, other_users=1),
                SHARED: SerialNumber(True, None, other_claimants=1, other_users=0),
            },
        )
    ]


def is_alone(number: SerialNumber) -> bool:
    """Whether nobody else has to do with a serial number."""
    return not (number.other_claimants or number.other_users)


def test_device_that_nobody_claims_is_its_proven_owners(settings: Settings) -> None:
    [bob] = find_people([BOB], settings)
    assert bob.devices == {BOBS: "shared_readings"}
    assert is_alone(bob.serial_numbers[BOBS])
    assert not bob.serial_numbers[BOBS].is_claimed
    assert not is_alone(bob.serial_numbers[SHARED])


def test_those_asked_for_together_are_no_others_to_each_other(settings: Settings) -> None:
    bob, ann = find_people([BOB, ANN, BOB.upper()], settings)
    assert (bob.person, ann.person) == (BOB, ANN)
    assert ann.phones == bob.phones == {"0123": 0}
    assert all(map(is_alone, ann.serial_numbers.values()))


def test_of_a_stranger_nothing_is_found(settings: Settings) -> None:
    assert find_people(["dee@x.io", CY], settings) == [
        Person("dee@x.io", subject_id("dee@x.io")),
        Person(CY, subject_id(CY), emails=(CY,)),
    ]
    assert find_people([], settings) == []


def test_thousand_people_are_found_at_once(settings: Settings) -> None:
    people = find_people([*(f"{i}@x.io" for i in range(999)), ANN], settings)
    assert [person.person for person in people if person.emails] == [ANN]


def test_before_anything_landed_nothing_is_found(settings: Settings) -> None:
    empty = settings.model_copy(update={"lakehouse": f"{settings.lakehouse}/none"})
    assert find_people([ANN], empty) == [Person(ANN, subject_id(ANN))]


@pytest.mark.parametrize("address", ["", " \u200b"])
def test_address_without_a_letter_is_refused(address: str, settings: Settings) -> None:
    with pytest.raises(ValueError, match="An e-mail address is empty"):
        find_people([ANN, address], settings)


def test_pseudonym_is_that_of_the_training_sets(settings: Settings) -> None:
    column = pseudonym(ibis.literal("ånn@x.io"), policy_of(settings))
    [person] = find_people(["Ånn@x.io"], settings)
    assert person.subject_id == ibis.duckdb.connect().execute(column)


def theirs(table: str, settings: Settings, *people: str) -> int:
    """How many rows of a table are these people's; all others are not."""
    rows = read_table(table, settings=settings)
    own = is_theirs(rows, find_people(people, settings))
    found, others, whole = (
        each.count().to_pyarrow().as_py() for each in (rows.filter(own), rows.filter(~own), rows)
    )
    assert found + others == whole
    return int(found)


@pytest.mark.parametrize(
    ("table", "anns", "bobs"),
    [
        ("customer_landing", 2, 1),
        ("accelerometer_landing", 7, 7),
        ("step_trainer_landing", 6, 6),
        ("quarantine", 2, 2),
        ("device_matches", 1, 2),
        ("device_ownership", 1, 1),
        ("customer_trusted", 1, 0),
        ("accelerometer_trusted", 7, 0),
        ("customers_curated", 1, 0),
        ("step_trainer_trusted", 6, 0),
        ("machine_learning_curated", 6, 0),
    ],
)
def test_rows_of_every_table_are_told_whose_they_are(
    table: str, anns: int, bobs: int, settings: Settings
) -> None:
    assert theirs(table, settings, ANN) == anns
    assert theirs(table, settings, BOB) == bobs
    assert theirs(table, settings, ANN, BOB) == anns + bobs - (table == "quarantine")
    assert theirs(table, settings, "dee@x.io") == 0
    assert theirs(table, settings) == 0
