"""What executes the transformations: DuckDB, embedded."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from uuid import uuid4

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from stedi_assets.lakehouse.table import SOURCE_FILE, Column, Table
from stedi_assets.lakehouse.tolerant import is_key


class DuckDBEngine:
    """Opens Parquet files as ibis tables and writes expressions to Parquet files."""

    dialect = "duckdb"

    def __init__(
        self, scratch: Path, memory_limit: str | None = None, threads: int | None = None
    ) -> None:
        """Spill to `scratch` what does not fit into `memory_limit`."""
        self._config = {
            "temp_directory": str(scratch),
            # Tables have no order; keeping one costs memory and time.
            "preserve_insertion_order": False,
            **({"memory_limit": memory_limit} if memory_limit else {}),
            **({"threads": threads} if threads else {}),
        }

    @cached_property
    def backend(self) -> Backend:
        """The ibis backend."""
        return ibis.duckdb.connect(**self._config)

    def open(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files as the table `name`, with columns of these types."""
        if files:
            columns = ", ".join(map(_identifier, types))
            source = f"SELECT {columns} FROM read_parquet({_list(files)})"
        else:
            columns = ", ".join(
                f"NULL::{_DUCKDB_TYPES[dtype]} AS {_identifier(name)}"
                for name, dtype in types.items()
            )
            source = f"SELECT {columns} WHERE false"
        self.backend.raw_sql(f"CREATE OR REPLACE TEMP VIEW {_identifier(name)} AS {source}")
        return self.backend.table(name)

    def write(self, expression: ir.Table, folder: str) -> list[str]:
        """Write the rows of the expression as Parquet files below `folder`.

        Returns:
            The files with rows; none where there are no rows.
        """
        return self.copy(str(ibis.to_sql(expression, dialect=self.dialect)), folder)

    def copy(self, sql: str, folder: str) -> list[str]:
        """Write the rows of a query as Parquet files below `folder`, as `write` does."""
        target = Path(folder) / uuid4().hex
        target.parent.mkdir(parents=True, exist_ok=True)
        written = self.backend.raw_sql(
            f"COPY ({sql}) TO {_text(target)} "
            "(FORMAT parquet, PER_THREAD_OUTPUT, FILE_SIZE_BYTES '512MB', RETURN_STATS)"
        ).fetchall()
        files = []
        for path, rows, *_ in written:
            if rows:
                files.append(path)
            else:
                Path(path).unlink()
        return files

    def landing(
        self, files: Sequence[Path], table: Table, spelling: Mapping[str, str], root: Path
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
        keys = ", ".join(f"{_text(key)}: 'JSON'" for key in spelling.values())
        source = (
            f"read_json({_list(files)}, format='newline_delimited', ignore_errors=true, "
            f"hive_partitioning=false, filename=true, columns={{{keys}}})"
        )
        # Step by step, so that DuckDB works out each value once: JSON texts, values, rows.
        texts = ", ".join(
            f"{_identifier(key)}::VARCHAR AS {_identifier(name)}" for name, key in spelling.items()
        )
        columns = [c for c in table.columns if c.name != SOURCE_FILE]
        values = ", ".join(
            f"{_VALUES[c.type].format(json=_identifier(c.name)) if c.name in spelling else 'NULL'}"
            f"::{_DUCKDB_TYPES[c.type]} AS {_identifier(c.name)}"
            for c in columns
        )
        strict = [c.name for c in columns if c.strict and c.name in spelling]
        given = "".join(f", {_identifier(c)} IS NOT NULL AS {_given(c)}" for c in strict)
        rows = ", ".join(
            f"{_row_value(c, table, strict)} AS {_identifier(c.name)}" for c in columns
        )
        path = f"substr(filename, {len(str(root)) + 2}) AS {SOURCE_FILE}"
        return self.backend.sql(
            f"SELECT {rows}, {path} FROM (SELECT {values}{given}, filename FROM "
            f"(SELECT {texts}, filename FROM {source}))",
            schema=ibis.schema({c.name: c.type for c in table.columns}),
        )

    def landing_keys(self, file: Path) -> set[str]:
        """All keys of the objects of a file of JSON lines."""
        found = self.backend.raw_sql(
            "SELECT DISTINCT unnest(json_keys(json)) "
            f"FROM read_ndjson_objects({_text(file)}, ignore_errors=true)"
        ).fetchall()
        return {key for (key,) in found}


def marker(table: Table) -> str:
    """The column that `landing` leaves null where an object does not fulfil the contract."""
    return next(c.name for c in table.columns if not c.nullable)


def _row_value(column: Column, table: Table, strict: list[str]) -> str:
    value = _identifier(column.name)
    if column.name in table.one_of:
        before = table.one_of[: table.one_of.index(column.name)]
        conditions = [_filled(column.name), *(f"NOT coalesce({_filled(o)}, false)" for o in before)]
    elif column.name == marker(table):
        keys = [c.name for c in table.columns if is_key(c, ())]
        others = [c.name for c in table.columns if not c.nullable and c.name not in keys]
        conditions = [_filled(key) for key in keys if key != SOURCE_FILE]
        conditions += [f"{_identifier(c)} IS NOT NULL" for c in others]
        conditions += [f"({_identifier(c)} IS NOT NULL OR NOT {_given(c)})" for c in strict]
        if table.one_of:
            conditions.append(f"({' OR '.join(_filled(name) for name in table.one_of)})")
    else:
        return value
    return f"CASE WHEN {' AND '.join(conditions)} THEN {value} END"


def _given(column: str) -> str:
    return _identifier(f"{column} is given")


def _filled(column: str) -> str:
    return f"regexp_matches({_identifier(column)}, '[^ \\t\\n\\x0B\\f\\r]')"


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


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


def _list(values: Iterable[object]) -> str:
    return "[" + ", ".join(map(_text, values)) + "]"
