"""Landing files, and the ledger of those a landing table has taken in."""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.tolerant import DamagedFileError, read_blocks

_ENDINGS = (".json", ".json.gz")


@dataclass(frozen=True)
class LandingFile:
    """A landing file as the listing shows it; `path` is relative to the landing root."""

    path: str
    size: int
    modified: int


@dataclass(frozen=True)
class Content:
    """What a pass over a file's bytes tells.

    Attributes:
        digest: SHA-256 of its (unpacked) text; of the file where it is damaged.
        lines: Lines of its (unpacked) text.
        damaged: Whether it cannot be unpacked to its end.
    """

    digest: str
    lines: int
    damaged: bool


@dataclass(frozen=True)
class Entry:
    """What became of a landing file.

    Attributes:
        objects: Objects and unreadable fragments in it: rows plus quarantined.
        reason: What was wrong with most of its quarantined, if any.
        rejects: Parquet file with what was quarantined of it and its neighbours, if anything.
        duplicate_of: File with the same content that was taken in instead of it, if any.
    """

    path: str
    size: int
    modified: int
    digest: str
    objects: int = 0
    rows: int = 0
    quarantined: int = 0
    reason: str | None = None
    rejects: str | None = None
    duplicate_of: str | None = None


_LEDGER = pa.schema((f.name, pa.int64() if f.type is int else pa.string()) for f in fields(Entry))


def list_files(root: Path, source: str) -> list[LandingFile]:
    """Landing files of a source, by path; none where the folder does not exist."""
    folder = root / source / "landing"
    found = []
    for path in sorted(folder.rglob("*")):
        if path.name.lower().endswith(_ENDINGS) and path.is_file():
            stat = path.stat()
            relative = path.relative_to(root).as_posix()
            found.append(LandingFile(relative, stat.st_size, stat.st_mtime_ns))
    return found


def examine(paths: Sequence[Path]) -> list[Content]:
    """Read the files' bytes once, several files at a time."""
    with ThreadPoolExecutor() as pool:
        return list(pool.map(_examine, paths))


def _examine(path: Path) -> Content:
    digest = hashlib.sha256()
    lines, last, damaged = 0, b"\n", False
    try:
        for block in read_blocks(path):
            lines += block.count(b"\n")
            last = block[-1:] or last
            digest.update(block)
    except DamagedFileError:
        damaged = True
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
    return Content(digest.hexdigest(), lines + (last != b"\n"), damaged)


def read_ledger(path: str) -> list[Entry]:
    """The ledger that a snapshot of a landing table points to."""
    return [Entry(**row) for row in pq.read_table(path).to_pylist()]


def write_ledger(folder: str, entries: Iterable[Entry]) -> str:
    """Write a ledger below `folder`; returns its path."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    path = f"{folder}/{uuid4().hex}.parquet"
    pq.write_table(pa.Table.from_pylist([asdict(e) for e in entries], schema=_LEDGER), path)
    return path
