"""The files in every known bad shape."""

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import duckdb

from stedi_assets.sample.options import PHONE_READINGS

BAD_FILE_STEPS = 12
"""Steps in each bad file: few enough that the devices they extend stay recognisable."""


@dataclass(frozen=True)
class BadFile:
    """The content of a bad file, and what a careful reader finds in it."""

    body: bytes
    readable: int
    unreadable: int = 0


Shape = Callable[[str, list[str]], BadFile]
"""Makes a bad file of a source's JSON lines."""


def spare_objects(connection: duckdb.DuckDBPyConnection, source: str) -> Iterator[list[str]]:
    """Take the JSON lines for the bad files of a source, a list for each of them."""
    size = BAD_FILE_STEPS * (PHONE_READINGS if source == "accelerometer" else 1)
    # Customers have no spare records: theirs are delivered again, so that nobody's latest changes.
    condition = "true" if source == "customer" else "file IS NULL"
    rows = connection.execute(f"""
        SELECT line FROM {source} WHERE {condition} ORDER BY position
        LIMIT {len(SHAPES) * size}
    """).fetchall()
    lines = cycle([line for (line,) in rows])
    while True:
        yield list(islice(lines, size))


def _intact(separator: str, start: str = "", end: str = "") -> Shape:
    """Make a shape in which every object can be read."""

    def shape(_: str, lines: list[str]) -> BadFile:
        return BadFile(f"{start}{separator.join(lines)}{end}".encode(), len(lines))

    return shape


def _several_on_a_line(_: str, lines: list[str]) -> BadFile:
    ends = cycle([" ", ", ", "\n"])
    return BadFile("".join(line + next(ends) for line in lines).encode(), len(lines))


def _empty(_: str, __: list[str]) -> BadFile:
    return BadFile(b"", 0)


def _cut_off(_: str, lines: list[str]) -> BadFile:
    text = "\n".join(lines)
    return BadFile(text[: -len(lines[-1]) // 2].encode(), len(lines) - 1, 1)


def _gzip(_: str, lines: list[str]) -> BadFile:
    # The time in the header would make every sample differ.
    return BadFile(gzip.compress("\n".join(lines).encode(), mtime=0), len(lines))


def _cut_off_gzip(source: str, lines: list[str]) -> BadFile:
    whole = _gzip(source, lines).body
    body = whole[: len(whole) * 3 // 4]
    return BadFile(body, zlib.decompressobj(wbits=31).decompress(body).count(b"}\n"), 1)


def _other_keys(_: str, lines: list[str]) -> BadFile:
    """Reverse the keys, in three other cases, `timeStamp` among them, and add unknown ones."""
    cases: Iterator[Callable[[str], str]] = cycle(
        [str.upper, str.lower, lambda key: key[:4] + key[4:].capitalize()]
    )
    objects = [
        {"firmware": "1.4.2", "meta": {"tags": ["a}", "{b"]}}
        | {case(key): value for key, value in reversed(json.loads(line).items())}
        for line, case in zip(lines, cases, strict=False)
    ]
    return BadFile("\n".join(map(_dump, objects)).encode(), len(lines))


def _garbage(_: str, lines: list[str]) -> BadFile:
    """Put garbage between the objects, among it one that a crash cut off."""
    garbage = ["<html>502 Bad Gateway</html>", lines[0][: len(lines[0]) // 2], "upload failed"]
    mixed = [*lines[1:4], garbage[0], *lines[4:8], garbage[1], *lines[8:], garbage[2]]
    return BadFile("\n".join(mixed).encode(), len(lines) - 1, len(garbage))


def _wrong_values(source: str, lines: list[str]) -> BadFile:
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
    return BadFile(body, len(others), len(objects) - len(others))


def _dump(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


SHAPES: dict[str, Shape] = {
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
