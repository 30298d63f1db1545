"""The same tables without a framework: what `stedi refresh` is compared with.

One DuckDB script from landing JSON lines to Parquet files. It follows the rules of the tables under
consent scope `any` and leaves out all else: no catalog, no checks, no quarantine, nothing kept from
one run to the next. It wants clean JSON lines, keys spelled as in the 2023 data, and shares no code
with the project. Subjects are hashed under STEDI_PSEUDONYM_KEY, or a key of this run where unset.
"""

from __future__ import annotations

import argparse
import hashlib
import hmac
import json
import os
import resource
import secrets
import sys
import time
from pathlib import Path

import duckdb

KEYS = {
    "customer": {
        "serialNumber": "VARCHAR",
        "shareWithPublicAsOfDate": "BIGINT",
        "birthDay": "VARCHAR",
        "registrationDate": "BIGINT",
        "shareWithResearchAsOfDate": "BIGINT",
        "customerName": "VARCHAR",
        "email": "VARCHAR",
        "lastUpdateDate": "BIGINT",
        "phone": "VARCHAR",
        "shareWithFriendsAsOfDate": "BIGINT",
    },
    "accelerometer": {
        "timestamp": "BIGINT",
        "x": "DOUBLE",
        "y": "DOUBLE",
        "z": "DOUBLE",
        "user": "VARCHAR",
        "serialNumber": "VARCHAR",
    },
    "step_trainer": {
        "sensorReadingTime": "BIGINT",
        "serialNumber": "VARCHAR",
        "distanceFromObject": "DOUBLE",
    },
}

MACROS = r"""
    CREATE MACRO normalized(email) AS lower(trim(email, e' \t\n\r\x0b\x0c'));
    CREATE MACRO pseudonym(email) AS
        sha256(getvariable('outer_key') || sha256(getvariable('inner_key') || email))[:32];
"""

# Beside the tables: who alone claims a serial number, and whose reading it is. A reading without a
# user belongs to whoever alone claims its serial number.
SHARED = """
    CREATE TEMP TABLE sole_claims AS
    SELECT serialnumber, min(normalized(email)) AS email
    FROM customer_landing WHERE serialnumber IS NOT NULL
    GROUP BY serialnumber HAVING min(normalized(email)) = max(normalized(email));

    CREATE TEMP VIEW readings AS
    SELECT "timestamp", x, y, z, coalesce(normalized("user"), email) AS "user", serialnumber
    FROM accelerometer_landing LEFT JOIN sole_claims USING (serialnumber)
    WHERE coalesce(normalized("user"), email) IS NOT NULL;
"""

TABLES = {
    "customer_trusted": """
        SELECT * EXCLUDE (place) FROM (
            SELECT *, row_number() OVER (
                PARTITION BY email
                ORDER BY coalesce(lastupdatedate, registrationdate) DESC NULLS LAST,
                    registrationdate DESC NULLS LAST,
                    coalesce(sharewithresearchasofdate > 0, false),
                    serialnumber, sharewithpublicasofdate, birthday, sharewithresearchasofdate,
                    customername, lastupdatedate, phone, sharewithfriendsasofdate
            ) AS place
            FROM (
                SELECT * EXCLUDE (source_file) REPLACE (normalized(email) AS email)
                FROM customer_landing
            )
        )
        WHERE place = 1 AND sharewithresearchasofdate > 0
    """,
    "accelerometer_trusted": """
        SELECT * FROM readings SEMI JOIN customer_trusted ON "user" = email
    """,
    "customers_curated": """
        SELECT * FROM customer_trusted SEMI JOIN accelerometer_trusted ON email = "user"
    """,
    "device_ownership": """
        WITH times AS MATERIALIZED (
            SELECT DISTINCT serialnumber, sensorreadingtime AS moment FROM step_trainer_landing
        ), users AS (
            SELECT DISTINCT "user" AS email, "timestamp" AS moment FROM readings
        ), matches AS MATERIALIZED (
            SELECT serialnumber, email, count(*) AS matched
            FROM times JOIN users USING (moment) GROUP BY ALL
        ), leaders AS (
            SELECT serialnumber, arg_max(email, matched) AS leader,
                max(matched) AS most, coalesce(max(matched, 2)[2], 0) AS second
            FROM matches GROUP BY serialnumber
        ), claims AS (
            SELECT serialnumber, email AS claimant, matched AS claimed
            FROM sole_claims LEFT JOIN matches USING (serialnumber, email)
        ), devices AS (
            SELECT serialnumber, readings, leader, claimant, coalesce(most, 0) AS most,
                coalesce(second, 0) AS second, coalesce(claimed, 0) AS claimed
            FROM (SELECT serialnumber, count(*) AS readings FROM times GROUP BY serialnumber)
            LEFT JOIN leaders USING (serialnumber) LEFT JOIN claims USING (serialnumber)
        ), judged AS (
            SELECT *, most >= 5 AND most > second AND most * 10 >= readings * 9 AS shared,
                CASE WHEN claimant = leader THEN second ELSE most END AS others
            FROM devices
        )
        SELECT serialnumber, CASE WHEN shared THEN leader ELSE claimant END AS email,
            CASE WHEN shared THEN 'shared_readings' ELSE 'sole_claim' END AS basis, readings,
            CASE WHEN shared THEN most ELSE claimed END AS matched,
            CASE WHEN shared THEN second ELSE others END AS runner_up_matched
        FROM judged WHERE shared OR (claimant IS NOT NULL AND others < 5)
    """,
    "step_trainer_trusted": """
        SELECT * EXCLUDE (source_file) FROM step_trainer_landing
        WHERE serialnumber IN (
            SELECT serialnumber FROM device_ownership SEMI JOIN customers_curated USING (email)
        )
    """,
    "machine_learning_curated": """
        WITH owners AS (
            SELECT serialnumber, email, pseudonym(email) AS subject_id
            FROM device_ownership SEMI JOIN customers_curated USING (email)
        )
        SELECT subject_id, sensorreadingtime, distancefromobject, x, y, z
        FROM step_trainer_trusted JOIN owners USING (serialnumber)
        JOIN accelerometer_trusted ON email = "user" AND sensorreadingtime = "timestamp"
    """,
}


def main() -> None:
    """Write the tables, and print what it took as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("landing", type=Path, help="root of the landing folders")
    parser.add_argument("out", type=Path, help="folder for the Parquet files")
    parser.add_argument("--memory-limit", metavar="SIZE", help="of DuckDB, such as 4GB")
    options = parser.parse_args()
    print(json.dumps(write_tables(options.landing, options.out, options.memory_limit)))


def write_tables(landing: Path, out: Path, memory_limit: str | None) -> dict[str, object]:
    """Write every table as `out`/TABLE.parquet.

    Returns:
        Seconds and rows per table, seconds in all, and the peak memory of this process.
    """
    started = time.perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    seconds, rows = {}, {}
    queries = {f"{source}_landing": _landing(landing, source) for source in KEYS} | TABLES
    with _connect(out, memory_limit) as connection:
        for table, query in queries.items():
            start = time.perf_counter()
            if table == next(iter(TABLES)):
                connection.execute(SHARED)
            rows[table] = _write(connection, query, table, out)
            seconds[table] = round(time.perf_counter() - start, 3)
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return {
        "seconds": seconds,
        "total_seconds": round(time.perf_counter() - started, 3),
        "rows": rows,
        "peak_memory_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // unit,
    }


def _connect(out: Path, memory_limit: str | None) -> duckdb.DuckDBPyConnection:
    limit = {"memory_limit": memory_limit} if memory_limit else {}
    connection = duckdb.connect(
        config={"preserve_insertion_order": False, "temp_directory": str(out / "spill"), **limit}
    )
    connection.execute(MACROS)
    key = (os.environ.get("STEDI_PSEUDONYM_KEY") or secrets.token_hex(32)).encode()
    for use in ("inner", "outer"):
        derived = hmac.digest(key, use.encode(), hashlib.sha256).hex()
        connection.execute(f"SET VARIABLE {use}_key = '{derived}'")
    return connection


def _landing(landing: Path, source: str) -> str:
    # A key spelled otherwise would be a column of nulls; `stedi refresh` looks the spelling up.
    files = _text(landing / source / "landing" / "*.json*")
    types = ", ".join(f"{_text(key)}: '{dtype}'" for key, dtype in KEYS[source].items())
    columns = ", ".join(f'"{key}" AS "{key.lower()}"' for key in KEYS[source])
    return f"""
        SELECT {columns}, substr(filename, {len(str(landing)) + 2}) AS source_file
        FROM read_json({files}, format='newline_delimited', filename=true,
            hive_partitioning=false, columns={{{types}}})
    """


def _write(connection: duckdb.DuckDBPyConnection, query: str, table: str, out: Path) -> int:
    """Write a table, and have later queries read what was written."""
    path = _text(out / f"{table}.parquet")
    copied = connection.execute(f"COPY ({query}) TO {path} (FORMAT parquet)").fetchone()
    connection.execute(f"CREATE TEMP VIEW {table} AS SELECT * FROM read_parquet({path})")
    return int(copied[0]) if copied else 0


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


if __name__ == "__main__":
    main()
