"""The oracle against examples worked out by hand, and against the counts of the real deliveries."""

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from stedi_assets_tests.oracle import COLUMNS, compute, normalise, sort_rows
from stedi_assets_tests.strategies import Landing, landings

DATA = Path(__file__).parents[2] / "shared" / "data"
ANN, BOB, CY = "ann@x.io", "bob@x.io", "cy@x.io"


def customer(email: str | None, **fields: Any) -> dict[str, Any]:
    """A customer record, consenting since millisecond 1 unless told otherwise."""
    return {"email": email, "sharewithresearchasofdate": 1, **fields}


def phone(user: str | None, *times: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"user": user, "timestamp": time, "x": 0.0, **fields} for time in times]


def device(serialnumber: str, *times: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"serialnumber": serialnumber, "sensorreadingtime": time, **fields} for time in times]


def deciding(*records: dict[str, Any], column: str = "phone") -> list[Any]:
    """One column of customer_trusted."""
    rows = compute(list(records), [], [])["customer_trusted"]
    return [row[COLUMNS["customer_trusted"].index(column)] for row in rows]


def ownership(
    readings: list[dict[str, Any]],
    step_trainer: list[dict[str, Any]],
    claims: Sequence[tuple[str, str]] = (),
) -> list[tuple[Any, ...]]:
    """device_ownership, given (e-mail, serial number) claims."""
    customers = [customer(email, serialnumber=serialnumber) for email, serialnumber in claims]
    return compute(customers, readings, step_trainer)["device_ownership"]


# customer_trusted


def test_customer_row_has_normalised_email_and_the_other_fields_as_landed() -> None:
    record = {
        "serialnumber": " S1",
        "sharewithpublicasofdate": 2,
        "birthday": "967-01-01",
        "registrationdate": 3,
        "sharewithresearchasofdate": 4,
        "customername": " Ann ",
        "email": "\t ANN@x.io\v\f\r\n",
        "lastupdatedate": 5,
        "phone": "0801",
    }
    row = (" S1", 2, "967-01-01", 3, 4, " Ann ", ANN, 5, "0801", None)
    assert compute([record], [], [])["customer_trusted"] == [row]


@pytest.mark.parametrize("blank", [None, "", " \t"])
def test_blank_email_is_no_customer_and_no_claim(blank: str | None) -> None:
    tables = compute([customer(blank, serialnumber="d")], phone(blank, 1), device("d", 1))
    assert not any(tables.values())


@pytest.mark.parametrize("date", [None, 0, -1, True, "5", 5.0])
def test_consent_that_is_no_positive_integer_does_not_count(date: Any) -> None:
    assert deciding(customer(ANN, sharewithresearchasofdate=date)) == []


def test_latest_update_decides_over_every_spelling_of_the_email() -> None:
    old = customer(" ANN@x.io", lastupdatedate=1, registrationdate=9, phone="old")
    new = customer("ann@X.IO ", lastupdatedate=2, registrationdate=1, phone="new")
    assert deciding(new, old) == ["new"]


def test_latest_record_without_consent_withdraws_customer() -> None:
    old, new = customer(ANN, lastupdatedate=1), customer(ANN, lastupdatedate=2)
    assert deciding(old, {**new, "sharewithresearchasofdate": None}) == []


def test_registration_stands_in_for_an_absent_update() -> None:
    updated = customer(ANN, lastupdatedate=5, registrationdate=1, phone="updated")
    registered = customer(ANN, registrationdate=6, phone="registered")
    assert deciding(updated, registered) == ["registered"]
    assert deciding(updated, {**registered, "registrationdate": 4}) == ["updated"]


def test_update_of_zero_is_not_absent() -> None:
    zero = customer(ANN, lastupdatedate=0, registrationdate=9, phone="zero")
    one = customer(ANN, lastupdatedate=1, phone="one")
    assert deciding(zero, one) == ["one"]


def test_later_registration_decides_between_equal_updates() -> None:
    early = customer(ANN, lastupdatedate=5, registrationdate=-3, phone="early")
    late = customer(ANN, lastupdatedate=5, registrationdate=-2, phone="late")
    none = customer(ANN, lastupdatedate=5, phone="none")
    assert deciding(late, early, none) == ["late"]
    assert deciding(none, early) == ["early"]


def test_record_without_dates_is_the_oldest() -> None:
    assert deciding(customer(ANN), customer(ANN, registrationdate=-7, phone="dated")) == ["dated"]


@pytest.mark.parametrize("no_consent", [None, 0, -1])
def test_record_without_consent_wins_a_tie(no_consent: int | None) -> None:
    tied = {"lastupdatedate": 5, "registrationdate": 5}
    consenting = customer(ANN, **tied, serialnumber="a")
    refusing = customer(ANN, **tied, serialnumber="b", sharewithresearchasofdate=no_consent)
    assert deciding(consenting, refusing) == []


def test_smallest_serialnumber_wins_the_remaining_tie_and_absent_is_the_largest() -> None:
    tied = [customer(ANN, serialnumber=serialnumber) for serialnumber in ("b", None, "a", "B")]
    assert deciding(*tied, column="serialnumber") == ["B"]
    assert deciding(*tied[1:3], column="serialnumber") == ["a"]


def test_remaining_fields_break_the_last_tie_in_column_order() -> None:
    early = customer(ANN, sharewithresearchasofdate=3, phone="2")
    late = customer(ANN, sharewithresearchasofdate=4, phone="1")
    assert deciding(late, early) == ["2"]
    assert deciding(customer(ANN, phone=None), customer(ANN, phone="9")) == ["9"]


# accelerometer_trusted and customers_curated


def test_readings_of_consenting_customers_are_kept_as_often_as_they_landed() -> None:
    records = [customer(ANN), customer(ANN), customer(BOB, sharewithresearchasofdate=None)]
    readings = [*phone(" Ann@x.io", 7, 7), *phone(BOB, 7), *phone(CY, 7)]
    tables = compute(records, readings, [])
    assert tables["accelerometer_trusted"] == [(ANN, None, 7, 0.0, None, None)] * 2
    assert [row[6] for row in tables["customers_curated"]] == [ANN]


def test_customer_without_readings_is_trusted_but_not_curated() -> None:
    tables = compute([customer(ANN), customer(BOB)], phone(BOB, 1), [])
    assert [row[6] for row in tables["customer_trusted"]] == [ANN, BOB]
    assert [row[6] for row in tables["customers_curated"]] == [BOB]


def test_serialnumber_on_a_reading_stands_for_its_only_claimant() -> None:
    records = [
        customer(ANN, serialnumber="d", lastupdatedate=1),
        customer("ANN@x.io", serialnumber="e", lastupdatedate=2),
        customer(ANN, serialnumber="shared"),
        customer(BOB, serialnumber="shared"),
    ]
    readings = [
        reading
        for serialnumber in ("d", "D", "d ", "shared", "nobody's", None)
        for reading in phone(None, 1, serialnumber=serialnumber)
    ]
    rows = compute(records, readings, [])["accelerometer_trusted"]
    assert rows == [(ANN, "d", 1, 0.0, None, None)]


def test_user_on_a_reading_beats_its_serialnumber() -> None:
    records = [customer(ANN, serialnumber="d"), customer(BOB, serialnumber="e")]
    rows = compute(records, phone(BOB, 1, serialnumber="d"), [])["accelerometer_trusted"]
    assert rows == [(BOB, None, 1, 0.0, None, None)]


# device_ownership


def test_shared_readings_win_whatever_the_records_claim() -> None:
    readings = [*phone("ANN@x.io ", *range(5), 0, 1), *phone(BOB, 0, 1, 2, 3)]
    owned = ownership(readings, device("d", *range(5), 0, 0), claims=[(BOB, "d")])
    assert owned == [("d", ANN, "shared_readings", 5, 5, 4)]


def test_four_matches_prove_nothing() -> None:
    assert ownership(phone(ANN, *range(4)), device("d", *range(4))) == []


@pytest.mark.parametrize(
    ("times", "matched", "proven"),
    [(10, 9, True), (10, 8, False), (11, 10, True), (11, 9, False), (14, 13, True)],
)
def test_nine_tenths_of_the_distinct_times_must_match(
    times: int, matched: int, proven: bool
) -> None:
    owned = ownership(phone(ANN, *range(matched)), device("d", *range(times)))
    assert owned == [("d", ANN, "shared_readings", times, matched, 0)] * proven


def test_two_users_with_the_most_matches_leave_the_device_to_nobody() -> None:
    readings = [*phone(ANN, *range(6)), *phone(BOB, *range(6))]
    assert ownership(readings, device("d", *range(6)), claims=[(ANN, "d")]) == []


def test_sole_claim_decides_without_matches() -> None:
    owned = ownership([], device("d", 1, 2, 2), claims=[(ANN, "d"), ("ANN@x.io", "d")])
    assert owned == [("d", ANN, "sole_claim", 2, 0, 0)]


def test_sole_claim_holds_while_others_have_four_matches_and_fails_at_five() -> None:
    readings = phone(ANN, 0, 1)
    claims = [(ANN, "d")]
    four = ownership([*readings, *phone(CY, *range(4))], device("d", *range(9)), claims)
    five = ownership([*readings, *phone(CY, *range(5))], device("d", *range(9)), claims)
    assert (four, five) == ([("d", ANN, "sole_claim", 9, 2, 4)], [])


def test_sole_claim_covers_the_claimants_own_incomplete_matches() -> None:
    owned = ownership(phone(ANN, *range(8)), device("d", *range(10)), claims=[(ANN, "d")])
    assert owned == [("d", ANN, "sole_claim", 10, 8, 0)]


def test_claim_on_an_older_record_by_somebody_else_is_a_second_claim() -> None:
    assert ownership([], device("d", 1), claims=[(ANN, "d"), (BOB, "d")]) == []


def test_customer_may_own_several_devices_and_unseen_claims_are_no_device() -> None:
    steps = [*device("d", 1), *device("e", 2)]
    owned = ownership([], steps, claims=[(ANN, "d"), (ANN, "e"), (ANN, "f")])
    assert [row[:2] for row in owned] == [("d", ANN), ("e", ANN)]


def test_serialnumber_compares_exactly_as_landed() -> None:
    assert ownership([], device("d", 1), claims=[(ANN, "D"), (ANN, "d ")]) == []


def test_matches_count_readings_that_carry_the_serialnumber_instead_of_the_user() -> None:
    readings = phone(None, *range(5), serialnumber="e")
    owned = ownership(readings, device("d", *range(5)), claims=[(ANN, "e")])
    assert owned == [("d", ANN, "shared_readings", 5, 5, 0)]


# step_trainer_trusted and machine_learning_curated


def test_device_of_a_user_without_consent_falls_to_nobody_else() -> None:
    records = [customer(ANN, serialnumber="d")]
    readings = [*phone(ANN, 0, 1), *phone(CY, *range(5))]
    tables = compute(records, readings, device("d", *range(5)))
    assert [row[1] for row in tables["device_ownership"]] == [CY]
    assert tables["step_trainer_trusted"] == tables["machine_learning_curated"] == []


def test_owner_without_readings_of_their_own_is_not_curated_nor_is_their_device() -> None:
    tables = compute([customer(ANN, serialnumber="d")], [], device("d", 1))
    assert len(tables["device_ownership"]) == 1
    assert tables["step_trainer_trusted"] == []


def test_sensor_reading_pairs_with_every_reading_of_its_owner_at_its_millisecond() -> None:
    records = [customer(ANN, serialnumber="d"), customer(BOB)]
    readings = [*phone(ANN, 1, 2), *phone(ANN, 1, x=1.0), *phone(BOB, 1)]
    steps = [*device("d", 1, 1, distancefromobject=5), *device("d", 3, distancefromobject=6)]
    tables = compute(records, readings, steps)
    assert tables["step_trainer_trusted"] == [(1, "d", 5), (1, "d", 5), (3, "d", 6)]
    assert tables["machine_learning_curated"] == [
        (ANN, 1, 5, 0.0, None, None),
        (ANN, 1, 5, 0.0, None, None),
        (ANN, 1, 5, 1.0, None, None),
        (ANN, 1, 5, 1.0, None, None),
    ]


def test_from_consent_date_keeps_phone_readings_at_or_after_the_consent_date() -> None:
    records = [
        customer(ANN, serialnumber="d", sharewithresearchasofdate=3),
        customer(BOB, serialnumber="e", sharewithresearchasofdate=9),
    ]
    readings = [*phone(ANN, 2, 3, 4), *phone(BOB, 8)]
    steps = [*device("d", 2, 3, 5), *device("e", 8, 9)]
    tables = compute(records, readings, steps, scope="from_consent_date")
    assert [row[6] for row in tables["customer_trusted"]] == [ANN, BOB]
    assert [row[2] for row in tables["accelerometer_trusted"]] == [3, 4]
    assert [row[6] for row in tables["customers_curated"]] == [ANN]
    assert [row[1] for row in tables["device_ownership"]] == [ANN, BOB]
    assert [row[:2] for row in tables["step_trainer_trusted"]] == [(2, "d"), (3, "d"), (5, "d")]
    assert [row[1] for row in tables["machine_learning_curated"]] == [3]


def test_scope_does_not_change_who_owns_a_device() -> None:
    records = [customer(ANN, sharewithresearchasofdate=100)]
    landed = records, phone(ANN, *range(5)), device("d", *range(5))
    tables = compute(*landed, scope="from_consent_date")
    assert tables["device_ownership"] == [("d", ANN, "shared_readings", 5, 5, 0)]


def test_readings_without_a_time_match_nothing_and_follow_no_consent_date() -> None:
    readings = [*phone(ANN, 1), {"user": ANN}]
    steps: list[dict[str, Any]] = [{"serialnumber": "d"}, {"sensorreadingtime": 1}]
    landed = [customer(ANN, serialnumber="d")], readings, steps
    tables = compute(*landed)
    assert len(tables["accelerometer_trusted"]) == len(readings)
    assert tables["device_ownership"] == [("d", ANN, "sole_claim", 0, 0, 0)]
    assert tables["step_trainer_trusted"] == [(None, "d", None)]
    assert tables["machine_learning_curated"] == []
    dated = compute(*landed, scope="from_consent_date")
    assert [row[2] for row in dated["accelerometer_trusted"]] == [1]
    assert dated["step_trainer_trusted"] == tables["step_trainer_trusted"]


def test_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="everything"):
        compute([], [], [], scope="everything")


# Any landing data


@given(landings())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_order_of_landing_objects_does_not_matter(landing: Landing) -> None:
    forwards = compute(landing.customers, landing.accelerometer, landing.step_trainer)
    backwards = compute(
        landing.customers[::-1], landing.accelerometer[::-1], landing.step_trainer[::-1]
    )
    assert forwards == backwards


@given(landings())
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_trusted_readings_are_a_sub_multiset_of_the_landed_ones(landing: Landing) -> None:
    tables = compute(landing.customers, landing.accelerometer, landing.step_trainer)
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


# Real deliveries


def delivery(name: str, source: str) -> list[dict[str, Any]]:
    """The objects of one source of a delivery, keys lower-case."""
    objects = []
    for file in sorted((DATA / name / source / "landing").glob("*.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            landed = json.loads(line.rstrip().removesuffix(","))
            objects.append({key.lower(): value for key, value in landed.items()})
    return objects


def counts(name: str, scope: str) -> tuple[dict[str, int], dict[str, int]]:
    """The computed and the expected row count of each table for which one is expected."""
    if not DATA.is_dir():
        pytest.skip("the real deliveries (shared/data beside the project) are not here")
    expected = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))[name][scope]
    customers = delivery(name, "customer")
    accelerometer = delivery(name, "accelerometer")
    step_trainer = delivery(name, "step_trainer")
    tables: dict[str, list[Any]] = {
        "customer_landing": customers,
        "accelerometer_landing": accelerometer,
        "step_trainer_landing": step_trainer,
        "quarantine": [],
        **compute(customers, accelerometer, step_trainer, scope),
    }
    return {table: len(tables[table]) for table in expected}, expected


@pytest.mark.parametrize(
    ("name", "scope"),
    [("stedi-2023", "any"), ("stedi-2023", "from_consent_date"), ("stedi-2022", "any")],
)
def test_row_counts_of_real_deliveries(name: str, scope: str) -> None:
    computed, expected = counts(name, scope)
    assert computed == expected


# What the oracle is made of


def test_rows_sort_with_none_last() -> None:
    assert sort_rows([(None, 1), ("b", None), ("b", 2), ("a", 3)]) == [
        ("a", 3),
        ("b", 2),
        ("b", None),
        (None, 1),
    ]


def test_email_is_normalised_outside_in() -> None:
    assert normalise(" A b@X.io\n") == "a b@x.io"


def test_no_break_space_belongs_to_the_email() -> None:
    assert normalise(" a@x.io\u00a0") == "a@x.io\u00a0"
