"""Finds the end of what is too long to be held."""

import numpy as np

_BRACKETS = np.zeros(256, np.int8)
_BRACKETS[list(b"{[")], _BRACKETS[list(b"}]")] = 1, -1
_QUOTE, _NEWLINE = ord('"'), ord("\n")


class ObjectEnd:
    """Finds where an object in pieces ends, by its brackets outside of texts."""

    def __init__(self) -> None:
        """Begin before the object's first brace."""
        self._depth = 0
        self._in_text = False
        self._escapes = False  # the last piece ended in a backslash

    def find(self, piece: bytes) -> int | None:
        """Where in this piece the object ends; None if it goes on.

        A line break in a text ends it, too: the text, and so the object, is cut off there.
        """
        codes = np.frombuffer(self._without_escapes(piece), np.uint8)
        quotes = codes == _QUOTE
        in_text = np.bitwise_xor.accumulate(quotes) ^ self._in_text
        depths = np.cumsum(np.where(in_text, 0, _BRACKETS[codes]), dtype=np.int64) + self._depth
        broken = np.flatnonzero(in_text & (codes == _NEWLINE))
        closed = np.flatnonzero((depths == 0) & ~in_text & (_BRACKETS[codes] < 0))
        ends = [int(broken[0])] if len(broken) else []
        ends += [int(closed[0]) + 1] if len(closed) else []
        if len(codes):
            self._depth, self._in_text = int(depths[-1]), bool(in_text[-1])
        return min(ends, default=None)

    def _without_escapes(self, piece: bytes) -> bytes:
        """The piece with underscores in the place of escapes."""
        if self._escapes:
            piece = b"_" + piece[1:]
        bare = piece.replace(b"\\\\", b"__")
        self._escapes = bare.endswith(b"\\")
        return bare.replace(b'\\"', b"__")
