"""Reads every JSON object out of a landing file, whatever surrounds the objects.

Slow next to the engine's own JSON reader, and for the files that one stumbles over: objects that
end in commas or share a line or span several, arrays, files cut off in the middle, garbage.
"""

import codecs
import json
import math
import re
import zlib
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

from stedi_assets.lakehouse.table import Column

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

BLANKS = " \t\n\r\v\f"
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True)
class Unreadable:
    """Text of a landing file that gives no row.

    Attributes:
        position: Byte at which it begins in the (uncompressed) file.
    """

    position: int
    raw: str
    reason: str


class DamagedFileError(Exception):
    """The rest of a compressed file cannot be unpacked."""


def read_objects(
    blocks: Iterator[bytes], columns: tuple[Column, ...], one_of: tuple[str, ...]
) -> Iterator[tuple[Any, ...] | Unreadable]:
    """Rows of a landing file in the order of `columns`, and whatever gives no row.

    Args:
        blocks: The file's content, as `read_blocks` gives it.
        columns: Columns of a row.
        one_of: Columns of which exactly one says whose a row is.

    Keys match without regard to case; where an object repeats a key, the first counts.
    """
    to_row = _row_maker(columns, one_of)
    known = frozenset(column.name for column in columns)
    for found in _Scanner(blocks, known).scan():
        if isinstance(found, Unreadable):
            yield found
            continue
        position, raw, fields = found
        row = to_row(fields)
        yield row if isinstance(row, tuple) else Unreadable(position(), raw(), row)


def _row_maker(
    columns: tuple[Column, ...], one_of: tuple[str, ...]
) -> Callable[[dict[str, Any]], tuple[Any, ...] | str]:
    """Make the function that gives an object's row, or the reason why it has none."""
    plan = [(column, _CONVERTERS[column.type], is_key(column, one_of)) for column in columns]
    places = [i for i, column in enumerate(columns) if column.name in one_of]

    def to_row(fields: dict[str, Any]) -> tuple[Any, ...] | str:
        row: list[Any] = []
        for column, convert, key in plan:
            given = fields.get(column.name)
            if key and isinstance(given, str) and not given.strip(BLANKS):
                given = None
            value = None if given is None else convert(given)
            if value is None and (not column.nullable or (column.strict and given is not None)):
                return f"{column.name} is {'missing' if given is None else _WRONG[column.type]}"
            row.append(value)
        if places:
            found = next((i for i in places if row[i] is not None), None)
            if found is None:
                return f"{' or '.join(one_of)} is missing"
            for i in places:
                row[i] = row[i] if i == found else None
        return tuple(row)

    return to_row


def is_key(column: Column, one_of: tuple[str, ...]) -> bool:
    """Whether the column says whose a row is, so that a blank text in it is as good as none."""
    return column.type == "string" and (not column.nullable or column.name in one_of)


def _text(value: Any) -> str | None:
    if type(value) is not str:
        return None
    try:
        value.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return None
    return value


def _integer(value: Any) -> int | None:
    return value if type(value) is int and value in _INT64 else None


def _finite(value: Any) -> float | None:
    if type(value) not in (int, float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


_CONVERTERS: dict[str, Callable[[Any], Any]] = {
    "string": _text,
    "int64": _integer,
    "float64": _finite,
}
_WRONG = {
    "string": "not a text",
    "int64": "not a 64-bit integer",
    "float64": "not a finite number",
}


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


def _first_key_counts(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key.lower(): value for key, value in reversed(pairs)}


class _Scanner:
    """Finds the JSON objects of a text that arrives in blocks."""

    def __init__(self, blocks: Iterator[bytes], known: frozenset[str]) -> None:
        self._blocks = blocks
        self._known = known
        self._decode = json.JSONDecoder(object_pairs_hook=_first_key_counts).raw_decode
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
