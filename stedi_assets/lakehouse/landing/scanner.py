"""Reads every JSON object out of a landing file, whatever surrounds the objects.

The scanner decides what a text means. `lines.py` reads most lines faster, but only those that it
certainly reads as the scanner would.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from stedi_assets.lakehouse.landing import objects
from stedi_assets.lakehouse.landing.buffer import TextBuffer
from stedi_assets.lakehouse.landing.fragments import Fragment, Part
from stedi_assets.lakehouse.landing.object_end import ObjectEnd
from stedi_assets.lakehouse.landing.objects import BROKEN, Broken, JsonObject, read_object
from stedi_assets.lakehouse.landing.text import HEAD
from stedi_assets.lakehouse.landing.unreadable import Emails, LongText, Unreadable, join_persons

_NO_OBJECT, _TOO_LONG = "not a JSON object", "too long"
_WINDOWS = (512, 8 << 10, 128 << 10, 2 << 20)
"""How far to look for an object's end: what json parses is copied first."""
_SMALL = 2
"""How many of the windows are tried once large ones were tried in vain too often."""
_IN_VAIN = 1
"""Bytes looked at in vain, for each byte of the file, that are too often."""

_PIECE = 1 << 20

# What may stand between objects: white space, commas, an array's brackets, a byte order mark, the
# record separator of JSON text sequences.
_BETWEEN = re.compile(
    rb"(?:[\s,\[\]\x1c-\x1f]++|\xef\xbb\xbf|\xc2[\x85\xa0]|\xe2\x80[\x80-\x8a\xa8\xa9\xaf]"
    rb"|\xe2\x81\x9f|\xe3\x80\x80|\xe1\x9a\x80)*+"
)
_LONGEST_SEPARATOR = 3
_FIRST_BITS, _CONTINUES = 0b11000000, 0b10000000
"""How UTF-8 marks the bytes of a character behind its first one."""
_SEPARATING = re.compile(rb"[,\[]")


@dataclass(frozen=True)
class ScannedObject:
    """A JSON object of a landing file, with its place and text."""

    position: int
    text: bytes
    object: JsonObject


class Scanner:
    """Finds the JSON objects of a text.

    Attributes:
        at: The place it has come to.
        after_comma: Whether a comma or an array's bracket stands before what comes next.
    """

    def __init__(self, buffer: TextBuffer, known: frozenset[str], emails: Emails | None) -> None:
        """Read `buffer`; a record has at least one of the known keys, in lower case."""
        self._buffer = buffer
        self._known = known
        self._emails = emails
        self._in_vain = 0
        # A record behind something broken is looked at twice.
        self._last_read: tuple[int, JsonObject | Broken] = (-1, Broken(""))
        self._damage_reported = False
        self.at = 0
        self.after_comma = False

    def scan(self, stop: int | None = None) -> Iterator[ScannedObject | Unreadable]:
        """All that follows, in order.

        Args:
            stop: Stop at this place. If it is inside of something, stop where the next line behind
                that begins, or where the next thing begins.
        """
        while self._skip_between(stop):
            self._buffer.drop(self.at)
            result = self.read(self.at)
            if isinstance(result, JsonObject):
                begin, self.at = self.at, self.at + result.length
                yield ScannedObject(begin, self._buffer.cut(begin, self.at), result)
            elif result.reason == _TOO_LONG:
                yield self._skip(self.at, ObjectEnd().find)
            else:
                yield from self._broken(result.reason)
            self.after_comma = False
        damage = self._buffer.damage
        if damage and self.at >= self._buffer.end and not self._damage_reported:
            self._damage_reported = True
            yield Unreadable(self.at, "", damage, ends_file=True)

    def _skip_between(self, stop: int | None) -> bool:
        """Go to what comes next; returns False at the place to stop."""
        buffer = self._buffer
        while True:
            match = _BETWEEN.match(buffer.data, self.at - buffer.start)
            end = buffer.start + match.end() if match else self.at
            stops, place = self._stop_between(self.at, end, stop)
            self.after_comma |= _SEPARATING.search(buffer.cut(self.at, place)) is not None
            self.at = place
            if stops:
                return False
            if buffer.end - end >= _LONGEST_SEPARATOR or (buffer.ended and buffer.end > end):
                return stop is None or end < stop
            if buffer.ended:
                return False
            buffer.drop(end)
            buffer.more()

    def _stop_between(self, at: int, end: int, stop: int | None) -> tuple[bool, int]:
        """Whether to stop before what comes next, and where; if not, where that begins."""
        if stop is None or end < stop:
            return False, end
        if at < stop:
            # Blocks of the text may end inside a character, such as a byte order mark.
            while stop < end and self._buffer.cut(stop, stop + 1)[0] & _FIRST_BITS == _CONTINUES:
                stop += 1
            return True, stop
        newline = self._buffer.data.find(b"\n", at - self._buffer.start, end - self._buffer.start)
        return (True, self._buffer.start + newline + 1) if newline >= 0 else (False, end)

    def read(self, begin: int) -> JsonObject | Broken:
        """The object that begins at a place."""
        place, last = self._last_read
        if place == begin:
            return last
        if self._buffer.cut(begin, begin + 1) != b"{":
            return Broken(_NO_OBJECT)
        looked_at, broken = 0, Broken(_TOO_LONG, is_cut=True)
        many = self._in_vain > _IN_VAIN * begin + 2 * objects.MAX_OBJECT
        for window in _WINDOWS[:_SMALL] if many else (*_WINDOWS, objects.MAX_OBJECT):
            looked_at += window
            while True:
                result = read_object(self._buffer.cut(begin, begin + window))
                if isinstance(result, JsonObject):
                    self._last_read = begin, result
                    return result
                missing = self._buffer.end < begin + window
                if not result.is_cut or not missing or not self._buffer.more():
                    break
            broken = result
            if not broken.is_cut or missing:
                self._in_vain += looked_at - _WINDOWS[0]
                return Broken(broken.reason)
        self._in_vain += looked_at
        return Broken(broken.reason if many else _TOO_LONG)

    def is_record(self, candidate: JsonObject) -> bool:
        """Whether an object behind something broken is a record."""
        keys = (key.lower() for key, _ in candidate.pairs)
        return candidate.reason is None and not self._known.isdisjoint(keys)

    def _broken(self, reason: str) -> Iterator[Unreadable]:
        """What is broken here, up to the next record or the next line outside of it."""
        first = self.at
        for part in Fragment(self, self._buffer, first, self.after_comma).parts():
            self.at = part.end
            if part.is_long:
                yield self._skip_line(part.begin)
            elif not _BETWEEN.fullmatch(self._buffer.cut(part.begin, part.end)):
                begins_object = self._buffer.cut(part.begin, part.begin + 1) == b"{"
                other = BROKEN if begins_object else _NO_OBJECT
                yield self._unreadable(part, reason if part.begin == first else other)

    def _unreadable(self, part: Part, reason: str) -> Unreadable:
        text = self._buffer.cut(part.begin, part.end).rstrip().decode("utf-8", "replace")
        persons = self._emails.persons(text) if self._emails else []
        if part.is_in_record_line:
            persons += self._persons_at(part.end)
        return self._reject(part.begin, part.end, text, reason, join_persons(persons))

    def _persons_at(self, place: int) -> list[str]:
        """Whose record begins at a place."""
        record = self.read(place)
        if self._emails is None or not isinstance(record, JsonObject):
            return []
        text = self._buffer.cut(place, place + record.length).decode()
        return self._emails.of_object(record.pairs, text)

    def _reject(
        self, begin: int, end: int, raw: str, reason: str, person: str | None
    ) -> Unreadable:
        """Text that gives no row; if the file ends too early, that is the reason."""
        damage = self._buffer.damage
        if damage is None or end < self._buffer.end:
            return Unreadable(begin, raw, reason, person)
        self._damage_reported = True
        return Unreadable(begin, raw, damage, person, ends_file=True)

    def _skip_line(self, begin: int) -> Unreadable:
        def end(piece: bytes) -> int | None:
            newline = piece.find(b"\n")
            return None if newline < 0 else newline

        return self._skip(begin, end)

    def _skip(self, begin: int, end_in: Callable[[bytes], int | None]) -> Unreadable:
        """Text that is too long to be held, from a place up to the end that `end_in` finds."""
        buffer, text = self._buffer, LongText(self._emails)
        buffer.reach(begin + HEAD)
        head, self.at, end = buffer.cut(begin, begin + HEAD), begin, None
        while end is None and buffer.reach(self.at + 1):
            piece = buffer.cut(self.at, self.at + _PIECE)
            end = end_in(piece)
            text.add(piece[:end])
            self.at += len(piece) if end is None else end
            buffer.drop(self.at)
        reason = f"longer than {objects.MAX_OBJECT >> 20} MB: {self.at - begin:,} bytes"
        raw = head[: self.at - begin].rstrip().decode("utf-8", "replace")
        return self._reject(begin, self.at, raw, reason, text.person)
