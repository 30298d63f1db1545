"""Landing files, and the ledger of those a landing table has taken in."""

import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import BinaryIO, cast
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from stedi_assets.lakehouse.landing.text import BLOCK, DamagedFileError, read_blocks
from stedi_assets.lakehouse.storage import Storage

LEDGER = "ledger"
"""What a snapshot of a landing table calls the path of its ledger."""

_ENDINGS = (".json", ".json.gz")


@dataclass(frozen=True)
class LandingFile:
    """A landing file as the listing shows it; `path` is relative to the landing root.

    Attributes:
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
        ignored: Number of other files and folder markers.
        modified: When each file was written last, by its path.
    """

    files: tuple[LandingFile, ...]
    ignored: int
    modified: Mapping[str, datetime]


@dataclass(frozen=True)
class Content:
    """What a pass over a file's bytes tells.

    Attributes:
        digest: SHA-256 of its (unpacked) text; of the file where it is damaged.
    """

    digest: str


@dataclass(frozen=True)
class Entry:
    """What became of a landing file.

    Attributes:
        objects: Objects and unreadable fragments in it: rows plus quarantined.
        reason: What was wrong with most of its quarantined, if any.
        rejects: Parquet file with what was quarantined of it and its neighbours, if anything.
        duplicate_of: File with the same content that was taken in instead of it, if any.
        landed_at: When the refresh began that took it in, in epoch milliseconds.
        held_back: Whether it is left out of the table, for too much of it is unreadable.
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
    held_back: bool = False


_TYPES = {int: pa.int64(), bool: pa.bool_()}
_SCHEMA = pa.schema((f.name, _TYPES.get(f.type, pa.string())) for f in fields(Entry))


class LandingFolder:
    """The landing files below one root."""

    def __init__(self, root: str, storage: Storage) -> None:
        """The root is a path or URI of the storage, without a slash at its end."""
        self.root = root
        self.storage = storage

    def location(self, path: str) -> str:
        """Path or URI of a landing file."""
        return f"{self.root}/{path}"

    def folder(self, source: str) -> str:
        """Where the landing files of a source are, at any depth."""
        return f"{self.root}/{source}/landing"

    def listing(self, source: str) -> Listing:
        """Landing files of a source; none where the folder does not exist."""
        found, ignored, modified = [], 0, {}
        for file in self.storage.files(self.folder(source)):
            if file.location.lower().endswith(_ENDINGS):
                path = file.location.removeprefix(f"{self.root}/")
                found.append(LandingFile(path, file.size, file.version))
                modified[path] = file.modified
            else:
                ignored += 1
        return Listing(tuple(sorted(found, key=lambda file: file.path)), ignored, modified)

    def open(self, path: str) -> BinaryIO:
        """Open a landing file.

        Raises:
            FileNotFoundError: It is not there any more.
        """
        try:
            return cast("BinaryIO", self.storage.io.new_input(self.location(path)).open())
        except FileNotFoundError as error:
            raise FileNotFoundError(error.errno, "No such file", self.location(path)) from None

    def blocks(self, path: str) -> Generator[bytes]:
        """A landing file's content, unpacked, in blocks.

        Raises:
            DamagedFileError: After the last byte that could be unpacked.
            FileNotFoundError: It is not there any more.
        """
        return read_blocks(self.open(path))

    def examine(self, paths: Sequence[str]) -> list[Content]:
        """Read the files' bytes once, several files at a time."""
        with ThreadPoolExecutor() as pool:
            return list(pool.map(self._examine, paths))

    def _examine(self, path: str) -> Content:
        digest = hashlib.sha256()
        try:
            for block in self.blocks(path):
                digest.update(block)
        except DamagedFileError:
            digest = hashlib.sha256()
            with self.open(path) as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        return Content(digest.hexdigest())


def read_ledger(path: str, io: FileIO) -> list[Entry]:
    """The ledger that a snapshot of a landing table points to."""
    with io.new_input(path).open() as file:
        return [Entry(**row) for row in pq.read_table(file).to_pylist()]


def write_ledger(folder: str, entries: Iterable[Entry], io: FileIO) -> str:
    """Write a ledger below `folder`; returns its path."""
    path = f"{folder}/{uuid4().hex}.parquet"
    with io.new_output(path).create() as file:
        pq.write_table(pa.Table.from_pylist([asdict(e) for e in entries], schema=_SCHEMA), file)
    return path
