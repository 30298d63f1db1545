"""Takes forgotten people out of landing files: files are written anew without them, or deleted.

What is theirs is what the list of forgotten people says, so it includes people who were forgotten
before while landing files were left. An object goes with the comma and the line that are its own.
Of what cannot be read and names a forgotten person, the text goes; if it is of a customer and names
others, too, a record that cannot be read is left for each of these, as it may suspend them.
"""

import gzip
import json
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace

from stedi_assets.lakehouse.landing.buffer import TextBuffer
from stedi_assets.lakehouse.landing.ledger import Entry, LandingFile, LandingFolder
from stedi_assets.lakehouse.landing.person import SEPARATOR, person
from stedi_assets.lakehouse.landing.rows import Rows
from stedi_assets.lakehouse.landing.scanner import ScannedObject
from stedi_assets.lakehouse.landing.text import (
    DamagedFileError,
    OtherFormatError,
    read_blocks,
    text_blocks,
)
from stedi_assets.lakehouse.landing.unreadable import Unreadable
from stedi_assets.lakehouse.landing.values import read_columns
from stedi_assets.lakehouse.table import Table
from stedi_assets.privacy.scan import Finder
from stedi_assets.refresh.forgotten import Rule, strings_in

_AFTER = re.compile(rb"[ \t]*(,?)[ \t]*(\r?\n)?")
_CLOSES = re.compile(rb"\s*(?:\]|\Z)")
_LINE = re.compile(rb"[^\n]*\n?")

_GZIP = b"\x1f\x8b"
_NOTHING = b" \t\r\n,[]\xef\xbb\xbf"
"""Bytes that may be left of a file in which nobody else was."""

_WORDS = ("email", "user", "customername", "phone", "serialnumber")


@dataclass
class Mended:
    """What became of landing files.

    Attributes:
        written: Files that were written anew.
        deleted: Files in which nothing else was.
        versions: Older versions of files that were deleted, besides those of the files above.
    """

    written: int = 0
    deleted: int = 0
    versions: int = 0


class Objects:
    """Tells the objects of a source's landing files that are of forgotten people.

    Attributes:
        words: What names them in customer records that were looked at. Personal data.
    """

    def __init__(self, table: Table, rule: Rule, finder: Finder, landed_at: int) -> None:
        """Go by a rule; `finder` finds what names them in what cannot be read."""
        self._table = table
        self._rule = rule
        self._finder = finder
        self._rows = Rows(table, landed_at)
        self._names = [column.name for column in read_columns(table)]
        self._names += ["person"] if table.person_of else []
        self._is_customer = table.name == "customer_landing"
        self._known = dict[str, bool]()
        self.words = set[str]()

    def without(self, text: bytes) -> tuple[bytes, int]:
        """A text without their objects, and how many went."""
        lines: list[bytes] = []
        gone = 0
        for line in _LINE.findall(text):
            if not line.strip():
                lines.append(line)
                continue
            about = self._identities(line)
            if about is None:  # not an object a line
                return self._cut(text)
            kept, number = self._cut(line) if self._may_be_theirs(about) else (line, 0)
            gone += number
            lines.append(kept)
        return b"".join(lines), gone

    def _identities(self, line: bytes) -> list[str] | None:
        """The texts in an object that is a line of its own; None if it is something else."""
        if not line.lstrip().startswith(b"{"):
            return None
        try:
            pairs = json.loads(line.strip().removesuffix(b","), object_pairs_hook=tuple)
        except (ValueError, RecursionError):
            return None
        return [value for _, value in pairs if isinstance(value, str)]

    def _may_be_theirs(self, texts: Collection[str]) -> bool:
        return any(map(self._is_on_the_list, texts))

    def _is_on_the_list(self, text: str) -> bool:
        if text not in self._known:  # a reading has its user's text, as thousands of others do
            rule = self._rule
            self._known[text] = (
                text in rule.devices or text in rule.readings or (person(text) or "") in rule.people
            )
        return self._known[text]

    def _cut(self, text: bytes) -> tuple[bytes, int]:
        buffer = TextBuffer(iter([text]))
        scanner = self._rows.scanner(buffer)
        kept, place, gone = bytearray(), 0, 0
        for item in scanner.scan():
            end = scanner.at
            instead = self._instead_of(item, text[item.position : end])
            if instead is None:
                continue
            gone += 1
            kept += text[place : item.position]
            place = end
            after = _AFTER.match(text, end)
            assert after
            if instead:
                kept += instead
            elif not kept or kept.endswith(b"\n"):
                place = after.end()
            elif after[1]:
                place = after.start(2) if after[2] else after.end()
            if not instead and not after[1] and _CLOSES.match(text, place):
                _drop_last_comma(kept)
        return bytes(kept + text[place:]), gone

    def _instead_of(self, item: ScannedObject | Unreadable, text: bytes) -> bytes | None:
        """What takes the place of something that is theirs; None if it stays."""
        [row] = self._rows.of([item])
        if not isinstance(row, Unreadable):
            values = dict(zip(self._names, row, strict=True))
            if not self._rule.is_theirs(self._table.name, values):
                return None
            if self._is_customer:
                self.words |= {values[name] for name in _WORDS if values.get(name)}
            return b""
        theirs, left = self._rule.without(row.person)
        if not (theirs or self._may_be_theirs(strings_in(row.raw)) or self._finder.find(text)):
            return None
        if left is None or not self._is_customer:
            return b""
        return b"".join(
            json.dumps({"email": one, "lastUpdateDate": "unreadable"}).encode() + b"\n"
            for one in left.split(SEPARATOR)
        )


def _drop_last_comma(text: bytearray) -> None:
    end = len(text)
    while end and text[end - 1 : end].isspace():
        end -= 1
    if text[end - 1 : end] == b",":
        del text[end - 1]


def concerned(
    folder: LandingFolder, source: str, ledger: Collection[Entry], silenced: Collection[str]
) -> list[str]:
    """Landing files of a source that hold forgotten people, as its table and quarantine know.

    Files that were not taken in, or not as they are now, may hold some.

    Args:
        folder: The landing files.
        source: The source.
        ledger: What its table knows of them.
        silenced: Files of which `quarantine` has something without its text.
    """
    entries = {entry.path: entry for entry in ledger if entry.held_back is None}
    theirs = {path for path, entry in entries.items() if entry.forgotten or path in silenced}
    theirs |= {path for path, entry in entries.items() if entry.duplicate_of in theirs}
    known = {LandingFile(each.path, each.size, each.version) for each in entries.values()}
    files = folder.listing(source).files
    return [file.path for file in files if file.path in theirs or file not in known]


def words_in(folder: LandingFolder, paths: Collection[str], objects: Objects) -> set[str]:
    """What names people in their customer records."""
    for path in paths:
        objects.without(_read(folder, path))
    return objects.words


def mend(
    folder: LandingFolder,
    source: str,
    paths: Collection[str],
    ledger: Collection[Entry],
    objects: Objects,
) -> tuple[list[Entry], Mended]:
    """Take forgotten people out of landing files of a source, in all their versions.

    Args:
        folder: The landing files.
        source: The source.
        paths: Those that may hold them.
        ledger: What the source's table knows of its files.
        objects: Tells what is theirs.

    Returns:
        The ledger that knows the files as they are now, and what became of them.
    """
    mended = Mended()
    folder.progress.begin(f"taking people out of {source} files", len(paths))
    for path in paths:
        _mend(folder, path, objects, mended)
    return list(_as_they_are_now(folder, source, ledger, paths)), mended


def erase_older_versions(folder: LandingFolder, source: str, finder: Finder) -> int:
    """Delete what landing files of a source were before, if that holds them; returns how many."""
    deleted = 0
    for version in folder.storage.older_versions(folder.folder(source)):
        found = False
        with suppress(DamagedFileError):  # what comes before the damage is searched
            found = bool(finder.find_in(read_blocks(version.open())))
        if found:
            version.erase()
            deleted += 1
    return deleted


def _mend(folder: LandingFolder, path: str, objects: Objects, mended: Mended) -> None:
    """Write a file anew without them; one in UTF-16 is in UTF-8 then."""
    storage, location = folder.storage, folder.location(path)
    with folder.open(path) as opened:
        is_packed = opened.read(2) == _GZIP
    kept, gone = objects.without(_read(folder, path))
    if gone and not kept.strip(_NOTHING):
        storage.erase(location)
        mended.deleted += 1
        return
    if gone:
        with storage.replacing(location) as file:
            file.write(gzip.compress(kept) if is_packed else kept)
        mended.written += 1
    storage.erase_older(location)


def _read(folder: LandingFolder, path: str) -> bytes:
    """The text of a file as far as it can be unpacked; none where it is not text."""
    blocks: list[bytes] = []
    with suppress(DamagedFileError, OtherFormatError):
        blocks.extend(text_blocks(folder.blocks(path)))
    return b"".join(blocks)


def _as_they_are_now(
    folder: LandingFolder, source: str, ledger: Collection[Entry], looked_at: Collection[str]
) -> Iterator[Entry]:
    """The entries of a ledger, where files have another content now and where they are gone."""
    files = {file.path: file for file in folder.listing(source).files}
    paths = sorted(looked_at & files.keys())
    digests = dict(zip(paths, folder.examine(paths), strict=True))
    for entry in ledger:
        if entry.path not in looked_at or entry.held_back is not None:
            yield entry  # what was held back is tried again as it is now
        elif entry.path in files:
            file, digest = files[entry.path], digests[entry.path].digest
            first = entry.digest if digest != entry.digest else None
            yield replace(
                entry,
                size=file.size,
                version=file.version,
                digest=digest,
                first_digest=entry.first_digest or first,
                objects=entry.objects - entry.forgotten,
                forgotten=0,
            )
