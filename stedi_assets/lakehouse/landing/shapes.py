"""What the lines of a landing file have in common: which keys, spelled how, in which order."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stedi_assets.lakehouse.landing.patterns import ANY_VALUE, BLANKS, key_pattern, value_pattern
from stedi_assets.lakehouse.landing.values import read_columns
from stedi_assets.lakehouse.table import Table

Spelling = tuple[tuple[str, str], ...]
"""Columns with the key of each, as lines spell it."""

ODD = -1
"""Marks a line without a known shape."""
BLANK = -3
"""Marks a blank line."""

_LENGTH_OF_BLANK = 2
_MOST_KEYS = 40
_LONGEST_PATTERN = 400_000
"""Characters; RE2 refuses somewhat more. An unknown key takes 19,000."""
_ALLOWED_PATTERNS = 1 << 20
"""Characters of patterns that may be compiled at once; further ones may have as many as the lines
that were read. Compiling a pattern takes four times as long as scanning as much text."""
_SAMPLE = 64
_MOST_SHAPES = 8
_WORTH_LEARNING = 1 / 64
"""Share of odd lines from which on their shapes are learned."""

_LONG_TEXT, _SHORT_PATTERN = 1 << 20, 10_000
"""Bytes of a text from which on it is matched as a whole first, and characters of the pattern up to
which that cannot fill RE2's memory; it goes on slowly then."""

Kinds = npt.NDArray[np.int8]
"""For each line, the number of its shape or one of the marks."""
_COMMA = rf"{BLANKS},{BLANKS}"
_END = rf"{BLANKS}\}}{BLANKS}"


@dataclass(frozen=True)
class Shape:
    """Keys in their order.

    Attributes:
        keys: The keys, spelled as in the lines.
        identities: Keys that say whose a row is.
        nulls: Those of them that are null.
        needed: Keys that each line has.
    """

    keys: tuple[str, ...]
    identities: frozenset[str]
    nulls: frozenset[str]
    needed: frozenset[str]

    def with_line(self, other: "Shape") -> "Shape | None":
        """The shape of the lines of both; None if they are too different."""
        # Lines that say in different keys whose they are have different shapes.
        if (self.identities, self.nulls) != (other.identities, other.nulls):
            return None
        keys, place = list(self.keys), 0
        for key in other.keys:
            if key not in keys:
                keys.insert(place, key)
            elif keys.index(key) < place:
                return None
            place = keys.index(key) + 1
        if len(keys) > _MOST_KEYS:
            return None
        return replace(self, keys=tuple(keys), needed=self.needed & other.needed)


class Shapes:
    """Learns the shapes of lines."""

    def __init__(self, table: Table, landed_at: int) -> None:
        """Look at lines as objects of `table` that land at `landed_at`."""
        self._table = table
        self._landed_at = landed_at
        self._columns = {column.name: column for column in read_columns(table)}

    def learn(self, lines: Iterable[bytes]) -> list["LineMatcher"]:
        """The shapes of these lines, as far as they have one; the scanner reads the others."""
        shapes: list[Shape] = []
        commas = False
        for line in lines:
            bare = line.strip(b" \t\r\n,")
            shape = self._shape(bare)
            if shape is None:
                continue
            commas |= line.rstrip().endswith(b",")
            for i, other in enumerate(shapes):
                both = other.with_line(shape)
                if both and len({key.lower() for key in both.keys}) == len(both.keys):
                    shapes[i] = both
                    break
            else:
                shapes.append(shape)
        complete = filter(self._is_complete, shapes)
        return [
            _matcher(pairs, commas)
            for pairs in ([self._pair(key, shape) for key in shape.keys] for shape in complete)
            if sum(len(pair.pattern) for pair in pairs) <= _LONGEST_PATTERN
        ]

    def _shape(self, line: bytes) -> Shape | None:
        try:
            fields: dict[str, Any] = json.loads(line, object_pairs_hook=_once)
        except (ValueError, RecursionError):
            return None
        if not isinstance(fields, dict) or len(fields) > _MOST_KEYS:
            return None
        if not all(map(key_pattern, fields)) or len({k.lower() for k in fields}) < len(fields):
            return None
        identities = frozenset(key for key in fields if key.lower() in self._table.one_of)
        nulls = frozenset(key for key in identities if fields[key] is None)
        return Shape(tuple(fields), identities, nulls, frozenset(fields))

    def _is_complete(self, shape: Shape) -> bool:
        """Whether each line that has the shape gives a row."""
        if self._table.one_of and shape.identities <= shape.nulls:
            return False
        required = {column.name for column in self._columns.values() if not column.nullable}
        return required <= {key.lower() for key in shape.needed - shape.nulls}

    def _pair(self, key: str, shape: Shape) -> "_Pair":
        column = self._columns.get(key.lower())
        if key in shape.nulls:
            value = "null"
        elif column:
            value = value_pattern(column, self._table, self._landed_at)
        else:
            value = ANY_VALUE
        pattern = f"{key_pattern(key)}{BLANKS}:{BLANKS}{value}"
        return _Pair(key, column.name if column else None, pattern, key in shape.needed)


@dataclass(frozen=True)
class _Pair:
    """A key and the pattern of its pair, and whether each line has it."""

    key: str
    column: str | None
    pattern: str
    is_needed: bool


def _matcher(pairs: Sequence[_Pair], commas: bool) -> "LineMatcher":
    spelling = tuple(sorted((pair.column, pair.key) for pair in pairs if pair.column))
    tail = ",?" if commas else ""
    pattern = rf"{BLANKS}\{{{BLANKS}{_sequence(pairs)}{_END}{tail}{BLANKS}"
    return LineMatcher(pattern, spelling, commas)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key.lower() for key, _ in pairs}) < len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _sequence(pairs: Sequence[_Pair]) -> str:
    """Pairs with commas between them; some may be missing, but at least one is there."""
    first = next(number for number, pair in enumerate(pairs) if pair.is_needed)
    before = [rf"(?:{pair.pattern}{_COMMA})?" for pair in pairs[:first]]
    behind = [
        rf"{_COMMA}{pair.pattern}" if pair.is_needed else rf"(?:{_COMMA}{pair.pattern})?"
        for pair in pairs[first + 1 :]
    ]
    return "".join([*before, pairs[first].pattern, *behind])


@dataclass(frozen=True)
class LineMatcher:
    """Recognizes lines of one shape.

    Attributes:
        pattern: A line without its end; it matches no line break.
        spelling: How they spell the columns.
        commas: Whether a comma may stand behind an object.
    """

    pattern: str
    spelling: Spelling
    commas: bool

    def matches(self, lines: pa.Array) -> pa.Array:
        """Whether each line has the shape."""
        return _match(lines, rf"^{self.pattern}\r?\n?$")

    def matches_all(self, text: pa.Buffer) -> bool:
        """Whether a text consists of lines of the shape, and ends with one.

        Looking at them one by one takes a third more time.
        """
        if not text.size or text[text.size - 1] != ord("\n"):
            return False
        bounds = pa.py_buffer(np.array([0, text.size], np.int32))
        whole = pa.Array.from_buffers(pa.binary(), 1, [None, bounds, text])
        matches: bool = _match(whole, rf"^(?:{self.pattern}\r?\n)*$")[0].as_py()
        return matches


def _match(texts: pa.Array, pattern: str) -> pa.Array:
    try:
        return pc.match_substring_regex(texts, pattern)
    except pa.ArrowInvalid:  # the pattern is still too large for RE2
        return pa.repeat(False, len(texts))


class Matchers:
    """The shapes of lines in a table's landing files, as learned so far."""

    def __init__(self, table: Table, landed_at: int) -> None:
        """Begin without knowing any shape."""
        self._shapes = Shapes(table, landed_at)
        self._known: list[LineMatcher] = []
        self._allowed = _ALLOWED_PATTERNS

    def classify(self, lines: pa.Array, text: pa.Buffer) -> tuple[Kinds, list[LineMatcher]]:
        """The kind of each line of a text, and the shapes by number."""
        if self._are_like_most(text):
            return np.zeros(len(lines), np.int8), self._known
        kinds = np.full(len(lines), ODD, np.int8)
        kinds[_blank(lines)] = BLANK
        self._allowed += lines.nbytes
        shapes = list(self._known)
        for number, matcher in enumerate(shapes):
            self._mark(kinds, lines, number, matcher)
        odd = np.flatnonzero(kinds == ODD)
        if len(odd) > len(lines) * _WORTH_LEARNING:
            sample = odd[np.unique(np.linspace(0, len(odd) - 1, _SAMPLE).astype(np.int64))]
            for matcher in self._shapes.learn(lines.take(pa.array(sample)).to_pylist()):
                if matcher not in shapes and self._mark(kinds, lines, len(shapes), matcher):
                    shapes.append(matcher)
        # The shapes that matched most come first next time; the last ones are forgotten.
        counts = np.bincount(kinds[kinds >= 0], minlength=len(shapes))
        order = sorted(range(len(shapes)), key=lambda number: -counts[number])
        self._known = [shapes[number] for number in order][:_MOST_SHAPES]
        return kinds, shapes

    def _are_like_most(self, text: pa.Buffer) -> bool:
        """Whether all lines of a text have the shape that matched most, if looking pays."""
        if text.size < _LONG_TEXT or not self._known:
            return False
        first = self._known[0]
        return len(first.pattern) <= _SHORT_PATTERN and first.matches_all(text)

    def _mark(self, kinds: Kinds, lines: pa.Array, number: int, matcher: LineMatcher) -> bool:
        """Mark the odd lines that have a shape; returns whether there are any."""
        odd = np.flatnonzero(kinds == ODD)
        if not len(odd) or len(matcher.pattern) > self._allowed:
            return False
        self._allowed -= len(matcher.pattern)
        rest = lines if len(odd) == len(lines) else lines.take(pa.array(odd))
        matching = odd[matcher.matches(rest).to_numpy(zero_copy_only=False)]
        kinds[matching] = number
        return len(matching) > 0


def _blank(lines: pa.Array) -> npt.NDArray[np.int64]:
    lengths = pc.binary_length(lines).to_numpy()
    short = np.flatnonzero(lengths <= _LENGTH_OF_BLANK)
    blank = [not line.strip(b" \t\r\n") for line in lines.take(pa.array(short)).to_pylist()]
    indices: npt.NDArray[np.int64] = short[np.array(blank, bool)]
    return indices
