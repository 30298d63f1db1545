"""The oracle computes what the design says, rule by rule."""

import pytest

from stedi_assets_tests.oracle import COLUMNS, compute
from stedi_assets_tests.refresh.oracle.support import (
    ANN,
    BOB,
    CY,
    FIRST,
    SECOND,
    consenting,
    customer,
    deciding,
    device,
    ownership,
    phone,
    unreadable,
)


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
        "landed_at": FIRST,
    }
    row = (" S1", 2, "967-01-01", 3, 4, " Ann ", ANN, 5, "0801", None)
    assert compute([record], [], [], [])["customer_trusted"] == [row]


@pytest.mark.parametrize("blank", [None, "", " \t", "\u00a0\u200b"])
def test_blank_email_is_no_customer_and_no_claim(blank: str | None) -> None:
    tables = compute([customer(blank, serialnumber="d")], phone(blank, 1), device("d", 1), [])
    assert not any(tables.values())


def test_record_without_consent_date_is_no_consent() -> None:
    assert deciding(customer(ANN, sharewithresearchasofdate=None)) == []


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


def test_later_registration_decides_between_equal_updates() -> None:
    early = customer(ANN, lastupdatedate=5, registrationdate=-3, phone="early")
    late = customer(ANN, lastupdatedate=5, registrationdate=-2, phone="late")
    none = customer(ANN, lastupdatedate=5, phone="none")
    assert deciding(late, early, none) == ["late"]
    assert deciding(none, early) == ["early"]


def test_landing_stands_in_where_update_and_registration_are_absent() -> None:
    undated = customer(ANN, phone="undated", landed_at=SECOND)
    before, after = SECOND - 1, SECOND + 1
    assert deciding(undated, customer(ANN, lastupdatedate=before)) == ["undated"]
    assert deciding(undated, customer(ANN, lastupdatedate=after, phone="dated")) == ["dated"]
    assert deciding(undated, customer(ANN, registrationdate=after, phone="dated")) == ["dated"]
    # Both count as of then, and one of them says when it was registered.
    assert deciding(undated, customer(ANN, registrationdate=SECOND, phone="dated")) == ["dated"]


def test_of_records_with_dates_the_one_that_landed_last_is_no_better() -> None:
    landed_first = customer(ANN, lastupdatedate=5, serialnumber="a", phone="first")
    landed_last = customer(ANN, lastupdatedate=5, serialnumber="b", landed_at=SECOND)
    assert deciding(landed_last, landed_first) == ["first"]


def test_record_without_consent_wins_a_tie() -> None:
    tied = {"lastupdatedate": 5, "registrationdate": 5}
    consenting = customer(ANN, **tied, serialnumber="a")
    refusing = customer(ANN, **tied, serialnumber="b", sharewithresearchasofdate=None)
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


def test_unreadable_record_that_landed_last_suspends_whom_it_names() -> None:
    records = [customer(ANN), customer(BOB)]
    assert consenting(records, [unreadable(ANN, SECOND)]) == [BOB]


def test_readable_record_that_lands_later_ends_the_suspension() -> None:
    records = [customer(ANN), customer(ANN, landed_at=SECOND + 1)]
    assert consenting(records, [unreadable(ANN, SECOND)]) == [ANN]


def test_readable_record_need_not_be_the_latest_by_its_dates_to_end_a_suspension() -> None:
    latest = customer(ANN, lastupdatedate=9, phone="latest")
    older = customer(ANN, lastupdatedate=5, landed_at=SECOND + 1)
    suspended = unreadable(ANN, SECOND)
    rows = compute([latest, older], [], [], [suspended])["customer_trusted"]
    assert [row[COLUMNS["customer_trusted"].index("phone")] for row in rows] == ["latest"]


def test_record_that_landed_together_with_an_unreadable_one_does_not_count() -> None:
    assert consenting([customer(ANN, landed_at=SECOND)], [unreadable(ANN, SECOND)]) == []


def test_newest_of_several_unreadable_records_decides() -> None:
    fragments = [unreadable(ANN, at) for at in (SECOND + 5, FIRST - 5, SECOND - 5)]
    assert consenting([customer(ANN, landed_at=SECOND)], fragments) == []
    assert consenting([customer(ANN, landed_at=SECOND)], fragments[1:]) == [ANN]


def test_unreadable_record_suspends_all_whom_it_names_in_any_spelling() -> None:
    people = [customer(ANN), customer(BOB), customer(CY)]
    assert consenting(people, [unreadable("ANN@x.io\x1f\u200bbob@x.io ", SECOND)]) == [CY]


def test_unreadable_record_that_names_nobody_suspends_nobody() -> None:
    assert consenting([customer(ANN)], [unreadable(None, SECOND), unreadable("", SECOND)]) == [ANN]


def test_who_is_held_does_not_consent_whatever_lands_later() -> None:
    records = [customer(ANN, landed_at=SECOND + 5), customer(BOB)]
    assert consenting(records, [unreadable(ANN, SECOND, "hold")]) == [BOB]


@pytest.mark.parametrize("source", ["accelerometer", "step_trainer"])
def test_unreadable_readings_suspend_nobody(source: str) -> None:
    assert consenting([customer(ANN)], [unreadable(ANN, SECOND, source)]) == [ANN]


def test_suspended_person_is_in_no_table_but_keeps_device_and_claims() -> None:
    landed = [customer(ANN, serialnumber="d")], phone(None, 1, serialnumber="d"), device("d", 1)
    tables = compute(*landed, [unreadable(ANN, SECOND)])
    assert tables.pop("device_matches") == [("d", ANN, 1)]
    assert tables.pop("device_ownership") == [("d", ANN, "sole_claim", 1, 1, 0)]
    assert not any(tables.values())


def test_readings_of_consenting_customers_are_kept_as_often_as_they_landed() -> None:
    records = [customer(ANN), customer(ANN), customer(BOB, sharewithresearchasofdate=None)]
    readings = [*phone(" Ann@x.io", 7, 7), *phone(BOB, 7), *phone(CY, 7)]
    tables = compute(records, readings, [], [])
    assert tables["accelerometer_trusted"] == [(ANN, None, 7, 0.0, None, None)] * 2
    assert [row[6] for row in tables["customers_curated"]] == [ANN]


def test_customer_without_readings_is_trusted_but_not_curated() -> None:
    tables = compute([customer(ANN), customer(BOB)], phone(BOB, 1), [], [])
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
    rows = compute(records, readings, [], [])["accelerometer_trusted"]
    assert rows == [(ANN, "d", 1, 0.0, None, None)]


def test_user_on_a_reading_beats_its_serialnumber() -> None:
    records = [customer(ANN, serialnumber="d"), customer(BOB, serialnumber="e")]
    rows = compute(records, phone(BOB, 1, serialnumber="d"), [], [])["accelerometer_trusted"]
    assert rows == [(BOB, None, 1, 0.0, None, None)]


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


def test_device_of_a_user_without_consent_falls_to_nobody_else() -> None:
    records = [customer(ANN, serialnumber="d")]
    readings = [*phone(ANN, 0, 1), *phone(CY, *range(5))]
    tables = compute(records, readings, device("d", *range(5)), [])
    assert [row[1] for row in tables["device_ownership"]] == [CY]
    assert tables["step_trainer_trusted"] == tables["machine_learning_curated"] == []


def test_owner_without_readings_of_their_own_is_not_curated_nor_is_their_device() -> None:
    tables = compute([customer(ANN, serialnumber="d")], [], device("d", 1), [])
    assert len(tables["device_ownership"]) == 1
    assert tables["step_trainer_trusted"] == []


def test_sensor_reading_pairs_with_every_reading_of_its_owner_at_its_millisecond() -> None:
    records = [customer(ANN, serialnumber="d"), customer(BOB)]
    readings = [*phone(ANN, 1, 2), *phone(ANN, 1, x=1.0), *phone(BOB, 1)]
    steps = [*device("d", 1, 1, distancefromobject=5), *device("d", 3, distancefromobject=6)]
    tables = compute(records, readings, steps, [])
    assert tables["step_trainer_trusted"] == [(1, "d", 5), (1, "d", 5), (3, "d", 6)]
    assert tables["machine_learning_curated"] == [
        (ANN, 1, 5, 0.0, None, None),
        (ANN, 1, 5, 0.0, None, None),
        (ANN, 1, 5, 1.0, None, None),
        (ANN, 1, 5, 1.0, None, None),
    ]


def test_from_consent_date_keeps_readings_at_or_after_the_consent_date_of_phone_and_sensor() -> (
    None
):
    records = [
        customer(ANN, serialnumber="d", sharewithresearchasofdate=3),
        customer(BOB, serialnumber="e", sharewithresearchasofdate=9),
    ]
    readings = [*phone(ANN, 2, 3, 4), *phone(BOB, 8)]
    steps = [*device("d", 2, 3, 5), *device("e", 8, 9)]
    tables = compute(records, readings, steps, [], scope="from_consent_date")
    assert [row[6] for row in tables["customer_trusted"]] == [ANN, BOB]
    assert [row[2] for row in tables["accelerometer_trusted"]] == [3, 4]
    assert [row[6] for row in tables["customers_curated"]] == [ANN]
    assert [row[1] for row in tables["device_ownership"]] == [ANN, BOB]
    assert [row[:2] for row in tables["step_trainer_trusted"]] == [(3, "d"), (5, "d")]
    assert [row[1] for row in tables["machine_learning_curated"]] == [3]


def test_scope_does_not_change_who_owns_a_device() -> None:
    records = [customer(ANN, sharewithresearchasofdate=100)]
    landed = records, phone(ANN, *range(5)), device("d", *range(5))
    tables = compute(*landed, [], scope="from_consent_date")
    assert tables["device_ownership"] == [("d", ANN, "shared_readings", 5, 5, 0)]


def test_reading_that_only_somebody_elses_phone_shares_is_withheld() -> None:
    records = [customer(ANN, serialnumber="d"), customer(BOB, sharewithresearchasofdate=None)]
    readings = [*phone(ANN, 1, 2), *phone(BOB, 2, 3), *phone("guest@x.io", 4)]
    steps = device("d", 1, 2, 3, 4, 5)
    tables = compute(records, readings, steps, [])
    # Ann's alone, Ann's and Bob's, nobody's.
    assert [row[0] for row in tables["step_trainer_trusted"]] == [1, 2, 5]
    assert [row[1] for row in tables["machine_learning_curated"]] == [1, 2]


def test_nameless_phone_counts_as_its_sole_claimants_for_and_against_the_owner() -> None:
    records = [customer(ANN, serialnumber="d"), customer(BOB, serialnumber="e")]
    readings = [*phone(ANN, 1), *phone(None, 2, 3, serialnumber="e")]
    readings += phone(None, 3, serialnumber="d")
    tables = compute(records, readings, device("d", 1, 2, 3), [])
    assert [row[0] for row in tables["step_trainer_trusted"]] == [1, 3]


def test_phone_that_several_or_nobody_claims_is_nobody_elses() -> None:
    claims = [(ANN, "d"), (BOB, "shared"), (CY, "shared")]
    records = [customer(email, serialnumber=serialnumber) for email, serialnumber in claims]
    readings = [*phone(ANN, 1), *phone(None, 2, serialnumber="shared")]
    readings += phone(None, 2, serialnumber="nobody's")
    tables = compute(records, readings, device("d", 1, 2), [])
    assert [row[0] for row in tables["step_trainer_trusted"]] == [1, 2]


def test_phone_of_the_owner_counts_for_them_in_any_of_their_spellings() -> None:
    readings = [*phone(ANN, 1), *phone("\u200bANN@x.io\u00a0", 2), *phone(BOB, 2)]
    tables = compute([customer(ANN, serialnumber="d")], readings, device("d", 1, 2), [])
    assert [row[0] for row in tables["step_trainer_trusted"]] == [1, 2]


def test_unknown_scope_is_refused() -> None:
    with pytest.raises(ValueError, match="everything"):
        compute([], [], [], [], scope="everything")
