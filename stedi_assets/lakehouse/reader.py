"""Turns new landing files into Parquet: rows for the landing table, rejects for quarantine.

The engine reads clean JSON lines; the tolerant reader reads the files that are anything else.
"""

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any
from uuid import uuid4

import duckdb
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO, OutputStream

from stedi_assets.lakehouse.embedded import DuckDBEngine, marker
from stedi_assets.lakehouse.ledger import Content, LandingFolder
from stedi_assets.lakehouse.table import SOURCE_FILE, Table
from stedi_assets.lakehouse.tolerant import Unreadable, read_objects

_PEEK = 1 << 16
_BATCH = 50_000
_NOT_FOR_THE_ENGINE = re.compile(r"[*?\[\\]|/\.{1,2}/")
"""In a location: wildcards, their escape, and the `.` and `..` that it would resolve in a URL."""

Spelling = Mapping[str, str]
"""Key of each column, as a file spells it."""


@dataclass(frozen=True)
class Counts:
    """What a file held: objects and unreadable fragments are its rows plus its quarantined."""

    objects: int
    rows: int
    quarantined: int = 0
    reason: str | None = None


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
    """A share of the work of an ingest: what a pass over the bytes of these files tells."""
    return dict(zip(paths, landing.examine(paths), strict=True))


def parse(  # noqa: PLR0913
    engine: DuckDBEngine,
    contents: Sequence[tuple[str, Content]],
    *,
    landing: LandingFolder,
    source: str,
    table: Table,
    quarantine: Table,
    folder: str,
    rejects: str,
    landed_at: int,
) -> Parsed:
    """A share of the work of an ingest: read these files of a source; see `LandingReader`."""
    reader = LandingReader(engine, landing, source, table, quarantine, landed_at)
    return reader.parse(dict(contents), folder, rejects)


class LandingReader:
    """Reads the landing files of one source."""

    def __init__(
        self,
        engine: DuckDBEngine,
        landing: LandingFolder,
        source: str,
        table: Table,
        quarantine: Table,
        landed_at: int,
    ) -> None:
        """Read files of `landing` into the columns of `table` and of `quarantine`."""
        self._landed_at = landed_at
        self._engine = engine
        self._landing = landing
        self._io = landing.storage.io
        self._source = source
        self._table = table
        self._quarantine = quarantine
        self._columns = tuple(c for c in table.columns if c.name != SOURCE_FILE)

    def parse(self, contents: Mapping[str, Content], folder: str, rejects: str) -> Parsed:
        """Read each file, whatever is in it.

        Args:
            contents: The files, by path relative to the landing root.
            folder: Where the rows go, as Parquet files.
            rejects: Where the rejects go, as a Parquet file.
        """
        parsed = Parsed()
        with ThreadPoolExecutor() as pool:
            peeked = pool.map(self._peek, contents, contents.values())
            pending = dict(zip(contents, peeked, strict=True))
        awkward: list[str] = []
        while pending:
            awkward += [path for path, spelling in pending.items() if spelling is None]
            groups = defaultdict(list)
            for path, spelling in pending.items():
                if spelling is not None:
                    groups[tuple(sorted(spelling.items()))].append(path)
            pending = {}
            with self._engine.looking_anew():
                for key, paths in groups.items():
                    pending |= self._read_clean(dict(key), paths, contents, folder, parsed)
        if awkward:
            self._read_awkward(awkward, folder, rejects, parsed)
        return parsed

    def _peek(self, path: str, content: Content) -> Spelling | None:
        """How the first objects spell the columns; nothing where these are no clean JSON lines."""
        return None
        if content.damaged or _NOT_FOR_THE_ENGINE.search(self._landing.location(path)):
            return None
        text = b""
        with closing(self._landing.blocks(path)) as blocks:
            for block in blocks:
                text += block
                if len(text) > _PEEK:
                    break
        lines = text[:_PEEK].split(b"\n")
        if len(text) > _PEEK or not lines[-1]:
            del lines[-1]
        keys: dict[str, None] = {}
        for line in lines:
            try:
                found = json.loads(line)
            except (ValueError, RecursionError):
                return None
            if not isinstance(found, dict):
                return None
            keys |= dict.fromkeys(found)
        return self._spelling(keys)

    def _spelling(self, keys: Iterable[str]) -> Spelling | None:
        """Key of each column; nothing where no key fits or two keys fit one column."""
        wanted = {c.name for c in self._columns}
        fitting = [key for key in keys if key.lower() in wanted]
        spelling = {key.lower(): key for key in fitting}
        return spelling if spelling and len(spelling) == len(fitting) else None

    def _read_clean(
        self,
        spelling: Spelling,
        paths: list[str],
        contents: Mapping[str, Content],
        folder: str,
        parsed: Parsed,
    ) -> dict[str, Spelling | None]:
        """Let the engine read files of JSON lines that spell their keys alike.

        Returns:
            The files of which no row was kept, each with the spelling to try next, or nothing
            where the engine is no use.
        """
        files = [self._landing.location(path) for path in paths]
        rows = self._engine.landing(files, self._table, spelling, self._landing.root)
        try:
            written = self._engine.write(rows, folder)
        except duckdb.InvalidInputException:
            # One object that spans lines spoils the query: find out in which file.
            if len(paths) == 1:
                return dict.fromkeys(paths)
            middle = len(paths) // 2
            halves = paths[:middle], paths[middle:]
            first, second = (
                self._read_clean(spelling, half, contents, folder, parsed) for half in halves
            )
            return first | second
        doubtful = (
            {}
            if self._flawless(written, sum(contents[path].lines for path in paths))
            else self._doubtful(spelling, paths, contents, written)
        )
        if doubtful:
            written = self._without(doubtful, written, folder)
        parsed.rows += written
        for path in paths:
            if path not in doubtful:
                lines = contents[path].lines
                parsed.counts[path] = Counts(objects=lines, rows=lines)
        return doubtful

    def _flawless(self, files: list[str], lines: int) -> bool:
        """Whether there is a row for each line, and a value in each column (as footers tell)."""
        footers = [self._footer(file) for file in files]
        filled = {c.name for c in self._columns if c.name not in self._table.one_of[-1:]}
        return sum(footer.num_rows for footer in footers) == lines and not any(
            chunk.statistics is None or chunk.statistics.null_count
            for footer in footers
            for group in range(footer.num_row_groups)
            for chunk in map(footer.row_group(group).column, range(footer.num_columns))
            if chunk.path_in_schema in filled
        )

    def _footer(self, file: str) -> pq.FileMetaData:
        with self._io.new_input(file).open() as opened:
            return pq.read_metadata(opened)

    def _doubtful(
        self,
        spelling: Spelling,
        paths: list[str],
        contents: Mapping[str, Content],
        written: list[str],
    ) -> dict[str, Spelling | None]:
        """Files of which not every line gave a full row, unless the gaps are in the file."""
        counted = self._count(written)
        complete, odd = set(), []
        for path in paths:
            found = counted.get(path, _NOTHING)
            if found["rows"] == found["right"] == contents[path].lines:
                complete.add(path)
            if path not in complete or found["gaps"]:
                odd.append(path)
        if not odd:
            return {}
        keys = self._engine.landing_keys([self._landing.location(path) for path in odd])
        spellings = zip(odd, map(self._spelling, keys.values()), strict=True)
        return {
            path: other if other != spelling else None
            for path, other in spellings
            if other != spelling or path not in complete
        }

    def _count(self, files: list[str]) -> dict[str, dict[str, int]]:
        """Of each landing file: rows, rows that fulfil the contract, rows that lack a value."""
        rows = self._engine.open("parsed", files, self._table.types)
        optional = [
            c.name for c in self._columns if c.nullable and c.name not in self._table.one_of[-1:]
        ]
        found = rows.group_by(SOURCE_FILE).agg(
            rows=rows.count(),
            right=rows[marker(self._table)].count(),
            gaps=ibis.or_(*(rows[name].isnull() for name in optional)).sum(),
        )
        return {row.pop(SOURCE_FILE): row for row in found.to_pyarrow().to_pylist()}

    def _without(self, paths: Iterable[str], files: list[str], folder: str) -> list[str]:
        """Write the files again without the rows of these landing files."""
        rows = self._engine.open("parsed", files, self._table.types)
        kept = self._engine.write(rows.filter(rows[SOURCE_FILE].notin(list(paths))), folder)
        for file in files:
            self._io.delete(file)
        return kept

    def _read_awkward(self, paths: list[str], folder: str, rejects: str, parsed: Parsed) -> None:
        """Read files with the tolerant reader."""
        with (
            _ParquetWriter(folder, self._table, self._io) as rows,
            _ParquetWriter(rejects, self._quarantine, self._io) as unreadable,
        ):
            for path in paths:
                before, reasons = rows.written, Counter[str]()
                blocks = self._landing.blocks(path)
                for found in read_objects(blocks, self._table, self._landed_at):
                    if isinstance(found, Unreadable):
                        reasons[found.reason] += 1
                        unreadable.write(
                            (
                                self._source,
                                path,
                                found.position,
                                found.raw,
                                found.reason,
                                self._landed_at,
                                found.person,
                            )
                        )
                    else:
                        rows.write((*found, path, self._landed_at))
                landed, rejected = rows.written - before, reasons.total()
                most = reasons.most_common(1)[0][0] if reasons else None
                parsed.counts[path] = Counts(landed + rejected, landed, rejected, most)
        parsed.rows += [rows.path] if rows.path else []
        parsed.rejects = unreadable.path


_NOTHING = {"rows": 0, "right": 0, "gaps": 0}


class _ParquetWriter:
    """Writes rows to a Parquet file in batches; there is no file where there are no rows."""

    def __init__(self, folder: str, table: Table, io: FileIO) -> None:
        self._folder = folder
        self._io = io
        self._file: OutputStream | None = None
        self._schema = table.arrow_schema.remove_metadata()
        self._rows: list[tuple[Any, ...]] = []
        self._writer: pq.ParquetWriter | None = None
        self.path: str | None = None
        self.written = 0

    def write(self, row: tuple[Any, ...]) -> None:
        self._rows.append(row)
        self.written += 1
        if len(self._rows) == _BATCH:
            self._flush()

    def _flush(self) -> None:
        if self._writer is None:
            self.path = f"{self._folder}/{uuid4().hex}.parquet"
            self._file = self._io.new_output(self.path).create()
            self._writer = pq.ParquetWriter(self._file, self._schema)
        columns = zip(*self._rows, strict=True)
        arrays = [pa.array(c, f.type) for c, f in zip(columns, self._schema, strict=True)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self._rows.clear()

    def __enter__(self) -> "_ParquetWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._rows and error is None:
            self._flush()
        if self._writer and self._file:
            with self._file:
                self._writer.close()
