"""Takes forgotten people out of landing files: files are written anew without them, or deleted.

What is theirs is what the list of forgotten people says, so it includes people who were forgotten
before while landing files were left. An object goes with the comma and the line that are its own.
Of what cannot be read and names a forgotten person, the text goes; if it is of a customer and names
others, too, a record that cannot be read is left for each of these, as it may suspend them.
"""

import gzip
import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

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
from stedi_assets.privacy.mending_notes import Notes
from stedi_assets.privacy.scan import Finder
from stedi_assets.refresh.forgotten_rows import Rule
from stedi_assets.refresh.sieve import strings_in

_AFTER = re.compile(rb"[ \t]*(,?)[ \t]*(\r?\n)?")
_CLOSES = re.compile(rb"\s*(?:\]|\Z)")
_LINE = re.compile(rb"[^\n]*\n?")

_GZIP = b"\x1f\x8b"
_NOTHING = b" \t\r\n,[]\xef\xbb\xbf"
"""Bytes that may be left of a file in which nobody else was."""

_READ = json.JSONDecoder(object_pairs_hook=tuple, parse_int=str, parse_float=str).decode
"""Reads an object's keys and values, numbers as they are written: serial numbers may be some."""

_AT_ONCE = 1 << 12
"""Lines that are looked at at once."""

_WORDS = ("email", "user", "customername", "phone", "serialnumber")


@dataclass
class Mended:
    """What became of landing files.

    Attributes:
        written: Files that were written anew.
        deleted: Files in which nothing else was.
        versions: Older versions of files that were deleted, besides those of the files above.
        not_searched: Locations of files that are damaged, so nobody can tell whom they hold.
    """

    written: int = 0
    deleted: int = 0
    versions: int = 0
    not_searched: list[str] = field(default_factory=list)


class Objects:
    """Tells the objects of a source's landing files that are of forgotten people.

    Attributes:
        words: What names them in customer records that were looked at. Personal data.
        looked_for: Words, in small letters, to look for in customer records of others.
        others: Those that others have.
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
        self.looked_for = frozenset[str]()
        self.others = set[str]()

    def without(self, text: bytes) -> tuple[bytes, int]:
        """A text without their objects, and how many went."""
        lines: list[bytes] = _LINE.findall(text)
        chosen, others = list[int](), list[int]()
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            about = self._identities(line)
            if about is None:  # not an object a line
                return self._cut(text)
            if self._may_be_theirs(about):
                chosen.append(number)
            else:
                others.append(number)
                if not self.looked_for.isdisjoint(map(str.lower, about)):
                    self._cut(line)  # notes what is of others if it is a record
        gone = 0
        for number in (*chosen, *self._found_in(lines, others)):
            lines[number], cut = self._cut(lines[number])
            gone += cut
        return b"".join(lines), gone

    def _found_in(self, lines: Sequence[bytes], numbers: Sequence[int]) -> Iterator[int]:
        """Which of these lines have what names them, wherever in an object it is."""
        # To look at many lines at once is a lot faster, and most have nothing.
        parts = [numbers[at : at + _AT_ONCE] for at in range(0, len(numbers), _AT_ONCE)]
        while parts:
            part = parts.pop()
            if not part or not self._finder.find(b"\n".join(lines[number] for number in part)):
                continue
            if len(part) == 1:
                yield part[0]
            else:
                middle = len(part) // 2
                parts += [part[:middle], part[middle:]]

    def _identities(self, line: bytes) -> list[str] | None:
        """The texts and numbers in an object that is a line of its own; None if it is no object."""
        if not line.lstrip().startswith(b"{"):
            return None
        try:
            pairs = _READ(line.strip().removesuffix(b",").decode())
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

    def _note_others(self, texts: Iterable[str]) -> None:
        if self._is_customer:
            self.others |= self.looked_for.intersection(map(str.lower, texts))

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
                self._note_others(value for value in values.values() if isinstance(value, str))
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

    Files that were not taken in, or not as they are now, may hold some, and so may those with rows
    that went by age.

    Args:
        folder: The landing files.
        source: The source.
        ledger: What its table knows of them.
        silenced: Files of which `quarantine` has something without its text.
    """
    entries = {entry.path: entry for entry in ledger if entry.held_back is None}
    theirs = {
        path
        for path, entry in entries.items()
        if entry.forgotten or entry.expired or entry.lost or path in silenced
    }
    theirs |= {path for path, entry in entries.items() if entry.duplicate_of in theirs}
    known = {LandingFile(each.path, each.size, each.version) for each in entries.values()}
    files = folder.listing(source).files
    return [file.path for file in files if file.path in theirs or file not in known]


def words_in(
    folder: LandingFolder, paths: Collection[str], objects: Objects, known: Collection[str]
) -> tuple[set[str], set[str]]:
    """What names people in their customer records and is not known, and what others have, too.

    Args:
        folder: The landing files.
        paths: Those that may hold them.
        objects: Tells what is theirs.
        known: Words that name them.
    """
    for path in paths:
        objects.without(_read(folder, path).content)
    words = objects.words | {*known}
    objects.looked_for = frozenset(map(str.lower, words))
    for path in paths if words else ():
        objects.without(_read(folder, path).content)
    return words - {*known}, {word for word in words if word.lower() in objects.others}


Digests = Mapping[str, tuple[str, str]]
"""Of a file that was written anew, the digests of what was delivered and of what it is now."""


def mend(
    folder: LandingFolder,
    source: str,
    paths: Collection[str],
    objects: Objects,
    notes: Notes,
) -> tuple[Digests, Mended]:
    """Take forgotten people out of landing files of a source, in all their versions.

    A file that is damaged stays as it is, and so does one that is delivered anew meanwhile.

    Args:
        folder: The landing files.
        source: The source.
        paths: Those that may hold them.
        ledger: What the source's table knows of its files.
        objects: Tells what is theirs.
        notes: Keeps what becomes of them, until the ledger is published.

    Returns:
        The ledger that knows the files as they are now, and what became of them.
    """
    mended = Mended()
    digests = dict[str, tuple[str, str]]()
    folder.progress.begin(f"taking people out of {source} files", len(paths))
    for path in paths:
        if written := _mend(folder, path, objects, notes, mended):
            digests[path] = written
    return digests, mended


def as_they_are_now(
    folder: LandingFolder,
    source: str,
    ledger: Collection[Entry],
    digests: Digests,
    notes: Notes,
) -> Iterator[Entry]:
    """The entries of a ledger, where files were written anew and where they were deleted.

    A file that had another content than the ledger says before that still has: it was changed.

    Args:
        folder: The landing files.
        source: The source.
        ledger: The ledger.
        digests: Those of files that were written anew.
        notes: Tell which files were deleted.
    """
    files = {file.path: file for file in folder.listing(source).files}
    paths = sorted(digests.keys() & files.keys())
    present = dict(zip(paths, folder.examine(paths), strict=True))
    for entry in ledger:
        delivered, digest = digests.get(entry.path, ("", ""))
        if entry.path not in files and notes.is_deleted(entry.path):
            continue
        if entry.held_back is not None or entry.digest not in {delivered, digest}:
            yield entry  # what was held back is tried again as it is now
            continue
        if entry.path in present and present[entry.path].digest == digest:
            file = files[entry.path]
            entry = replace(entry, size=file.size, version=file.version)  # noqa: PLW2901
        first = entry.digest if digest != entry.digest else None
        yield replace(
            entry,
            digest=digest,
            first_digest=entry.first_digest or first,
            objects=entry.objects - entry.forgotten,
            forgotten=0,
        )


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


def _mend(
    folder: LandingFolder, path: str, objects: Objects, notes: Notes, mended: Mended
) -> tuple[str, str] | None:
    """Write a file anew without them; one in UTF-16 is in UTF-8 then.

    Returns:
        The digests of what was delivered and of what it is now, if they are, or were, taken out.
    """
    storage, location = folder.storage, folder.location(path)
    found = storage.stored(location)
    text = _read(folder, path)
    if text.is_damaged:
        mended.not_searched.append(location)
        return None
    delivered = notes.before(path, text.digest)
    kept, gone = objects.without(text.content)
    digest = hashlib.sha256(kept).hexdigest()
    if not gone:
        if not notes.is_written(path, text.digest):
            return None
        storage.erase_older(location)  # a command was killed before it did
        return delivered, text.digest
    is_empty = not kept.strip(_NOTHING)
    notes.add(path, text.digest, "" if is_empty else digest)
    if storage.stored(location) != found:
        return None  # something else was delivered under its name
    if is_empty:
        storage.erase(location)
        mended.deleted += 1
        return None
    with storage.replacing(location) as file:
        file.write(gzip.compress(kept) if text.is_packed else kept)
    storage.erase_older(location)
    mended.written += 1
    return delivered, digest


@dataclass(frozen=True)
class _Text:
    """The text of a file; none where it is not text.

    Attributes:
        digest: As the ledger has it.
        is_damaged: Whether more was in it than could be unpacked.
    """

    content: bytes
    digest: str
    is_packed: bool
    is_damaged: bool


def _read(folder: LandingFolder, path: str) -> _Text:
    with folder.open(path) as opened:
        is_packed = opened.read(2) == _GZIP
    digest, is_damaged = hashlib.sha256(), False

    def digested() -> Iterator[bytes]:
        for block in folder.blocks(path):
            digest.update(block)
            yield block

    blocks: list[bytes] = []
    try:
        blocks.extend(text_blocks(digested()))
    except OtherFormatError:
        blocks.clear()
    except DamagedFileError:
        is_damaged = True
    return _Text(b"".join(blocks), digest.hexdigest(), is_packed, is_damaged)
