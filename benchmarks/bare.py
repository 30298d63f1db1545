"""The same tables as one DuckDB script, bare.sql: what `stedi refresh` is compared with.

All else is left out: no catalog, no checks, no quarantine, nothing known of an earlier run. It
shares no code with the project.

    python bare.py LANDING DATABASE

STEDI_MEMORY_LIMIT limits it as it limits `stedi`, STEDI_PSEUDONYM_KEY is the key of subject_id.
"""

import hashlib
import hmac
import json
import os
import secrets
import sys
import time
from pathlib import Path

import duckdb


def write_tables(landing: str, database: str) -> dict[str, int]:
    """Write every table into a new DuckDB database, and count its rows."""
    variables = {"landing": landing, "landed_at": time.time_ns() // 1_000_000}
    key = (os.environ.get("STEDI_PSEUDONYM_KEY") or secrets.token_hex(32)).encode()
    for use in ("inner", "outer"):
        variables[f"{use}_key"] = hmac.digest(key, use.encode(), hashlib.sha256).hex()
    limit = {"memory_limit": size} if (size := os.environ.get("STEDI_MEMORY_LIMIT")) else {}
    with duckdb.connect(
        database, config={"preserve_insertion_order": False, **limit}
    ) as connection:
        for name, value in variables.items():
            connection.execute(f"SET VARIABLE {name} = $value", {"value": value})
        connection.execute(Path(__file__).with_suffix(".sql").read_text())
        names = connection.execute("SELECT table_name FROM duckdb_tables() WHERE NOT temporary")
        tables = [str(name) for (name,) in names.fetchall()]
        return {table: len(connection.table(table)) for table in tables}


if __name__ == "__main__":
    print(json.dumps(write_tables(*sys.argv[1:])))
