"""Turns new landing files into Parquet: rows for the landing table, rejects for quarantine."""

import json
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.faults import LakehouseError, is_transient, unforeseen
from stedi_assets.lakehouse.landing.ledger import Content, LandingFileError, LandingFolder
from stedi_assets.lakehouse.landing.lines import PlainLines, read_lines
from stedi_assets.lakehouse.landing.parquet import LineWriter, RowWriter
from stedi_assets.lakehouse.landing.profile import Profiler
from stedi_assets.lakehouse.landing.rows import Row, Rows
from stedi_assets.lakehouse.landing.shapes import Matchers, Spelling
from stedi_assets.lakehouse.landing.text import OtherFormatError, text_blocks
from stedi_assets.lakehouse.landing.unreadable import Unreadable
from stedi_assets.lakehouse.names import display_name
from stedi_assets.lakehouse.table import Table

_FILES_AHEAD = 4
"""Files whose first block is read in advance."""
_MOST_WRITERS = 8
"""Spellings of keys whose rows are written at the same time."""

_MOST_REASONS = 10
"""Reasons that are noted of a file."""

_Item = PlainLines | Row | Unreadable


@dataclass(frozen=True)
class Counts:
    """What a file holds: its objects and unreadable fragments are rows, quarantined or forgotten.

    Attributes:
        reason: What was wrong with most of the quarantined, if any.
        lost: Whether the file, or the rest of it, could not be read: it has another format, or is a
            gzip file that is damaged or cut off.
        reasons: All that was wrong, as of `Entry`.
        profile: What its readable objects look like, as `Profile.text` writes it.
        forgotten: Those of forgotten people, which go nowhere.
    """

    objects: int
    rows: int
    quarantined: int = 0
    reason: str | None = None
    lost: bool = False
    reasons: str | None = None
    profile: str | None = None
    forgotten: int = 0


@dataclass
class Parsed:
    """Parquet files with the rows and the rejects of landing files, and the counts of each."""

    rows: list[str] = field(default_factory=list)
    rejects: str | None = None
    counts: dict[str, Counts] = field(default_factory=dict)


def examine(
    engine: DuckDBEngine,
    paths: Sequence[str],
    *,
    landing: LandingFolder,
) -> dict[str, Content]:
    """A share of the work of an ingest: read the bytes of these files once.

    `Engine.spread` gives every share a DuckDB, which this one does not need.
    """
    return dict(zip(paths, landing.examine(paths), strict=True))


def parse(  # noqa: PLR0913
    engine: DuckDBEngine,
    paths: Sequence[str],
    *,
    landing: LandingFolder,
    source: str,
    table: Table,
    quarantine: Table,
    folder: str,
    rejects: str,
    landed_at: int,
) -> Parsed:
    """A share of the work of an ingest: read these files of a source.

    `Engine.spread` sends this function to other processes and gives it a DuckDB there.

    Args:
        engine: Writes the rows.
        paths: The files, relative to the landing root.
        landing: Where they are.
        source: Their source.
        table: Its landing table.
        quarantine: The table of what cannot be read.
        folder: Where the rows go, as Parquet files.
        rejects: Where the rejects go, as a Parquet file.
        landed_at: When the refresh began that takes the files in, in epoch milliseconds.
    """
    reader = LandingReader(engine, landing, source, table, quarantine, landed_at)
    return reader.parse(paths, folder, rejects)


class LandingReader:
    """Reads the landing files of one source."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        engine: DuckDBEngine,
        landing: LandingFolder,
        source: str,
        table: Table,
        quarantine: Table,
        landed_at: int,
    ) -> None:
        """Read files of `landing` into the columns of `table` and of `quarantine`."""
        self._engine = engine
        self._landing = landing
        self._io = landing.storage.io
        self._source = source
        self._table = table
        self._quarantine = quarantine
        self._landed_at = landed_at
        self._rows = Rows(table, landed_at)
        self._matchers = Matchers(table, landed_at)

    def parse(self, paths: Sequence[str], folder: str, rejects: str) -> Parsed:
        """Read each file, whatever is in it."""
        parsed = Parsed()
        with (
            RowWriter(folder, self._table, self._io) as rows,
            RowWriter(rejects, self._quarantine, self._io) as unreadable,
            _LineWriters(self._engine, self._table, self._landed_at, folder) as lines,
        ):
            for path, blocks in self._opened(paths):
                reasons, first, count, lost = Counter[str](), dict[str, int](), 0, False
                profiler = self._rows.profiler = Profiler(self._table, self._landed_at)
                for item in _naming(path, self._read(blocks)):
                    if isinstance(item, PlainLines):
                        count += len(item.lines)
                        profiler.look_at_lines(item.lines)
                        lines.write(item, path)
                    elif isinstance(item, Unreadable):
                        reasons[item.reason] += 1
                        first.setdefault(item.reason, item.position)
                        lost |= item.ends_file
                        unreadable.write(self._reject(item, path))
                    else:
                        count += 1
                        rows.write((*item, path, self._landed_at))
                counts = _counts(count, reasons, first, lost)
                profile = profiler.profile()
                parsed.counts[path] = replace(counts, profile=profile.text() if profile else None)
        parsed.rows = [*lines.files, *([rows.path] if rows.path else [])]
        parsed.rejects = unreadable.path
        return parsed

    def _read(self, blocks: Iterator[bytes]) -> Iterator[_Item]:
        try:
            yield from read_lines(blocks, self._rows, self._matchers)
        except OtherFormatError as error:
            head = error.head.decode("utf-8", "replace")
            yield Unreadable(0, head, str(error), ends_file=True)

    def _reject(self, fragment: Unreadable, path: str) -> tuple[Any, ...]:
        return (
            self._source,
            path,
            fragment.position,
            fragment.raw,
            fragment.reason,
            self._landed_at,
            fragment.person,
        )

    def _opened(self, paths: Sequence[str]) -> Iterator[tuple[str, Iterator[bytes]]]:
        """Each file with its content, of which a block is read in advance."""
        with ThreadPoolExecutor(_FILES_AHEAD) as pool:
            opened: deque[tuple[str, Iterator[bytes]]] = deque()
            for path in paths:
                opened.append((path, _ahead(pool, text_blocks(self._landing.blocks(path)))))
                if len(opened) == _FILES_AHEAD:
                    yield opened.popleft()
            yield from opened


class _LineWriters:
    """A writer for each way in which plain lines spell their keys."""

    def __init__(self, engine: DuckDBEngine, table: Table, landed_at: int, folder: str) -> None:
        self._new = partial(LineWriter, engine, table, landed_at=landed_at, folder=folder)
        self._writers: dict[tuple[Spelling, bool], LineWriter] = {}
        self.files: list[str] = []

    def write(self, plain: PlainLines, path: str) -> None:
        key = plain.matcher.spelling, plain.matcher.commas
        if key not in self._writers and len(self._writers) == _MOST_WRITERS:
            self.files += self._writers.pop(next(iter(self._writers))).finish()
        if key not in self._writers:
            self._writers[key] = self._new(plain.matcher)
        self._writers[key].write(plain.lines, path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for writer in self._writers.values():
            if error is None:
                self.files += writer.finish()
            else:
                writer.give_up()


def _naming(path: str, items: Iterator[_Item]) -> Iterator[_Item]:
    """The items of a file; an unforeseen error is raised as one that names the file.

    Raises:
        LandingFileError: Something went wrong, and trying again would not help.
    """
    while True:
        try:
            item = next(items, None)
        except (LakehouseError, MemoryError):
            raise
        except Exception as error:
            if is_transient(error):
                raise
            message = f"{display_name(path)} could not be read. {unforeseen(error)}"
            raise LandingFileError({path: message}) from None  # the error may quote data
        if item is None:
            return
        yield item


def _counts(rows: int, reasons: Counter[str], first: Mapping[str, int], lost: bool) -> Counts:
    most = reasons.most_common(_MOST_REASONS)
    return Counts(
        rows + reasons.total(),
        rows,
        reasons.total(),
        most[0][0] if most else None,
        lost,
        json.dumps([[reason, count, first[reason]] for reason, count in most]) if most else None,
    )


def _ahead(pool: ThreadPoolExecutor, blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The same blocks, each read while the one before is dealt with."""
    return _following(pool, blocks, pool.submit(next, blocks, None))


def _following(
    pool: ThreadPoolExecutor, blocks: Iterator[bytes], upcoming: "Future[bytes | None]"
) -> Iterator[bytes]:
    while (block := upcoming.result()) is not None:
        upcoming = pool.submit(next, blocks, None)
        yield block
