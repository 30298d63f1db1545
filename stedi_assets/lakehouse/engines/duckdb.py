"""The embedded engine: DuckDB, in this process."""

import os
import re
import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar
from uuid import uuid4

import duckdb
import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
from duckdb import DuckDBPyConnection
from ibis.backends.duckdb import Backend
from ibis.backends.sql import SQLBackend
from ibis.formats.pyarrow import PyArrowData

from stedi_assets.lakehouse.dialect import DUCKDB
from stedi_assets.lakehouse.duckdb_sql import DUCKDB_TYPES, identifier, sql_text
from stedi_assets.lakehouse.engines import duckdb_faults  # noqa: F401  (explains its errors)
from stedi_assets.lakehouse.engines.memory import available_memory
from stedi_assets.lakehouse.faults import DamagedError, LakehouseError
from stedi_assets.lakehouse.names import FILE, parts_of, view_name
from stedi_assets.lakehouse.query import Query, Statement
from stedi_assets.lakehouse.storage.durable import make_folder
from stedi_assets.lakehouse.storage.storage import Storage

FILE_SIZE = 8 << 20
"""Bytes of a file after which rows go to the next one: a row that goes has its file rewritten.

Of 45 million rows, taking out 10 people costs a quarter of what it costs with files of 128 MB, and
writing, committing and reading cost the same.
"""

_ROW_GROUPS = "ROW_GROUP_SIZE_BYTES '64MB'"
"""Rows of long texts would fill the memory before there are enough of them for a group."""

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
    return DuckDBEngine(storage, memory_limit, threads, scratch)


def drop_leftovers(scratch: Path) -> None:
    """Remove what the engines of ended processes spilled to disk."""
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
        """Spill what does not fit into `memory_limit` to `scratch`, by default the storage's.

        The default limit is half of the memory that the machine or the container has, so that two
        processes can work at once.
        """
        self._storage = storage
        self._connected: Backend | None = None
        self._connecting = Lock()
        self._setup: list[str] = []
        self._opened: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {}
        self._held: dict[str, int] = {}
        self._scratch = scratch
        self._memory_limit = memory_limit
        self._config = {
            # What DuckDB needs comes as a package.
            "autoinstall_known_extensions": False,
            # Tables have no order; keeping one costs memory and time.
            "preserve_insertion_order": False,
            **({"threads": threads} if threads else {}),
        }

    dialect = DUCKDB

    @property
    def immediate(self) -> "DuckDBEngine":
        """This engine itself: it has no job to start."""
        return self

    @property
    def backend(self) -> Backend:
        """The ibis backend, with the storage's current credentials.

        Files are written in several threads, each of which may be the first to need it.
        """
        with self._connecting:
            return self._connect()

    def _connect(self) -> Backend:
        if self._connected is None:
            self._connected = ibis.duckdb.connect(
                temp_directory=str(self._spilling_folder()),
                # By itself, DuckDB would fill four fifths before it spills anything to disk.
                memory_limit=self._memory_limit or f"{available_memory() // 2}B",
                **self._config,
            )
            # It spills rows. To encrypt them it needs this extension.
            self._connected.raw_sql(f"LOAD {sql_text(_httpfs())}")
            self._connected.raw_sql("SET temp_file_encryption = true")
        if (setup := self._storage.engine_setup()) != self._setup:
            for statement in setup:
                self._connected.raw_sql(statement)
            self._setup = setup
        return self._connected

    def _spilling_folder(self) -> Path:
        """A folder of its own: two processes with one folder overwrite each other's files."""
        if self._scratch is None:  # otherwise it is Spark's, which clears it up
            drop_leftovers(self._storage.scratch)
        scratch = self._scratch or self._storage.scratch
        make_folder(scratch)
        folder = scratch / f"{os.getpid()}-{uuid4().hex}"
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return folder

    def open(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files as the table `name`, with columns of these types."""
        backend, files = self.backend, tuple(files)
        if self._opened.get(name) != (files, types):
            view = f"CREATE OR REPLACE TEMP VIEW {identifier(name)} AS {_rows_of(files, types)}"
            try:
                backend.raw_sql(view)
            except duckdb.Error as error:
                if type(error) is duckdb.Error:  # the Parquet reader does not know the file
                    raise DamagedError(f"A data file of {parts_of(name)[0]}") from error
                raise
            self._opened[name] = files, types
        return backend_table(name, types, backend)

    def open_located(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files with the path of each row's file in the column `FILE`."""
        backend = self.backend
        rows = _rows_of(tuple(files), types, f', filename AS "{FILE}"')
        backend.raw_sql(f"CREATE OR REPLACE TEMP VIEW {identifier(name)} AS {rows}")
        return backend_table(name, {**types, FILE: "string"}, backend)

    def hold(self, rows: Statement) -> ir.Table | None:
        """Compute rows now and keep them until `let_go`; None if there are none."""
        backend, name = self.backend, view_name("held", str(len(self._held)))
        types = {column: dtype.copy(nullable=True) for column, dtype in rows.schema.items()}
        # DuckDB's sum of whole numbers has a larger type than ibis says.
        columns = self.dialect.held_columns(types)
        [[number]] = backend.con.execute(
            f"CREATE TEMP TABLE {identifier(name)} AS SELECT {columns} FROM ({rows.sql('duckdb')})"
        ).fetchall()
        self._held[name] = number
        return backend_table(name, types, backend) if number else None

    @property
    def holder(self) -> object:
        """Stands for what holds rows: this engine, as long as the process lives."""
        return self

    def held_rows(self, held: ir.Table | None) -> int:
        """How many rows are held there."""
        return 0 if held is None else self._held[held.get_name()]

    def let_go(self) -> None:
        """Forget all rows that are held."""
        for name in self._held:
            self.backend.raw_sql(f"DROP TABLE IF EXISTS {identifier(name)}")
        self._held.clear()

    def fetch(self, query: Statement) -> pa.Table:
        """The rows of a query, which are few."""
        rows = self.backend.con.execute(query.sql("duckdb")).to_arrow_table()
        # A sum of whole numbers is a decimal to Arrow.
        return PyArrowData.convert_table(rows.rename_columns(query.schema.names), query.schema)

    def fetch_all(self, queries: Sequence[Query]) -> list[pa.Table]:
        """The rows of several queries, one after the other: each has all threads."""
        return [self.fetch(query) for query in queries]

    def write(self, query: Query, folder: str, field_ids: Mapping[str, int]) -> list[str]:
        """Write the rows of a query as Parquet files below `folder`, with these ids of columns.

        Returns:
            The files with rows; none if there are no rows.
        """
        return self._copy(self.backend.con, query.sql(), folder, field_ids)

    def merge(
        self,
        files: Sequence[str],
        types: Mapping[str, str],
        folder: str,
        field_ids: Mapping[str, int],
    ) -> str:
        """Write the rows of Parquet files, which have some, as one file below `folder`."""
        options = f"FORMAT parquet, {_ROW_GROUPS}{_ids(field_ids)}"
        path = f"{folder}/{uuid4().hex}.parquet"
        rows = _rows_of(tuple(files), types)
        self._make_folder(folder)
        self.backend.con.execute(f"COPY ({rows}) TO {sql_text(path)} ({options})")
        self._storage.check_written([path])
        return path

    def write_batches(
        self, query: str, batches: pa.RecordBatchReader, folder: str, field_ids: Mapping[str, int]
    ) -> list[str]:
        """Write what a query makes of the table `batches` as Parquet files below `folder`.

        Several threads may do so at once.

        Returns:
            The files with rows; none if there are no rows.
        """
        with self.backend.con.cursor() as connection:
            connection.register("batches", batches)
            return self._copy(connection, query, folder, field_ids)

    def _copy(
        self,
        connection: DuckDBPyConnection,
        query: str,
        folder: str,
        field_ids: Mapping[str, int],
    ) -> list[str]:
        self._make_folder(folder)
        statistics = connection.execute(
            f"COPY ({query}) TO {sql_text(f'{folder}/{uuid4().hex}')} (FORMAT parquet, "
            f"PER_THREAD_OUTPUT, FILE_SIZE_BYTES {FILE_SIZE}, {_ROW_GROUPS}, RETURN_STATS"
            f"{_ids(field_ids)})"
        ).fetchall()
        files = []
        for path, rows, *_ in statistics:
            if rows:
                files.append(path)
            else:
                self._storage.io.delete(path)
        self._storage.check_written(files)
        return files

    def _make_folder(self, folder: str) -> None:
        if "://" not in folder:
            make_folder(Path(folder))

    def spread(
        self,
        work: Callable[["DuckDBEngine", Sequence[Item]], Result],
        items: Sequence[Item],
        sizes: Sequence[int],
    ) -> list[Result]:
        """Do the work here, all at once."""
        return [work(self, items)]


def _ids(field_ids: Mapping[str, int]) -> str:
    """The option that writes Iceberg's id of each column."""
    ids = ", ".join(f"{identifier(name)}: {id_}" for name, id_ in field_ids.items())
    return f", FIELD_IDS {{{ids}}}" if ids else ""


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


def backend_table(name: str, types: Mapping[str, Any], backend: SQLBackend) -> ir.Table:
    """A table of the backend, which is not asked for the types."""
    return ops.DatabaseTable(
        name, schema=ibis.schema(types), source=backend, namespace=ops.Namespace()
    ).to_expr()


def _rows_of(files: Sequence[str], types: Mapping[str, str], file: str = "") -> str:
    """A query of all rows of Parquet files; `file` adds the column of each row's file."""
    if files:
        columns = ", ".join(map(identifier, types))
        paths = ", ".join(map(sql_text, map(_literally, files)))
        # A folder `user=ann` in their path is no value of the column `user`.
        return (
            f"SELECT {columns}{file} FROM read_parquet([{paths}], "
            "union_by_name=true, hive_partitioning=false"
            f"{', filename=true' if file else ''})"
        )
    columns = ", ".join(
        f"NULL::{DUCKDB_TYPES[dtype]} AS {identifier(name)}" for name, dtype in types.items()
    )
    return f"SELECT {columns} WHERE false"


def _literally(location: str) -> str:
    """A location in which DuckDB finds no pattern: `*` would match another lakehouse's files."""
    return _WILDCARD.sub(r"[\g<0>]", location)
