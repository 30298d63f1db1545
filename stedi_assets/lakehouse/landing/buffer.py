"""A text that arrives in blocks and is held only as far as it is still needed."""

import re
from collections.abc import Iterator

from stedi_assets.lakehouse.landing.text import DamagedFileError

_LINE_END = re.compile(rb"[\r\n]")

_JOINTS = (b"}{", b"},{", b"} {", b"}, {")

MARGIN = 4 << 10
"""Bytes before the current place that are kept, to see how a line begins."""


class TextBuffer:
    """Places in it are bytes from the beginning of the text.

    Attributes:
        data: What is held of the text.
        start: Where that begins.
        ended: Whether no more comes.
        damage: Why no more comes, if the text should go on.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        """Take the text from these blocks."""
        self._blocks = blocks
        self.data = b""
        self.start = 0
        self.ended = False
        self.damage: str | None = None
        self._line = (0, 0)  # there is no line end between

    @property
    def end(self) -> int:
        """Where the text that has arrived ends."""
        return self.start + len(self.data)

    def more(self) -> bool:
        """Append the next block; returns whether there was one."""
        try:
            block = next(self._blocks, None)
        except DamagedFileError as error:
            self.damage, block = str(error), None
        if block is None:
            self.ended = True
            return False
        self.data += block
        return True

    def reach(self, place: int) -> bool:
        """Read the text up to a place; returns whether it goes that far."""
        while self.end < place and not self.ended:
            self.more()
        return self.end >= place

    def line_end(self, at: int, limit: int) -> int | None:
        """Where the line of a place ends; None if that is behind the limit."""
        begin, searched = self._line
        if not begin <= at <= searched:
            begin = searched = at
        while searched <= limit:
            match = _LINE_END.search(self.data, searched - self.start)
            searched = self.start + match.start() if match else self.end
            self._line = begin, searched
            if match or not self.more():
                break
        return searched if searched <= limit else None

    def last_line_end(self, at: int) -> int:
        """Where the last whole line behind a place ends; 0 if there is none."""
        newline = self.data.rfind(b"\n", at - self.start)
        return 0 if newline < 0 else self.start + newline + 1

    def last_joint(self, at: int) -> int:
        """Where the last object that follows another one in its line begins; 0 if there is none."""
        places = [(self.data.rfind(joint, at - self.start), len(joint)) for joint in _JOINTS]
        return max((self.start + at + size - 1 for at, size in places if at >= 0), default=0)

    def drop(self, place: int) -> None:
        """Forget the text before a place, except `MARGIN` bytes."""
        cut = place - MARGIN - self.start
        # The rest is copied, so drop much at once.
        if cut > len(self.data) // 2:
            self.data = self.data[cut:]
            self.start += cut

    def cut(self, begin: int, end: int) -> bytes:
        """The text between two places."""
        return self.data[begin - self.start : end - self.start]
