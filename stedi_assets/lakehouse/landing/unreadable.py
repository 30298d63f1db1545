"""What gives no row, and whose it is as far as that can be read."""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from stedi_assets.lakehouse.landing.person import SEPARATOR, person

_STRING = re.compile(r'"((?:[^"\\\n\r]|\\[^\n\r])*+)"')
_LONGEST_EMAIL = 320
_NO_EMAIL = {"null", "true", "false"}
_MOST = 1_000_000
"""Persons that one object can name: they have to fit into memory."""

OVERLAP = 4 << 10
"""Characters that two pieces of a text share, so that no e-mail between them is overlooked."""


@dataclass(frozen=True)
class Unreadable:
    """Text of a landing file that gives no row.

    Attributes:
        position: Byte at which it begins in the (uncompressed) file.
        person: Whose it is; several persons are joined by `SEPARATOR`.
    """

    position: int
    raw: str
    reason: str
    person: str | None = None


def named(persons: Iterable[str | None]) -> str | None:
    """The persons as they stand in quarantine."""
    return SEPARATOR.join(dict.fromkeys(filter(None, persons))) or None


class Emails:
    """Finds the e-mails in text that is not, or not quite, JSON."""

    def __init__(self, key: str) -> None:
        """Look for values of this key, without regard to case and to how it is escaped."""
        self._key = key
        name = "".join(f"(?:{letter}|{_escaped(letter)})" for letter in key)
        # An address has 320 characters at most: what is unquoted is not searched any further.
        self._keyed = re.compile(
            rf"(?<![\w\\])['\"]?{name}['\"]?\s{{0,64}}[:=]\s{{0,64}}(?:"
            rf'"((?:[^"\\\n\r]|\\[^\n\r])*+)"'
            rf"|'((?:[^'\\\n\r]|\\[^\n\r])*+)'"
            rf"|([^\"',{{}}\[\]\s][^\"',{{}}\[\]\n\r]{{0,320}}+)(?=[,}}\]\n\r]))",
            re.IGNORECASE,
        )

    def persons(self, text: str) -> list[str]:
        """Persons whose e-mail is the value of the key; else those of all quoted addresses."""
        found = list(self._values(text))
        if not found and ("@" in text or "\\u0040" in text):
            for value in map(_unescaped, _STRING.findall(text)):
                # Some send an object as a text within another one.
                found += list(self._values(value)) or _addresses(value)
        return [spelling for spelling in map(person, found) if spelling]

    def _values(self, text: str) -> Iterator[str]:
        if self._key not in text.lower() and "\\u00" not in text:
            return
        for match in self._keyed.finditer(text):
            quoted, single, bare = match.groups()
            if bare is None:
                yield _unescaped(quoted if single is None else single)
            elif bare.strip() not in _NO_EMAIL:
                yield bare


class LongText:
    """Collects the persons in a text that comes in pieces."""

    def __init__(self, emails: Emails | None) -> None:
        """Nobody is named where no column holds e-mails."""
        self._emails = emails
        self._last = ""
        self._persons: dict[str, None] = {}

    def add(self, piece: bytes) -> None:
        """Look at the next piece."""
        if self._emails is None:
            return
        text = self._last + piece.decode("utf-8", "replace")
        self._last = text[-OVERLAP:]
        if len(self._persons) < _MOST:
            self._persons |= dict.fromkeys(self._emails.persons(text))

    @property
    def person(self) -> str | None:
        """Whose the text is."""
        return named(self._persons)


def _addresses(text: str) -> list[str]:
    if "@" not in text:
        return []
    return [word for word in text.split() if "@" in word and len(word) <= _LONGEST_EMAIL]


def _escaped(letter: str) -> str:
    codes = {f"{ord(each):04x}" for each in (letter.lower(), letter.upper())}
    return rf"\\u(?:{'|'.join(sorted(codes))})"


def _unescaped(text: str) -> str:
    """What stands between quotes, its escapes resolved as far as they are JSON's."""
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False)).encode("utf-8", "replace").decode()
    except ValueError:
        return text
