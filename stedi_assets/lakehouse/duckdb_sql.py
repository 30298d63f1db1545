"""What storages, engines and landing readers share of DuckDB: its SQL, and its requests."""

import duckdb

DUCKDB_TYPES = {"string": "VARCHAR", "int64": "BIGINT", "float64": "DOUBLE"}
"""Types of columns, as DuckDB names them."""


def identifier(name: str) -> str:
    """A name of SQL."""
    return '"' + name.replace('"', '""') + '"'


def sql_text(value: object) -> str:
    """A value as a text of SQL."""
    return "'" + str(value).replace("'", "''") + "'"


def is_of_http(error: duckdb.Error) -> bool:
    """Whether an error is about a request to a server."""
    return isinstance(error, duckdb.HTTPException) or (
        isinstance(error, duckdb.IOException) and " error for HTTP " in str(error)
    )
