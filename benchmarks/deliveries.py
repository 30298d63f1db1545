"""What a delivery brings to a lakehouse that is there, seeded like the sample it is based on.

`mixed` is an ordinary day: 1 % new readings, some of them late, people who withdraw or consent, new
people, and devices that somebody else uses now. `withdrawals` are 10 records of people who
withdraw, `one_file` is 1,000 accelerometer readings of people who consent.

    python -m benchmarks.deliveries SCENARIO CUSTOMERS FOLDER
"""

import sys
from collections.abc import Callable
from pathlib import Path

import duckdb

from stedi_assets.sample.landing_files import SOURCES, Sample, define_draws, draw_sample
from stedi_assets.sample.options import PHONE_READINGS, STEPS
from stedi_assets.sample.people import draw_people
from stedi_assets.sample.readings import draw_readings

MIN_CUSTOMERS = 1_000
"""With fewer customers, 1 % of the readings is too little for all that a day brings."""
SHARE = 0.01
"""Readings that a day brings, of those there are."""
WITHDRAWALS = 10
ONE_FILE_PEOPLE, ONE_FILE_READINGS = 100, 1_000

_NEW_PEOPLE = 0.004
"""New people, of those there are. Each brings a first session, together 0.4 % new readings."""
_LATE = 0.4
"""Share of the further sessions that lie within the period already covered."""
_SESSION = 10
"""Times of a further session."""
_TAKEN = 6
"""New times of a device whose earlier times turn out to be another phone's, too.

The first user has been there at 30 of 36 times, and proof takes 90 %.
"""
_PASSED_ON = 8
"""New times of a device that another phone is with from now on: nobody is proven to own it."""
_HOUR = 3_600_000  # milliseconds
_DAY = 24 * _HOUR

Connection = duckdb.DuckDBPyConnection


def write_delivery(scenario: str, customers: int, folder: Path) -> None:
    """Write a delivery below a landing folder, one file for each source that it has something of.

    It is made for the sample of so many customers, which need not be there. The same arguments give
    the same bytes under the same DuckDB version.

    Raises:
        ValueError: There are too few customers.
        FileExistsError: The delivery is there already.
    """
    if customers < MIN_CUSTOMERS:
        raise ValueError(f"A delivery takes at least {MIN_CUSTOMERS:,} customers.")
    with _connect() as connection:
        sample = Sample(customers)
        draw_sample(connection, sample)
        _prepare(connection)
        SCENARIOS[scenario](connection, sample)
        _add_readings(connection)
        for source in SOURCES:
            lines = connection.execute(
                "SELECT line FROM delivered WHERE source = $source ORDER BY place, line",
                {"source": source},
            ).fetchall()
            if lines:
                path = folder / source / "landing" / f"{source}-{scenario}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("x", encoding="utf-8") as file:
                    file.writelines(f"{line}\n" for (line,) in lines)


def _connect() -> Connection:
    return duckdb.connect(config={"python_enable_replacements": False})


def _prepare(connection: Connection) -> None:
    """Make the tables that deliveries are drawn from, and those that they are drawn into.

    `owners` are people with the device that their record claims, of each kind in a drawn order.
    `moments` are times at which a device (serial), a phone (email) or both have readings; of a
    device that is `nameless` the phone sends the serial number instead of the e-mail.
    """
    connection.execute(f"""
        CREATE TABLE owners AS
        SELECT id, consents, email, device, serial, pace, started,
            row_number() OVER (PARTITION BY consents ORDER BY bits('role', id), id) AS place
        FROM people JOIN devices USING (email, started, pace);

        CREATE TABLE period AS
        SELECT count(*) AS steps, max(time) AS covered FROM times WHERE clean;

        CREATE TABLE moments (email VARCHAR, serial VARCHAR, time BIGINT, nameless BOOLEAN);
        CREATE TABLE delivered (source VARCHAR, place BIGINT, line VARCHAR);

        -- Times of a session; each kind of sessions has a day of its own.
        CREATE MACRO later(day, place, step, pace) AS
            (SELECT covered FROM period) + day * {_DAY} + place * 1000 + step * pace
                + draw(day::VARCHAR, place * {STEPS} + step, 1000);

        CREATE MACRO phone_object(email, serial, moment, nth) AS json_merge_patch('{{}}',
            json_object('user', email, 'serialNumber', if(email IS NULL, serial, NULL),
                'timestamp', moment,
                'x', ((bits('x', moment) + 7 * nth) % 21 - 10) / 10,
                'y', ((bits('y', moment) + 7 * nth) % 21 - 10) / 10,
                'z', ((bits('z', moment) + 7 * nth) % 21 - 10) / 10))
    """)


def _mixed(connection: Connection, sample: Sample) -> None:
    """An ordinary day."""
    few, moved = max(1, sample.customers // 1000), max(1, sample.customers // 2000)
    busy = 4 * moved  # people whose devices move, before or after: the first ones
    _add_new_people(connection, sample, round(sample.customers * _NEW_PEOPLE))
    _add_records(
        connection,
        f"consents AND place BETWEEN {busy + 1} AND {busy + few}",
        "json_object('shareWithResearchAsOfDate', NULL)",
    )
    _add_records(
        connection,
        f"NOT consents AND place <= {few}",
        "json_object('shareWithResearchAsOfDate', changed)",
    )
    connection.execute(f"""
        CREATE TABLE moves AS
        SELECT taker.id, taker.email, giver.serial, giver.device, giver.pace, giver.place,
            giver.place <= {moved} AS taken
        FROM owners AS giver JOIN owners AS taker ON taker.place = giver.place + {moved}
        WHERE giver.consents AND taker.consents
            AND (giver.place <= {moved} OR giver.place BETWEEN {2 * moved + 1} AND {3 * moved});

        INSERT INTO moments
        SELECT email, NULL, time, false FROM moves JOIN times USING (device) WHERE taken AND clean;

        INSERT INTO moments
        SELECT email, serial, later(1, place, step, pace), false
        FROM moves, range(if(taken, {_TAKEN}, {_PASSED_ON})) AS numbers(step);

        INSERT INTO moments
        SELECT email, serial, later(2, place, step, pace), true
        FROM owners, range({_SESSION}) AS numbers(step)
        WHERE consents AND place BETWEEN {busy + few + 1} AND {busy + 2 * few}
    """)
    _add_records(
        connection,
        "id IN (SELECT id FROM moves WHERE NOT taken)",
        "json_object('serialNumber', (SELECT serial FROM moves WHERE moves.id = owners.id))",
    )
    _add_sessions(connection, busy)


def _add_new_people(connection: Connection, sample: Sample, number: int) -> None:
    """Add the records of new people, and their first sessions, which follow those of the sample."""
    with _connect() as other:
        define_draws(other, sample.seed)
        draw_people(other, Sample(sample.customers + number, files=1))
        for table in ("people", "records"):
            other.execute(f"DELETE FROM {table} WHERE id < {sample.customers}")
        draw_readings(other, Sample(number, files=1))
        records = other.execute("SELECT position, line FROM customer").to_arrow_table()
        readings = other.execute("""
            SELECT email, serial, time FROM readings WHERE file IS NOT NULL
        """).to_arrow_table()
    connection.register("new_records", records)
    connection.register("new_readings", readings)
    connection.execute("""
        INSERT INTO delivered SELECT 'customer', position, line FROM new_records;
        INSERT INTO moments SELECT email, serial, time, false FROM new_readings
    """)


def _add_records(connection: Connection, whose: str, change: str) -> None:
    """Add a later record of some owners: their latest one, changed."""
    # Merging a patch drops the keys that are null.
    connection.execute(f"""
        INSERT INTO delivered
        SELECT 'customer', id * 4,
            json_merge_patch(line, json_object('lastUpdateDate', changed), {change})
        FROM (
            SELECT *, covered + {8 * _DAY} + place * 1000 AS changed FROM owners, period
        ) AS owners JOIN customer ON position = id * 4
        WHERE {whose}
    """)


def _add_sessions(connection: Connection, busy: int) -> None:
    """Add sessions of people whose device stays theirs, until the readings are 1 %.

    Late ones lie between the times of their owner's first session.
    """
    connection.execute(f"""
        CREATE TABLE missing AS
        SELECT round((
            steps * {SHARE * (1 + PHONE_READINGS)}
            - (SELECT count(serial) + {PHONE_READINGS} * count(*) FROM moments)
        ) / {1 + PHONE_READINGS}) AS times
        FROM period;

        INSERT INTO moments
        SELECT email, serial,
            if(number < times * {_LATE},
                started + step * pace + 1000 + draw('late', number, 1000),
                later(3, number // {_SESSION}, step, pace)),
            false
        FROM (
            SELECT *, (session - 1) * {_SESSION} + step AS number
            FROM (
                SELECT *, row_number() OVER (ORDER BY bits('session', id), id) AS session
                FROM owners WHERE NOT consents OR place > {busy}
            ), range({_SESSION}) AS numbers(step)
        ), missing
        WHERE number < times
    """)


def _withdrawals(connection: Connection, _: Sample) -> None:
    """Some people withdraw, and that is all."""
    _add_records(
        connection,
        f"consents AND place <= {WITHDRAWALS}",
        "json_object('shareWithResearchAsOfDate', NULL)",
    )


def _one_file(connection: Connection, _: Sample) -> None:
    """Accelerometer readings of people who consent, every other one at a time of their device."""
    each = ONE_FILE_READINGS // ONE_FILE_PEOPLE
    connection.execute(f"""
        INSERT INTO delivered
        SELECT 'accelerometer', time, phone_object(email, NULL, time, 0)
        FROM (
            SELECT id, email, if(step % 2 = 0, time, time + 1 + draw('between', id, 900)) AS time
            FROM owners JOIN (
                SELECT device, time, row_number() OVER (PARTITION BY device ORDER BY time) AS step
                FROM times WHERE clean
            ) USING (device)
            WHERE consents AND place <= {ONE_FILE_PEOPLE} AND step <= {each}
        )
    """)


def _add_readings(connection: Connection) -> None:
    """Add the readings of all moments: one of the device, three of the phone."""
    connection.execute(f"""
        INSERT INTO delivered
        SELECT 'step_trainer', time, json_object('sensorReadingTime', time, 'serialNumber', serial,
            'distanceFromObject', 200 + draw('new distance', time, 101))
        FROM moments WHERE serial IS NOT NULL;

        INSERT INTO delivered
        SELECT 'accelerometer', time,
            phone_object(if(nameless, NULL, email), serial, time, nth)
        FROM moments, range({PHONE_READINGS}) AS numbers(nth)
    """)


SCENARIOS: dict[str, Callable[[Connection, Sample], None]] = {
    "mixed": _mixed,
    "withdrawals": _withdrawals,
    "one_file": _one_file,
}
"""What each scenario draws into `moments` and `delivered`."""


if __name__ == "__main__":
    write_delivery(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
