"""The text of a landing file, whatever it is packed in and however it is encoded."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

import pytest

from stedi_assets.lakehouse.landing.text import BLOCK, HEAD, OtherFormatError
from stedi_assets_tests.lakehouse.landing.formats import OTHERS
from stedi_assets_tests.lakehouse.landing.records import (
    EPOCH,
    ONE,
    THREE,
    TWO,
    blocks_of,
    raws,
    reading,
    reasons,
    times,
)

if TYPE_CHECKING:
    from stedi_assets_tests.lakehouse.landing.conftest import Read


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
    lines = [reading(timestamp=EPOCH + time, x=time / 7) for time in range(2_000)]
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
    lines = [reading(timestamp=EPOCH + time, x=time / 7) for time in range(2_000)]
    packed = gzip.compress("\n".join(lines).encode())
    for place in range(len(packed) // 2, len(packed) // 2 + 8):
        damaged = bytearray(packed)
        damaged[place] ^= 0xFF
        found = read(bytes(damaged))
        assert times(found)[:500] == list(range(500))
        assert reasons(found)[-1].startswith("the gzip file is")


@pytest.mark.parametrize("flags", [2, 4, 8, 16, 30])
def test_gzip_header_may_hold_more_than_it_has_to(read: Read, flags: int) -> None:
    extra = b"\x03\x00abc" if flags & 4 else b""
    name = b"a.json\0" if flags & 8 else b""
    comment = b"a comment\0" if flags & 16 else b""
    packed = gzip.compress(ONE.encode())
    header = packed[:3] + bytes([flags]) + packed[4:10] + extra + name + comment
    check = (zlib.crc32(header) & 0xFFFF).to_bytes(2, "little") if flags & 2 else b""
    assert read(header + check + packed[10:]) == read(ONE)


def test_zeros_of_any_length_may_stand_between_gzip_members(read: Read) -> None:
    content = gzip.compress(ONE.encode()) + bytes(100_000) + gzip.compress(TWO.encode()) + bytes(9)
    assert times(read(content)) == [1, 2]


def test_text_that_unpacks_to_many_blocks_is_read_to_its_end(read: Read) -> None:
    content = gzip.compress(b" " * (3 * BLOCK) + ONE.encode() + b"\n" * (2 * BLOCK + 1))
    assert times(read(content)) == [1]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_file_is_read_whatever_its_encoding(read: Read, encoding: str) -> None:
    lines = f'{reading(user="änn@x.io")}\n{TWO}\n"é" oops\n{THREE}'
    found = read(lines.encode(encoding))
    assert found[0] == read(lines)[0]
    assert raws(found) == ['"é" oops']
    marked = 0 if encoding.endswith("e") else 3
    assert found[1][0].position == marked + lines.encode().index('"é"'.encode())


def test_half_a_character_at_the_end_of_a_utf_16_file_is_accounted_for(read: Read) -> None:
    found = read(f"{ONE}\n".encode("utf-16") + b"\x00")
    assert (times(found), raws(found)) == ([1], ["\ufffd"])


@pytest.mark.parametrize("order", ["le", "be"])
def test_bytes_that_are_no_utf_32_are_a_reject(read: Read, order: str) -> None:
    mark = "\ufeff".encode(f"utf-32-{order}")
    found = read(mark + b"\xff" * 4)
    assert (times(found), raws(found)) == ([], ["\ufffd"])
    bad = ONE.replace("ann@", "BAD@").encode(f"utf-32-{order}")
    for wrong in (b"\xff" * 4, b"\x7f" * 4):
        line = bad.replace("B".encode(f"utf-32-{order}"), wrong)
        ends = [f"\n{each}\n".encode(f"utf-32-{order}") for each in (TWO, THREE)]
        found = read(mark + ends[0] + line + ends[1])
        assert times(found) == [2, 3]
        assert raws(found) == [ONE.replace("ann@", "\ufffdAD@")]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_half_a_surrogate_pair_quarantines_its_object(read: Read, encoding: str) -> None:
    content = f"\ufeff{TWO}\n{reading(user='USER')}\n{THREE}".replace("USER", "ann\ud800@x.io")
    found = read(content.encode(encoding, "surrogatepass"))
    assert times(found) == [2, 3]
    assert reasons(found) == ["not valid UTF-8"]


def test_utf_16_file_that_looks_like_utf_32_is_read_to_its_end(read: Read) -> None:
    found = read(f"\ufeff\0{ONE}\n{TWO}".encode("utf-16-le"))
    assert (found[0], len(found[1])) == ([], 1)
    assert found[1][0].raw.count("\ufffd") > 50


@pytest.mark.parametrize(("what", "content"), OTHERS.items(), ids=OTHERS.keys())
def test_file_of_another_format_is_told_as_such(what: str, content: bytes) -> None:
    with pytest.raises(OtherFormatError, match=f"the file is {what}, not JSON") as raised:
        list(blocks_of(content))
    assert len(raised.value.head) <= HEAD


def test_small_pieces_of_a_file_are_recognised_too() -> None:
    with pytest.raises(OtherFormatError, match="a PDF document"):
        list(blocks_of(OTHERS["a PDF document"], 1))


def test_text_with_the_words_of_a_tar_archive_is_text(read: Read) -> None:
    first = f'{{"note": "{"x" * 247}ustar ", {ONE[1:]}'
    assert first.index("ustar ") == 257
    assert times(read(f"{first}\n{TWO}\n")) == [1, 2]


WORDS = [
    "BZh91AY&SY",
    "PAR1",
    "ORC",
    "ORC\n",
    "GIF89a",
    "%PDF-",
    "%PDF-1.7\n",
    "ARROW1",
    "PK",
    "7z",
]


@pytest.mark.parametrize("words", WORDS)
def test_text_that_begins_like_a_file_of_another_format_loses_that_alone(
    read: Read, words: str
) -> None:
    for between in ("", "\n", " Änn\n"):
        found = read(f"{words}{between}{ONE}\n{TWO}\n")
        assert (times(found), len(found[1])) == ([1, 2], 1 + (words[-1] + between == "\n Änn\n"))
