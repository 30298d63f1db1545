"""Synthetic landing files, seeded, with the defects that real deliveries have had.

Everything is drawn in SQL from hashes of the seed, so a sample of any size is made without a Python
loop over its readings, and the same options give the same bytes under the same DuckDB version.
"""

from __future__ import annotations

import gzip
import json
import shutil
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import duckdb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyiceberg.io import FileIO

__all__ = ["SOURCES", "Sample", "SampleSummary", "upload_sample", "write_sample"]

SOURCES: tuple[str, ...] = ("customer", "accelerometer", "step_trainer")

EPOCH = 1_655_564_000_000
"""Start of the first session, epoch milliseconds (June 2022, like the published data)."""

SHARED_SERIALS = 30
"""How many serial numbers the fulfilment defect spread over all customer records."""

_HOUR = 3_600_000  # milliseconds
_DAY = 24 * _HOUR
_STEPS = 30  # step trainer readings per device
_PHONE_READINGS = 3  # accelerometer readings per step trainer reading, at the same millisecond

# Bad files hold this many times each: few enough that the devices they extend stay recognisable.
_BAD_FILE_STEPS = 12

# Spellings of names that an e-mail address writes otherwise.
_ASCII = {
    "Zoë": "Zoe", "José": "Jose", "Søren": "Soren", "Łukasz": "Lukasz", "Ngọc": "Ngoc",
    "Çağla": "Cagla", "美咲": "Misaki", "Юлия": "Yuliya", "Ελένη": "Eleni", "نور": "Noor",
    "Müller": "Mueller", "Núñez": "Nunez", "Gößling": "Goessling", "Dvořák": "Dvorak",
    "Ó Briain": "OBriain", "Åkesson": "Akesson", "Nguyễn": "Nguyen", "田中": "Tanaka",
    "Жукова": "Zhukova", "Şahin": "Sahin",
}  # fmt: skip
_FIRST_NAMES = (
    "Zoë José Søren Łukasz Ngọc Çağla 美咲 Юлия Ελένη نور Ada Amir Anouk Bram Chidi Clara Dalia "
    "Edgar Elif Farah Gita Hugo Ines Ivo Jamal Kaito Kofi Lena Lior Mabel Maya Nia Omar Otis Priya "
    "Quinn Rosa Ruben Sana Tariq Uma Vera Wanda Xenia"
).split()
_LAST_NAMES = [
    *"Müller Núñez Gößling Dvořák Åkesson Nguyễn 田中 Жукова Şahin".split(),
    "Ó Briain",
    *"Abara Baker Castillo Dawson Eriksen Fischer Grant Haddad Ito Jansen Kaplan Larsen Moreau "
    "Nakamura Okafor Patel Quigley Rossi Silva Takeda Ueda Vargas Weber Xu Yilmaz Zhang Adler Bose "
    "Cohen Diallo Evans Ferrari Gupta Horvat".split(),
]
_NAMES = len(_FIRST_NAMES) * 26 * 26 * len(_LAST_NAMES)


@dataclass(frozen=True)
class Sample:
    """What a sample holds.

    Every device has 30 step trainer readings, and its owner's phone three accelerometer readings at
    each of those milliseconds. One customer in fifty uses a second device that no record mentions,
    as many never used theirs. One session starts per second, so now and then two people share a
    millisecond, and a join on time alone pairs one person's device with another's phone.

    Attributes:
        customers: Number of customers, each with an e-mail of their own.
        consent_share: Share of the customers whose latest record consents to research. It is met
            exactly, to the nearest customer. One in five of them consents in the midst of their
            first session, the others within an hour of registering.
        files: Clean files per source. Readings are spread over them by time.
        seed: Start of all randomness.
        shared_serials: The fulfilment defect: customer records claim one of the same 30 serial
            numbers, none of which a device has, and the devices' own are claimed by nobody.
        changing_consent: A tenth of the customers has two to four records, spread over the files,
            of which every other one consents. Some spell the e-mail in another case or between
            blanks; some of those that end without consent carry the same dates on all records.
        malformed: Adds small files in every bad shape seen so far: re-delivered customer records
            and further readings of the sample's devices.
        late_readings: One time in twenty arrives in a later file than its own, separately for each
            source. Needs two files or more.
    """

    customers: int = 1_000
    consent_share: float = 0.5
    files: int = 4
    seed: int = 2023
    shared_serials: bool = False
    changing_consent: bool = False
    malformed: bool = False
    late_readings: bool = False

    def __post_init__(self) -> None:
        """Refuse options that no sample can meet.

        Raises:
            ValueError: An option is out of range.
        """
        if not 1 <= self.customers <= _NAMES:
            raise ValueError(f"customers must be 1 to {_NAMES:,}, not {self.customers:,}.")
        if not 0 <= self.consent_share <= 1:
            raise ValueError(f"consent_share must be between 0 and 1, not {self.consent_share}.")
        if self.files < 1:
            raise ValueError(f"files must be 1 or more, not {self.files}.")
        if self.late_readings and self.files == 1:
            raise ValueError("late_readings needs at least 2 files, one for readings to miss.")


@dataclass(frozen=True)
class SampleSummary:
    """What was written.

    Attributes:
        customers: Number of distinct people.
        objects: Objects per source that a reader should be able to land, in bad files too.
        unreadable: Fragments per source that belong in quarantine: text that is no object, and
            objects that lack a required field or hold a value of the wrong type there.
        files: Number of files.
        bytes_written: Their size.
    """

    customers: int
    objects: dict[str, int]
    unreadable: dict[str, int]
    files: int
    bytes_written: int


def write_sample(landing: Path, sample: Sample) -> SampleSummary:
    """Write a sample below a landing folder, as `SOURCE/landing/SOURCE-<n>.json`.

    Each file appears under its name only when it is complete.

    Args:
        landing: Root of the landing folders; made where it does not exist.
        sample: What to write.

    Returns:
        What was written.

    Raises:
        FileExistsError: A file of the sample exists already; nothing was written.
    """
    paths = {source: _paths(landing, source, sample) for source in SOURCES}
    for path in (path for of_source in paths.values() for path in of_source):
        if path.exists():
            raise FileExistsError(f"{path} exists already, and a sample overwrites nothing.")

    objects, unreadable = dict.fromkeys(SOURCES, 0), dict.fromkeys(SOURCES, 0)
    with duckdb.connect() as connection:
        _draw(connection, sample)
        for source, of_source in paths.items():
            of_source[0].parent.mkdir(parents=True, exist_ok=True)
            spare = _spare_objects(connection, source)
            for number, path in enumerate(of_source[: sample.files]):
                objects[source] += _write_lines(connection, source, number, path)
            for path, shape in zip(of_source[sample.files :], _SHAPES.values(), strict=False):
                bad = shape(source, next(spare))
                with _complete(path) as partial:
                    partial.write_bytes(bad.body)
                objects[source] += bad.readable
                unreadable[source] += bad.unreadable

    written = [path.stat().st_size for of_source in paths.values() for path in of_source]
    return SampleSummary(sample.customers, objects, unreadable, len(written), sum(written))


def upload_sample(landing: str, sample: Sample, io: FileIO) -> SampleSummary:
    """Write a sample below an S3 prefix.

    Args:
        landing: Root of the landing folders, `s3://bucket/prefix`.
        sample: What to write.
        io: Writes objects there.

    Returns:
        What was written.

    Raises:
        FileExistsError: A file of the sample exists already; nothing was written.
    """
    with TemporaryDirectory() as folder:
        written = write_sample(Path(folder), sample)
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        targets = {path: f"{landing}/{path.relative_to(folder).as_posix()}" for path in paths}
        for target in targets.values():
            if io.new_output(target).exists():
                raise FileExistsError(f"{target} exists already, and a sample overwrites nothing.")
        for path, target in targets.items():
            with path.open("rb") as file, io.new_output(target).create() as uploaded:
                shutil.copyfileobj(file, uploaded, 1 << 20)
    return written


def _paths(landing: Path, source: str, sample: Sample) -> list[Path]:
    """Name the files of a source, clean ones first."""
    names = [f"{number}.json" for number in range(1, sample.files + 1)]
    if sample.malformed:
        names += _SHAPES
    return [landing / source / "landing" / f"{source}-{name}" for name in names]


@contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """Give a name to write under that no reader takes for a landing file; rename at the end."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_lines(
    connection: duckdb.DuckDBPyConnection, source: str, number: int, path: Path
) -> int:
    """Write one clean file, and count its objects."""
    with _complete(path) as partial:
        name = str(partial).replace("'", "''")
        # JSON escapes tabs, so a line never needs the quoting that is switched off here.
        copied = connection.execute(f"""
            COPY (SELECT line FROM {source} WHERE file = {number} ORDER BY position)
            TO '{name}' (FORMAT csv, HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '')
        """).fetchone()
    return int(copied[0]) if copied else 0


# --------------------------------------------------------------------------------------------------
# Drawing customers and readings


def _draw(connection: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    """Make the views `customer`, `accelerometer` and `step_trainer` of file, position, line.

    Rows of readings without a file are the spare ones, for the bad files.
    """
    # The outer hash is needed: hashes of several values combine by XOR, so that without it two
    # draws for the same row would share their low bits, up to a constant.
    connection.execute(f"""
        CREATE MACRO bits(what, i) AS
            (hash(hash(what, i::BIGINT, {sample.seed}::BIGINT)) >> 2)::BIGINT;
        CREATE MACRO draw(what, i, n) AS bits(what, i) % n;
        CREATE MACRO serial_number(what, i) AS md5(concat_ws(' ', what, {sample.seed}, i))::UUID
    """)
    _draw_customers(connection, sample)
    _draw_records(connection, sample)
    _draw_readings(connection, sample)


def _draw_customers(connection: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    """Make the table `people`: a row per customer, in the order of their first sessions."""
    connection.execute(
        f"""
        CREATE TABLE people AS
        WITH drawn AS (
            -- Multiplying by a prime that does not divide the number of names visits each once.
            SELECT id, (id * 1000003 + draw('names', 0, {_NAMES})) % {_NAMES} AS name_number,
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
                WHEN draw('consented', id, 5) = 0 THEN started + {_STEPS // 2} * pace
                WHEN draw('consented', id, 5) = 1 THEN registered + draw('delay', id, {_HOUR})
                ELSE registered
            END AS consented
        FROM named ORDER BY id
        """,
        {
            "first": _FIRST_NAMES,
            "last": _LAST_NAMES,
            "first_ascii": [_ASCII.get(name, name) for name in _FIRST_NAMES],
            "last_ascii": [_ASCII.get(name, name) for name in _LAST_NAMES],
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


def _draw_readings(connection: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    """Make the views `accelerometer` and `step_trainer`.

    The table below them holds numbers only: with e-mails and serial numbers it would be ten times
    as large.
    """
    few = sample.customers // 50
    spare = len(_SHAPES) * _BAD_FILE_STEPS
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
            SELECT position, count AS devices, position < {_STEPS} * count AS clean,
                position - {_STEPS} * count AS spare
            FROM (SELECT count(*) AS count FROM devices),
                range((SELECT {_STEPS} * count(*) + {spare} FROM devices)) AS numbers(position)
        ), placed AS (
            SELECT position, clean, if(clean, position // {_STEPS}, spare % devices) AS device,
                if(clean, position % {_STEPS}, {_STEPS} + spare // devices) AS step
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
            position * {_PHONE_READINGS} + nth AS position, json_object(
            'user', email, 'timestamp', time,
            'x', ((bits + 7 * nth) % 21 - 10) / 10,
            'y', ((bits >> (20 + 7 * nth)) % 21 - 10) / 10,
            'z', ((bits >> (41 + 7 * nth)) % 21 - 10) / 10) AS line
        FROM (SELECT *, bits('accelerations', position) AS bits FROM readings),
            range({_PHONE_READINGS}) AS numbers(nth)
    """)


# --------------------------------------------------------------------------------------------------
# Bad files


@dataclass(frozen=True)
class _BadFile:
    """The content of a bad file, and what a careful reader finds in it."""

    body: bytes
    readable: int
    unreadable: int = 0


def _spare_objects(connection: duckdb.DuckDBPyConnection, source: str) -> Iterator[list[str]]:
    """Take the JSON lines for the bad files of a source, a list for each of them."""
    size = _BAD_FILE_STEPS * (_PHONE_READINGS if source == "accelerometer" else 1)
    # Customers have no spare records: theirs are delivered again, which changes no one's latest.
    condition = "true" if source == "customer" else "file IS NULL"
    rows = connection.execute(f"""
        SELECT line FROM {source} WHERE {condition} ORDER BY position
        LIMIT {len(_SHAPES) * size}
    """).fetchall()
    lines = cycle([line for (line,) in rows])
    while True:
        yield list(islice(lines, size))


def _intact(separator: str, start: str = "", end: str = "") -> _Shape:
    """Make a shape in which every object can be read."""

    def shape(_: str, lines: list[str]) -> _BadFile:
        return _BadFile(f"{start}{separator.join(lines)}{end}".encode(), len(lines))

    return shape


def _several_on_a_line(_: str, lines: list[str]) -> _BadFile:
    ends = cycle([" ", ", ", "\n"])
    return _BadFile("".join(line + next(ends) for line in lines).encode(), len(lines))


def _empty(_: str, __: list[str]) -> _BadFile:
    return _BadFile(b"", 0)


def _cut_off(_: str, lines: list[str]) -> _BadFile:
    text = "\n".join(lines)
    return _BadFile(text[: -len(lines[-1]) // 2].encode(), len(lines) - 1, 1)


def _gzip(_: str, lines: list[str]) -> _BadFile:
    # The time in the header would make every sample differ.
    return _BadFile(gzip.compress("\n".join(lines).encode(), mtime=0), len(lines))


def _cut_off_gzip(source: str, lines: list[str]) -> _BadFile:
    whole = _gzip(source, lines).body
    body = whole[: len(whole) * 3 // 4]
    return _BadFile(body, zlib.decompressobj(wbits=31).decompress(body).count(b"}\n"), 1)


def _other_keys(_: str, lines: list[str]) -> _BadFile:
    """Reverse the keys, in three other cases, `timeStamp` among them, and add unknown ones."""
    cases: Iterator[Callable[[str], str]] = cycle(
        [str.upper, str.lower, lambda key: key[:4] + key[4:].capitalize()]
    )
    objects = [
        {"firmware": "1.4.2", "meta": {"tags": ["a}", "{b"]}}
        | {case(key): value for key, value in reversed(json.loads(line).items())}
        for line, case in zip(lines, cases, strict=False)
    ]
    return _BadFile("\n".join(map(_dump, objects)).encode(), len(lines))


def _garbage(_: str, lines: list[str]) -> _BadFile:
    """Put garbage between the objects, among it one that a crash cut off."""
    garbage = ["<html>502 Bad Gateway</html>", lines[0][: len(lines[0]) // 2], "upload failed"]
    mixed = [*lines[1:4], garbage[0], *lines[4:8], garbage[1], *lines[8:], garbage[2]]
    return _BadFile("\n".join(mixed).encode(), len(lines) - 1, len(garbage))


def _wrong_values(source: str, lines: list[str]) -> _BadFile:
    """Break the first three objects: a field missing, a time in words, NaN, which is no JSON."""
    missing, time, number = {
        "customer": ("email", "registrationDate", "lastUpdateDate"),
        "accelerometer": ("timestamp", "timestamp", "x"),
        "step_trainer": ("serialNumber", "sensorReadingTime", "distanceFromObject"),
    }[source]
    without, worded, unmeasured, *others = map(json.loads, lines)
    del without[missing]
    worded[time] = "2022-06-18T15:33:20Z"
    unmeasured[number] = float("nan")
    objects = [without, worded, unmeasured, *others]
    body = "\n".join(map(_dump, objects)).encode()
    return _BadFile(body, len(others), len(objects) - len(others))


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


_Shape = Callable[[str, list[str]], _BadFile]
_SHAPES: dict[str, _Shape] = {
    "trailing-commas.json": _intact(",\n", end=",\n"),
    "several-on-a-line.json": _several_on_a_line,
    "no-separators.json": _intact(""),
    "array.json": _intact(",\n  ", start="[\n  ", end="\n]\n"),
    "windows.json": _intact("\r\n\r\n", start="\ufeff"),
    "cut-off.json": _cut_off,
    "intact.json.gz": _gzip,
    "cut-off.json.gz": _cut_off_gzip,
    "empty.json": _empty,
    "other-keys.json": _other_keys,
    "garbage.json": _garbage,
    "wrong-values.json": _wrong_values,
}
