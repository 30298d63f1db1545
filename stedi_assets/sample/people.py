"""Draws the people of a sample, and the customer records of website and fulfilment."""

import duckdb

from stedi_assets.sample.names import ASCII, FIRST_NAMES, LAST_NAMES, NAME_COUNT
from stedi_assets.sample.options import STEPS, Sample

EPOCH = 1_655_564_000_000
"""Start of the first session, epoch milliseconds (June 2022, like the published data)."""

SHARED_SERIALS = 30
"""How many serial numbers the fulfilment defect spread over all customer records."""

_HOUR = 3_600_000  # milliseconds
_DAY = 24 * _HOUR


def draw_people(connection: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    """Make the table `people`, and the view `customer` of file, position, line."""
    _draw_people(connection, sample)
    _draw_records(connection, sample)


def _draw_people(connection: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    """Make the table `people`: a row per customer, in the order of their first sessions."""
    connection.execute(
        f"""
        CREATE TABLE people AS
        WITH drawn AS (
            -- Multiplying by a prime that does not divide the number of names visits each once.
            SELECT id,
                (id * 1000003 + draw('names', 0, {NAME_COUNT})) % {NAME_COUNT} AS name_number,
                row_number() OVER (ORDER BY bits('consents', id), id)
                    <= {round(sample.customers * sample.consent_share)} AS consents,
                row_number() OVER (ORDER BY bits('devices', id), id) AS device_rank,
                {EPOCH} + id * 1000 + draw('started', id, 1000) AS started,
                2000 + draw('pace', id, 2000) AS pace
            FROM range({sample.customers}) AS numbers(id)
        ), named AS (
            SELECT *,
                name_number % len($first) + 1 AS first,
                name_number // len($first) % len($last) + 1 AS last,
                chr((65 + name_number // (len($first) * len($last)) % 26)::INT) AS initial,
                chr((65 + name_number // (len($first) * len($last) * 26))::INT) AS second_initial,
                started - {_HOUR} - draw('registered', id, {30 * _DAY}) AS registered
            FROM drawn
        )
        SELECT id, consents, device_rank, started, pace, registered,
            format('{{}} {{}}. {{}}. {{}}', $first[first], initial, second_initial, $last[last])
                AS name,
            format('{{}}.{{}}{{}}.{{}}@example.com', $first_ascii[first], initial, second_initial,
                $last_ascii[last]) AS email,
            CASE
                WHEN draw('consented', id, 5) = 0 THEN started + {STEPS // 2} * pace
                WHEN draw('consented', id, 5) = 1 THEN registered + draw('delay', id, {_HOUR})
                ELSE registered
            END AS consented
        FROM named ORDER BY id
        """,
        {
            "first": FIRST_NAMES,
            "last": LAST_NAMES,
            "first_ascii": [ASCII.get(name, name) for name in FIRST_NAMES],
            "last_ascii": [ASCII.get(name, name) for name in LAST_NAMES],
        },
    )


def _draw_records(connection: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    """Make the view `customer` of the records, latest and, `age` updates back, older ones.

    Only the latest record follows `people`, so that older ones do not change who consents. Tied
    dates are for those who do not consent, because a tie goes to the record without consent.
    """
    several = "draw('several', id, 10) = 0" if sample.changing_consent else "false"
    serial = (
        f"serial_number('shared', draw('claims', id, {SHARED_SERIALS}))"
        if sample.shared_serials
        else "serial_number('device', id)"
    )
    connection.execute(f"""
        CREATE TABLE records AS
        SELECT *, consents = (age % 2 = 0) AS agrees,
            greatest(registered, if(consents, consented, 0))
                + if(draw('updated', id, 3) = 0, draw('later', id, {7 * _DAY}), 0)
                - if(consents OR draw('tied', id, 3) > 0, age * {_HOUR}, 0) AS updated,
            registered - if(records > 1, {_DAY}, 0) AS joined,
            CASE if(records > 1, draw('spelling', id * 4 + age, 4), 3)
                WHEN 0 THEN upper(email) WHEN 1 THEN lower(email) WHEN 2 THEN '  ' || email || ' '
                ELSE email
            END AS spelling
        FROM (
            SELECT *, unnest(range(records)) AS age
            FROM (SELECT *, if({several}, 2 + draw('records', id, 3), 1) AS records FROM people)
        );
        -- Merging a patch drops the keys that are null, as the website does.
        CREATE VIEW customer AS
        SELECT (id * {sample.files} // {sample.customers} + age) % {sample.files} AS file,
            id * 4 + age AS position,
            json_merge_patch('{{}}', json_object(
                'customerName', name, 'email', spelling,
                'phone', '801555' || lpad(draw('phone', id, 10000)::VARCHAR, 4, '0'),
                'birthDay', if(draw('odd birthday', id, 20) = 0,
                    format('{{:04d}}-01-01', 300 + draw('birth year', id, 1200)),
                    (DATE '1920-01-01' + draw('birthday', id, 30000)::INT)::VARCHAR),
                'serialNumber', {serial}::VARCHAR,
                'registrationDate', joined, 'lastUpdateDate', updated,
                'shareWithResearchAsOfDate', if(agrees, if(age = 0, consented, updated), NULL),
                'shareWithPublicAsOfDate', if(draw('public', id, 10) < 6, joined, NULL),
                'shareWithFriendsAsOfDate', if(draw('friends', id, 10) < 4, joined, NULL)
            )) AS line
        FROM records
    """)
