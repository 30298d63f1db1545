r"""Names of landing files, as tables and ledgers hold them.

A file system's names are bytes, a column's values are text: bytes that are not UTF-8 are written
as `\xe9`, and a backslash that a name has itself is doubled.
"""

import re

_STRAY = re.compile("[\\udc80-\\udcff]")
_ESCAPED = re.compile(r"\\(?:\\|x([89a-f][0-9a-f]))")


def readable(name: str) -> str:
    """A name of the operating system as text that any table can hold."""
    return _STRAY.sub(lambda found: f"\\x{ord(found[0]) - 0xDC00:02x}", name.replace("\\", "\\\\"))


def original(path: str) -> str:
    """The name of the operating system that `readable` made this of."""
    return _ESCAPED.sub(lambda found: chr(0xDC00 + int(found[1], 16)) if found[1] else "\\", path)


def is_hidden(path: str) -> bool:
    """Whether a name in a path begins as those of unfinished and of other programs' files do."""
    return any(name.startswith((".", "_")) for name in path.split("/"))
