"""What the values of an object mean."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from stedi_assets_tests.lakehouse.landing.records import (
    ANN,
    EPOCH,
    ONE,
    persons,
    reading,
    reasons,
    times,
)

if TYPE_CHECKING:
    from stedi_assets_tests.lakehouse.landing.conftest import Read


@pytest.mark.parametrize("escaped", [False, True])
def test_text_comes_out_as_it_was_written(read: Read, escaped: bool) -> None:
    user = ' Änn "the" \\ 😀\t\u2028 '
    content = json.dumps({"user": user, "timestamp": 1655564400001}, ensure_ascii=escaped)
    assert read(content)[0][0]["user"] == user


SPELLINGS = ["1655564400005", "1655564400005.000", "1.655564400005E12", '" 1655564400005 "']


@pytest.mark.parametrize("time", SPELLINGS)
def test_time_is_a_time_however_it_is_spelled(read: Read, time: str) -> None:
    assert times(read(f'{{"user": "ann@x.io", "timestamp": {time}}}')) == [5]


WRONG_TIMES = {
    "1655564400005.5": "timestamp is no time: not a whole number",
    "1655564400": "timestamp is no time in milliseconds: seconds?",
    "0": "timestamp is no time: before the year 2000",
    "7258118400000": "timestamp is no time: in the future",
    '"2022-06-18"': "timestamp is no time: a date as text",
    '"soon"': "timestamp is no time: a text",
    "true": "timestamp is no time: it is neither a number nor a text",
    "[1]": "timestamp is no time: it is neither a number nor a text",
    "1" + "0" * 5000: "timestamp is no time: a number that is too long",
    "1e999999999": "timestamp is no time: too large or too small",
    "1e1000000000000000000": "timestamp is no time: too large or too small",
    "0e99999999999999999999": "timestamp is no time: too large or too small",
    "1e-9999999999999999999999": "timestamp is no time: too large or too small",
    '"1e1000000000000000000"': "timestamp is no time: too large or too small",
    '"0e-99999999999999999999"': "timestamp is no time: too large or too small",
    "NaN": "not valid JSON",
    "Infinity": "not valid JSON",
}


@pytest.mark.parametrize(("time", "reason"), WRONG_TIMES.items(), ids=lambda value: value[:20])
def test_time_that_is_none_quarantines(read: Read, time: str, reason: str) -> None:
    assert reasons(read(f'{{"user": "ann@x.io", "timestamp": {time}}}')) == [reason]


HUGE = ["1e1000000000000000000", "0e99999999999999999999", "1e-9999999999999999999999"]


@pytest.mark.parametrize("number", HUGE)
def test_numbers_of_any_exponent_are_compared(read: Read, number: str) -> None:
    assert times(read(f'{ONE[:-1]}, "n": {number}, "N": {number}}}')) == [1]
    for other in ("1", "1e999999999", f"1{number}"):
        for one, two in ((number, other), (other, number)):
            found = read(f'{ONE[:-1]}, "n": {one}, "N": {two}}}')
            assert reasons(found) == ["a key comes twice with different values"]


@pytest.mark.parametrize("number", HUGE)
def test_acceleration_of_any_exponent_is_told_to_be_finite_or_not(read: Read, number: str) -> None:
    rows, rejects = read(f'{{"user": "ann@x.io", "timestamp": {EPOCH}, "x": {number}}}')
    assert [row["x"] for row in rows] == ([] if number == HUGE[0] else [0.0])
    assert [r.reason for r in rejects] == (["x is not a finite number"] * (number == HUGE[0]))


def test_missing_time_quarantines(read: Read) -> None:
    assert (
        reasons(read(reading(timestamp=...) + reading(timestamp=None)))
        == ["timestamp is missing"] * 2
    )


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_acceleration_may_be_missing(read: Read, axis: str) -> None:
    rows, rejects = read(reading(**{axis: ...}) + reading(**{axis: None}))
    assert [row[axis] for row in rows] == [None, None]
    assert not rejects


NOT_JSON = ["NaN", "Infinity", "-Infinity", "nan", "inf", "01", ".5", "5.", "+1", "0x1", "'1'"]


@pytest.mark.parametrize("value", NOT_JSON)
def test_value_that_is_not_json_quarantines_wherever_it_stands(read: Read, value: str) -> None:
    for content in (f'{{"user": "a", "note": {value}}}', f'{{"note": [{value}], "user": "a"}}'):
        found = read(f"{content}\n{content}")
        assert reasons(found) == ["not valid JSON"] * 2


WRONG_NUMBERS = ["1e999", "-1E999", '"1"', "true", "[1]", "{}"]


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("value", [*WRONG_NUMBERS, "1" + "0" * 5000])
def test_acceleration_that_is_no_finite_number_quarantines(
    read: Read, axis: str, value: str
) -> None:
    found = read(f'{{"user": "ann@x.io", "timestamp": 1655564400001, "{axis}": {value}}}')
    assert reasons(found) == [f"{axis} is not a finite number"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3.0), ("-0.5e-3", -0.0005), ("1" + "0" * 30, 1e30), (str(2**53 + 1), 2.0**53)],
)
def test_acceleration_may_be_any_finite_number(read: Read, value: str, expected: float) -> None:
    rows, _ = read(f'{{"user": "ann@x.io", "timestamp": 1655564400001, "x": {value}}}')
    assert rows[0]["x"] == expected


@pytest.mark.parametrize("value", [*WRONG_NUMBERS, "null"])
def test_distance_that_is_no_finite_number_is_null(read: Read, value: str) -> None:
    found = read(
        f'{{"serialNumber": "s", "sensorReadingTime": {EPOCH}, "distanceFromObject": {value}}}',
        "step_trainer",
    )
    assert [row["distancefromobject"] for row in found[0]] == [None]
    assert not found[1]


@pytest.mark.parametrize("value", ["null", '""', '" "', "0", '"0"', "0.0"])
def test_consent_date_that_was_not_given_is_null(read: Read, value: str) -> None:
    rows, _ = read(f'{{"email": "ann@x.io", "shareWithResearchAsOfDate": {value}}}', "customer")
    assert [row["sharewithresearchasofdate"] for row in rows] == [None]


@pytest.mark.parametrize("value", ['"yes"', "1.5", "1e3", "true", "[]"])
def test_consent_date_that_is_no_time_quarantines(read: Read, value: str) -> None:
    found = read(f'{{"email": "ann@x.io", "shareWithResearchAsOfDate": {value}}}', "customer")
    assert persons(found) == [ANN]


@pytest.mark.parametrize("number", ["8015551212", "-0", "1.50", "1e400", "9" * 5000])
def test_text_column_keeps_a_number_as_it_is_written(read: Read, number: str) -> None:
    rows, _ = read(f'{{"email": "a", "phone": {number}, "birthday": ["967"]}}', "customer")
    assert (rows[0]["phone"], rows[0]["birthday"]) == (number, None)


BLANKS = ["null", '""', r'" \t\n\u000b\f\r"']


@pytest.mark.parametrize("value", BLANKS)
def test_missing_or_blank_email_quarantines(read: Read, value: str) -> None:
    found = read(f'{{"email": {value}, "phone": "1"}} {{"phone": "1"}}', "customer")
    assert reasons(found) == ["email is missing"] * 2


@pytest.mark.parametrize("value", ["true", "[]", r'"\ud800"', r'"ann\udc00"'])
def test_email_that_is_no_text_quarantines(read: Read, value: str) -> None:
    [reason] = reasons(read(f'{{"email": {value}}}', "customer"))
    assert reason.startswith("email is not a text")


@pytest.mark.parametrize("value", BLANKS)
def test_missing_or_blank_serial_number_of_a_sensor_reading_quarantines(
    read: Read, value: str
) -> None:
    time = f'"sensorreadingtime": {EPOCH}'
    content = f'{{"serialnumber": {value}, {time}}} {{{time}}}'
    assert reasons(read(content, "step_trainer")) == ["serialnumber is missing"] * 2


@pytest.mark.parametrize("user", BLANKS)
def test_serial_number_says_whose_a_reading_is_where_no_user_does(read: Read, user: str) -> None:
    rows, _ = read(f'{{"user": {user}, "serialnumber": "s", "timestamp": 1655564400001}}')
    assert [(row["user"], row["serialnumber"]) for row in rows] == [(None, "s")]


def test_user_goes_before_the_serial_number(read: Read) -> None:
    rows, _ = read(reading(serialnumber="s"))
    assert [(row["user"], row["serialnumber"]) for row in rows] == [(ANN, None)]


@pytest.mark.parametrize("value", BLANKS)
def test_reading_of_nobody_quarantines(read: Read, value: str) -> None:
    found = read(f'{{"user": {value}, "serialnumber": {value}, "timestamp": 1655564400001}}')
    assert reasons(found) == ["user or serialnumber is missing"]
