"""Writes what landing files hold to Parquet, as it comes."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import FileIO, OutputStream

from stedi_assets.lakehouse.duckdb_sql import DUCKDB_TYPES, identifier, sql_text
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.landing.shapes import LineMatcher
from stedi_assets.lakehouse.landing.values import read_columns
from stedi_assets.lakehouse.table import LANDED_AT, PERSON, SOURCE_FILE, Column, Table

_BATCH = 50_000
FLUSHED = 32 << 20
"""Characters of text after which rows are written, however few they are."""

_LINES = pa.schema({"line": pa.string(), SOURCE_FILE: pa.dictionary(pa.int32(), pa.string())})
_ENOUGH_LINES = 20_000
_ENOUGH_BYTES = 4 << 20
"""Bytes of lines that are handed on at once, however few lines they are."""
_SECONDS = 1


class RowWriter:
    """Writes rows to a Parquet file in batches; there is no file if there are no rows."""

    def __init__(self, folder: str, table: Table, io: FileIO) -> None:
        """Write rows of `table` to a file below `folder`."""
        self._folder = folder
        self._io = io
        self._file: OutputStream | None = None
        self._schema = table.arrow_schema.remove_metadata()
        self._rows: list[Sequence[Any]] = []
        self._characters = 0
        self._writer: pq.ParquetWriter | None = None
        self.path: str | None = None

    def write(self, row: Sequence[Any]) -> None:
        """Write a row, sooner or later."""
        self._rows.append(row)
        self._characters += sum(len(value) for value in row if isinstance(value, str))
        if len(self._rows) == _BATCH or self._characters > FLUSHED:
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
        self._characters = 0

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write the rest."""
        if self._rows and error is None:
            self._flush()
        if self._writer and self._file:
            with self._file:
                self._writer.close()


class LineWriter:
    """Has DuckDB write the rows of plain lines that spell their keys alike, while more come in."""

    def __init__(
        self, engine: DuckDBEngine, table: Table, matcher: LineMatcher, landed_at: int, folder: str
    ) -> None:
        """Write rows of `table` to files below `folder`."""
        self._queue: Queue[pa.RecordBatch | None] = Queue(maxsize=2)
        self._lines: list[pa.Array] = []
        self._paths: list[str] = []
        self._count = 0
        self._bytes = 0
        self._pool = ThreadPoolExecutor(1)
        batches = pa.RecordBatchReader.from_batches(_LINES, self._batches())
        query = rows_of_lines(table, matcher, landed_at)
        self._files: Future[list[str]] = self._pool.submit(
            engine.write_batches, query, batches, folder, table.field_ids
        )

    def _batches(self) -> Iterator[pa.RecordBatch]:
        while (batch := self._queue.get()) is not None:
            yield batch

    def write(self, lines: pa.Array, path: str) -> None:
        """Write the rows of these lines of a file."""
        self._lines.append(lines)
        self._paths.append(path)
        self._count += len(lines)
        self._bytes += lines.nbytes
        if self._count >= _ENOUGH_LINES or self._bytes >= _ENOUGH_BYTES:
            self._flush()

    def _flush(self) -> None:
        lengths = [len(lines) for lines in self._lines]
        lines = self._lines[0] if len(self._lines) == 1 else pa.concat_arrays(self._lines)
        numbers = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
        paths = pa.DictionaryArray.from_arrays(numbers, pa.array(self._paths, pa.string()))
        self._send(pa.record_batch([lines, paths], schema=_LINES))
        self._lines, self._paths, self._count, self._bytes = [], [], 0, 0

    def _send(self, batch: pa.RecordBatch | None) -> None:
        while not self._files.done():
            try:
                self._queue.put(batch, timeout=_SECONDS)
            except Full:
                continue
            return
        self._files.result()  # raises why it ended

    def finish(self) -> list[str]:
        """Write the rest; returns the files."""
        if self._count:
            self._flush()
        self._send(None)
        return self._files.result()

    def give_up(self) -> None:
        """End without writing the rest."""
        while True:
            try:
                self._queue.get_nowait()
            except Empty:
                break
        self._send(None)
        self._files.result()


def rows_of_lines(table: Table, matcher: LineMatcher, landed_at: int) -> str:
    """The query that makes rows of plain lines, which are the table `batches`."""
    spelling = dict(matcher.spelling)
    types = {c.name: DUCKDB_TYPES[c.type] for c in table.columns}
    fields = {spelling[c.name]: types[c.name] for c in read_columns(table) if c.name in spelling}
    values = {name: f"struct_extract(o, {sql_text(key)})" for name, key in spelling.items()}
    values |= {SOURCE_FILE: SOURCE_FILE, LANDED_AT: f"{landed_at}::BIGINT"}
    identities = [name for name in table.one_of if name in spelling]
    for name in identities[1:]:
        values[name] = f"CASE WHEN {values[identities[0]]} IS NULL THEN {values[name]} END"
    if table.person_of in values:
        # Plain lines spell e-mails in ASCII. Trimming takes time, and few have blanks.
        email = values[table.person_of]
        trimmed = f"CASE WHEN contains({email}, ' ') THEN trim({email}) ELSE {email} END"
        values[PERSON] = f"lower({trimmed})"
    selected = ", ".join(
        f"{_value(column, values, types)} AS {identifier(column.name)}" for column in table.columns
    )
    line = r"rtrim(line, E', \t\r\n')" if matcher.commas else "line"
    structure = ", ".join(f"{_quoted(key)}: {_quoted(kind)}" for key, kind in fields.items())
    return (
        f"SELECT {selected} FROM (SELECT from_json({line}, {sql_text(f'{{{structure}}}')}) AS o, "
        f"{SOURCE_FILE} FROM batches)"
    )


def _value(column: Column, values: dict[str, str], types: dict[str, str]) -> str:
    value = values.get(column.name, f"NULL::{types[column.name]}")
    return f"nullif({value}, 0)" if column.zero_is_none and column.name in values else value


def _quoted(text: str) -> str:
    return f'"{text}"'


def without(paths: Sequence[str], file: str, io: FileIO) -> str | None:
    """Write a Parquet file anew without the rows of some landing files, and delete the old one.

    Returns:
        The new file; None if it has no rows.
    """
    new = f"{file.removesuffix('.parquet')}-{uuid4().hex}.parquet"
    with io.new_input(file).open() as source:
        old = pq.ParquetFile(source)
        rows = 0
        with (
            io.new_output(new).create() as target,
            pq.ParquetWriter(target, old.schema_arrow) as writer,
        ):
            for number in range(old.num_row_groups):
                group = old.read_row_group(number)
                is_excluded = pc.is_in(group[SOURCE_FILE], pa.array(paths, pa.string()))
                rest = group.filter(pc.invert(is_excluded))
                writer.write_table(rest)
                rows += len(rest)
    io.delete(file)
    if not rows:
        io.delete(new)
    return new if rows else None
