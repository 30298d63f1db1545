"""Reads a landing file: lines whose meaning is plain at once, and all else by the scanner.

The scanner takes over where an odd line begins, and hands back where a line begins outside of any
object. So the result is the same as of the scanner alone.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stedi_assets.lakehouse.landing.buffer import TextBuffer
from stedi_assets.lakehouse.landing.rows import Row, Rows
from stedi_assets.lakehouse.landing.scanner import Scanner
from stedi_assets.lakehouse.landing.shapes import ODD, Kinds, LineMatcher, Matchers
from stedi_assets.lakehouse.landing.unreadable import Unreadable

_NEWLINE = ord("\n")
_LONGEST_JOINT = 3
_LONG_LINES = 2 << 10
"""Average bytes of a line from which on lines hold several objects."""

LONGEST = 1 << 20
"""Bytes of the longest line that is looked at as a whole, or of an object in a longer one."""

_READ = -2
"""Marks a line that the scanner has read."""


@dataclass(frozen=True)
class PlainLines:
    """Lines of one shape, each of which gives a row."""

    matcher: LineMatcher
    lines: pa.Array


def read_lines(
    blocks: Iterator[bytes], rows: Rows, matchers: Matchers
) -> Iterator[PlainLines | Row | Unreadable]:
    """Read a whole landing file, in no particular order.

    Args:
        blocks: The file's content, as `text_blocks` gives it.
        rows: Makes rows of what the scanner finds.
        matchers: Tell the plain lines.
    """
    buffer = TextBuffer(blocks)
    scanner = rows.scanner(buffer)
    while True:
        at = scanner.at
        end = buffer.end if buffer.ended else buffer.last_line_end(at)
        if end > at:
            yield from _Chunk(buffer, scanner, end).read(rows, matchers)
        elif buffer.ended:
            break
        elif buffer.end - at > LONGEST and (joint := buffer.last_joint(at)) > at:
            yield from _Chunk(buffer, scanner, joint).read(rows, matchers)
        elif buffer.end - at > LONGEST:
            yield from rows.of(scanner.scan(stop=buffer.end))
        else:
            buffer.drop(at)
            buffer.more()
    # Yields what is damaged, if anything is.
    yield from rows.of(scanner.scan())


class _Chunk:
    """A part of a text that ends with a line, or with the text."""

    def __init__(self, buffer: TextBuffer, scanner: Scanner, end: int) -> None:
        self._scanner = scanner
        self._end = end
        begin = scanner.at
        text = pa.py_buffer(buffer.data).slice(begin - buffer.start, end - begin)
        ends = _line_ends(np.frombuffer(text, np.uint8))
        if end - begin > _LONG_LINES * (len(ends) + 1):
            ends = np.union1d(ends, _joints(np.frombuffer(text, np.uint8)))
        rest = [] if len(ends) and ends[-1] == end - begin else [end - begin]
        self._bounds = np.concatenate(([0], ends, rest)).astype(np.int64)
        self._starts = self._bounds[:-1] + begin
        self._text = text

    def read(self, rows: Rows, matchers: Matchers) -> Iterator[PlainLines | Row | Unreadable]:
        lines = self._array(pa.binary())
        kinds, shapes = matchers.classify(lines, self._text)
        yield from self._scan(rows, kinds)
        texts = self._array(pa.string())
        for number, matcher in enumerate(shapes):
            has_shape = kinds == number
            if has_shape.all():
                yield PlainLines(matcher, texts)
            elif has_shape.any():
                yield PlainLines(matcher, texts.filter(pa.array(has_shape)))

    def _array(self, kind: pa.DataType) -> pa.Array:
        offsets = pa.py_buffer(self._bounds.astype(np.int32))
        return pa.Array.from_buffers(kind, len(self._starts), [None, offsets, self._text])

    def _scan(self, rows: Rows, kinds: Kinds) -> Iterator[Row | Unreadable]:
        """Have the scanner read the odd lines, and mark all that it has read."""
        odd = np.flatnonzero(kinds == ODD).tolist()
        if not odd:
            self._note_comma(0, np.flatnonzero(kinds >= 0)[-1:].tolist())
            self._scanner.at = self._end
            return
        # As lists: looking up single numbers in them takes a tenth of the time.
        plain, starts = np.flatnonzero(kinds >= 0).tolist(), self._starts.tolist()
        scanner, first = self._scanner, 0
        while True:
            line = bisect_left(starts, scanner.at)
            is_done = line == len(kinds) and scanner.at >= self._end
            if is_done or (line < len(kinds) and starts[line] == scanner.at):
                place = bisect_left(odd, line)
                line = odd[place] if place < len(odd) else len(kinds)
                before = bisect_left(plain, line)
                self._note_comma(first, plain[max(before - 1, 0) : before])
                if line == len(kinds):
                    break
                scanner.at = starts[line]
            # Otherwise the scanner is inside a line, and reads the rest of it.
            place = bisect_left(plain, line)
            stop = starts[plain[place]] if place < len(plain) else self._end
            yield from rows.of(scanner.scan(stop))
            first = bisect_left(starts, scanner.at)
            kinds[line:first] = _READ
        scanner.at = max(scanner.at, self._end)

    def _note_comma(self, first: int, plain: Sequence[int]) -> None:
        """Tell the scanner whether a comma stands before the lines that it reads next."""
        for line in plain:
            if line >= first:
                text = self._text[int(self._bounds[line]) : int(self._bounds[line + 1])]
                self._scanner.after_comma = text.to_pybytes().rstrip().endswith(b",")


def _line_ends(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where lines end, behind the line break."""
    ends: npt.NDArray[np.int64] = np.flatnonzero(text == _NEWLINE) + 1
    return ends


def _joints(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Where an object may begin behind another one in the same line."""
    opening = np.flatnonzero(text == ord("{"))
    opening = opening[opening >= _LONGEST_JOINT]
    before, second, third = (text[opening - back] for back in range(1, _LONGEST_JOINT + 1))
    closing, comma, blank = b"}, "
    is_joint = before == closing
    is_joint |= ((before == comma) | (before == blank)) & (second == closing)
    is_joint |= (before == blank) & (second == comma) & (third == closing)
    joints: npt.NDArray[np.int64] = opening[is_joint]
    return joints
