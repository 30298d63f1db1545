"""Landing files, and the ledger of those a landing table has taken in."""

import hashlib
import json
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from functools import partial
from os import SEEK_END
from typing import Any, BinaryIO
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from stedi_assets.lakehouse.faults import LakehouseError, damaged, is_transient, sentence
from stedi_assets.lakehouse.landing.text import BLOCK, DamagedFileError, read_blocks
from stedi_assets.lakehouse.names import display_name, is_hidden, original, readable
from stedi_assets.lakehouse.progress import SILENT, Progress
from stedi_assets.lakehouse.storage.storage import Storage, StoredFile

LEDGER = "ledger"
"""What a snapshot of a landing table calls the path of its ledger."""

ENDINGS = (".json", ".jsonl", ".ndjson")
"""Endings of landing files, in any case of letters; each also with .gz behind it."""


@dataclass(frozen=True)
class LandingFile:
    """A landing file as the listing shows it.

    Attributes:
        path: Its name below the landing root, as `names.readable` spells it.
        version: Time of its last change, or its ETag in a bucket.
    """

    path: str
    size: int
    version: str


@dataclass(frozen=True)
class Listing:
    """What is in the landing folder of a source.

    Attributes:
        files: Its landing files, by path.
        ignored: Paths of all else: links that lead out of the landing root, hidden folders, files
            of other names.
        modified: When each file was last written, by its path.
    """

    files: tuple[LandingFile, ...]
    ignored: tuple[str, ...]
    modified: Mapping[str, datetime]


@dataclass(frozen=True)
class Content:
    """What reading a file's bytes once tells.

    Attributes:
        digest: SHA-256 of its (unpacked) text; of the file where it is damaged.
        fault: Why the file cannot be read now, if so; then there is no digest.
    """

    digest: str
    fault: str | None = None


@dataclass(frozen=True)
class Entry:
    """What became of a landing file.

    Attributes:
        objects: Objects and unreadable fragments in it: rows plus quarantined plus forgotten
            plus expired.
        reason: What was wrong with most of the quarantined, if any.
        rejects: Parquet file with its rejects, and those of files read with it, if any.
        duplicate_of: File with the same content that was taken in instead of it, if any.
        landed_at: When the refresh began that took it in, in epoch milliseconds.
        held_back: The allowed share of unreadable objects that it exceeded when it was held back;
            None if it was not held back.
        lost: Whether the file, or the rest of it, could not be read: it has another format, or is a
            gzip file that is damaged or cut off. False for files taken in before this was noted.
        reasons: The most frequent reasons, as JSON: each with how many were quarantined for it, and
            the byte at which the first begins. None for files taken in before this was noted.
        profile: What its readable objects look like, as `Profile.text` writes it; None if it has
            none, or was taken in before this was noted.
        modified: When the file was last written, in epoch milliseconds, as the storage says; 0 if
            it was taken in before this was noted.
        forgotten: Objects and fragments that are in no table, as they are of forgotten people.
        first_digest: The digest that it had when it was taken in, if it was written anew since.
        expired: Objects and fragments that are in no table any more, as they were too old.
    """

    path: str
    size: int
    version: str
    digest: str
    objects: int = 0
    rows: int = 0
    quarantined: int = 0
    reason: str | None = None
    rejects: str | None = None
    duplicate_of: str | None = None
    landed_at: int = 0
    held_back: float | None = None
    lost: bool = False
    reasons: str | None = None
    profile: str | None = None
    modified: int = 0
    forgotten: int = 0
    first_digest: str | None = None
    expired: int = 0


_TYPES: dict[Any, pa.DataType] = {
    int: pa.int64(),
    float | None: pa.float64(),
    bool: pa.bool_(),
}
_SCHEMA = pa.schema((f.name, _TYPES.get(f.type, pa.string())) for f in fields(Entry))


class LandingFileError(LakehouseError):
    """Landing files cannot be read now.

    Attributes:
        faults: A sentence for each file, by its path.
    """

    def __init__(self, faults: Mapping[str, str]) -> None:
        """Say what is wrong with each file."""
        super().__init__(" ".join(faults.values()))
        self.faults = faults

    def __reduce__(self) -> tuple[object, ...]:
        """Spark sends the errors of its tasks to the driver."""
        return LandingFileError, (self.faults,)


class LandingFolder:
    """The landing files below one root."""

    def __init__(self, root: str, storage: Storage, progress: Progress = SILENT) -> None:
        """Use the files below a root.

        Args:
            root: A path or URI of the storage, without a slash at the end.
            storage: Where they are.
            progress: Is told of each file, and of each part of one, that was read.
        """
        self.root = root
        self.storage = storage
        self.progress = progress

    def location(self, path: str) -> str:
        """Path or URI of a landing file, as the storage knows it."""
        return f"{self.root}/{original(path)}"

    def _path(self, location: str) -> str:
        return readable(location.removeprefix(f"{self.root}/"))

    def folder(self, source: str) -> str:
        """Where the landing files of a source are, at any depth."""
        return f"{self.root}/{source}/landing"

    def listing(self, source: str) -> Listing:
        """Landing files of a source; none where the folder does not exist."""
        folder, ignored = self.folder(source), set[str]()
        files: dict[str, StoredFile] = {}
        for file in self.storage.landing_files(folder, self.root):
            location = file if isinstance(file, str) else file.location
            name = location.removeprefix(f"{folder}/")
            if isinstance(file, str) or not _is_landing_file(name) or is_hidden(name):
                ignored.add(self._path(location))
            else:
                files[self._path(location)] = file
        return Listing(
            tuple(
                LandingFile(path, files[path].size, files[path].version) for path in sorted(files)
            ),
            tuple(sorted(ignored)),
            {path: file.modified for path, file in files.items()},
        )

    def open(self, path: str) -> BinaryIO:
        """Open a landing file.

        Raises:
            FileNotFoundError: It is no longer there, or now leads out of the landing root.
        """
        try:
            return self.storage.open_landing(self.location(path), self.root)
        except FileNotFoundError as error:
            raise FileNotFoundError(error.errno, "No such file", f"{self.root}/{path}") from None

    def blocks(self, path: str) -> Generator[bytes]:
        """A landing file's content, unpacked, in blocks.

        Raises:
            DamagedFileError: After the last byte that could be unpacked.
            LandingFileError: It cannot be opened or read, and trying again would not help.
        """
        with self._naming(path):
            yield from read_blocks(self.open(path), self.progress)
            self.progress.advance(1)

    @contextmanager
    def _naming(self, path: str) -> Iterator[None]:
        """Raise an error about one file as a `LandingFileError` that names it."""
        try:
            yield
        except FileNotFoundError:
            raise LandingFileError({path: deleted(f"{self.root}/{path}")}) from None
        except DamagedFileError:
            raise
        except Exception as error:
            message = None if is_transient(error) else sentence(error)
            if message is None:
                raise
            raise LandingFileError({path: message}) from None

    def examine(self, paths: Sequence[str]) -> list[Content]:
        """Read the files' bytes once, several files at a time."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self._examine, paths))

    def _examine(self, path: str) -> Content:
        try:
            return Content(self._digest(path))
        except LandingFileError as error:
            return Content("", error.faults[path])

    def _digest(self, path: str) -> str:
        digest = hashlib.sha256()
        try:
            for block in self.blocks(path):
                digest.update(block)
        except DamagedFileError:
            digest = hashlib.sha256()
            with self._naming(path), self.open(path) as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        return digest.hexdigest()


def deleted(location: str) -> str:
    """The message about a file that is no longer there."""
    return f"{display_name(location)} was deleted while it was read."


def _is_landing_file(path: str) -> bool:
    return path.lower().removesuffix(".gz").endswith(ENDINGS)


@dataclass(frozen=True)
class Segment:
    """A part of a ledger; it never changes.

    Attributes:
        entries: What it adds to the parts before it, or says instead of them, by path.
        before: Paths of the parts before it, the oldest first.
        gone: Paths of files of which the parts before it say what is no longer so.
        size: Its bytes.
    """

    entries: tuple[Entry, ...]
    before: tuple[str, ...]
    gone: tuple[str, ...]
    size: int


_BEFORE, _GONE = b"stedi.before", b"stedi.gone"


def merge_segments(segments: Iterable[Segment]) -> tuple[list[Entry], list[str]]:
    """What parts of a ledger say together: entries, and paths that are gone."""
    entries: dict[str, Entry] = {}
    gone: dict[str, None] = {}
    for segment in segments:
        for path in (*segment.gone, *(entry.path for entry in segment.entries)):
            entries.pop(path, None)
        gone |= dict.fromkeys(segment.gone)
        entries |= {entry.path: entry for entry in segment.entries}
    return list(entries.values()), list(gone)


class LedgerReader:
    """Reads ledgers. Each is the last of some parts, which name those before them.

    So a refresh writes only what is new, and ledgers that follow each other share most parts, which
    are read once.
    """

    def __init__(self, io: FileIO) -> None:
        """Read with this."""
        self._io = io
        self._segments: dict[str, Segment] = {}

    def entries(self, path: str) -> list[Entry]:
        """The ledger that a snapshot of a landing table points to."""
        return merge_segments(self.segments(path).values())[0]

    def segments(self, path: str) -> dict[str, Segment]:
        """The parts of a ledger by path, the oldest first."""
        paths = (*self._segment(path).before, path)
        with ThreadPoolExecutor() as pool:
            return dict(zip(paths, pool.map(self._segment, paths), strict=True))

    def _segment(self, path: str) -> Segment:
        if path not in self._segments:
            with damaged(path), self._io.new_input(path).open() as file:
                parquet = pq.ParquetFile(file)
                entries = tuple(Entry(**row) for row in parquet.read().to_pylist())
                size = file.seek(0, SEEK_END)
                before, gone = _noted(parquet)
            self._segments[path] = Segment(entries, before, gone, size)
        return self._segments[path]


def read_ledger(path: str, io: FileIO) -> list[Entry]:
    """The ledger that a snapshot of a landing table points to."""
    return LedgerReader(io).entries(path)


def read_rejects(path: str, io: FileIO) -> tuple[set[str], int]:
    """The Parquet files with what was quarantined of a ledger's files, and the rows in them."""
    last, before = _rejects_in(path, io)
    with ThreadPoolExecutor() as pool:
        parts = [last, *(rejects for rejects, _ in pool.map(partial(_rejects_in, io=io), before))]
    # A file that was read anew had been held back, and nothing of such a file is in quarantine.
    rejected = [entry for part in parts for entry in part if entry["rejects"]]
    return {entry["rejects"] for entry in rejected}, sum(entry["quarantined"] for entry in rejected)


def _rejects_in(path: str, io: FileIO) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    with damaged(path), io.new_input(path).open() as file:
        parquet = pq.ParquetFile(file)
        # `read_table` would import pandas.
        return parquet.read(["rejects", "quarantined"]).to_pylist(), _noted(parquet)[0]


def _noted(parquet: pq.ParquetFile) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The parts before this one, and the paths of which they say what is no longer so."""
    metadata = parquet.schema_arrow.metadata or {}
    before, gone = (tuple(json.loads(metadata.get(key, b"[]"))) for key in (_BEFORE, _GONE))
    return before, gone


def write_ledger(
    folder: str,
    entries: Iterable[Entry],
    io: FileIO,
    before: Sequence[str] = (),
    gone: Sequence[str] = (),
) -> str:
    """Write a ledger below `folder`, or what it adds to its parts before; returns its path."""
    path = f"{folder}/{uuid4().hex}.parquet"
    noted = {_BEFORE: json.dumps(before).encode(), _GONE: json.dumps(gone).encode()}
    schema = _SCHEMA.with_metadata(noted)
    with io.new_output(path).create() as file:
        pq.write_table(pa.Table.from_pylist([asdict(e) for e in entries], schema=schema), file)
    return path
