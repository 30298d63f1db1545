"""What does not fit into the reader."""

from __future__ import annotations

import tracemalloc
from time import process_time
from typing import TYPE_CHECKING

import pytest

from stedi_assets.lakehouse.landing.unreadable import Emails
from stedi_assets_tests.lakehouse.landing.records import (
    ONE,
    TWO,
    raws,
    times,
)

if TYPE_CHECKING:
    from stedi_assets_tests.lakehouse.landing.conftest import Read

pytestmark = pytest.mark.slow  # Time and memory of large inputs.

MEBIBYTE = 1 << 20


def test_lone_surrogate_in_an_unknown_key_does_not_matter(read: Read) -> None:
    assert times(read(r'{"user": "ann@x.io", "timestamp": 1655564400001, "note": "\ud83d"}')) == [1]


def test_number_of_thousands_of_digits_in_an_unknown_key_does_not_matter(read: Read) -> None:
    assert times(read(f'{ONE[:-1]}, "note": {"9" * 5000}}}')) == [1]


def test_long_numbers_are_not_held_when_their_object_is_read(read: Read) -> None:
    read(ONE)
    tracemalloc.start()
    try:
        for digit in "123456789":
            read(f'{ONE[:-1]}, "note": {digit * MEBIBYTE}}}')
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < MEBIBYTE


@pytest.mark.parametrize("place", ["first", "last"])
@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}")])
def test_nesting_of_256_levels_is_read_and_of_257_is_not(
    read: Read, opening: str, closing: str, place: str
) -> None:
    for levels, expected in ((256, [1, 2]), (257, [2])):
        deep = opening * (levels - 1) + "1" + closing * (levels - 1)
        note = f'"note": {deep}'
        line = f"{{{note}, {ONE[1:]}" if place == "first" else f"{ONE[:-1]}, {note}}}"
        found = read(f"{line}\n{TWO}\n")
        assert times(found) == expected
        assert raws(found) == ([line] if levels > 256 else [])


@pytest.mark.parametrize("closing", ["]" * 20_000 + "}", ""])
def test_deep_nesting_quarantines_its_object_only(read: Read, closing: str) -> None:
    deep = '{"user": "ann@x.io", "timestamp": 1655564400001, "note": ' + "[" * 20_000 + closing
    found = read(f"{ONE}\n{deep}\n{TWO}")
    assert times(found) == [1, 2]
    assert raws(found) == [deep]


def test_object_across_many_blocks_is_read(read: Read) -> None:
    long = (
        '{"user": "ann@x.io", "timestamp": 1655564400007, "note": "' + "é" * (2 * MEBIBYTE) + '"}'
    )
    assert times(read(f"{ONE}\n{long}\n{TWO}")) == [1, 7, 2]


def seconds(read: Read, content: str) -> float:
    begun = process_time()
    read(content)
    return process_time() - begun


BROKEN = {
    "cut off": f"{ONE[:-30]}\n",
    "cut off before a value": '{"user":\n',
    "cut off before a value, on one line": '{"user":',
    "cut off in an array": f'{ONE}\n{{"user": [\n',
    "cut off in an array, on one line": '{"user":[',
    "cut off in a text": '{"user": "a',
    "braces": "{",
    "braces in lines": "{" * 40 + "\n",
    "quotes and braces": '"{',
    "closing brackets": '{"a":]]]]]]]]',
    "records cut off on one line": ONE + ONE[:-30],
    "keys without values": "user:",
    "backslashes": '"\\',
    "records in an array with commas, some cut off": f"{ONE},\n" * 20 + '{"user": [\n',
}


QUOTED = {
    "escaped quotes": ('{"x": @"', '\\"', '"'),
    "backslashes": ('{"x": @"', "\\\\", ""),
    "escapes": ('{"x": @"', "\\u0041", ""),
    "JSON in a text that is cut off": ('{"data": "{', '\\"a@x.io\\": \\"1\\", ', ""),
    "addresses": ("{", "ann@x.io ", ""),
    "signs of addresses": ("{", "@", ""),
    "keys": ("{", "'user':\"", ""),
    "keys in a text": ('{"user": @"', " user:\\\" user:\\'", ""),
    "keys and brackets": ("{", '"user":[', ""),
    "unquoted letters": ('{"user": ', "ann@x.io\\", ""),
}


@pytest.mark.parametrize(("begin", "piece", "end"), QUOTED.values(), ids=QUOTED.keys())
def test_persons_are_looked_for_in_time_that_goes_by_the_size(
    begin: str, piece: str, end: str
) -> None:
    emails = Emails("user")

    def seconds(size: int) -> float:
        text = begin + piece * (size // len(piece)) + end
        begun = process_time()
        emails.persons(text)
        return process_time() - begun

    long = min(seconds(MEBIBYTE) for _ in range(2))
    assert long < 12 * min(seconds(MEBIBYTE // 4) for _ in range(2)) + 0.1
    assert long < 3


@pytest.mark.parametrize("piece", BROKEN.values(), ids=BROKEN.keys())
def test_time_goes_by_the_size_of_what_is_broken(read: Read, piece: str) -> None:
    pieces = 40_000 // len(piece)
    short = min(seconds(read, piece * pieces) for _ in range(2))
    long = min(seconds(read, piece * pieces * 4) for _ in range(2))
    assert long < 12 * short + 0.1


def test_deep_nesting_is_told_at_once(read: Read) -> None:
    assert seconds(read, '{"a":' * 20_000) < 0.5
