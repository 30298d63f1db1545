"""How far the work is, for whoever waits for it."""

from typing import Any


class Progress:
    """Is told what is being done, and tells nobody; a terminal overrides both methods.

    Several threads may advance at once.
    """

    def begin(self, work: str, total: int = 0, size: int = 0) -> None:
        """Something else is being done from now on.

        Args:
            work: What, such as "reading customer files".
            total: How many there are to do, where they can be counted.
            size: Their bytes.
        """

    def advance(self, count: int = 0, size: int = 0) -> None:
        """So many more, or bytes of them, are done."""

    def __reduce__(self) -> tuple[Any, ...]:
        """In another process nobody waits."""
        return Progress, ()


SILENT = Progress()
