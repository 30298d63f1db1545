"""The engine's quick way through clean JSON lines and the tolerant reader's way give the same."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from stedi_assets.lakehouse.reader import LandingReader
from stedi_assets.lakehouse.tolerant import Unreadable, read_objects

from stedi_assets.lakehouse.ledger import LandingFolder
from stedi_assets_tests.lakehouse.conftest import storage_in
from stedi_assets_tests.support import on_this_machine

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from stedi_assets.lakehouse.embedded import DuckDBEngine
    from stedi_assets.lakehouse.table import Table

Rows = Counter[str]
Tables = dict[str, "Table"]

CLEAN = {
    "customer": {
        "serialNumber": "s",
        "shareWithPublicAsOfDate": 1,
        "birthDay": "967-01-01",
        "registrationDate": 2,
        "shareWithResearchAsOfDate": 3,
        "customerName": "Ann",
        "email": "ann@x.io",
        "lastUpdateDate": 4,
        "phone": "1",
        "shareWithFriendsAsOfDate": 5,
    },
    "accelerometer": {"user": "ann@x.io", "timestamp": 1, "x": 0.5, "y": -1.0, "z": 2.0},
    "step_trainer": {"sensorReadingTime": 1, "serialNumber": "s", "distanceFromObject": 7.5},
}
File = tuple[bool, list[str]]
"""Whether clean lines go before, and the lines."""


class Landing:
    """A landing folder, and both ways to read it."""

    def __init__(self, root: Path, engine: DuckDBEngine, tables: Tables, source: str) -> None:
        self.root, self.engine, self.source = root, engine, source
        self.storage = storage_in(root)
        self.folder = LandingFolder(str(root), self.storage)
        self.table, self.quarantine = tables[f"{source}_landing"], tables["quarantine"]
        self.columns = [c for c in self.table.columns if c.name != "source_file"]

    def write(self, files: Mapping[str, bytes]) -> None:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    def parse(self, files: Mapping[str, bytes]) -> tuple[Rows, dict[str, int]]:
        """Rows and number of rejects of each file, by the reader."""
        self.write(files)
        reader = LandingReader(self.engine, self.folder, self.source, self.table, self.quarantine)
        contents = dict(zip(files, self.folder.examine(list(files)), strict=True))
        out = str(self.root / "out")
        parsed = reader.parse(contents, out, f"{out}-rejects")
        rows = Counter(_text(row) for path in parsed.rows for row in self._parquet(path))
        assert sum(counts.rows for counts in parsed.counts.values()) == rows.total()
        for counts in parsed.counts.values():
            assert counts.objects == counts.rows + counts.quarantined
        rejects = self._parquet(parsed.rejects) if parsed.rejects else []
        by_file = Counter(reject["source_file"] for reject in rejects)
        assert {name: by_file[name] for name in files} == {
            name: parsed.counts[name].quarantined for name in files
        }
        return rows, dict(by_file)

    def _parquet(self, path: str) -> list[dict[str, Any]]:
        with self.storage.io.new_input(path).open() as file:
            return pq.read_table(file).to_pylist()

    def read(self, files: Mapping[str, bytes]) -> tuple[Rows, dict[str, int]]:
        """The same by the tolerant reader."""
        self.write(files)
        rows: Rows = Counter()
        rejects: Counter[str] = Counter()
        for name in files:
            blocks = self.folder.blocks(name)
            for found in read_objects(blocks, tuple(self.columns), self.table.one_of):
                if isinstance(found, Unreadable):
                    rejects[name] += 1
                else:
                    names = [c.name for c in self.columns]
                    row = dict(zip(names, found, strict=True))
                    rows[_text(row | {"source_file": name})] += 1
        return rows, dict(rejects)


def _text(row: Mapping[str, Any]) -> str:
    """A row as text, with zero as zero whatever its sign."""
    values = {k: v + 0.0 if isinstance(v, float) else v for k, v in row.items()}
    return json.dumps(values, sort_keys=True)


@pytest.fixture
def accelerometer(folder: Path, engine: DuckDBEngine, tables: Tables) -> Landing:
    return Landing(folder, engine, tables, "accelerometer")


def lines(*objects: str | Mapping[str, Any]) -> bytes:
    """A file of JSON lines; a text is a line as it is."""
    texts = (o if isinstance(o, str) else json.dumps(o) for o in objects)
    return "".join(text + "\n" for text in texts).encode(errors="surrogateescape")


def behind(first: Mapping[str, Any], *objects: str | Mapping[str, Any]) -> bytes:
    """The same, behind more clean lines than the reader looks at before it chooses the way."""
    return lines(first, {**first, "padding": "p" * (1 << 16)}, *objects)


# Random files

NUMBERS = st.sampled_from(
    [
        "0",
        "-0",
        "-0.0",
        "1.0",
        "3.7",
        "1e3",
        "1E3",
        "1E+2",
        "-1e-3",
        "10E-1",
        "0e5",
        "9223372036854775807",
        "-9223372036854775808",
        "9223372036854775808",
        "-9223372036854775809",
        "18446744073709551616",
        "9007199254740993",
        "1" + "0" * 30,
        "1" + "0" * 400,
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "1e400",
        "-1E999",
        "1e-400",
        "4.9e-324",
        "123456789.123456789123456789",
        "NaN",
        "Infinity",
        "-Infinity",
    ]
)
TEXTS = st.sampled_from(
    [
        '"1"',
        '"1.5"',
        '"null"',
        '"{}"',
        r'"{\"x\": 1}"',
        '""',
        '" "',
        r'" \t\r\n"',
        r'"\u000b\f"',
        '"\u00a0"',
        r'"\u00a0"',
        '"\u200b"',
        '"\u2028"',
        r'"\u0000"',
        r'"a\u0000b"',
        r'"\"\\\/"',
        r'"\ud83d\ude00"',
        r'"\ud83d"',
        r'"\ude00x"',
        '"\\\\u0041"',
        '"\'"',
        '"%s"',
        '"e\u0301"',
        '"\ufeff"',
        '"\x7f"',
    ]
)
ANY_TEXT = st.builds(
    json.dumps,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    ensure_ascii=st.booleans(),
)
OTHERS = st.sampled_from(
    [
        "null",
        "true",
        "false",
        "[]",
        "{}",
        "[1]",
        "[null, {}]",
        '{"x": 1}',
        '{"user": "bob", "timestamp": 5}',
        '{"email": "bob", "serialNumber": "q", "sensorReadingTime": 5}',
    ]
)
VALUES = st.one_of(
    NUMBERS,
    TEXTS,
    OTHERS,
    ANY_TEXT,
    st.integers().map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)
EXTRA_KEYS = ("serialnumber", "user", "source_file", "filename", "Extra", "", "é", 'a"b', "a'b")
SPELLINGS = (str, str, str, str.lower, str.upper, str.title)


@st.composite
def json_objects(draw: st.DrawFn, source: str) -> str:
    """An object like the source's, with a few keys left out, respelled or added."""
    fields = [(key, json.dumps(value)) for key, value in CLEAN[source].items()]
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(fields)))
        key = draw(st.sampled_from([*CLEAN[source], *EXTRA_KEYS]))
        fields.insert(place, (draw(st.sampled_from(SPELLINGS))(key), draw(VALUES)))
    for place in draw(st.sets(st.integers(0, len(fields) - 1), max_size=2)):
        key, value = fields[place]
        fields[place] = (draw(st.sampled_from(SPELLINGS))(key), draw(st.just(value) | VALUES))
    for place in sorted(draw(st.sets(st.integers(0, len(fields) - 1), max_size=2)), reverse=True):
        del fields[place]
    if draw(st.booleans()):
        fields = draw(st.permutations(fields))
    # Of a key that is repeated either value may count: JSON leaves it open.
    once = {key.lower(): (key, value) for key, value in fields}.values()
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in once) + "}"


@st.composite
def drawn_files(draw: st.DrawFn) -> tuple[str, list[File]]:
    """Two files of one source."""
    source = draw(st.sampled_from([*CLEAN]))
    file = st.tuples(st.booleans(), st.lists(json_objects(source), max_size=5))
    return source, draw(st.lists(file, min_size=2, max_size=2))


@on_this_machine
@settings(max_examples=150, deadline=None)
@given(drawn=drawn_files())
@example(
    drawn=(
        "customer",
        [(False, ['{"email": "a", "phone": "1"}']), (False, ['{"EMAIL": "a", "Phone": "1"}'])],
    )
)
@example(drawn=("accelerometer", [(False, ['{"user": "a", "timestamp": 1E3}']), (False, [])]))
def test_both_ways_give_the_same_rows_and_rejects(
    new_folder: Callable[[], Path],
    engine: DuckDBEngine,
    tables: Tables,
    drawn: tuple[str, list[File]],
) -> None:
    source, drawn_contents = drawn
    files = {
        f"{number}.json": behind(CLEAN[source], *objects) if is_behind else lines(*objects)
        for number, (is_behind, objects) in enumerate(drawn_contents)
    }
    landing = Landing(new_folder(), engine, tables, source)
    assert landing.parse(files) == landing.read(files)


# Surprises behind what the reader looks at first

USER = CLEAN["accelerometer"]
SERIAL = {"serialnumber": "s", "timestamp": 1, "x": 0.5, "y": -1.0, "z": 2.0}
SURPRISES = {
    "two objects": json.dumps(USER) * 2,
    "two objects, blank line": json.dumps(USER) * 2 + "\n",
    "array": json.dumps([USER, USER]),
    "pretty-printed": json.dumps(USER, indent=2),
    "other spelling": '{"User": "ann@x.io", "timeStamp": 5, "X": 3}',
    "byte order mark": "\ufeff" + json.dumps(USER),
    "garbage": "garbage",
    "number": "5",
    "text": '"text"',
    "null": "null",
    "empty object": "{}",
    "empty array": "[]",
    "lone surrogate": json.dumps(USER | {"user": "\ud83d"}),
    "invalid UTF-8": json.dumps(USER)[:-1] + ', "note": "\udcff"}',
    "null byte": "\0",
}


@pytest.mark.parametrize("line", SURPRISES.values(), ids=SURPRISES.keys())
def test_line_behind_the_first_is_read_as_if_it_were_the_first(
    accelerometer: Landing, line: str
) -> None:
    file = {"a.json": behind(USER, line)}
    assert accelerometer.parse(file) == accelerometer.read(file)


def test_user_goes_before_the_serial_number_though_earlier_lines_have_none(
    accelerometer: Landing,
) -> None:
    file = {"a.json": behind(SERIAL, json.dumps(USER | SERIAL))}
    assert accelerometer.parse(file) == accelerometer.read(file)


IDENTITIES = ['"123"', '"true"', '"1e5"', '"[a"', '"{a"', '"NaN"', "NaN", "-Infinity", "5", "{}"]


@pytest.mark.parametrize("identity", IDENTITIES)
def test_text_that_looks_like_another_value_is_a_text_and_no_other_value_is(
    accelerometer: Landing, identity: str
) -> None:
    by_user = f'{{"user": {identity}, "timestamp": 1}}'
    by_either = f'{{"user": {identity}, "serialnumber": "s", "timestamp": 1}}'
    files = {"a.json": lines(by_user, by_user), "b.json": lines(by_either, by_either)}
    assert accelerometer.parse(files) == accelerometer.read(files)


def test_deep_nesting_in_the_first_lines_is_quarantined(accelerometer: Landing) -> None:
    deep = '{"user": "a", "timestamp": 1, "note": ' + "[" * 20_000 + "]" * 20_000 + "}"
    rows, rejects = accelerometer.parse({"a.json": lines(USER, deep, USER)})
    assert (rows.total(), rejects) == (2, {"a.json": 1})


# Many files at once


def test_one_awkward_file_changes_nothing_about_its_neighbours(accelerometer: Landing) -> None:
    named = {f"{i}.json": lines(*[USER | {"timestamp": i}] * 3) for i in range(7)}
    named["pretty.json"] = json.dumps(USER, indent=2).encode()
    named["late.json"] = behind(USER, json.dumps(USER, indent=2))
    named["bad.json"] = lines(USER, "garbage", USER)
    named["spelled.json"] = lines({key.upper(): value for key, value in USER.items()})
    named["array.json"] = json.dumps([USER, USER]).encode()
    named["packed.json.gz"] = gzip.compress(lines(USER, USER))
    named["cut.json.gz"] = gzip.compress(lines(USER, USER))[:-9]
    named["empty.json"] = b""
    named["empty.json.gz"] = gzip.compress(b"")
    rows, rejects = accelerometer.parse(named)
    assert (rows, rejects) == accelerometer.read(named)
    by_file = Counter(json.loads(row)["source_file"] for row in rows.elements())
    assert by_file == {f"{i}.json": 3 for i in range(7)} | {
        "pretty.json": 1,
        "late.json": 3,
        "bad.json": 2,
        "spelled.json": 1,
        "array.json": 2,
        "packed.json.gz": 2,
        "cut.json.gz": by_file["cut.json.gz"],
    }
    assert rejects == {"bad.json": 1, "cut.json.gz": 1}


NAMES = (
    "with space.json",
    "ünïcødé 日本.json",
    "day=2024-01-01/part.json",
    "[1].json",
    "part*.json",
    "part?.json",
    "it's.json",
    'say "hi".json',
    "{a,b}.json",
    "back\\slash.json",
    "100%25.json",
    "a#b.json",
    "UPPER.JSON",
    "packed.JSON.GZ",
)


@pytest.mark.parametrize("name", NAMES)
def test_file_is_read_once_whatever_its_name(accelerometer: Landing, name: str) -> None:
    content = lines(USER, USER)
    others = {"1.json": lines(USER), "part1.json": lines(USER), "a.json": lines(USER)}
    if name.endswith(".GZ"):
        content = gzip.compress(content)
    rows, rejects = accelerometer.parse({name: content, **others})
    assert Counter(json.loads(row)["source_file"] for row in rows.elements()) == {
        name: 2,
        "1.json": 1,
        "part1.json": 1,
        "a.json": 1,
    }
    assert not rejects
