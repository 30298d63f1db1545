"""Text that gives no row, and whose it is, as far as that can be read."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from stedi_assets.lakehouse.landing.person import SEPARATOR, person

_ESCAPE = re.compile(r"(?<!\\)\\++(?:u([0-9a-fA-F]{4})|([\"'/])|[bfnrt])")
_WORD = re.compile(r"[^\s\"\\<>(),;:={}\[\]]++")
_PLAIN = re.compile(r"[\w.!#$%&'*+/=?^{|}~-]++@[\w.-]++")
_ADDRESS = re.compile(r"(?<![\w.!#$%&*+/=?^{|}~-])[\w.!#$%&*+/=?^{|}~-]++@\w(?:[\w.-]*\w)?")
_LONGEST_EMAIL = 320
_NO_EMAIL = {"null", "true", "false"}
_MOST = 1_000_000
"""Persons that are noted of one object: they have to fit into memory."""

OVERLAP = 4 << 10
"""Characters that two pieces of a text share, so that no e-mail between them is overlooked."""


@dataclass(frozen=True)
class Unreadable:
    """Text of a landing file that gives no row.

    Attributes:
        position: Byte at which it begins in the (uncompressed) file.
        person: Whose it is; several persons are joined by `SEPARATOR`.
        ends_file: Whether the rest of the file could not be read either.
    """

    position: int
    raw: str
    reason: str
    person: str | None = None
    ends_file: bool = False


def join_persons(persons: Iterable[str | None]) -> str | None:
    """The persons in one text, as quarantine holds them."""
    return SEPARATOR.join(dict.fromkeys(filter(None, persons))) or None


class Emails:
    """Finds the e-mails in text that gives no row."""

    def __init__(self, key: str) -> None:
        """Look for values of this key, without regard to case and to how it is escaped."""
        self._key = key
        name = "".join(f"(?:{letter}|{_escaped(letter)})" for letter in key)
        # An address has 320 characters at most: what is unquoted is not searched any further. The
        # quote before a key may be cut off; that before another one, as in "backup email", is not.
        self._keyed = re.compile(
            rf"(?<![\w\\.-])(?:(?:['\"]|(?<![^\s{{,\[])(?<!\w\s)){name}['\"]|['\"]?{name})"
            rf"\s{{0,64}}[:=]\s{{0,64}}(?:"
            rf'"((?:[^"\\\n\r]|\\[^\n\r])*+)"'
            rf"|'((?:[^'\\\n\r]|\\[^\n\r])*+)'"
            rf"|([^\"',{{}}\[\]\s][^\"',{{}}\[\]\n\r]{{0,320}}+)(?=[,}}\]\n\r])"
            rf"|[{{\['\"])",  # a value that is no text, or a text without its end
            re.IGNORECASE,
        )

    def of_object(self, pairs: Iterable[tuple[str, Any]], text: str) -> list[str]:
        """Persons of an object: its own e-mails count before those of objects inside of it."""
        own = [value for key, value in pairs if key.lower() == self._key]
        persons = _persons(value for value in own if isinstance(value, str))
        is_clear = persons and all(isinstance(value, str) for value in own)
        return persons if is_clear else persons + self.persons(text)

    def persons(self, text: str) -> list[str]:
        """Persons whose e-mail is the value of the key.

        If a value is blank, not text or cut off, or there is none, also those of all other
        addresses. One that may be cut off counts as it stands: it may be whole.
        """
        text = text.replace("\0", "")  # UTF-16 that was appended to UTF-8 has them in between
        values = list(self._values(text))
        persons = _persons(value for value in values if value is not None)
        if len(persons) < len(values) or not values:
            # Some send an object as a text within another one.
            bare = _ESCAPE.sub(_character, text) if "\\" in text else text
            inner = self._values(bare) if bare is not text else ()
            persons += _persons(value for value in inner if value is not None)
            persons += _persons(_addresses(bare))
        return persons

    def _values(self, text: str) -> Iterator[str | None]:
        """The values of the key; None in place of one that is not text."""
        if self._key not in text.lower() and "\\u00" not in text:
            return
        for match in self._keyed.finditer(text):
            quoted, single, bare = match.groups()
            if bare is None:
                value = quoted if single is None else single
                yield None if value is None else _unescaped(value)
            else:
                yield None if bare.strip() in _NO_EMAIL else _unescaped(bare)


class LongText:
    """Collects the persons in a text that comes in pieces."""

    def __init__(self, emails: Emails | None) -> None:
        """Find nobody if there are no `emails`, as no column holds any."""
        self._emails = emails
        # A piece may end within a character.
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._last = ""
        self._persons: dict[str, None] = {}

    def add(self, piece: bytes) -> None:
        """Look at the next piece."""
        if self._emails is None:
            return
        text = self._last + self._decoder.decode(piece)
        self._last = text[-OVERLAP:]
        if len(self._persons) < _MOST:
            self._persons |= dict.fromkeys(self._emails.persons(text))

    @property
    def person(self) -> str | None:
        """Whose the text is."""
        return join_persons(self._persons)


def _persons(emails: Iterable[str]) -> list[str]:
    """Whose the e-mails are; of one that has more around it, also whose the address in it is."""
    spellings = [spelling for spelling in map(person, map(_valid, emails)) if spelling]
    return [
        name
        for spelling in spellings
        for name in (spelling, *(() if _PLAIN.fullmatch(spelling) else _ADDRESS.findall(spelling)))
    ]


def _addresses(text: str) -> Iterator[str]:
    """All words with an @ and something behind it."""
    for word in _WORD.findall(text) if "@" in text else ():
        bare = word.strip("'.!?") if word.startswith("'") else word.strip(".!?")
        if "@" in bare[:-1] and len(bare) <= _LONGEST_EMAIL:
            yield bare


def _character(escape: re.Match[str]) -> str:
    code, sign = escape.groups()
    return chr(int(code, 16)) if code else sign or " "


def _escaped(letter: str) -> str:
    codes = {f"{ord(each):04x}" for each in (letter.lower(), letter.upper())}
    return rf"\\u(?:{'|'.join(sorted(codes))})"


def _unescaped(text: str) -> str:
    """A text with the escapes of JSON resolved."""
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return _ESCAPE.sub(_character, text)


def _valid(text: str) -> str:
    """The text without halves of surrogate pairs, which no table can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "ignore")
