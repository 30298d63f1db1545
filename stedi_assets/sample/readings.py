"""Draws the devices of a sample's people, and the readings of both sources."""

import duckdb

from stedi_assets.sample.bad_files import BAD_FILE_STEPS, SHAPES
from stedi_assets.sample.options import PHONE_READINGS, STEPS, Sample


def draw_readings(connection: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    """Make the views `accelerometer` and `step_trainer` of file, position, line.

    Rows without a file are the spare ones, for the bad files. The table below the views holds
    numbers only: with e-mails and serial numbers it would be ten times as large.
    """
    few = sample.customers // 50
    spare = len(SHAPES) * BAD_FILE_STEPS
    late = f"""
        if(file < {sample.files - 1} AND draw({{source}}, position, 20) = 0,
            file + 1 + draw({{source}} || ' by', position, {sample.files - 1} - file), file)
    """
    late = late if sample.late_readings else "file"
    connection.execute(f"""
        CREATE TABLE devices AS
        SELECT row_number() OVER (ORDER BY second, id) - 1 AS device, email, pace,
            serial_number(if(second, 'second device', 'device'), id)::VARCHAR AS serial,
            started + if(second, 200000, 0) AS started
        FROM people, (VALUES (false), (true)) AS devices(second)
        WHERE if(second, device_rank <= {few}, device_rank <= {few} OR device_rank > 2 * {few});

        CREATE TABLE times AS
        WITH numbered AS (
            SELECT position, count AS devices, position < {STEPS} * count AS clean,
                position - {STEPS} * count AS spare
            FROM (SELECT count(*) AS count FROM devices),
                range((SELECT {STEPS} * count(*) + {spare} FROM devices)) AS numbers(position)
        ), placed AS (
            SELECT position, clean, if(clean, position // {STEPS}, spare % devices) AS device,
                if(clean, position % {STEPS}, {STEPS} + spare // devices) AS step
            FROM numbered
        )
        SELECT position, clean, device,
            started + step * pace + draw('jitter', position, 1000) AS time
        FROM placed JOIN devices USING (device) ORDER BY position;

        CREATE VIEW readings AS
        WITH bounds AS (SELECT min(time) AS low, max(time) + 1 AS high FROM times WHERE clean)
        SELECT position, email, serial, time,
            if(clean, (time - low) * {sample.files} // (high - low), NULL) AS file
        FROM times JOIN devices USING (device), bounds;

        CREATE VIEW step_trainer AS
        SELECT {late.format(source="'step_trainer'")} AS file, position, json_object(
            'sensorReadingTime', time, 'serialNumber', serial,
            'distanceFromObject', 200 + draw('distance', position, 101)) AS line
        FROM readings;

        -- x steps through a third of its 21 values at a time: no two readings of a time are equal.
        CREATE VIEW accelerometer AS
        SELECT {late.format(source="'accelerometer'")} AS file,
            position * {PHONE_READINGS} + nth AS position, json_object(
            'user', email, 'timestamp', time,
            'x', ((bits + 7 * nth) % 21 - 10) / 10,
            'y', ((bits >> (20 + 7 * nth)) % 21 - 10) / 10,
            'z', ((bits >> (41 + 7 * nth)) % 21 - 10) / 10) AS line
        FROM (SELECT *, bits('accelerations', position) AS bits FROM readings),
            range({PHONE_READINGS}) AS numbers(nth)
    """)
