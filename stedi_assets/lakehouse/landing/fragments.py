"""Finds where something broken ends: at the next record, or with its line.

An object inside a broken object is a part of it, never a record. It may be an old version of a
person's record, with more consent than the person gives today. So brackets are followed from the
beginning of what is broken, across lines, and a record begins only where no value can stand.

A record may be cut off, and the next one may follow in the same line or the next. So a line may
begin, where a value can stand, with a whole object that is no deeper than the broken one. Then the
text behind it decides: it is a record unless the text goes on as it would inside the broken one.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from stedi_assets.lakehouse.landing import objects
from stedi_assets.lakehouse.landing.buffer import MARGIN, TextBuffer
from stedi_assets.lakehouse.landing.objects import Broken, JsonObject, read_object

_TOKEN = re.compile(rb'"(?:[^"\\\r\n]|\\[^\r\n])*+"?|[{}\[\]:,]|[^\s"{}\[\]:,]+')
_BLANK = re.compile(rb"(?:[\s\x1e]|\xef\xbb\xbf)*+")
_MARK = b"\xef\xbb\xbf"
_LINE_STARTS = b" \t[,\x1e\xef\xbb\xbf"

_RECORD = re.compile(rb'\{\s{0,256}+"')
_RECORD_LOOK = 260

_REST_OF_LINE = re.compile(rb"[ \t]*+,?[ \t]*+")
_GOES_ON_IN_OBJECT = re.compile(rb'[\s\]]*+(?:\}|,\s*+")')
_GOES_ON_IN_ARRAY = re.compile(rb"\s*+[,\]}]")
_FOLLOWING = 64 << 10
"""Bytes behind an object that are read to see what follows it."""

_OPENS_VALUE = {b"{": (b":",), b"[": (b"[", b",")}
_OPENS_TEXT = (b"", b"{", b"[", b",", b":")
_OPENER = {b"}": b"{", b"]": b"["}
_CLOSING = (b"}", b"]", b",")


@dataclass(frozen=True)
class Part:
    """A part of something broken that counts as one.

    Attributes:
        is_long: Whether it is too long to be held; then it ends with its line.
        is_in_record_line: Whether a record begins in its last line. That record may be a part of
            what is broken, so this part is about its person, too.
    """

    begin: int
    end: int
    is_long: bool = False
    is_in_record_line: bool = False


class Reader(Protocol):
    """Reads objects, wherever they stand."""

    def read(self, begin: int) -> JsonObject | Broken:
        """The object that begins at a place."""

    def is_record(self, candidate: JsonObject) -> bool:
        """Whether an object behind something broken is a record."""


class Fragment:
    """Something broken, and whatever is inside of it."""

    def __init__(self, reader: Reader, buffer: TextBuffer, begin: int, after_comma: bool) -> None:
        """Begin at a place, maybe behind a comma."""
        self._reader = reader
        self._buffer = buffer
        self._begin = begin
        self._after_comma = after_comma
        self._stack: list[bytes] = []  # brackets that are open
        self._opened = {b"{": 0, b"[": 0}  # how many of each
        self._last = b""  # the last token
        self._base = begin  # the outermost object that is open
        self._column = self._column_of(begin)

    def parts(self) -> Iterator[Part]:
        """Its parts; the last one ends where the next record begins, or with a line."""
        begin = at = self._begin
        while True:
            limit = begin + objects.MAX_OBJECT
            end = self._buffer.line_end(at, limit)
            record = self._record_in(at, limit if end is None else end)
            if record is not None:
                if record > begin:
                    yield Part(begin, record, is_in_record_line=self._is_within_line(record))
                return
            if end is None:
                yield Part(begin, begin, is_long=True)
                return
            following = self._following_line(end)
            if following is None:
                yield Part(begin, end)
                return
            at, first = following
            if not self._belongs(at, first):
                yield Part(begin, end)
                begin = first
            self._buffer.drop(begin)

    def _following_line(self, end: int) -> tuple[int, int] | None:
        """The next line that is not blank, if it may stand inside what is open here.

        Returns:
            Where it begins, and its first character that is no blank.
        """
        buffer = self._buffer
        if not self._stack or end - self._base > objects.MAX_OBJECT:
            return None
        at = end
        while True:
            match = _BLANK.match(buffer.data, at - buffer.start)
            first = buffer.start + match.end() if match else at
            if first < buffer.end - len(_MARK) or (buffer.ended and first < buffer.end):
                break
            if buffer.ended or first - end > objects.MAX_OBJECT:
                return None
            buffer.more()
        blanks = buffer.cut(end, first)
        return end + max(blanks.rfind(b"\n"), blanks.rfind(b"\r")) + 1, first

    def _belongs(self, at: int, first: int) -> bool:
        """Whether a line counts with those before it: it is indented, or closes something."""
        closes = self._buffer.cut(first, first + 1) in _CLOSING
        return closes or first - at > self._column

    def _record_in(self, at: int, end: int) -> int | None:
        """Where in a line the next record begins, if one does."""
        place: int | None = at
        while place is not None:
            # Looking at a record may read more of the text, so take the text anew.
            start, text = self._buffer.start, self._buffer.data
            tokens = _TOKEN.finditer(text, place - start, end - start)
            place = None
            for match in tokens:
                token, where = match[0], start + match.start()
                if token == b"{":
                    if self._begins_record(where, at, end):
                        return where
                    self._open(token)
                elif token[:1] == b'"':
                    inner = self._in_text(token, where)
                    if inner is not None and self._is_record(inner):
                        return inner
                    if inner is not None and inner == self._base:
                        self._open(b"{")
                        self._last, place = b"{", inner + 1
                        break
                elif token == b"[":
                    if self._stack or self._last == b":":
                        self._open(token)
                elif token in _OPENER:
                    self._close(_OPENER[token])
                self._last = token
        return None

    def _open(self, bracket: bytes) -> None:
        self._stack.append(bracket)
        self._opened[bracket] += 1

    def _close(self, opener: bytes) -> None:
        while self._opened[opener]:
            bracket = self._stack.pop()
            self._opened[bracket] -= 1
            if bracket == opener:
                return

    def _begins_record(self, where: int, line: int, end: int) -> bool:
        """Whether a record begins with this brace, and not an object inside the broken one."""
        if where == self._begin:
            return False
        top = self._stack[-1] if self._stack else b"{"
        is_first = where - line < MARGIN and not self._buffer.cut(line, where).strip(_LINE_STARTS)
        is_deeper = is_first and where - line > self._column
        if self._last not in _OPENS_VALUE[top]:
            return not (self._stack and is_deeper) and self._is_record(where)
        follows_line = is_first and not is_deeper and line > self._begin
        return follows_line and self._is_sibling(where, end, top)

    def _is_record(self, where: int) -> bool:
        """Whether a record begins there. If a broken one does, brackets are counted from there."""
        self._buffer.reach(where + _RECORD_LOOK)
        if not _RECORD.match(self._buffer.data, where - self._buffer.start):
            return False
        candidate = self._reader.read(where)
        if not isinstance(candidate, JsonObject):
            self._stack.clear()
            self._opened = {b"{": 0, b"[": 0}
            self._base, self._column = where, self._column_of(where)
            return False
        return self._reader.is_record(candidate)

    def _is_sibling(self, where: int, end: int, top: bytes) -> bool:
        """Whether an object that could be a value is a record in a line of its own."""
        buffer = self._buffer
        candidate = read_object(buffer.cut(where, end))
        if not isinstance(candidate, JsonObject) or not self._reader.is_record(candidate):
            return False
        behind = where + candidate.length
        if not _REST_OF_LINE.fullmatch(buffer.cut(behind, end)):
            return False
        buffer.reach(behind + _FOLLOWING)
        following = buffer.cut(behind, behind + _FOLLOWING)
        if top == b"[":
            return self._after_comma or not _GOES_ON_IN_ARRAY.match(following)
        return not _GOES_ON_IN_OBJECT.match(following)

    def _in_text(self, token: bytes, where: int) -> int | None:
        """The brace before the quote that ends a text: the text may be cut off before the brace."""
        inside = token[1:].removesuffix(b'"').rstrip(b" \t")
        if not inside.endswith(b"{"):
            return None
        before = inside[:-1].rstrip(b" \t")[-1:]
        if before in (b":", b"[") or (before == b"," and self._last not in _OPENS_TEXT):
            return None
        return where + len(inside)

    def _is_within_line(self, place: int) -> bool:
        """Whether something broken stands before a place in its line."""
        before = self._buffer.cut(max(place - MARGIN, self._begin), place)
        line = before[max(before.rfind(b"\n"), before.rfind(b"\r")) + 1 :]
        return bool(line.strip(_LINE_STARTS)) or len(line) == MARGIN

    def _column_of(self, place: int) -> int:
        """How deep a line is indented, or how deep its first object is."""
        before = self._buffer.cut(max(place - MARGIN, self._buffer.start), place)
        line = before[max(before.rfind(b"\n"), before.rfind(b"\r")) + 1 :]
        if len(line) == MARGIN:
            return 0
        return len(line) - len(
            line.lstrip(_LINE_STARTS if not line.strip(_LINE_STARTS) else b" \t")
        )
