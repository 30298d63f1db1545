r"""Names: of landing files, for tables and for people, and of the views of a table's rows.

A file system's names are bytes, a column's values are text: bytes that are not UTF-8 are written
as `\xe9`, and a backslash that a name has itself is doubled. Sources name files after people, too,
so what looks like an e-mail or a phone number is masked wherever a name is shown.
"""

import re
from collections.abc import Collection, Iterable

_STRAY = re.compile("[\\udc80-\\udcff]")
_ESCAPED = re.compile(r"\\(?:\\|x([89a-f][0-9a-f]))")

_STRAY_BYTES = 0xDC80, 0xDCFF
"""Characters that Python reads for bytes of a file name that are not UTF-8."""

MASK = "•••"
"""Stands where something may be a person's."""

_ENDING = re.compile(r"(?:\.json|\.jsonl|\.ndjson)?(?:\.gz)?\Z", re.IGNORECASE)

# Everything around an @, up to white space or a slash: an address may begin and end with nearly any
# character, so nothing tells it from what a source writes around it.
_ADDRESS = re.compile(r"[^\s/]*(?:[@\uff20\ufe6b]|%40)[^\s/]*")

_DAY = r"(?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])"
_CLOCK = r"(?:[T_ .-]?(?:[01]\d|2[0-3])[-_:.]?[0-5]\d(?:[-_:.]?[0-5]\d(?:[.,_-]?\d{3,9})?)?)?"
_OTHER_NUMBERS = (
    r"(?<![0-9a-f])[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}(?![0-9a-f])",  # a UUID
    r"(?<![0-9a-f])(?=\d*[a-f])[0-9a-f]{16,}(?![0-9a-f])",  # a digest
    rf"(?<!\d){_DAY}{_CLOCK}(?!\d)",
    # Epoch seconds, milliseconds, micro- or nanoseconds up to 2030; no North American number has
    # ten digits of which the first is a 1.
    r"(?<![\d+])1[0-8]\d{8}(?:\d{3}){0,3}(?!\d)",
)
_PHONE = (
    r"\+[\s(]*\d(?:[\s().-]*\d){6,}",
    r"\(?(?<!\d)\d{1,4}\)?(?:[\s().-]{1,2}\d{2,4}){2,}(?!\d)",  # in groups
    r"\d{7,}",
)
_NUMBER = re.compile(rf"({'|'.join(_OTHER_NUMBERS)})|{'|'.join(_PHONE)}", re.IGNORECASE)
_DIGITS = 7
"""Digits of the shortest phone number that is masked."""


def readable(name: str) -> str:
    """A name of the operating system as text that any table can hold."""
    return _STRAY.sub(lambda match: f"\\x{ord(match[0]) - 0xDC00:02x}", name.replace("\\", "\\\\"))


def original(path: str) -> str:
    """The name of the operating system that `readable` made this of."""
    return _ESCAPED.sub(lambda match: chr(0xDC00 + int(match[1], 16)) if match[1] else "\\", path)


def end_of(path: str) -> tuple[str, ...]:
    """Folder and name of a file: engines write what is before in different ways."""
    return tuple(path.rsplit("/", 2)[-2:])


def located_in(paths: Iterable[str], files: Collection[str]) -> set[str]:
    """The files of these paths, as an engine writes them in the column `FILE`."""
    by_end = {end_of(file): file for file in files}
    return {by_end[end_of(path)] for path in paths}


def view_name(table: str, rows_id: str) -> str:
    """Name under which an engine opens these rows of a table."""
    return f"{table}__{rows_id}"


FILE = "_file"
"""Column with the path of the data file that holds a row."""


def parts_of(view: str) -> tuple[str, str]:
    """The table and the id of its rows that a view is named after."""
    table, _, rows_id = view.partition("__")
    return table, rows_id


def is_hidden(path: str) -> bool:
    """Whether a name in a path begins with a dot or an underscore, as of an unfinished file."""
    return any(name.startswith((".", "_")) for name in path.split("/"))


def display_name(path: str) -> str:
    """A landing file's path or URI with what may be a person's masked, fit for a terminal.

    E-mail addresses and phone numbers are masked. A phone number has seven digits or more, in a row
    or in groups, and is not a day, an epoch time, or a part of a UUID or digest. Characters that
    cannot be printed become escapes. Two files may look alike; the column `source_file` has their
    names as they are.
    """
    return printable("/".join(map(_masked, path.split("/"))))


def printable(text: str) -> str:
    r"""A text with control characters, bidirectional marks and stray bytes as escapes (`\x1b`)."""
    return text if text.isprintable() else "".join(map(_printable, text))


def _printable(char: str) -> str:
    if char.isprintable():
        return char
    first, last = _STRAY_BYTES
    if first <= ord(char) <= last:
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("unicode_escape").decode()


def _masked(name: str) -> str:
    ending = _ENDING.search(name)
    end = ending.start() if ending else len(name)
    return _NUMBER.sub(_masked_phone, _ADDRESS.sub(MASK, name[:end])) + name[end:]


def _masked_phone(match: re.Match[str]) -> str:
    text = match[0]
    is_phone = match[1] is None and sum(map(str.isdigit, text)) >= _DIGITS
    return MASK if is_phone else text
