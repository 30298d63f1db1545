"""Every readable object of a landing file, and an account of the rest."""

from __future__ import annotations

import gzip
import json
from io import BytesIO
from time import perf_counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stedi_assets.lakehouse.landing.rows import read_objects
from stedi_assets.lakehouse.landing.source import Source
from stedi_assets.lakehouse.landing.text import read_blocks, text_blocks
from stedi_assets.lakehouse.landing.unreadable import Unreadable
from stedi_assets.lakehouse.landing.values import read_columns

if TYPE_CHECKING:
    from collections.abc import Callable

    from stedi_assets.lakehouse.table import Table

    Found = tuple[list[dict[str, Any]], list[Unreadable]]
    Read = Callable[..., Found]

ANN = "ann@x.io"
EPOCH = 1655564400000
READING = {"user": ANN, "timestamp": EPOCH + 1, "x": 0.5, "y": -1.25, "z": 2.0}
ONE, TWO, THREE = (json.dumps(READING | {"timestamp": EPOCH + time}) for time in (1, 2, 3))
MEBIBYTE = 1 << 20


@pytest.fixture(name="read", scope="module")
def reader(tables: dict[str, Table]) -> Read:
    """Reads a landing file: its rows, and what gives none."""

    def read(content: bytes | str, source: str = "accelerometer") -> Found:
        table = tables[f"{source}_landing"]
        file = BytesIO(content if isinstance(content, bytes) else content.encode())
        text = Source(text_blocks(read_blocks(file)))
        found = list(read_objects(text, table, EPOCH))
        names = [c.name for c in read_columns(table)] + ["person"] * bool(table.person_of)
        rows = [dict(zip(names, f, strict=True)) for f in found if not isinstance(f, Unreadable)]
        return rows, [f for f in found if isinstance(f, Unreadable)]

    return read


def times(found: Found) -> list[int]:
    return [row["timestamp"] - EPOCH for row in found[0]]


def raws(found: Found) -> list[str]:
    return [reject.raw for reject in found[1]]


def reasons(found: Found) -> list[str]:
    return [reject.reason for reject in found[1]]


def record(**fields: Any) -> str:
    """A reading with other values in some fields; a field that is `...` is left out."""
    return json.dumps({key: v for key, v in (READING | fields).items() if v is not ...})


# Layout


def test_reading_has_the_values_of_its_object(read: Read) -> None:
    rows, rejects = read(ONE)
    assert rows == [READING | {"serialnumber": None, "person": ANN}]
    assert not rejects


LAYOUTS = {
    "lines": f"{ONE}\n{TWO}\n{THREE}\n",
    "no final newline": f"{ONE}\n{TWO}\n{THREE}",
    "lines that end in commas": f"{ONE},\n{TWO},\n{THREE},\n",
    "several on a line": f"{ONE} {TWO}\n{THREE}\n",
    "several on a line with commas": f"{ONE}, {TWO},{THREE}",
    "one line without separators": f"{ONE}{TWO}{THREE}",
    "array on a line": f"[{ONE},{TWO},{THREE}]",
    "array over lines": f"[\n  {ONE},\n  {TWO},\n  {THREE}\n]\n",
    "an array a line": f"[{ONE}]\n[{TWO},{THREE}]\n",
    "pretty-printed": "\n".join(json.dumps(json.loads(o), indent=2) for o in (ONE, TWO, THREE)),
    "pretty-printed array": json.dumps([json.loads(o) for o in (ONE, TWO, THREE)], indent=4),
    "carriage returns and newlines": f"{ONE}\r\n{TWO}\r\n{THREE}\r\n",
    "carriage returns": f"{ONE}\r{TWO}\r{THREE}\r",
    "byte order mark": f"\ufeff{ONE}\n{TWO}\n{THREE}\n",
    "byte order marks of joined files": f"\ufeff{ONE}\n\ufeff{TWO}\n\ufeff{THREE}\n",
    "blank lines": f"\n\n{ONE}\n \t\n{TWO}\n\n{THREE}\n\n",
    "record separators": f"\x1e{ONE}\n\x1e{TWO}\n\x1e{THREE}\n",
}


@pytest.mark.parametrize("content", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_object_is_read_whatever_the_layout(read: Read, content: str) -> None:
    found = read(content)
    assert times(found) == [1, 2, 3]
    assert not found[1]


@pytest.mark.parametrize("content", ["", "\n", " \r\n\t\n", "[]", "\ufeff", "\ufeff[\n]\n"])
def test_file_without_content_has_neither_rows_nor_rejects(read: Read, content: str) -> None:
    assert read(content) == ([], [])


# Damage


@pytest.mark.parametrize("separator", ["", "\n", ",\n", "\r\n"])
@pytest.mark.parametrize("length", range(1, len(ONE)))
def test_truncated_object_costs_no_neighbour(read: Read, length: int, separator: str) -> None:
    cut = ONE[:length]
    content = f"{THREE}\n{cut}{separator}{TWO}\n{THREE}\n"
    found = read(content)
    assert times(found) == [3, 2, 3]
    assert len(raws(found)) == 1
    assert raws(found)[0].startswith(cut.rstrip())
    assert found[1][0].position == len(THREE) + 1


@pytest.mark.parametrize("cut", [-1, -3, -9, -10])
def test_each_of_several_truncated_objects_is_a_reject(read: Read, cut: int) -> None:
    found = read(f"{ONE[:cut]}\n" * 6 + f"{THREE}\n")
    assert times(found) == [3]
    assert raws(found) == [ONE[:cut].rstrip()] * 6


@pytest.mark.parametrize("length", range(len(ONE)))
def test_file_cut_off_mid_object_keeps_what_stands_before(read: Read, length: int) -> None:
    found = read(f"{TWO}\n{THREE}\n{ONE[:length]}")
    assert times(found) == [2, 3]
    assert raws(found) == ([ONE[:length].rstrip()] if length else [])


GARBAGE = {
    "words": "the upload failed",
    "markup": "<Error><Code>SlowDown</Code></Error>",
    "number": "42",
    "text": '"a text"',
    "text with braces": '"{not an object}"',
    "object in a text": json.dumps(ONE),
    "null": "null",
    "closing brace": "}",
    "empty braces": "{,}",
    "single quotes": "{'user': 'ann@x.io', 'timestamp': 4}",
    "unquoted keys": "{user: 4, timestamp: 4}",
    "comma before the brace": '{"user": "ann@x.io", "timestamp": 4,}',
    "comma missing": '{"user": "ann@x.io" "timestamp": 4}',
    "value missing": '{"user": "ann@x.io", "timestamp": }',
    "leading zero": '{"user": "ann@x.io", "timestamp": 04}',
    "not a number": '{"user": "ann@x.io", "timestamp": nan}',
    "tab in a text": '{"user": "ann\t@x.io", "timestamp": 4}',
    "unknown escape": r'{"user": "ann\x40x.io", "timestamp": 4}',
    "null byte": "\0",
    "many braces": "{" * 2000,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_line_is_one_reject_with_its_text_and_place(read: Read, garbage: str) -> None:
    found = read(f"{ONE}\n{garbage}\n{TWO}\n")
    assert times(found) == [1, 2]
    assert raws(found) == [garbage]
    assert found[1][0].position == len(ONE) + 1


def test_garbage_after_an_object_does_not_cost_the_object(read: Read) -> None:
    found = read(f"{ONE} // checked\n{TWO}}}\n{THREE}")
    assert times(found) == [1, 2, 3]
    assert raws(found) == ["// checked", "}"]


def test_invalid_utf8_rejects_its_object_only(read: Read) -> None:
    broken = b'{"user": "ann\xff@x.io", "timestamp": 4}'
    content = (
        ONE.encode() + b"\n" + broken + b"\n" + TWO.encode() + b"\n\xc3\x28\n" + THREE.encode()
    )
    found = read(content)
    assert times(found) == [1, 2, 3]
    assert raws(found) == ['{"user": "ann\ufffd@x.io", "timestamp": 4}', "\ufffd("]
    assert [r.position for r in found[1]] == [content.index(broken), content.index(b"\xc3\x28")]


def test_character_cut_off_at_the_end_of_the_file_is_accounted_for(read: Read) -> None:
    found = read(ONE.encode() + b"\n" + "é".encode()[:1])
    assert times(found) == [1]
    assert raws(found) == ["\ufffd"]


PIECES = st.lists(
    st.sampled_from([ONE, TWO, THREE])
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters='{}[],"\n'), min_size=1)
    .map(str.strip)
    .filter(bool)
)


@settings(max_examples=100, deadline=None)
@given(pieces=PIECES)
@example(pieces=["\ufeff", ONE])
def test_every_byte_is_in_a_row_or_a_reject(read: Read, pieces: list[str]) -> None:
    content = "\n".join(pieces).encode()
    rows, rejects = read(content)
    garbage = [piece.strip("\ufeff\x1e \n") for piece in pieces if not piece.startswith("{")]
    assert [row["timestamp"] for row in rows] == [
        json.loads(piece)["timestamp"] for piece in pieces if piece.startswith("{")
    ]
    assert [r.raw.strip("\ufeff\x1e ") for r in rejects] == [g for g in garbage if g]
    for reject in rejects:
        raw = reject.raw.encode()
        assert content[reject.position : reject.position + len(raw)] == raw


# Positions


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("offset", range(-4, 2))
def test_position_is_right_behind_a_block_border(read: Read, character: str, offset: int) -> None:
    head = '{"user": "ann@x.io", "timestamp": 7, "note": "'
    filler = "." * (MEBIBYTE - len(head) + offset)
    bad = f'{{"user": "{character}"}}'
    content = f'{head}{filler}{character * 3}"}}\n{bad}\n{ONE}\n{bad}'.encode()
    found = read(content)
    assert times(found) == [7, 1]
    assert raws(found) == [bad, bad]
    for reject in found[1]:
        end = reject.position + len(bad.encode())
        assert content[reject.position : end] == bad.encode()


def test_position_counts_unpacked_bytes(read: Read) -> None:
    content = f"{ONE}\n" * 50_000 + "é€\n" + ONE
    rows, [reject] = read(gzip.compress(content.encode()))
    assert len(rows) == 50_001
    assert (reject.position, reject.raw) == ((len(ONE) + 1) * 50_000, "é€")


# Compression


def test_several_gzip_members_are_one_file(read: Read) -> None:
    lines = f"{ONE}\n{TWO}\n{THREE}".encode()
    members = (lines[:10], lines[10:100], b"", lines[100:])
    found = read(b"".join(map(gzip.compress, members)))
    assert times(found) == [1, 2, 3]
    assert not found[1]


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["no bytes", "packed nothing"])
def test_empty_gzip_file_is_empty(read: Read, content: bytes) -> None:
    assert read(content) == ([], [])


def test_zeros_that_pad_a_gzip_file_are_no_damage(read: Read) -> None:
    found = read(gzip.compress(ONE.encode()) + bytes(512))
    assert times(found) == [1]
    assert not found[1]


def test_cut_off_gzip_file_keeps_what_could_be_unpacked(read: Read) -> None:
    lines = [record(timestamp=time, x=time / 7) for time in range(2_000)]
    packed = gzip.compress("\n".join(lines).encode())
    found = read(packed[: len(packed) // 2])
    kept = len(times(found))
    assert 500 < kept < 1_500
    assert times(found) == list(range(kept))
    assert reasons(found) == ["the gzip file is cut off here"]
    assert lines[kept].startswith(raws(found)[0])


def test_gzip_file_with_a_wrong_checksum_keeps_its_rows_and_says_so(read: Read) -> None:
    packed = bytearray(gzip.compress(f"{ONE}\n{TWO}\n".encode()))
    packed[-8] ^= 1
    found = read(bytes(packed))
    assert times(found) == [1, 2]
    assert reasons(found) == ["the gzip file is damaged here"]


def test_flipped_byte_in_a_gzip_file_costs_what_stands_behind_it_and_says_so(read: Read) -> None:
    lines = [record(timestamp=time, x=time / 7) for time in range(2_000)]
    packed = gzip.compress("\n".join(lines).encode())
    for place in range(len(packed) // 2, len(packed) // 2 + 8):
        damaged = bytearray(packed)
        damaged[place] ^= 0xFF
        found = read(bytes(damaged))
        assert times(found)[:500] == list(range(500))
        assert reasons(found)[-1].startswith("the gzip file is")


def test_file_that_is_not_gzip_but_called_so_is_one_reject(read: Read) -> None:
    found = read(ONE)
    assert (times(found), reasons(found)) == ([], ["the gzip file is damaged here"])


# Keys


@pytest.mark.parametrize("spelling", [str.upper, str.title, str.swapcase, lambda key: key])
def test_keys_match_in_any_case_and_order(read: Read, spelling: Callable[[str], str]) -> None:
    fields = {spelling(key): value for key, value in reversed(READING.items())}
    assert read(json.dumps(fields))[0] == [READING | {"serialnumber": None, "person": ANN}]


def test_time_stamp_of_the_app_is_the_timestamp(read: Read) -> None:
    assert times(read('{"user": "ann@x.io", "timeStamp": 5}')) == [5]


def test_keys_may_be_written_with_escapes(read: Read) -> None:
    assert times(read(r'{"\u0075ser": "ann@x.io", "time\u0053tamp": 5}')) == [5]


def test_unknown_keys_do_not_matter(read: Read) -> None:
    other = {"userid": 5, "": None, "source_file": "x", "ts": [{"user": "bob"}], "é": {"x": 9}}
    assert read(json.dumps(other | READING)) == read(json.dumps(READING))


@pytest.mark.parametrize("second", ["x", "X"])
def test_first_of_repeated_keys_counts(read: Read, second: str) -> None:
    rows, _ = read(f'{{"user": "ann@x.io", "timestamp": 1, "x": 1.5, "{second}": 2.5}}')
    assert rows[0]["x"] == 1.5


def test_first_of_repeated_keys_counts_even_if_null(read: Read) -> None:
    assert reasons(read('{"user": "a", "timestamp": null, "timeStamp": 5}')) == [
        "timestamp is missing"
    ]


def test_keys_inside_nested_values_do_not_count(read: Read) -> None:
    nested = {"meta": {"user": "bob", "timestamp": 9, "x": [1, {"z": 2}]}, "timestamp": 5}
    assert reasons(read(json.dumps(nested))) == ["user or serialnumber is missing"]


# Values


@pytest.mark.parametrize("escaped", [False, True])
def test_text_comes_out_as_it_was_written(read: Read, escaped: bool) -> None:
    user = ' Änn "the" \\ 😀\t\u2028 '
    content = json.dumps({"user": user, "timestamp": 1}, ensure_ascii=escaped)
    assert read(content)[0][0]["user"] == user


@pytest.mark.parametrize("time", [0, -1, 2**63 - 1, -(2**63)])
def test_64_bit_times_are_kept_as_such(read: Read, time: int) -> None:
    assert times(read(record(timestamp=time))) == [time]


WRONG_TIMES = ['"1"', "1.0", "1e3", "1E3", "true", "[1]", "{}", str(2**63), str(-(2**63) - 1)]


@pytest.mark.parametrize("time", [*WRONG_TIMES, "NaN", "Infinity", "1" + "0" * 400])
def test_time_that_is_no_64_bit_integer_quarantines(read: Read, time: str) -> None:
    assert reasons(read(f'{{"user": "ann@x.io", "timestamp": {time}}}')) == [
        "timestamp is not a 64-bit integer"
    ]


def test_missing_time_quarantines(read: Read) -> None:
    assert (
        reasons(read(record(timestamp=...) + record(timestamp=None)))
        == ["timestamp is missing"] * 2
    )


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_acceleration_may_be_missing(read: Read, axis: str) -> None:
    rows, rejects = read(record(**{axis: ...}) + record(**{axis: None}))
    assert [row[axis] for row in rows] == [None, None]
    assert not rejects


WRONG_NUMBERS = ["NaN", "Infinity", "-Infinity", "1e999", "-1E999", '"1"', "true", "[1]", "{}"]


@pytest.mark.parametrize("axis", ["x", "y", "z"])
@pytest.mark.parametrize("value", [*WRONG_NUMBERS, "1" + "0" * 400])
def test_acceleration_that_is_no_finite_number_quarantines(
    read: Read, axis: str, value: str
) -> None:
    found = read(f'{{"user": "ann@x.io", "timestamp": 1, "{axis}": {value}}}')
    assert reasons(found) == [f"{axis} is not a finite number"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [("3", 3.0), ("-0.5e-3", -0.0005), ("1" + "0" * 30, 1e30), (str(2**53 + 1), 2.0**53)],
)
def test_acceleration_may_be_any_finite_number(read: Read, value: str, expected: float) -> None:
    rows, _ = read(f'{{"user": "ann@x.io", "timestamp": 1, "x": {value}}}')
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
    rows, _ = read(f'{{"user": {user}, "serialnumber": "s", "timestamp": 1}}')
    assert [(row["user"], row["serialnumber"]) for row in rows] == [(None, "s")]


def test_user_goes_before_the_serial_number(read: Read) -> None:
    rows, _ = read(record(serialnumber="s"))
    assert [(row["user"], row["serialnumber"]) for row in rows] == [(ANN, None)]


@pytest.mark.parametrize("value", BLANKS)
def test_reading_of_nobody_quarantines(read: Read, value: str) -> None:
    found = read(f'{{"user": {value}, "serialnumber": {value}, "timestamp": 1}}')
    assert reasons(found) == ["user or serialnumber is missing"]


# What does not fit into the reader


def test_lone_surrogate_in_an_unknown_key_does_not_matter(read: Read) -> None:
    assert times(read(r'{"user": "ann@x.io", "timestamp": 1, "note": "\ud83d"}')) == [1]


def test_number_of_thousands_of_digits_quarantines_its_object_only(read: Read) -> None:
    found = read(f'{ONE}\n{{"user": "ann@x.io", "timestamp": {"9" * 5000}}}\n{TWO}')
    assert times(found) == [1, 2]
    assert len(found[1]) == 1


def test_number_of_thousands_of_digits_in_an_unknown_key_does_so_too(read: Read) -> None:
    long = f'{{"user": "ann@x.io", "timestamp": 1, "note": {"9" * 5000}}}'
    found = read(f"{ONE}\n{long}\n{TWO}")
    assert times(found) == [1, 2]
    assert raws(found) == [long]


def test_object_inside_a_broken_one_is_part_of_it(read: Read) -> None:
    inside = '{"user": "old@x.io", "timestamp": 7}'
    for broken in (
        f'{{"user": "ann@x.io", "previous": {inside}, "timestamp":}}',
        f'{{"user": "ann@x.io", "previous": [{inside}], "timestamp":}}',
        f'{{"user": "ann@x.io", "timestamp":, "previous": {inside}}}',
    ):
        found = read(f"{ONE}\n{broken}\n{TWO}")
        assert times(found) == [1, 2]
        assert raws(found) == [broken]


@pytest.mark.parametrize("closing", ["]" * 20_000 + "}", ""])
def test_deep_nesting_quarantines_its_object_only(read: Read, closing: str) -> None:
    deep = '{"user": "ann@x.io", "timestamp": 1, "note": ' + "[" * 20_000 + closing
    found = read(f"{ONE}\n{deep}\n{TWO}")
    assert times(found) == [1, 2]
    assert raws(found) == [deep]


def test_object_across_many_blocks_is_read(read: Read) -> None:
    long = '{"user": "ann@x.io", "timestamp": 7, "note": "' + "é" * (2 * MEBIBYTE) + '"}'
    assert times(read(f"{ONE}\n{long}\n{TWO}")) == [1, 7, 2]


@pytest.mark.parametrize("garbage", list(GARBAGE.values()) + WRONG_TIMES)
def test_reasons_hold_no_value_of_the_data(read: Read, garbage: str) -> None:
    secret = "carol-4711"
    contents = [
        f"{secret} {garbage}",
        f'{{"user": "{secret}", "timestamp": {garbage}}}',
        f'{{"user": "{secret}", "{secret}": 1, "timestamp": "{secret}"}}',
        f'{{"user": "ann@x.io", "timestamp": 1, "x": "{secret}"}}',
    ]
    for reason in (reason for content in contents for reason in reasons(read(content))):
        assert "carol" not in reason
        assert "4711" not in reason


@pytest.mark.parametrize(("line", "number"), [(ONE[:-30], 20_000), ("{" * 40, 2_500)])
def test_broken_lines_take_time_in_proportion_to_their_number(
    read: Read, line: str, number: int
) -> None:
    begun = perf_counter()
    read(f"{line}\n" * number)
    assert perf_counter() - begun < 2
