"""Reads every JSON object out of a landing file, whatever surrounds the objects.

Slow next to the engine's own JSON reader, and for the files that one stumbles over: objects that
end in commas or share a line or span several, arrays, files cut off in the middle, garbage.
"""

import codecs
import json
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from stedi_assets.lakehouse.landing.person import SEPARATOR, person
from stedi_assets.lakehouse.landing.values import (
    NotReadableError,
    Number,
    read_columns,
    row_maker,
)
from stedi_assets.lakehouse.table import Table

_CHUNK = 1 << 20
_WINDOWS = (4 << 10, 64 << 10, 1 << 20)
"""How far to look for an object's end: json counts lines from the start of what it is given."""

_LONGEST_TOKEN = 400
"""Characters of the longest number or literal that a window may cut in two."""

_MAX_OBJECT = 16 << 20
"""Bytes within which an object must end; what is longer is quarantined in pieces."""

# What may stand between objects: white space, commas, an array's brackets, a byte order mark,
# the record separator of JSON text sequences.
_BETWEEN = re.compile(r"[\s,\[\]\ufeff\x1e]*")
# What follows an object that stands inside another one.
_INSIDE = re.compile(r'[\s\]]*(\}|,\s*")')


@dataclass(frozen=True)
class Unreadable:
    """Text of a landing file that gives no row.

    Attributes:
        position: Byte at which it begins in the (uncompressed) file.
    """

    position: int
    raw: str
    reason: str
    person: str | None = None


class DamagedFileError(Exception):
    """The rest of a compressed file cannot be unpacked."""


def read_objects(
    blocks: Iterator[bytes], table: Table, landed_at: int
) -> Iterator[tuple[Any, ...] | Unreadable]:
    """Rows of a landing file in the order of the table's columns, and whatever gives no row.

    Args:
        blocks: The file's content, as `read_blocks` gives it.
        table: The landing table.
        landed_at: When the refresh began that takes the file in, in epoch milliseconds.
    """
    to_row = row_maker(table, landed_at)
    known = frozenset(column.name for column in read_columns(table))
    for found in _Scanner(blocks, known).scan():
        if isinstance(found, Unreadable):
            yield replace(found, person=_named(found.raw, table))
            continue
        position, raw, fields = found
        try:
            yield to_row(fields)
        except NotReadableError as error:
            text = raw()
            yield Unreadable(position(), text, str(error), _named(text, table))


def _named(raw: str, table: Table) -> str | None:
    """The person that an unreadable object names, as far as its e-mail can be read."""
    if table.person_of is None:
        return None
    pattern = rf'["\']?{table.person_of}["\']?\s*[:=]\s*["\']?([^"\',}}]+)'
    found = [person(text) for text in re.findall(pattern, raw, re.IGNORECASE)]
    return SEPARATOR.join(dict.fromkeys(filter(None, found))) or None


def is_packed(path: str) -> bool:
    """Whether a landing file of this name is compressed."""
    return path.lower().endswith(".gz")


def read_blocks(file: BinaryIO, *, packed: bool) -> Generator[bytes]:
    """The file's content, unpacked, in blocks; the file is closed after the last.

    Raises:
        DamagedFileError: After the last byte that could be unpacked.
    """
    with file:
        if not packed:
            yield from iter(lambda: file.read(_CHUNK), b"")
            return
        unpacker, begun = zlib.decompressobj(wbits=31), False
        while rest := file.read(1 << 14):
            while rest:
                if unpacker.eof:  # a file may hold several gzip members
                    unpacker = zlib.decompressobj(wbits=31)
                yield from _unpack(unpacker, rest)
                # Python's gzip ignores zeros after a member, too.
                rest, begun = unpacker.unused_data.lstrip(b"\0"), True
        if begun and not unpacker.eof:
            raise DamagedFileError("the gzip file is cut off here")


def _unpack(unpacker: Any, packed: bytes) -> Iterator[bytes]:
    before = unpacker.copy()
    try:
        yield unpacker.decompress(packed)
        return
    except zlib.error:
        pass
    # Byte by byte, to get all that stands before the damage.
    for i in range(len(packed)):
        try:
            yield before.decompress(packed[i : i + 1])
        except zlib.error:
            raise DamagedFileError("the gzip file is damaged here") from None


class _BrokenError(Exception):
    def __init__(self, reason: str, stuck: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.stuck = stuck


def _fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key.lower(): value for key, value in reversed(pairs)}


class _Scanner:
    """Finds the JSON objects of a text that arrives in blocks."""

    def __init__(self, blocks: Iterator[bytes], known: frozenset[str]) -> None:
        self._blocks = blocks
        self._known = known
        self._decode = json.JSONDecoder(
            object_pairs_hook=_fields, parse_int=Number, parse_float=Number
        ).raw_decode
        self._characters = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._text = ""
        self._at = 0
        self._counted = (0, 0)  # a place in the text, and its byte in the file
        self._ended = False
        self._damage: str | None = None

    def scan(
        self,
    ) -> Iterator[Unreadable | tuple[Callable[[], int], Callable[[], str], dict[str, Any]]]:
        reported = False
        while self._skip_between():
            begin = self._at
            try:
                fields, end = self._object(begin)
            except _BrokenError as error:
                if not self._ended and len(self._text) - begin < _MAX_OBJECT:
                    self._more()
                    continue
                end = self._fragment_end(begin, error.stuck)
                self._at = end
                raw = self._raw(begin, end)
                reason = error.reason
                if self._damage and end == len(self._text):
                    reason, reported = self._damage, True
                yield Unreadable(self._byte(begin), raw, reason)
                continue
            self._at = end
            yield (
                lambda: self._byte(begin),  # noqa: B023  (called before the loop goes on)
                lambda: self._raw(begin, end),  # noqa: B023
                fields,
            )
        if self._damage and not reported:
            yield Unreadable(self._byte(self._at), "", self._damage)

    def _skip_between(self) -> bool:
        """Go to what comes next; whether there is anything."""
        while True:
            match = _BETWEEN.match(self._text, self._at)
            self._at = match.end() if match else self._at
            if self._at < len(self._text):
                return True
            if self._ended:
                return False
            self._more()

    def _object(self, begin: int) -> tuple[dict[str, Any], int]:
        """The object that begins there, and its end.

        Raises:
            _BrokenError: There is none.
        """
        if self._text[begin] != "{":
            raise _BrokenError("not a JSON object", begin)
        for window in (*_WINDOWS, len(self._text)):
            piece = self._text[begin : begin + window]
            try:
                fields, length = self._decode(piece)
                piece[:length].encode()
            except json.JSONDecodeError as error:
                cut_off = begin + window < len(self._text) and (
                    error.msg.startswith("Unterminated") or error.pos > window - _LONGEST_TOKEN
                )
                if not cut_off:
                    raise _BrokenError("not valid JSON", begin + error.pos) from None
            except RecursionError:
                raise _BrokenError("nested too deeply", begin) from None
            except UnicodeEncodeError:
                raise _BrokenError("not valid UTF-8", begin) from None
            except ValueError:  # Python reads no integer of thousands of digits
                raise _BrokenError("a number is too long", begin) from None
            else:
                return fields, begin + length
        raise _BrokenError("not valid JSON", begin)

    def _fragment_end(self, begin: int, stuck: int) -> int:
        """Where the unreadable text ends: at the next readable object, or with the line."""
        last = begin + len(self._text[begin:stuck].rstrip())
        newline = self._text.find("\n", last)
        line_end = len(self._text) if newline < 0 else newline
        for match in re.finditer(r"\{", self._text[begin + 1 : line_end]):
            candidate = begin + 1 + match.start()
            try:
                fields, end = self._object(candidate)
            except _BrokenError:
                continue
            # An object inside the broken one is part of it, not a record of its own.
            if self._known & fields.keys() and not _INSIDE.match(self._text, end):
                return candidate
        return max(line_end, begin + 1)

    def _more(self) -> None:
        """Drop what is behind, append the next block."""
        self._byte(self._at)
        self._text = self._text[self._at :]
        self._counted, self._at = (0, self._counted[1]), 0
        try:
            block = next(self._blocks, None)
        except DamagedFileError as error:
            self._damage, block = str(error), None
        self._ended = block is None
        self._text += self._characters.decode(block or b"", final=self._ended)

    def _byte(self, place: int) -> int:
        counted, byte = self._counted
        if place >= counted:
            byte += len(self._text[counted:place].encode("utf-8", "surrogateescape"))
            self._counted = (place, byte)
            return byte
        return byte - len(self._text[place:counted].encode("utf-8", "surrogateescape"))

    def _raw(self, begin: int, end: int) -> str:
        text = self._text[begin:end].rstrip()
        return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
