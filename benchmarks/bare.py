"""The same tables as one DuckDB script: what `stedi refresh` is compared with.

It makes Parquet files of landing files by the rules of the tables under consent scope `any`. All
else is left out: no catalog, no checks, no quarantine, nothing known of an earlier run. It wants
JSON lines with keys spelled as in the 2023 data; apart from times, values have the right type. It
shares no code with the project.

    python bare.py LANDING OUT
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

# The times of customers are read as text: one that is no time suspends its person, an absent one
# does not. A reading without a time is left out, whatever is in its place.
_CUSTOMER = """
    serialNumber birthDay customerName email phone registrationDate lastUpdateDate
    shareWithPublicAsOfDate shareWithResearchAsOfDate shareWithFriendsAsOfDate
"""
FIELDS = {
    "customer": dict.fromkeys(_CUSTOMER.split(), "VARCHAR"),
    "accelerometer": {"user": "VARCHAR", "serialNumber": "VARCHAR"}
    | dict.fromkeys(("timestamp", "x", "y", "z"), "DOUBLE"),
    "step_trainer": {
        "sensorReadingTime": "DOUBLE",
        "serialNumber": "VARCHAR",
        "distanceFromObject": "DOUBLE",
    },
}

# What is there but is no number becomes NaN, which is no time. E-mails of printable ASCII, as most
# are, take the short way.
MACROS = r"""
    CREATE MACRO number(value) AS
        CASE WHEN value ~ '.*\S.*' THEN coalesce(try_cast(value AS DOUBLE), 'nan') END;
    CREATE MACRO is_time(number) AS number = floor(number)
        AND number BETWEEN 946684800000 AND getvariable('landed_at') + 86400000;
    CREATE MACRO person(email) AS
        CASE WHEN email ~ '[!-~]+' THEN lower(email) ELSE nullif(regexp_replace(
            nfc_normalize(lower(nfc_normalize(regexp_replace(email, '\p{Cf}', '', 'g')))),
            '^[\t-\r\x1c- \x{85}\p{Z}]+|[\t-\r\x1c- \x{85}\p{Z}]+$', '', 'g'), '') END;
    CREATE MACRO pseudonym(email) AS
        sha256(getvariable('outer_key') || sha256(getvariable('inner_key') || email))[:32];
"""

CUSTOMERS = """
    CREATE TEMP TABLE customers AS
    SELECT *, coalesce(list_bool_and(
        list_transform(list_value(*COLUMNS('.*date')), lambda moment: is_time(moment))), true
    ) AS readable
    FROM (
        SELECT person(email) AS email, serialnumber, birthday, customername, phone,
            number(COLUMNS('(registration|lastupdate)date')),
            nullif(number(COLUMNS('share.*date')), 0)
        FROM customer
    )
    WHERE email IS NOT NULL
"""

# A reading without a user belongs to whoever alone claims its serial number.
READINGS = """
    CREATE TEMP TABLE sole_claims AS
    SELECT serialnumber, min(email) AS email FROM customer_landing WHERE serialnumber IS NOT NULL
    GROUP BY serialnumber HAVING min(email) = max(email);

    CREATE TEMP VIEW readings AS
    SELECT coalesce("user", email) AS "user", "timestamp", x, y, z,
        CASE WHEN "user" IS NULL THEN serialnumber END AS serialnumber
    FROM accelerometer_landing LEFT JOIN sole_claims USING (serialnumber)
    WHERE coalesce("user", email) IS NOT NULL;
"""

TABLES = {
    "customer_landing": """
        SELECT email, serialnumber, birthday, customername, phone, COLUMNS('.*date')::BIGINT
        FROM customers WHERE readable
    """,
    "accelerometer_landing": """
        SELECT person("user") AS "user", serialnumber, "timestamp"::BIGINT AS "timestamp", x, y, z
        FROM accelerometer
        WHERE is_time("timestamp") AND coalesce("user", serialnumber) IS NOT NULL
    """,
    "step_trainer_landing": """
        SELECT sensorreadingtime::BIGINT AS sensorreadingtime, serialnumber, distancefromobject
        FROM step_trainer WHERE is_time(sensorreadingtime) AND serialnumber <> ''
    """,
    "customer_trusted": """
        SELECT * EXCLUDE (place) FROM (
            SELECT *, row_number() OVER (
                PARTITION BY email
                ORDER BY coalesce(lastupdatedate, registrationdate, getvariable('landed_at')) DESC,
                    registrationdate DESC NULLS LAST,
                    sharewithresearchasofdate IS NOT NULL,
                    serialnumber, sharewithpublicasofdate, birthday, sharewithresearchasofdate,
                    customername, lastupdatedate, phone, sharewithfriendsasofdate
            ) AS place
            FROM customer_landing
        )
        ANTI JOIN (SELECT email FROM customers WHERE NOT readable) USING (email)
        WHERE place = 1 AND sharewithresearchasofdate IS NOT NULL
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
        ), devices AS (
            SELECT serialnumber, count(*) AS readings FROM times GROUP BY serialnumber
        ), matches AS (
            SELECT serialnumber, email, count(*) AS matched
            FROM times JOIN users USING (moment) GROUP BY ALL
        ), candidates AS (
            SELECT serialnumber, email, coalesce(matched, 0) AS matched, sole
            FROM matches
            FULL JOIN (SELECT *, true AS sole FROM sole_claims) USING (serialnumber, email)
        ), judged AS (
            SELECT *, matched >= 5 AND matched > others AND matched * 10 >= readings * 9 AS shared
            FROM devices JOIN (
                SELECT *, coalesce(max(matched) OVER (
                    PARTITION BY serialnumber
                    ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING EXCLUDE CURRENT ROW
                ), 0) AS others FROM candidates
            ) USING (serialnumber)
        )
        SELECT serialnumber, email, readings, matched, others AS runner_up_matched,
            CASE WHEN shared THEN 'shared_readings' ELSE 'sole_claim' END AS basis
        FROM judged WHERE shared OR (sole AND others < 5)
    """,
    "step_trainer_trusted": """
        WITH owners AS (
            SELECT serialnumber, email
            FROM device_ownership SEMI JOIN customers_curated USING (email)
        ), owned AS (
            SELECT * FROM step_trainer_landing JOIN owners USING (serialnumber)
        ), without_owner AS (
            SELECT * FROM owned
            ANTI JOIN readings ON email = "user" AND sensorreadingtime = "timestamp"
        ), of_others AS (
            SELECT * FROM without_owner SEMI JOIN readings ON sensorreadingtime = "timestamp"
        )
        SELECT * EXCLUDE (email) FROM owned
        ANTI JOIN of_others USING (serialnumber, sensorreadingtime)
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


def write_tables(landing: Path, out: Path) -> dict[str, int]:
    """Write every table as `out`/TABLE.parquet, and count its rows."""
    out.mkdir(parents=True, exist_ok=True)
    rows = {}
    spill = {"preserve_insertion_order": False, "temp_directory": str(out / "spill")}
    with duckdb.connect(config=spill) as connection:
        connection.execute(f"SET VARIABLE landed_at = {time.time_ns() // 1_000_000}")
        key = (os.environ.get("STEDI_PSEUDONYM_KEY") or secrets.token_hex(32)).encode()
        for use in ("inner", "outer"):
            derived = hmac.digest(key, use.encode(), hashlib.sha256).hex()
            connection.execute(f"SET VARIABLE {use}_key = '{derived}'")
        connection.execute(MACROS)
        for source, fields in FIELDS.items():
            files = _text(landing / source / "landing" / "*.json")
            names = ", ".join(f'"{name}" AS "{name.lower()}"' for name in fields)
            connection.execute(f"""
                CREATE TEMP VIEW {source} AS SELECT {names}
                FROM read_json({files}, columns={fields}, format='newline_delimited',
                    ignore_errors=true, hive_partitioning=false)
            """)
        connection.execute(CUSTOMERS)
        for table, query in TABLES.items():
            if table == "customer_trusted":
                connection.execute(READINGS)
            path = _text(out / f"{table}.parquet")
            copied = connection.execute(f"COPY ({query}) TO {path} (FORMAT parquet)").fetchone()
            connection.execute(f"CREATE TEMP VIEW {table} AS FROM read_parquet({path})")
            rows[table] = int(copied[0]) if copied else 0
    return rows


def _text(value: object) -> str:
    return "'" + str(value).replace("'", "''") + "'"


if __name__ == "__main__":
    print(json.dumps(write_tables(*map(Path, sys.argv[1:]))))
