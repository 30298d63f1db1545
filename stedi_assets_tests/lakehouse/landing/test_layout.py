"""Every object of a landing file is read, whatever surrounds it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from stedi_assets_tests.lakehouse.landing.records import (
    ANN,
    EPOCH,
    ONE,
    READING,
    THREE,
    TWO,
    reading,
    reasons,
    times,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from stedi_assets_tests.lakehouse.landing.conftest import Read


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


@pytest.mark.parametrize("spelling", [str.upper, str.title, str.swapcase, lambda key: key])
def test_keys_match_in_any_case_and_order(read: Read, spelling: Callable[[str], str]) -> None:
    fields = {spelling(key): value for key, value in reversed(READING.items())}
    assert read(json.dumps(fields))[0] == [READING | {"serialnumber": None, "person": ANN}]


def test_time_stamp_of_the_app_is_the_timestamp(read: Read) -> None:
    assert times(read('{"user": "ann@x.io", "timeStamp": 1655564400005}')) == [5]


def test_keys_may_be_written_with_escapes(read: Read) -> None:
    assert times(read(r'{"\u0075ser": "ann@x.io", "time\u0053tamp": 1655564400005}')) == [5]


def test_unknown_keys_do_not_matter(read: Read) -> None:
    other = {"userid": 5, "": None, "source_file": "x", "ts": [{"user": "bob"}], "é": {"x": 9}}
    assert read(json.dumps(other | READING)) == read(json.dumps(READING))


TWICE = [
    ('"x": 1.5, "x": 1.5', None),
    ('"x": 1.5, "X": 1.50', None),
    ('"x": 1.5, "X": 2.5', "key x comes twice with different values"),
    ('"x": 1.5, "\\u0058": 2.5', "key x comes twice with different values"),
    ('"x": 1.5, "x": "1.5"', "key x comes twice with different values"),
    ('"x": null, "x": 1', "key x comes twice with different values"),
    ('"user": "bob@x.io"', "key user comes twice with different values"),
    ('"note": [1, {"a": 2}], "NOTE": [1, {"a": 2}]', None),
    ('"note": [], "NOTE": {}', "a key comes twice with different values"),
    ('"carol-4711": 1, "Carol-4711": 2', "a key comes twice with different values"),
    ('"note": {"a": 1, "a": 2}', None),
]


@pytest.mark.parametrize(("fields", "reason"), TWICE)
def test_key_that_comes_twice_with_different_values_quarantines(
    read: Read, fields: str, reason: str | None
) -> None:
    found = read(f"{reading(x=...)[:-1]}, {fields}}}")
    assert reasons(found) == ([reason] if reason else [])


def test_keys_inside_nested_values_do_not_count(read: Read) -> None:
    nested = {
        "meta": {"user": "bob", "timestamp": EPOCH, "x": [1, {"z": 2}]},
        "timestamp": 1655564400005,
    }
    assert reasons(read(json.dumps(nested))) == ["user or serialnumber is missing"]
