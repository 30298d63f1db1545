"""The embedded engine: DuckDB, in this process."""

import os
import re
import shutil
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import duckdb
import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend

from stedi_assets.lakehouse.durable import make_folder
from stedi_assets.lakehouse.faults import DamagedError, LakehouseError
from stedi_assets.lakehouse.landing.values import is_key
from stedi_assets.lakehouse.storage import Storage
from stedi_assets.lakehouse.table import SOURCE_FILE, Column, Table

_OWN_LIMIT = """
    SET memory_limit = least(
        1250000000 * current_setting('threads'),
        parse_formatted_bytes(current_setting('memory_limit'))
    ) || 'B'
"""
"""By itself, DuckDB would fill four fifths of the machine before it spills anything to disk."""

_WILDCARD = re.compile(r"[*?[]")

Item = TypeVar("Item")
Result = TypeVar("Result")


@cache
def shared_engine(
    storage: Storage,
    memory_limit: str | None = None,
    threads: int | None = None,
    scratch: Path | None = None,
) -> "DuckDBEngine":
    """The engine of this process for a lakehouse: one, so that its limits hold for all."""
    if scratch is None:  # else it is Spark's, which clears it up
        drop_leftovers(storage.scratch)
    return DuckDBEngine(storage, memory_limit, threads, scratch)


def drop_leftovers(scratch: Path) -> None:
    """Remove what engines of processes that are no more have spilled to disk."""
    for folder in scratch.glob("*-*"):
        try:
            os.kill(int(folder.name.split("-")[0]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            continue


class DuckDBEngine:
    """Opens Parquet files as ibis tables and writes expressions to Parquet files."""

    def __init__(
        self,
        storage: Storage,
        memory_limit: str | None = None,
        threads: int | None = None,
        scratch: Path | None = None,
    ) -> None:
        """Spill to `scratch`, by default the storage's, what does not fit into `memory_limit`.

        Where unset, that is 1.25 GB for each thread, and no more than DuckDB's own limit.
        """
        self._storage = storage
        self._connected: Backend | None = None
        self._told: list[str] = []
        self._opened: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {}
        # Two processes that spill to one folder overwrite each other's files.
        self._spilled = (scratch or storage.scratch) / f"{os.getpid()}-{uuid4().hex}"
        weakref.finalize(self, shutil.rmtree, self._spilled, ignore_errors=True)
        self._config = {
            "temp_directory": str(self._spilled),
            # What it needs comes as a package.
            "autoinstall_known_extensions": False,
            # Tables have no order; keeping one costs memory and time.
            "preserve_insertion_order": False,
            **({"memory_limit": memory_limit} if memory_limit else {}),
            **({"threads": threads} if threads else {}),
        }

    @property
    def backend(self) -> Backend:
        """The ibis backend, told how to get at the storage as of now."""
        if self._connected is None:
            make_folder(self._spilled.parent)
            self._connected = ibis.duckdb.connect(**self._config)
            # What it spills are rows. To encrypt them takes the cryptography of this extension.
            self._connected.raw_sql(f"LOAD {sql_text(_httpfs())}")
            self._connected.raw_sql("SET temp_file_encryption = true")
            if "memory_limit" not in self._config:
                self._connected.raw_sql(_OWN_LIMIT)
        if (setup := self._storage.engine_setup()) != self._told:
            for statement in setup:
                self._connected.raw_sql(statement)
            self._told = setup
        return self._connected

    def open(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files as the table `name`, with columns of these types."""
        backend, files = self.backend, tuple(files)
        if self._opened.get(name) != (files, types):
            view = f"CREATE OR REPLACE TEMP VIEW {_identifier(name)} AS {_rows_of(files, types)}"
            try:
                backend.raw_sql(view)
            except duckdb.Error as error:
                if type(error) is duckdb.Error:  # of what unpacks Parquet, which knows of no file
                    raise DamagedError(f"A data file of {name.partition('__')[0]}") from error
                raise
            self._opened[name] = files, types
        return named(name, types, backend)

    def write(self, expression: ir.Table, folder: str) -> list[str]:
        """Write the rows of the expression as Parquet files below `folder`.

        Returns:
            The files with rows; none where there are no rows.
        """
        sql = ibis.to_sql(expression, dialect="duckdb")
        if "://" not in folder:
            make_folder(Path(folder))
        written = self.backend.raw_sql(
            f"COPY ({sql}) TO {sql_text(f'{folder}/{uuid4().hex}')} "
            "(FORMAT parquet, PER_THREAD_OUTPUT, FILE_SIZE_BYTES '512MB', RETURN_STATS)"
        ).fetchall()
        files = []
        for path, rows, *_ in written:
            if rows:
                files.append(path)
            else:
                self._storage.io.delete(path)
        self._storage.check_written(files)
        return files

    def spread(
        self,
        work: Callable[["DuckDBEngine", Sequence[Item]], Result],
        items: Sequence[Item],
        sizes: Sequence[int],
    ) -> list[Result]:
        """Do the work here, all at once."""
        return [work(self, items)]

    def landing(
        self, files: Sequence[str], table: Table, spelling: Mapping[str, str], root: str
    ) -> ir.Table:
        """Open clean JSON lines as a table with the columns of a landing table.

        An object that does not fulfil the contract, and a line that is no object, gives a row
        with null in the table's first required column: its file wants a closer look.

        Args:
            files: Landing files below `root`, whose names hold no wildcard.
            table: The landing table.
            spelling: Key of each column as these files spell it; columns without one are null.
            root: Landing root, which `source_file` is relative to.
        """
        keys = ", ".join(f"{sql_text(key)}: 'JSON'" for key in spelling.values())
        source = (
            f"read_json({_list(files)}, format='newline_delimited', ignore_errors=true, "
            f"hive_partitioning=false, filename=true, columns={{{keys}}})"
        )
        columns = [c for c in table.columns if c.name != SOURCE_FILE]
        present = [c for c in columns if c.name in spelling]
        # Step by step, so that DuckDB works out each value once.
        texts = {c.name: f"{_identifier(spelling[c.name])}::VARCHAR" for c in present}
        values = {c.name: _VALUES[c.type].format(json=_identifier(c.name)) for c in present}
        given = {
            f"{c.name} given": f"{_identifier(c.name)} IS NOT NULL" for c in present if c.strict
        }
        filled = {
            c.name: _filled(c.name) if is_key(c, table) else _identifier(c.name) for c in present
        } | {name: _identifier(name) for name in given}
        rows = _rows(columns, table, set(spelling), list(given))
        rows[SOURCE_FILE] = f"substr(filename, {len(root) + 2})"
        query = source
        for step in (texts, values | given, filled):
            query = f"(SELECT {_selected(step)}, filename FROM {query})"
        return self.backend.sql(
            f"SELECT {_selected(rows)} FROM {query}",
            schema=ibis.schema({c.name: c.type for c in table.columns}),
        )

    @contextmanager
    def looking_anew(self) -> Iterator[None]:
        """See files as they are now: those of tables never change, landing files may."""
        memory = self._storage.file_memory
        if memory is None:
            yield
            return
        self.backend.raw_sql(f"SET {memory} = false")
        try:
            yield
        finally:
            self.backend.raw_sql(f"SET {memory} = true")

    def landing_keys(self, files: Sequence[str]) -> dict[str, set[str]]:
        """All keys of the objects in each of some files of JSON lines."""
        found = self.backend.raw_sql(
            "SELECT DISTINCT filename, unnest(json_keys(json)) FROM read_ndjson_objects("
            f"{_list(files)}, ignore_errors=true, hive_partitioning=false, filename=true)"
        ).fetchall()
        keys: dict[str, set[str]] = {file: set() for file in files}
        for file, key in found:
            keys[file].add(key)
        return keys


def _httpfs() -> Path:
    """DuckDB's httpfs, as its package brings it: nothing is downloaded."""
    package = import_module("duckdb_extension_httpfs")
    folder = Path(next(iter(package.__path__))) / "extensions" / f"v{duckdb.__version__}"
    extension = folder / "httpfs.duckdb_extension"
    if not extension.exists():
        raise LakehouseError(
            f"The package duckdb-extension-httpfs is not for duckdb {duckdb.__version__}: bring "
            "both up to date, pip install -U duckdb duckdb-extension-httpfs."
        )
    return extension


def named(name: str, types: Mapping[str, str], backend: SQLBackend) -> ir.Table:
    """A table that the backend has under that name; it is not asked for the types."""
    return ops.DatabaseTable(
        name, schema=ibis.schema(types), source=backend, namespace=ops.Namespace()
    ).to_expr()


def _rows_of(files: Sequence[str], types: Mapping[str, str]) -> str:
    """A query of all rows of Parquet files."""
    if files:
        columns = ", ".join(map(_identifier, types))
        # A folder `user=ann` in their path is no value of the column `user`.
        return (
            f"SELECT {columns} FROM read_parquet({_list(map(_literally, files))}, "
            "union_by_name=true, hive_partitioning=false)"
        )
    columns = ", ".join(
        f"NULL::{_DUCKDB_TYPES[dtype]} AS {_identifier(name)}" for name, dtype in types.items()
    )
    return f"SELECT {columns} WHERE false"


def marker(table: Table) -> str:
    """The column that `landing` leaves null where an object does not fulfil the contract."""
    return next(c.name for c in table.columns if not c.nullable)


def _rows(
    columns: Sequence[Column], table: Table, present: set[str], given: Sequence[str]
) -> dict[str, str]:
    """Expressions of the columns of a landing table, from their values and what was given."""
    rows = {
        c.name: _identifier(c.name) if c.name in present else f"NULL::{_DUCKDB_TYPES[c.type]}"
        for c in columns
    }
    wanted = [f"{rows[c.name]} IS NOT NULL" for c in columns if not c.nullable]
    wanted += [
        f"({rows[name.removesuffix(' given')]} IS NOT NULL OR NOT {_identifier(name)})"
        for name in given
    ]
    if identities := [name for name in table.one_of if name in present]:
        wanted.append(f"coalesce({', '.join(map(_identifier, identities))}) IS NOT NULL")
        for first, second in pairwise(identities):
            rows[second] = f"CASE WHEN {_identifier(first)} IS NULL THEN {rows[second]} END"
    elif table.one_of:
        wanted.append("false")
    rows[marker(table)] = f"CASE WHEN {' AND '.join(wanted)} THEN {rows[marker(table)]} END"
    return rows


def _selected(expressions: Mapping[str, str]) -> str:
    return ", ".join(f"{value} AS {_identifier(name)}" for name, value in expressions.items())


def _filled(column: str) -> str:
    text = _identifier(column)
    # All blanks sort before "!", so a text that sorts after it begins with none: no need to search.
    return (
        f"CASE WHEN {text} >= '!' THEN {text} "
        f"WHEN regexp_matches({text}, '[^ \\t\\n\\x0B\\f\\r]') THEN {text} END"
    )


_DUCKDB_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE"}
# How a value comes out of its JSON text. DuckDB by itself would make 4 of 3.7 and 1 of "1".
_VALUES = {
    "string": (
        "CASE WHEN starts_with({json}, '\"') THEN CASE WHEN contains({json}, '\\') "
        "THEN {json}::JSON ->> '$' ELSE substr({json}, 2, length({json}) - 2) END END"
    ),
    "int64": (
        "CASE WHEN NOT contains({json}, '.') AND NOT contains({json}, 'e') "
        "THEN TRY_CAST({json} AS BIGINT) END"
    ),
    "float64": (
        "CASE WHEN isfinite(TRY_CAST({json} AS DOUBLE)) THEN TRY_CAST({json} AS DOUBLE) END"
    ),
}


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def sql_text(value: object) -> str:
    """A value as a text of SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def _literally(location: str) -> str:
    """A location in which DuckDB finds no pattern: `*` would match another lakehouse's files."""
    return _WILDCARD.sub(r"[\g<0>]", location)


def _list(values: Iterable[object]) -> str:
    return "[" + ", ".join(map(sql_text, values)) + "]"
