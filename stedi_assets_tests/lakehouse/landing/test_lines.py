"""Lines that are read at once mean what the scanner makes of the whole file."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from time import process_time
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stedi_assets.lakehouse.landing import lines as lines_module
from stedi_assets.lakehouse.landing import shapes as shapes_module
from stedi_assets.lakehouse.landing.lines import PlainLines, read_lines
from stedi_assets.lakehouse.landing.parquet import rows_of_lines
from stedi_assets.lakehouse.landing.rows import Rows
from stedi_assets.lakehouse.landing.shapes import LineMatcher, Matchers
from stedi_assets.lakehouse.landing.unreadable import Unreadable
from stedi_assets.lakehouse.landing.values import read_columns
from stedi_assets_tests.lakehouse.landing.records import (
    EPOCH,
    LANDED_AT,
    READING,
    blocks_of,
    scanned,
)
from stedi_assets_tests.lakehouse.landing.strategies import (
    CLEAN,
    EXAMPLES,
    SEPARATORS,
    USER,
    files,
    with_history,
)
from stedi_assets_tests.support import table_named

if TYPE_CHECKING:
    from stedi_assets.lakehouse.table import Table
    from stedi_assets_tests.lakehouse.landing.records import Row

DAY = 86_400_000


@cache
def table(source: str) -> Table:
    return table_named(f"{source}_landing")


@cache
def database() -> duckdb.DuckDBPyConnection:
    """One for all tests, and one thread for their few lines: to start takes longer than to read."""
    return duckdb.connect(config={"threads": 1})


class Mixed:
    """What both ways together find in a file."""

    def __init__(self, content: bytes, source: str, size: int | None = None) -> None:
        self.rows: list[Row] = []
        self.rejects: list[Unreadable] = []
        self.plain = 0
        landing = table(source)
        names = [c.name for c in read_columns(landing)] + ["person"] * bool(landing.person_of)
        rows, matchers = Rows(landing, LANDED_AT), Matchers(landing, LANDED_AT)
        for found in read_lines(blocks_of(content, size), rows, matchers):
            if isinstance(found, PlainLines):
                self.plain += len(found.lines)
                self.rows += [{n: row[n] for n in names} for row in made(found, landing)]
            elif isinstance(found, Unreadable):
                self.rejects.append(found)
            else:
                self.rows.append(dict(zip(names, found, strict=True)))


def made(plain: PlainLines, landing: Table) -> list[Row]:
    """Rows of plain lines, by DuckDB."""
    files = pa.array(["a.json"] * len(plain.lines)).dictionary_encode()
    batches = pa.table({"line": plain.lines, "source_file": files})
    connection = database()
    connection.register("batches", batches)
    found = connection.execute(rows_of_lines(landing, plain.matcher, LANDED_AT))
    rows: list[Row] = found.to_arrow_table().to_pylist()
    assert {(row["source_file"], row["landed_at"]) for row in rows} == {("a.json", LANDED_AT)}
    return rows


def as_texts(rows: list[Row]) -> Counter[str]:
    return Counter(map(repr, rows))  # tells -0.0 from 0.0


def assert_alike(content: bytes, source: str, size: int | None = None) -> Mixed:
    mixed = Mixed(content, source, size)
    rows, rejects = scanned(content, table(source))
    assert as_texts(mixed.rows) == as_texts(rows)
    assert mixed.rejects == rejects
    return mixed


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=files(), size=st.integers(1, 400))
def test_both_ways_together_find_what_the_scanner_alone_finds(
    drawn: tuple[str, bytes], size: int
) -> None:
    source, content = drawn
    assert_alike(content, source, size)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=files(), size=st.integers(1, 400))
def test_scanner_finds_the_same_whatever_the_size_of_blocks(
    drawn: tuple[str, bytes], size: int
) -> None:
    source, content = drawn
    assert scanned(content, table(source), size) == scanned(content, table(source))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=files())
def test_long_lines_are_read_alike(drawn: tuple[str, bytes]) -> None:
    source, content = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "LONGEST", 200)
        assert_alike(content, source, 150)
        assert_alike(content.replace(b"\n", b""), source, 150)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=files(), size=st.none() | st.integers(100, 1000))
def test_lines_of_several_objects_are_read_alike(
    drawn: tuple[str, bytes], size: int | None
) -> None:
    source, content = drawn
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lines_module, "_LONG_LINES", 100)
        assert_alike(content, source, size)
        assert_alike(content.replace(b"\n", b""), source, size)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(drawn=files(), size=st.integers(100, 1000))
def test_text_that_is_matched_as_a_whole_first_is_read_alike(
    drawn: tuple[str, bytes], size: int
) -> None:
    source, content = drawn
    clean = (json.dumps(CLEAN[source]) + "\n").encode() * 10
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shapes_module, "_LONG_TEXT", 1)
        assert_alike(clean + content + b"\n" + clean, source, size)


@pytest.mark.parametrize("separator", ["\ufeff", "\u3000", "\u2003", "\xa0", "\x1e", " "])
def test_blocks_may_end_inside_of_what_separates_objects(
    separator: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lines_module, "LONGEST", 50)
    content = (USER + separator * 3) * 25
    for size in range(80, 90):
        assert_alike(content.encode(), "accelerometer", size)


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize("source", CLEAN)
def test_record_behind_one_with_a_long_history_is_read(source: str, separator: str) -> None:
    for first in with_history(source, versions=40):
        content = f"{first}{separator}{json.dumps(CLEAN[source])}"
        assert len(assert_alike(content.encode(), source).rows) == 2


@pytest.mark.parametrize("odd", EXAMPLES.values(), ids=EXAMPLES.keys())
@pytest.mark.parametrize("source", CLEAN)
def test_odd_line_among_clean_ones_is_read_alike(source: str, odd: str) -> None:
    clean = json.dumps(CLEAN[source]) + "\n"
    content = (clean * 80 + odd + "\n" + clean * 80).encode(errors="surrogateescape")
    assert_alike(content, source)
    assert_alike(content, source, 997)


@pytest.mark.parametrize("source", CLEAN)
@pytest.mark.parametrize("end", ["\n", "\r\n", ",\n", " \n"])
def test_clean_lines_are_read_at_once(source: str, end: str) -> None:
    content = (json.dumps(CLEAN[source]) + end).encode() * 300
    assert assert_alike(content, source).plain == 300


TIMES = [
    "946684799999",
    "946684800000",
    str(LANDED_AT + DAY),
    str(LANDED_AT + DAY + 1),
    "1655564376361.0",
    "1655564376361.5",
    "1.655564376361E12",
    "1.6555643763615E12",
    "1.9E12",
    '"1655564376361"',
    '" 1655564376361 "',
    "01655564376361",
    "0",
    "-0",
    "null",
    '""',
]


@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("key", ["shareWithResearchAsOfDate", "registrationDate"])
def test_time_is_read_alike_however_it_is_spelled(key: str, time: str) -> None:
    line = json.dumps(CLEAN["customer"] | {key: "TIME"}).replace('"TIME"', time) + "\n"
    assert_alike(line.encode() * 70, "customer")


def test_times_that_exporters_write_are_read_at_once() -> None:
    for time in ("1655564376361.0", "1.655564376361E12", '"1655564376361"'):
        line = json.dumps(READING | {"timestamp": "TIME"}).replace('"TIME"', time) + "\n"
        assert Mixed(line.encode() * 70, "accelerometer").plain == 70


@settings(max_examples=100, deadline=None)
@given(
    x=st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.from_regex(r"\A-?(0|[1-9][0-9]{0,16})(\.[0-9]{1,22})?([eE][-+]?[0-9]{1,3})?\Z")
)
@example(x="-0.0")
@example(x="-0")
@example(x="0.30000000000000004")
@example(x="9007199254740993.0")
@example(x="123456789012345.12345678901234567890e-99")
def test_number_is_the_nearest_double_either_way(x: str) -> None:
    line = json.dumps(READING | {"x": "X"}).replace('"X"', x) + "\n"
    assert_alike(line.encode() * 2, "accelerometer")


def test_file_whose_later_lines_have_other_keys_is_read_at_once() -> None:
    other: dict[str, Any] = {"TimeStamp": EPOCH, "Z": 1.5, "User": "bob@x.io", "firmware": [1, {}]}
    content = (json.dumps(READING) + "\n") * 500 + (json.dumps(other) + "\n") * 500
    assert assert_alike(content.encode(), "accelerometer", 8_000).plain > 950


def test_keys_may_be_missing_in_some_lines() -> None:
    full = CLEAN["customer"]
    kept = [{k: v for k, v in full.items() if k == "email" or hash((k, n)) % 3} for n in range(50)]
    content = "".join(json.dumps(each) + "\n" for each in kept * 20)
    assert assert_alike(content.encode(), "customer").plain > 900


@pytest.mark.parametrize(
    "others",
    [
        {"serialNumber": "b9b9"},
        {"user": None, "serialNumber": "b9b9"},
        {"user": "ann@x.io", "serialNumber": "b9b9"},
    ],
    ids=["a device", "null and a device", "both"],
)
def test_lines_that_say_differently_whose_they_are_are_read_at_once(others: dict[str, Any]) -> None:
    rest = {key: value for key, value in READING.items() if key != "user"}
    content = (json.dumps(READING) + "\n" + json.dumps(others | rest) + "\n") * 100
    assert assert_alike(content.encode(), "accelerometer").plain == 200


def with_keys(*keys: str, first: bool = True) -> str:
    unknown: dict[str, Any] = dict.fromkeys(keys, 1)
    return json.dumps(unknown | READING if first else READING | unknown) + "\n"


NUMBERS = range(64)
UNKNOWN_KEYS = {
    "many in one line": [with_keys(*(f"k{n}" for n in range(90)))],
    "more than there is room for": [with_keys(*(f"k{n}" for n in range(5_000)))] * 2,
    "long ones": [with_keys("k" * 300_000)] * 2,
    "its own one in each line": [with_keys(f"k{n}") for n in NUMBERS],
    "its own ones in each line": [with_keys(*(f"k{n}.{i}" for i in range(4))) for n in NUMBERS],
    "its own ones at each end": [with_keys(f"k{n}", first=False) for n in NUMBERS],
    "any of a few": [with_keys(*(f"k{i}" for i in range(6) if n >> i & 1)) for n in NUMBERS],
}


@pytest.mark.parametrize("lines", UNKNOWN_KEYS.values(), ids=UNKNOWN_KEYS.keys())
def test_unknown_keys_cost_neither_rows_nor_time(lines: list[str]) -> None:
    begun = process_time()
    mixed = Mixed("".join(lines * 10).encode(), "accelerometer")
    assert (len(mixed.rows), mixed.rejects) == (10 * len(lines), [])
    assert process_time() - begun < 3


def test_lines_with_any_of_a_few_unknown_keys_are_read_at_once() -> None:
    lines = "".join(UNKNOWN_KEYS["any of a few"] * 10)
    assert assert_alike(lines.encode(), "accelerometer").plain > 600


def test_files_with_an_unknown_key_each_cost_little_more_than_others() -> None:
    landing = table("accelerometer")
    rows, matchers = Rows(landing, LANDED_AT), Matchers(landing, LANDED_AT)
    begun = process_time()
    for n in range(1_000):
        content = blocks_of(with_keys(f"k{n}"))
        assert len(list(read_lines(content, rows, matchers))) == 1
    assert process_time() - begun < 3


def test_pattern_that_is_too_large_matches_nothing() -> None:
    matcher = LineMatcher("(?:[a-z]{1000}){1000}", (), commas=False)
    assert matcher.matches(pa.array([b"abc", b"{}"])).to_pylist() == [False, False]
    assert not matcher.matches_all(pa.py_buffer(b"abc\n"))


@pytest.mark.parametrize(
    ("text", "is_whole"),
    [(b"a\n", True), (b"a\r\na\n", True), (b"a\na", False), (b"a\n\na\n", False), (b"", False)],
)
def test_text_is_whole_if_each_line_has_the_shape_and_an_end(text: bytes, is_whole: bool) -> None:
    matcher = LineMatcher("a", (), commas=False)
    assert matcher.matches_all(pa.py_buffer(text)) == is_whole


def test_odd_lines_in_between_leave_the_others_to_be_read_at_once() -> None:
    clean = json.dumps(READING) + "\n"
    content = ("\ufeff" + clean * 500 + "oops\n" + clean * 500 + "\n \n" + clean * 500).encode()
    mixed = assert_alike(content, "accelerometer")
    assert mixed.plain >= 1_499
    assert [reject.raw for reject in mixed.rejects] == ["oops"]


def test_cut_off_line_is_followed_by_records_read_at_once() -> None:
    clean = json.dumps(READING) + "\n"
    mixed = assert_alike((clean * 50 + '{"user":\n' + clean * 50).encode(), "accelerometer")
    assert (len(mixed.rows), mixed.plain) == (100, 100)
