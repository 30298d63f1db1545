"""A text that arrives in blocks, of which only what is still needed is held."""

import re
from collections.abc import Iterator

from stedi_assets.lakehouse.landing.text import DamagedFileError

_LINE_END = re.compile(rb"[\r\n]")

_JOINTS = (b"}{", b"},{", b"} {", b"}, {")

KEPT = 4 << 10
"""Bytes that are held before the place one is at, to see how a line begins."""


class Source:
    """Places in it are bytes from the beginning of the text.

    Attributes:
        data: What is held of the text.
        start: Where that begins.
        ended: Whether no more comes.
        damage: Why no more comes, where the text should go on.
    """

    def __init__(self, blocks: Iterator[bytes]) -> None:
        """Take the text from there."""
        self._blocks = blocks
        self.data = b""
        self.start = 0
        self.ended = False
        self.damage: str | None = None
        self._line = (0, 0)  # there is no line end between

    @property
    def end(self) -> int:
        """Where the part of the text ends that has arrived."""
        return self.start + len(self.data)

    def more(self) -> bool:
        """Append the next block; whether there was one."""
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
        """Have the text up to there, as far as it goes; whether it goes that far."""
        while self.end < place and not self.ended:
            self.more()
        return self.end >= place

    def line_end(self, at: int, limit: int) -> int | None:
        """Where the line ends in which a place is; nothing where that is behind the limit."""
        begin, known = self._line
        if not begin <= at <= known:
            begin = known = at
        while known <= limit:
            match = _LINE_END.search(self.data, known - self.start)
            known = self.start + match.start() if match else self.end
            self._line = begin, known
            if match or not self.more():
                break
        return known if known <= limit else None

    def last_line_end(self, at: int) -> int:
        """Behind the last line that is there as a whole; 0 where none is behind a place."""
        newline = self.data.rfind(b"\n", at - self.start)
        return 0 if newline < 0 else self.start + newline + 1

    def last_joint(self, at: int) -> int:
        """Where the last object begins that is behind another one in its line.

        0 where none is behind a place.
        """
        places = [(self.data.rfind(joint, at - self.start), len(joint)) for joint in _JOINTS]
        return max((self.start + at + size - 1 for at, size in places if at >= 0), default=0)

    def drop(self, place: int) -> None:
        """Forget what stands before that place, but for a little."""
        cut = place - KEPT - self.start
        # What is kept is copied: that has to be worth it.
        if cut > len(self.data) // 2:
            self.data = self.data[cut:]
            self.start += cut

    def cut(self, begin: int, end: int) -> bytes:
        """The text between two places."""
        return self.data[begin - self.start : end - self.start]
