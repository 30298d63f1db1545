"""Searches files byte by byte for what names people, packed and encoded content included.

Parquet, Avro, gzip and SQLite files are searched as they are, and decoded. A word counts where it
stands alone: `ann@x.io` is not in `joann@x.io`.
"""

import json
import os
import re
import sqlite3
import unicodedata
from collections.abc import Collection, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, cast
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.avro.file import AvroFile
from pyiceberg.typedef import Record

from stedi_assets.lakehouse.landing.text import DamagedFileError, read_blocks
from stedi_assets.lakehouse.progress import SILENT, Progress
from stedi_assets.lakehouse.storage.storage import Storage, StoredFile

_SHORTEST = 3
"""Characters of the shortest word that is searched for."""

_SHORTEST_NUMBER = 5
"""Digits of the shortest number that is searched for outside of quotes."""

_QUOTED = 8
"""Bytes of a word up to which it is searched for as a whole value only, in quotes: a few bytes
stand anywhere by chance."""

_BLOCK = 8 << 20
_WORD = re.compile(rb"[0-9a-z_\x80-\xff]")
_LONGEST_PATH = 1024
_OF_PATH = re.compile(rb"/landing/[^\s\"'\\\0-\x1f]*\Z")
"""What comes before an address that stands in the path of a landing file."""

_OF_ADDRESS = re.compile(rb"[0-9a-z_.%+\x80-\xff-]")
_GOES_ON = re.compile(rb"[0-9a-z_\x80-\xff-]|\.[0-9a-z]")

_ESCAPED = re.compile(rb"\\u00([2-7][0-9a-f])")
"""A character that JSON could have without an escape."""

_PACKED = (b"PK\x03\x04", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")
"""How packed files begin: zip, bzip2, xz, zstd; gzip only within another one."""

_Windows = npt.NDArray[Any]


class Finder:
    """Finds words in bytes, many at once, whatever the case of their letters.

    Each word has some windows of 8 bytes at its beginning, so many that one of them is at a
    multiple of so many bytes wherever the word stands. Only windows there are looked at.

    Attributes:
        too_short: How many words are too short to be searched for.
    """

    def __init__(self, *words: Iterable[str]) -> None:
        """Find these words, however they may be written in a file."""
        all_ = {word for some in words for word in some}
        searched = {word for word in all_ if len(word.strip()) >= _SHORTEST}
        self.too_short = len(all_) - len(searched)
        self._word_of = {form: word for word in searched for form in _forms(word)}
        self.longest = max(map(len, self._word_of), default=0)
        by_step: dict[tuple[int, int], dict[bytes, list[tuple[bytes, int]]]] = {}
        for form in self._word_of:
            width, step = _window(len(form))
            windows = by_step.setdefault((width, step), {})
            for offset in range(step):
                windows.setdefault(form[offset : offset + width], []).append((form, offset))
        self._tables = [_Table(*key, windows) for key, windows in by_step.items()]

    def without(self, words: Collection[str]) -> "Finder":
        """Finds the others, and counts these as not searched for."""
        others = Finder({word for word in self._word_of.values() if word not in words})
        others.too_short = self.too_short + len(words)
        return others

    def is_in(self, text: str) -> bool:
        """Whether one of the words is in a text."""
        return bool(self.find(f'"{text}"'.encode("utf-8", "replace")))

    def find(self, data: bytes) -> set[str]:
        """The words that are in these bytes."""
        data = data.lower()
        if b"\\u00" in data:
            data += b"\n" + _ESCAPED.sub(lambda found: bytes([int(found[1], 16)]), data).lower()
        found: set[str] = set()
        for table in self._tables:
            for form, place in table.candidates(data):
                word = self._word_of[form]
                if word not in found and _stands_alone(data, form, place, "@" in word):
                    found.add(word)
        return found

    def find_in(self, blocks: Iterable[bytes]) -> set[str]:
        """The words that are in bytes which come in blocks."""
        found: set[str] = set()
        rest = b""
        for block in blocks:
            found |= self.find(rest + block)
            rest = (rest + block)[-(self.longest + 2) :]
        return found


class _Table:
    """The windows of the words that are looked at in steps of the same size."""

    _BITS = 20

    def __init__(
        self, width: int, step: int, windows: dict[bytes, list[tuple[bytes, int]]]
    ) -> None:
        self._width, self._step = width, step
        self._type = np.dtype(f"<u{width}")
        self._forms = {int.from_bytes(w, "little"): forms for w, forms in windows.items()}
        self._values: _Windows = np.array(sorted(self._forms), self._type)
        self._marks = np.zeros(1 << self._BITS, np.bool_)
        self._marks[self._hash(self._values)] = True

    def _hash(self, values: _Windows) -> _Windows:
        factor = self._type.type(0x9E3779B97F4A7C15 >> (64 - 8 * self._width) | 1)
        with np.errstate(over="ignore"):
            hashed: _Windows = (values * factor) >> self._type.type(8 * self._width - self._BITS)
        return hashed

    def candidates(self, data: bytes) -> Iterator[tuple[bytes, int]]:
        """Words with the places at which each may begin."""
        for base in range(0, self._width, self._step):
            count = (len(data) - base) // self._width
            if count <= 0:
                continue
            values = np.frombuffer(data, self._type, count, base)
            places = np.flatnonzero(self._marks[self._hash(values)])
            places = places[np.isin(values[places], self._values)]
            for place in places.tolist():
                at = base + place * self._width
                for form, offset in self._forms[int(values[place])]:
                    if data.startswith(form, at - offset) and at >= offset:
                        yield form, at - offset


def _window(length: int) -> tuple[int, int]:
    """Bytes of a window of a word so long, and how many bytes apart windows are looked at."""
    wide, steps = 8, ((15, 4), (9, 2), (8, 1))
    for shortest, step in steps:
        if length >= shortest:
            return wide, step
    return 4, 1


def _forms(word: str) -> Iterator[bytes]:
    """A word as it may stand in a file, in small letters as far as they are ASCII."""
    for cased in {word, word.lower(), word.upper()}:
        for normal in {unicodedata.normalize(form, cased) for form in ("NFC", "NFD")}:
            texts = {normal, json.dumps(normal)[1:-1], json.dumps(normal, ensure_ascii=False)[1:-1]}
            if "@" in normal:
                texts.add(quote(normal))
            for text in texts:
                for written in _written(text):
                    for encoding in ("utf-8", "utf-16-le", "utf-16-be"):
                        yield written.encode(encoding, "replace").lower()


def _written(text: str) -> Iterator[str]:
    """A word as values of JSON have it: a short one in quotes, or as a number."""
    if len(text.encode("utf-8", "replace")) >= _QUOTED:
        yield text
        return
    yield f'"{text}"'
    yield f'"{text}\\"'  # of JSON in a text of JSON
    if text.isascii() and text.isdigit() and len(text) >= _SHORTEST_NUMBER:
        yield f":{text}"
        yield f": {text}"


def _stands_alone(data: bytes, form: bytes, place: int, is_address: bool) -> bool:
    if form.startswith(b'"') or b"\0" in form:
        return True
    if is_address and _OF_PATH.search(data, max(0, place - _LONGEST_PATH), place):
        return True  # a file may be named after a person and something else
    before = _OF_ADDRESS if is_address else _WORD
    if place and before.match(data, place - 1):
        return False
    return not _GOES_ON.match(data, place + len(form))


# Files


@dataclass(frozen=True)
class Scanned:
    """What a search looked at and found.

    Attributes:
        files: How many files were searched.
        size: Their bytes.
        unreadable: Of these, files that could not be read, or not be decoded.
        found: Locations of files that hold one of the words, or have it in their name.
    """

    files: int
    size: int
    unreadable: tuple[str, ...]
    found: tuple[str, ...]


def scan(
    storage: Storage,
    places: Iterable[str],
    finder: Finder,
    *,
    leave_out: Collection[str] = (),
    progress: Progress = SILENT,
) -> Scanned:
    """Search all files below some folders, and their names.

    Args:
        storage: Where they are; a folder of this machine may be among them.
        places: The folders.
        finder: What to find.
        leave_out: Files, and folders with all that is in them.
        progress: Is told of each file.
    """
    names = {
        file: file.location.removeprefix(place)
        for place in places
        for file in files_below(storage, place)
        if not any(f"{file.location}/".startswith(f"{each}/") for each in leave_out)
    }
    files = list(names)
    progress.begin("searching all files", len(files), sum(file.size for file in files))

    def search(file: StoredFile) -> tuple[bool, bool]:
        try:
            is_found, is_decoded = search_file(storage, file, finder)
            return is_found or any(map(finder.is_in, _said_by(names[file]))), is_decoded
        finally:
            progress.advance(1, file.size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        results = list(zip(files, pool.map(search, files), strict=True))
    return Scanned(
        len(files),
        sum(file.size for file in files),
        tuple(file.location for file, (_, is_decoded) in results if not is_decoded),
        tuple(file.location for file, (is_found, _) in results if is_found),
    )


def _said_by(path: str) -> Iterator[str]:
    """What a path may say: its parts, also without their endings."""
    for part in path.split("/"):
        while part:
            yield part
            part = part.rpartition(".")[0]  # noqa: PLW2901


def files_below(storage: Storage, place: str) -> Iterator[StoredFile]:
    """All files below a folder, of the storage or of this machine."""
    if storage.root.startswith("s3://") and not place.startswith("s3://"):
        from pathlib import Path  # noqa: PLC0415

        from stedi_assets.lakehouse.storage.local import LocalStorage  # noqa: PLC0415

        yield from LocalStorage(Path(place)).files(place)
    else:
        yield from storage.files(place)


def search_file(storage: Storage, file: StoredFile, finder: Finder) -> tuple[bool, bool]:
    """Whether a file holds one of the words, and whether all of it could be decoded."""
    is_decoded = True

    def decoded(head: bytes, opened: BinaryIO) -> Iterator[bytes]:
        nonlocal is_decoded
        try:
            yield from _decoded(storage, file.location, head, opened)
        except DamagedFileError:  # what comes before was searched
            is_decoded = False

    try:
        with _open(storage, file.location) as opened:
            head = opened.read(16)
            opened.seek(0)
            if finder.find_in(iter(lambda: opened.read(_BLOCK), b"")):
                return True, True
            opened.seek(0)
            return bool(finder.find_in(decoded(head, opened))), is_decoded
    except FileNotFoundError:  # deleted meanwhile
        return False, True
    except Exception:  # it is damaged, of another format than it begins like, or may not be read
        return False, False


def _open(storage: Storage, location: str) -> BinaryIO:
    if location.startswith("s3://"):
        return cast("BinaryIO", storage.io.new_input(location).open())
    return open(location, "rb")


def _decoded(storage: Storage, location: str, head: bytes, file: BinaryIO) -> Iterator[bytes]:
    """What a file holds, if it is packed or encoded."""
    if head.startswith(b"PAR1"):
        yield from _parquet(file)
    elif head.startswith(b"Obj\x01"):
        with AvroFile[Record](storage.io.new_input(location)) as records:
            for row in records:
                yield repr(_plain(row)).encode()
            yield repr(records.header.meta).encode()
    elif head.startswith(b"\x1f\x8b"):
        for number, block in enumerate(read_blocks(cast("BinaryIO", BytesIO(file.read())))):
            if number == 0 and block.startswith(_PACKED):
                raise DamagedFileError
            yield block
    elif head.startswith(b"SQLite format 3\0"):
        yield from _sqlite(location)
    elif head.startswith(_PACKED):
        raise DamagedFileError


def _parquet(file: BinaryIO) -> Iterator[bytes]:
    parquet = pq.ParquetFile(file)
    texts = [f.name for f in parquet.schema_arrow if pa.types.is_string(f.type)]
    file.seek(0)
    parquet = pq.ParquetFile(file, read_dictionary=texts)
    yield json.dumps(str(parquet.metadata.metadata)).encode()
    for number in range(parquet.num_row_groups):
        group = parquet.metadata.row_group(number)
        for column in map(group.column, range(group.num_columns)):
            statistics = column.statistics
            if statistics and statistics.has_min_max:
                yield f'"{statistics.min}" "{statistics.max}"\n'.encode("utf-8", "replace")
        for column in parquet.read_row_group(number, columns=texts).columns if texts else ():
            yield from _values(column)


def _values(column: pa.ChunkedArray) -> Iterator[bytes]:
    """The different values of a column, each in quotes."""
    for chunk in column.chunks:
        values = chunk.dictionary if isinstance(chunk, pa.DictionaryArray) else chunk
        texts = [value for value in values.to_pylist() if value is not None]
        yield "".join(f'"{text}"\n' for text in texts).encode("utf-8", "replace")


def values_of(storage: Storage, files: Iterable[str], columns: Iterable[str]) -> Iterator[bytes]:
    """The different values of some columns of Parquet files, as they are searched."""
    names = list(columns)
    for file in files:
        with _open(storage, file) as opened:
            parquet = pq.ParquetFile(opened, read_dictionary=names)
            for number in range(parquet.num_row_groups):
                for column in parquet.read_row_group(number, columns=names).columns:
                    yield from _values(column)


def _plain(value: Any) -> Any:
    """Everything in an Avro record, however deep."""
    if isinstance(value, Record):
        return [_plain(value[position]) for position in range(len(value))]
    return value


def _sqlite(location: str) -> Iterator[bytes]:
    """All values of all tables: in the pages of the file, long ones are in pieces."""
    with closing(sqlite3.connect(f"file:{quote(location)}?mode=ro", uri=True)) as database:
        database.text_factory = bytes
        names = database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        for (name,) in names:
            table = name.decode().replace('"', '""')
            for row in database.execute(f'SELECT * FROM "{table}"'):
                values = [value for value in row if isinstance(value, bytes)]
                yield b"".join(b'"%b"\n' % value for value in values)
