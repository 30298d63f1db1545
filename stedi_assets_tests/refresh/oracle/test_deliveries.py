"""The oracle on any landing data, and on real deliveries."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stedi_assets_tests.oracle import COLUMNS, compute, normalise, sort_rows
from stedi_assets_tests.refresh.oracle.support import (
    ANN,
    DATA,
    LATER,
    SENSOR_READINGS_FROM_CONSENT_DATE,
    unreadable,
)
from stedi_assets_tests.strategies import Landing, landings


@given(landings())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_order_of_landing_objects_does_not_matter(landing: Landing) -> None:
    assert compute(*landing) == compute(*Landing(*(objects[::-1] for objects in landing)))


@given(landings())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_trusted_readings_are_a_sub_multiset_of_the_landed_ones(landing: Landing) -> None:
    tables = compute(*landing)
    steps, phones = tables["step_trainer_trusted"], tables["accelerometer_trusted"]
    landed_steps = [
        tuple(landed.get(column) for column in COLUMNS["step_trainer_trusted"])
        for landed in landing.step_trainer
    ]
    landed_phones = [
        tuple(landed.get(column) for column in ("timestamp", "x", "y", "z"))
        for landed in landing.accelerometer
    ]
    assert Counter(steps) <= Counter(landed_steps)
    assert Counter(row[2:] for row in phones) <= Counter(landed_phones)


@given(landings(), st.sampled_from(["any", "from_consent_date"]))
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_one_more_unreadable_record_takes_its_person_out_and_adds_nothing(
    landing: Landing, scope: str
) -> None:
    before = compute(*landing, scope)
    for person in {row[6] for row in before["customer_trusted"]}:
        suspending = [*landing.quarantine, unreadable(person, LATER)]
        after = compute(*landing._replace(quarantine=suspending), scope)
        assert all(Counter(after[table]) <= Counter(before[table]) for table in COLUMNS)
        assert after["device_ownership"] == before["device_ownership"]
        assert [row for row in before["customer_trusted"] if row[6] != person] == after[
            "customer_trusted"
        ]
        assert person not in {row[0] for row in after["accelerometer_trusted"]}
        assert person not in {row[0] for row in after["machine_learning_curated"]}


def delivery(name: str, source: str) -> list[dict[str, Any]]:
    """The objects of one source of a delivery, keys lower-case, as one refresh lands them."""
    objects = []
    for file in sorted((DATA / name / source / "landing").glob("*.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            landed = json.loads(line.rstrip().removesuffix(","))
            given = {key.lower(): value for key, value in landed.items()}
            no_date = {key for key, value in given.items() if "asofdate" in key and value == 0}
            objects.append({**given, **dict.fromkeys(no_date), "landed_at": LATER})
    return objects


def computed_counts(name: str, scope: str) -> dict[str, int]:
    """The computed row count of each table of a delivery."""
    if not DATA.is_dir():
        pytest.skip("the real deliveries (shared/data beside the project) are not here")
    sources = {
        source: delivery(name, source) for source in ("customer", "accelerometer", "step_trainer")
    }
    tables = {f"{source}_landing": objects for source, objects in sources.items()}
    customers, accelerometer, step_trainer = sources.values()
    computed = compute(customers, accelerometer, step_trainer, [], scope)
    return {table: len(rows) for table, rows in (tables | {"quarantine": []} | computed).items()}


@pytest.mark.parametrize(
    ("name", "scope"),
    [("stedi-2023", "any"), ("stedi-2023", "from_consent_date"), ("stedi-2022", "any")],
)
def test_row_counts_of_real_deliveries(name: str, scope: str) -> None:
    computed = computed_counts(name, scope)
    expected = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))[name][scope]
    assert {table: computed[table] for table in expected} == expected


def test_sensor_readings_follow_the_consent_date_in_a_real_delivery() -> None:
    computed = computed_counts("stedi-2023", "from_consent_date")
    assert computed["step_trainer_trusted"] == SENSOR_READINGS_FROM_CONSENT_DATE


def test_rows_sort_with_none_last() -> None:
    assert sort_rows([(None, 1), ("b", None), ("b", 2), ("a", 3)]) == [
        ("a", 3),
        ("b", 2),
        ("b", None),
        (None, 1),
    ]


@pytest.mark.parametrize(
    ("email", "person"),
    [
        (" A b@X.io\n", "a b@x.io"),
        ("\u00a0ann@x.io\u3000\u2009", ANN),
        ("\ufeffa\u200bn\u00adn@x.io\u200e", ANN),
        ("\u200b \u2060", None),
        ("de\u0301e@x.io", "dée@x.io"),
        ("DE\u0301E@x.io", "dée@x.io"),
        # Only together do a letter and its accent have one sign, and only in lower-case.
        ("J\u030c@x.io", "\u01f0@x.io"),
        # A format character between a letter and its accent keeps them apart no longer.
        ("e\u200d\u0301@x.io", "é@x.io"),
        ("\u0130pek@x.io", "i\u0307pek@x.io"),
        ("I\u0307PEK@x.io", "i\u0307pek@x.io"),
        ("GRO\u1e9e@x.io", "groß@x.io"),
        ("GROSS@x.io", "gross@x.io"),
        ("\u039d\u039f\u03a3@x.io", "νος@x.io"),
        ("\u2126@x.io", "ω@x.io"),
        # Compatibility forms are other letters.
        ("\uff21nn@x.io", "\uff41nn@x.io"),
    ],
)
def test_person_has_one_spelling(email: str, person: str | None) -> None:
    assert normalise(email) == person
    assert normalise(person) == person
