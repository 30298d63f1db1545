"""The rule of each table, by example."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest

from stedi_assets.settings import Settings
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    KEY,
    SECOND_DELIVERY,
    SHARED,
    Pipeline,
    Rows,
    at,
    customer,
    device,
    phone,
    subject_id,
    unreadable,
)


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(Settings.load(pseudonym_key=KEY))


@pytest.fixture(scope="module")
def from_consent_date() -> Pipeline:
    return Pipeline(Settings.load(pseudonym_key=KEY, consent_scope="from_consent_date"))


def column(rows: Rows, name: str) -> list[Any]:
    return sorted(row[name] for row in rows)


def phones(pipeline: Pipeline, *records: dict[str, Any]) -> list[str]:
    """Column `phone` of customer_trusted: tests put into it which record it is."""
    return column(pipeline.run(records)["customer_trusted"], "phone")


# customer_trusted


def test_latest_update_decides_over_every_spelling_of_the_email(pipeline: Pipeline) -> None:
    old = customer("\t ANN@x.io", lastupdatedate=1, registrationdate=9, phone="old")
    new = customer("Ann@X.IO\r\n", lastupdatedate=2, registrationdate=1, phone="new")
    [row] = pipeline.run([new, old])["customer_trusted"]
    assert (row["phone"], row["email"]) == ("new", ANN)


def test_what_cannot_be_seen_makes_no_other_email(pipeline: Pipeline) -> None:
    spellings = [customer(email) for email in (ANN, f"{ANN}\u00a0", f"\u200b{ANN.title()}")]
    assert column(pipeline.run(spellings)["customer_trusted"], "email") == [ANN]


def test_latest_record_without_consent_withdraws_customer(pipeline: Pipeline) -> None:
    old = customer(ANN, lastupdatedate=1)
    new = customer(ANN, lastupdatedate=2, sharewithresearchasofdate=None)
    assert pipeline.run([old, new])["customer_trusted"] == []


def test_latest_record_with_consent_brings_customer_back(pipeline: Pipeline) -> None:
    old = customer(ANN, lastupdatedate=1, sharewithresearchasofdate=None)
    new = customer(ANN, lastupdatedate=2, phone="new")
    assert phones(pipeline, old, new) == ["new"]


def test_record_without_consent_date_is_no_consent(pipeline: Pipeline) -> None:
    assert phones(pipeline, customer(ANN, sharewithresearchasofdate=None)) == []


def test_registration_stands_in_for_an_absent_update(pipeline: Pipeline) -> None:
    updated = customer(ANN, lastupdatedate=5, registrationdate=1, phone="updated")
    registered = customer(ANN, registrationdate=6, phone="registered")
    assert phones(pipeline, updated, registered) == ["registered"]
    assert phones(pipeline, updated, {**registered, "registrationdate": 4}) == ["updated"]


def test_later_registration_decides_between_equal_updates(pipeline: Pipeline) -> None:
    early = customer(ANN, lastupdatedate=5, registrationdate=-3, phone="early")
    late = customer(ANN, lastupdatedate=5, registrationdate=-2, phone="late")
    none = customer(ANN, lastupdatedate=5, phone="none")
    assert phones(pipeline, none, early, late) == ["late"]
    assert phones(pipeline, none, early) == ["early"]


def test_record_without_dates_counts_as_of_when_it_landed(pipeline: Pipeline) -> None:
    undated = customer(ANN, phone="undated", landed_at=SECOND_DELIVERY)
    for date in ("lastupdatedate", "registrationdate"):
        before = customer(ANN, None, phone="dated", **{date: SECOND_DELIVERY - 1})
        after = customer(ANN, None, phone="dated", **{date: SECOND_DELIVERY + 1})
        assert phones(pipeline, undated, before) == ["undated"]
        assert phones(pipeline, undated, after) == ["dated"]


def test_record_without_consent_wins_a_tie(pipeline: Pipeline) -> None:
    tied = {"lastupdatedate": 5, "registrationdate": 5}
    consenting = customer(ANN, "a", **tied)
    refusing = customer(ANN, "b", sharewithresearchasofdate=None, **tied)
    assert phones(pipeline, consenting, refusing) == []


def test_smallest_serialnumber_wins_the_remaining_tie(pipeline: Pipeline) -> None:
    tied = [customer(ANN, serialnumber) for serialnumber in ("b", None, "a", "B")]
    for records, winner in ((tied, "B"), (tied[:3], "a"), (tied[:2], "b")):
        assert column(pipeline.run(records)["customer_trusted"], "serialnumber") == [winner]


# Suspension


def consenting(pipeline: Pipeline, records: Rows, *quarantine: dict[str, Any]) -> list[Any]:
    """E-mails in customer_trusted."""
    return column(pipeline.run(records, quarantine=quarantine)["customer_trusted"], "email")


def test_unreadable_record_that_landed_last_suspends_all_whom_it_names(pipeline: Pipeline) -> None:
    records = [customer(ANN), customer(BOB), customer(CY)]
    assert consenting(pipeline, records, unreadable(ANN)) == [BOB, CY]
    assert consenting(pipeline, records, unreadable(ANN, CY)) == [BOB]
    assert consenting(pipeline, records, unreadable(), unreadable("nobody@x.io")) == [ANN, BOB, CY]


def test_readable_record_that_lands_later_ends_the_suspension(pipeline: Pipeline) -> None:
    for landed_at, people in (
        (SECOND_DELIVERY - 1, []),
        (SECOND_DELIVERY, []),
        (SECOND_DELIVERY + 1, [ANN]),
    ):
        records = [customer(ANN), customer(f" {ANN.upper()}", landed_at=landed_at)]
        assert consenting(pipeline, records, unreadable(ANN)) == people


def test_readable_record_need_not_be_the_latest_by_its_dates_to_end_a_suspension(
    pipeline: Pipeline,
) -> None:
    latest = customer(ANN, lastupdatedate=9, sharewithresearchasofdate=None)
    older = customer(ANN, lastupdatedate=5, landed_at=SECOND_DELIVERY + 1)
    assert consenting(pipeline, [latest, older], unreadable(ANN)) == []
    latest = customer(ANN, lastupdatedate=9)
    assert consenting(pipeline, [latest, older], unreadable(ANN)) == [ANN]


def test_newest_of_several_unreadable_records_decides(pipeline: Pipeline) -> None:
    records = [customer(ANN), customer(ANN, landed_at=SECOND_DELIVERY)]
    before, after = (unreadable(ANN, landed_at=SECOND_DELIVERY + by) for by in (-1, 1))
    assert consenting(pipeline, records, before) == [ANN]
    assert consenting(pipeline, records, before, after) == []


def test_unreadable_readings_suspend_nobody(pipeline: Pipeline) -> None:
    assert consenting(pipeline, [customer(ANN)], unreadable(ANN, source="accelerometer")) == [ANN]


def test_suspended_person_is_in_no_table_but_keeps_their_device(pipeline: Pipeline) -> None:
    landed = [customer(ANN, "d")], phone(None, 1, serialnumber="d"), device("d", 1)
    tables = pipeline.run(*landed, [unreadable(ANN)])
    assert column(tables.pop("device_matches"), "user") == [ANN]
    assert column(tables.pop("device_ownership"), "email") == [ANN]
    assert not any(tables.values())


# accelerometer_trusted and customers_curated


def test_readings_of_consenting_customers_are_kept_as_often_as_they_landed(
    pipeline: Pipeline,
) -> None:
    records = [customer(ANN), customer(ANN), customer(BOB, sharewithresearchasofdate=None)]
    readings = [*phone(" Ann@x.io", 7, 7), *phone(BOB, 7), *phone(CY, 7)]
    tables = pipeline.run(records, readings)
    row = {"user": ANN, "serialnumber": None, "timestamp": at(7), "x": 0.0, "y": 0.0, "z": 0.0}
    assert tables["accelerometer_trusted"] == [row] * 2
    assert column(tables["customers_curated"], "email") == [ANN]


def test_customer_without_readings_is_trusted_but_not_curated(pipeline: Pipeline) -> None:
    tables = pipeline.run([customer(ANN), customer(BOB)], phone(BOB, 1))
    assert column(tables["customer_trusted"], "email") == [ANN, BOB]
    assert column(tables["customers_curated"], "email") == [BOB]


def test_reading_with_a_serialnumber_belongs_to_its_only_claimant(pipeline: Pipeline) -> None:
    records = [
        customer(ANN, "d", lastupdatedate=1),
        customer("ANN@x.io", "e", lastupdatedate=2),
        customer(ANN, "shared"),
        customer(BOB, "shared"),
    ]
    readings = [
        reading
        for serialnumber in ("d", "D", "d ", "shared", "nobody's")
        for reading in phone(None, 1, serialnumber=serialnumber)
    ]
    rows = pipeline.run(records, readings)["accelerometer_trusted"]
    assert [(row["user"], row["serialnumber"]) for row in rows] == [(ANN, "d")]


# device_matches


def matches(
    pipeline: Pipeline, readings: Rows, step_trainer: Rows, records: Sequence[dict[str, Any]] = ()
) -> list[tuple[Any, ...]]:
    rows = pipeline.run(records, readings, step_trainer)["device_matches"]
    return sorted(tuple(row.values()) for row in rows)


def test_times_that_a_device_and_a_user_share_are_counted_once_each(pipeline: Pipeline) -> None:
    readings = [*phone(f" {ANN.upper()}", 1, 1, 2), *phone(ANN, 2, 3), *phone(BOB, 3, 9)]
    steps = [*device("d", 1, 1, 2, 3, 4), *device("e", 3)]
    assert matches(pipeline, readings, steps) == [
        ("d", ANN, 3),
        ("d", BOB, 1),
        ("e", ANN, 1),
        ("e", BOB, 1),
    ]


def test_pair_without_a_common_time_has_no_row(pipeline: Pipeline) -> None:
    assert matches(pipeline, phone(ANN, 1), device("d", 2)) == []


def test_reading_with_a_serialnumber_matches_as_its_only_claimants(pipeline: Pipeline) -> None:
    records = [customer(ANN, "d"), customer(BOB, "shared"), customer(CY, "shared")]
    readings = [
        reading
        for serialnumber in ("d", "shared", "nobody's")
        for reading in phone(None, 1, serialnumber=serialnumber)
    ]
    steps = device("another", 1)
    assert matches(pipeline, [*readings, *phone(ANN, 1)], steps, records) == [("another", ANN, 1)]


def delivery(name: str) -> list[Rows]:
    """The objects of a real delivery by source, keys lower-case; consent plays no part."""
    if not SHARED.is_dir():
        pytest.skip("the real deliveries (shared/data beside the project) are not here")
    return [
        [
            {key.lower(): value for key, value in json.loads(line.rstrip(",")).items()}
            for file in sorted((SHARED / name / source / "landing").glob("*.json"))
            for line in file.read_text(encoding="utf-8").splitlines()
        ]
        for source in ("customer", "accelerometer", "step_trainer")
    ]


@pytest.mark.parametrize("name", ["stedi-2023", "stedi-2022"])
def test_matches_of_a_real_delivery_are_those_counted_in_python(
    pipeline: Pipeline, name: str
) -> None:
    customers, readings, steps = delivery(name)
    users_at: dict[int, set[str]] = {}
    for reading in readings:
        users_at.setdefault(reading["timestamp"], set()).add(reading["user"].strip().lower())
    times = {(step["serialnumber"], step["sensorreadingtime"]) for step in steps}
    counted = Counter((d, user) for d, time in times for user in users_at.get(time, ()))
    assert matches(pipeline, readings, steps, customers) == sorted(
        (*pair, matched) for pair, matched in counted.items()
    )


# device_ownership


def ownership(
    pipeline: Pipeline, readings: Rows, step_trainer: Rows, claims: Sequence[tuple[str, str]] = ()
) -> list[tuple[Any, ...]]:
    """device_ownership, given (e-mail, serial number) claims."""
    records = [customer(email, serialnumber) for email, serialnumber in claims]
    rows = pipeline.run(records, readings, step_trainer)["device_ownership"]
    return sorted(tuple(row.values()) for row in rows)


def test_shared_readings_win_whatever_the_records_claim(pipeline: Pipeline) -> None:
    readings = [*phone("ANN@x.io ", *range(5), 0, 1), *phone(BOB, 0, 1, 2, 3)]
    owned = ownership(pipeline, readings, device("d", *range(5), 0, 0), [(BOB, "d")])
    assert owned == [("d", ANN, "shared_readings", 5, 5, 4)]


def test_four_matches_prove_nothing(pipeline: Pipeline) -> None:
    assert ownership(pipeline, phone(ANN, *range(4)), device("d", *range(4))) == []


@pytest.mark.parametrize(
    ("times", "matched", "proven"),
    [(10, 9, True), (10, 8, False), (11, 10, True), (11, 9, False), (14, 13, True), (5, 5, True)],
)
def test_nine_tenths_of_the_distinct_times_must_match(
    pipeline: Pipeline, times: int, matched: int, proven: bool
) -> None:
    owned = ownership(pipeline, phone(ANN, *range(matched)), device("d", *range(times)))
    assert owned == [("d", ANN, "shared_readings", times, matched, 0)] * proven


def test_two_users_with_the_most_matches_leave_the_device_to_nobody(pipeline: Pipeline) -> None:
    readings = [*phone(ANN, *range(6)), *phone(BOB, *range(6))]
    assert ownership(pipeline, readings, device("d", *range(6)), [(ANN, "d")]) == []


def test_sole_claim_decides_without_matches(pipeline: Pipeline) -> None:
    owned = ownership(pipeline, [], device("d", 1, 2, 2), [(ANN, "d"), ("ANN@x.io", "d")])
    assert owned == [("d", ANN, "sole_claim", 2, 0, 0)]


def test_sole_claim_holds_while_others_have_four_matches_and_fails_at_five(
    pipeline: Pipeline,
) -> None:
    def owned(of_another: int) -> list[tuple[Any, ...]]:
        readings = [*phone(ANN, 0, 1), *phone(CY, *range(of_another))]
        return ownership(pipeline, readings, device("d", *range(9)), [(ANN, "d")])

    assert (owned(4), owned(5)) == ([("d", ANN, "sole_claim", 9, 2, 4)], [])


def test_sole_claim_covers_the_claimants_own_incomplete_matches(pipeline: Pipeline) -> None:
    owned = ownership(pipeline, phone(ANN, *range(8)), device("d", *range(10)), [(ANN, "d")])
    assert owned == [("d", ANN, "sole_claim", 10, 8, 0)]


def test_second_claim_counts_though_it_was_withdrawn_or_lacks_consent(pipeline: Pipeline) -> None:
    records = [
        customer(ANN, "d"),
        customer(BOB, "d", lastupdatedate=1, sharewithresearchasofdate=None),
        customer(BOB, "e", lastupdatedate=2),
    ]
    rows = pipeline.run(records, [], [*device("d", 1), *device("e", 1)])["device_ownership"]
    assert [(row["serialnumber"], row["email"]) for row in rows] == [("e", BOB)]


def test_customer_may_own_several_devices(pipeline: Pipeline) -> None:
    steps = [*device("d", *range(5)), *device("e", 9), *device("f", *range(20, 25))]
    readings = phone(ANN, *range(5), *range(20, 25))
    owned = ownership(pipeline, readings, steps, [(ANN, "d"), (ANN, "e"), (ANN, "unseen")])
    assert [row[:3] for row in owned] == [
        ("d", ANN, "shared_readings"),
        ("e", ANN, "sole_claim"),
        ("f", ANN, "shared_readings"),
    ]


def test_serialnumber_compares_exactly_as_landed(pipeline: Pipeline) -> None:
    assert ownership(pipeline, [], device("d", 1), [(ANN, "D"), (ANN, "d ")]) == []


def test_matches_count_readings_that_carry_the_serialnumber_instead_of_the_user(
    pipeline: Pipeline,
) -> None:
    readings = phone(None, *range(5), serialnumber="e")
    owned = ownership(pipeline, readings, device("d", *range(5)), [(ANN, "e")])
    assert owned == [("d", ANN, "shared_readings", 5, 5, 0)]


# step_trainer_trusted and machine_learning_curated


def test_device_of_a_user_without_consent_falls_to_nobody_else(pipeline: Pipeline) -> None:
    readings = [*phone(ANN, 0, 1), *phone(CY, *range(5))]
    tables = pipeline.run([customer(ANN, "d")], readings, device("d", *range(5)))
    assert column(tables["device_ownership"], "email") == [CY]
    assert tables["step_trainer_trusted"] == tables["machine_learning_curated"] == []


def test_device_of_an_owner_without_phone_readings_is_withheld(pipeline: Pipeline) -> None:
    tables = pipeline.run([customer(ANN, "d")], [], device("d", 1))
    assert len(tables["device_ownership"]) == 1
    assert tables["step_trainer_trusted"] == []


def test_sensor_readings_are_kept_as_often_as_they_landed(pipeline: Pipeline) -> None:
    records = [customer(ANN, "d"), customer(ANN, "d"), customer(ANN, "e")]
    steps = [*device("d", 1, 1, 2), *device("e", 1), *device("f", 1)]
    tables = pipeline.run(records, phone(ANN, 1, 1, 5), steps)
    kept = [
        (row["serialnumber"], row["sensorreadingtime"]) for row in tables["step_trainer_trusted"]
    ]
    assert sorted(kept) == [("d", at(1)), ("d", at(1)), ("d", at(2)), ("e", at(1))]


def test_sensor_reading_that_only_somebody_elses_phone_shares_is_withheld(
    pipeline: Pipeline,
) -> None:
    records = [customer(ANN, "d"), customer(BOB, sharewithresearchasofdate=None)]
    readings = [*phone(ANN, 1, 2), *phone(BOB, 2, 3), *phone("guest@x.io", 4)]
    tables = pipeline.run(records, readings, device("d", 1, 2, 3, 3, 4, 5))
    # Ann's alone, Ann's and Bob's, nobody's.
    kept = column(tables["step_trainer_trusted"], "sensorreadingtime")
    assert kept == [at(1), at(2), at(5)]


def test_nameless_phone_counts_as_its_sole_claimants_for_and_against_the_owner(
    pipeline: Pipeline,
) -> None:
    records = [customer(ANN, "d"), customer(BOB, "e")]
    records += [customer(email, "shared") for email in (BOB, CY)]
    readings = [*phone(ANN, 1), *phone(None, 2, 3, serialnumber="e")]
    readings += phone(None, 3, serialnumber="d")
    readings += [*phone(None, 4, serialnumber="shared"), *phone(None, 5, serialnumber="nobody's")]
    tables = pipeline.run(records, readings, device("d", 1, 2, 3, 4, 5))
    kept = column(tables["step_trainer_trusted"], "sensorreadingtime")
    assert kept == [at(1), at(3), at(4), at(5)]


def test_phone_of_the_owner_counts_for_them_in_any_spelling(pipeline: Pipeline) -> None:
    readings = [*phone(ANN, 1), *phone(f"\u200b{ANN.upper()}\u00a0", 2), *phone(BOB, 2, 3)]
    tables = pipeline.run([customer(ANN, "d")], readings, device("d", 1, 2, 3))
    assert column(tables["step_trainer_trusted"], "sensorreadingtime") == [at(1), at(2)]


def test_sensor_reading_pairs_with_every_reading_of_its_owner_at_its_millisecond(
    pipeline: Pipeline,
) -> None:
    readings = [*phone(ANN, 1, 2), *phone(ANN, 1, x=1.0, y=None)]
    steps = [*device("d", 1, distancefromobject=5.0), *device("d", 3)]
    rows = pipeline.run([customer(ANN, "d")], readings, steps)["machine_learning_curated"]
    one = {"subject_id": subject_id(ANN), "sensorreadingtime": at(1), "distancefromobject": 5.0}
    assert sorted(rows, key=lambda row: row["x"]) == [
        {**one, "x": 0.0, "y": 0.0, "z": 0.0},
        {**one, "x": 1.0, "y": None, "z": 0.0},
    ]


def test_reading_of_another_person_at_the_same_millisecond_is_not_paired(
    pipeline: Pipeline,
) -> None:
    records = [customer(ANN, "d"), customer(BOB, "e")]
    readings = [*phone(ANN, 1, x=1.0), *phone(BOB, 1, x=2.0)]
    steps = [*device("d", 1, distancefromobject=10.0), *device("e", 1, distancefromobject=20.0)]
    rows = pipeline.run(records, readings, steps)["machine_learning_curated"]
    assert sorted(
        (row["subject_id"], row["distancefromobject"], row["x"]) for row in rows
    ) == sorted([(subject_id(ANN), 10.0, 1.0), (subject_id(BOB), 20.0, 2.0)])


def test_owner_of_several_devices_is_one_subject(pipeline: Pipeline) -> None:
    records = [customer(ANN, "d"), customer(ANN, "e")]
    tables = pipeline.run(records, phone(ANN, 1, 2), [*device("d", 1), *device("e", 2)])
    assert column(tables["machine_learning_curated"], "subject_id") == [subject_id(ANN)] * 2


# Consent scope


def test_from_consent_date_keeps_phone_readings_at_or_after_the_consent_date(
    from_consent_date: Pipeline,
) -> None:
    records = [
        customer(ANN, "d", sharewithresearchasofdate=3),
        customer(BOB, "e", sharewithresearchasofdate=9),
    ]
    readings = [*phone(ANN, 2, 3, 4), *phone(BOB, 8)]
    tables = from_consent_date.run(records, readings, [*device("d", 2, 3, 5), *device("e", 8, 9)])
    assert column(tables["customer_trusted"], "email") == [ANN, BOB]
    assert column(tables["accelerometer_trusted"], "timestamp") == [at(3), at(4)]
    assert column(tables["customers_curated"], "email") == [ANN]
    assert column(tables["device_ownership"], "email") == [ANN, BOB]
    assert column(tables["machine_learning_curated"], "sensorreadingtime") == [at(3)]


def test_from_consent_date_keeps_sensor_readings_at_or_after_the_consent_date(
    from_consent_date: Pipeline,
) -> None:
    records = [
        customer(ANN, "d", sharewithresearchasofdate=3),
        customer(BOB, "e", sharewithresearchasofdate=9),
    ]
    steps = [*device("d", 2, 3, 4), *device("e", 8, 9)]
    tables = from_consent_date.run(records, [*phone(ANN, 3), *phone(BOB, 8)], steps)
    # Bob has no phone reading left.
    assert column(tables["step_trainer_trusted"], "sensorreadingtime") == [at(3), at(4)]


# Pseudonym


def subjects(key: str) -> list[str]:
    landed = [customer(ANN, "d")], phone("ANN@x.io", 1), device("d", 1)
    tables = Pipeline(Settings.load(pseudonym_key=key)).run(*landed)
    return column(tables["machine_learning_curated"], "subject_id")


def test_pseudonym_is_the_same_under_the_same_key_only() -> None:
    other = KEY[::-1]
    assert subjects(KEY) == subjects(KEY) == [subject_id(ANN, KEY)]
    assert subjects(other) == [subject_id(ANN, other)]
    assert subjects(other) != subjects(KEY)


def test_pseudonym_has_128_bits_and_says_nothing_without_the_key() -> None:
    [subject] = subjects(KEY)
    assert len(bytes.fromhex(subject)) * 8 == 128
    assert subject != subject_id(ANN, "")


def test_pseudonymize_false_adds_user_and_serialnumber() -> None:
    settings = Settings.load(pseudonym_key=KEY, pseudonymize=False)
    tables = Pipeline(settings).run([customer(ANN, "d")], phone(ANN, 1), device("d", 1))
    [row] = tables["machine_learning_curated"]
    assert (row["subject_id"], row["user"], row["serialnumber"]) == (subject_id(ANN), ANN, "d")
