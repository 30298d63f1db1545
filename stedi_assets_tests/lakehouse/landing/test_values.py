"""What the values of an object mean."""


@pytest.mark.parametrize("escaped", [False, True])
def test_text_comes_out_as_it_was_written(read: Read, escaped: bool) -> None:
    user = ' Änn "the" \\ 😀\t\u2028 '
    content = json.dumps({"user": user, "timestamp": 1655564400001}, ensure_ascii=escaped)
    assert read(content)[0][0]["user"] == user


@pytest.mark.parametrize("time", [0, -1, 2**63 - 1, -(2**63)])
def test_64_bit_times_are_kept_as_such(read: Read, time: int) -> None:
    assert times(read(reading(timestamp=time))) == [time]


WRONG_TIMES = ['"1"', "1.0", "1e3", "1E3", "true", "[1]", "{}", str(2**63), str(-(2**63) - 1)]


@pytest.mark.parametrize("time", [*WRONG_TIMES, "NaN", "Infinity", "1" + "0" * 400])
def test_time_that_is_no_64_bit_integer_quarantines(read: Read, time: str) -> None:
    assert reasons(read(f'{{"user": "ann@x.io", "timestamp": {time}}}')) == [
        "timestamp is not a 64-bit integer"
    ]


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


WRONG_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1E999", '"1"', "true", "[1]", "{}"]


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("value", [*WRONG_NUMBERS, "1" + "0" * 400])
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
        f'{{"serialNumber": "s", "sensorReadingTime": 1, "distanceFromObject": {value}}}',
        "step_trainer",
    )
    assert [row["distancefromobject"] for row in found[0]] == [None]
    assert not found[1]


@pytest.mark.parametrize("value", ['"yes"', '"1655564444103"', "1.5", "1e3", "true", "[]", "null"])
def test_consent_date_that_is_no_integer_is_null(read: Read, value: str) -> None:
    rows, _ = read(f'{{"email": "ann@x.io", "shareWithResearchAsOfDate": {value}}}', "customer")
    assert [row["sharewithresearchasofdate"] for row in rows] == [None]


def test_text_columns_take_no_number_for_a_text(read: Read) -> None:
    rows, _ = read('{"email": "ann@x.io", "phone": 8015551212, "birthday": ["967"]}', "customer")
    assert (rows[0]["phone"], rows[0]["birthday"]) == (None, None)


BLANKS = ["null", '""', r'" \t\n\u000b\f\r"']


@pytest.mark.parametrize("value", BLANKS)
def test_missing_or_blank_email_quarantines(read: Read, value: str) -> None:
    found = read(f'{{"email": {value}, "phone": "1"}} {{"phone": "1"}}', "customer")
    assert reasons(found) == ["email is missing"] * 2


@pytest.mark.parametrize("value", ["1", "true", "[]", r'"\ud800"', r'"ann\udc00"'])
def test_email_that_is_no_text_quarantines(read: Read, value: str) -> None:
    assert reasons(read(f'{{"email": {value}}}', "customer")) == ["email is not a text"]


@pytest.mark.parametrize("value", BLANKS)
def test_missing_or_blank_serial_number_of_a_sensor_reading_quarantines(
    read: Read, value: str
) -> None:
    content = f'{{"serialnumber": {value}, "sensorreadingtime": 1}} {{"sensorreadingtime": 1}}'
    assert reasons(read(content, "step_trainer")) == ["serialnumber is missing"] * 2


@pytest.mark.parametrize("user", [*BLANKS, "5"])
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
