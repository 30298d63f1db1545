"""What is broken in a landing file costs no neighbour, and counts once."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stedi_assets_tests.lakehouse.landing.records import (
    ONE,
    THREE,
    TWO,
    raws,
    reasons,
    times,
)

if TYPE_CHECKING:
    from stedi_assets_tests.lakehouse.landing.conftest import Read

MEBIBYTE = 1 << 20


@pytest.mark.parametrize("separator", ["", "\n", ",\n", "\r\n"])
@pytest.mark.parametrize("length", range(1, len(ONE)))
def test_truncated_object_costs_no_neighbour(read: Read, length: int, separator: str) -> None:
    cut = ONE[:length]
    if not separator and cut.rstrip().endswith(":"):
        pytest.skip("what follows is a value of the object")
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
    "comma before the brace": '{"user": "ann@x.io", "timestamp": 1655564400004,}',
    "comma missing": '{"user": "ann@x.io" "timestamp": 1655564400004}',
    "value missing": '{"user": "ann@x.io", "timestamp": }',
    "leading zero": '{"user": "ann@x.io", "timestamp": 04}',
    "not a number": '{"user": "ann@x.io", "timestamp": nan}',
    "tab in a text": '{"user": "ann\t@x.io", "timestamp": 1655564400004}',
    "unknown escape": r'{"user": "ann\x40x.io", "timestamp": 1655564400004}',
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
    broken = b'{"user": "ann\xff@x.io", "timestamp": 1655564400004}'
    content = (
        ONE.encode() + b"\n" + broken + b"\n" + TWO.encode() + b"\n\xc3\x28\n" + THREE.encode()
    )
    found = read(content)
    assert times(found) == [1, 2, 3]
    assert raws(found) == ['{"user": "ann\ufffd@x.io", "timestamp": 1655564400004}', "\ufffd("]
    assert [r.position for r in found[1]] == [content.index(broken), content.index(b"\xc3\x28")]


def test_character_cut_off_at_the_end_of_the_file_is_accounted_for(read: Read) -> None:
    found = read(ONE.encode() + b"\n" + "é".encode()[:1])
    assert times(found) == [1]
    assert raws(found) == ["\ufffd"]


# A line ends with a line feed, a carriage return, or both.
PIECES = st.lists(
    st.sampled_from([ONE, TWO, THREE])
    | st.text(st.characters(exclude_categories=["Cs"], exclude_characters='{}[],"\n\r'), min_size=1)
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


@pytest.mark.parametrize("character", ["x", "é", "€", "😀"])
@pytest.mark.parametrize("offset", range(-4, 2))
def test_position_is_right_behind_a_block_border(read: Read, character: str, offset: int) -> None:
    head = '{"user": "ann@x.io", "timestamp": 1655564400007, "note": "'
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


@pytest.mark.parametrize("garbage", GARBAGE.values())
def test_reasons_hold_no_value_of_the_data(read: Read, garbage: str) -> None:
    secret = "carol-4711"
    contents = [
        f"{secret} {garbage}",
        f'{{"user": "{secret}", "timestamp": {garbage}}}',
        f'{{"user": "{secret}", "{secret}": 1, "timestamp": "{secret}"}}',
        f'{{"user": "ann@x.io", "timestamp": 1655564400001, "x": "{secret}"}}',
    ]
    for reason in (reason for content in contents for reason in reasons(read(content))):
        assert "carol" not in reason
        assert "4711" not in reason
