"""What some objects of a landing file look like, without a value of theirs."""

import json

import pyarrow as pa
import pytest

from stedi_assets.lakehouse.landing.lines import read_lines
from stedi_assets.lakehouse.landing.profile import Profile, Profiler, name_of_key
from stedi_assets.lakehouse.landing.rows import Rows
from stedi_assets.lakehouse.landing.shapes import Matchers
from stedi_assets.lakehouse.table import Table
from stedi_assets_tests.lakehouse.landing.records import EPOCH, LANDED_AT, blocks_of, reading


def of_lines(lines: list[str], table: Table) -> Profile:
    profiler = Profiler(table, LANDED_AT)
    profiler.look_at_lines(pa.array(lines))
    profile = profiler.profile()
    assert profile
    return profile


def test_keys_values_and_age_are_counted(tables: dict[str, Table]) -> None:
    lines = [
        reading(timestamp=LANDED_AT - 1_000),
        reading(timestamp=str(LANDED_AT - 2_000), z=None, Steps=3),
        reading(timestamp=LANDED_AT - 9_000, z="  ", x=...),
    ]
    assert of_lines(lines, tables["accelerometer_landing"]) == Profile(
        objects=3,
        age=2_000,
        keys={
            "user": (3, 3),
            "timestamp": (3, 3),
            "x": (2, 2),
            "y": (3, 3),
            "z": (3, 1),
            "steps": (1, 1),
        },
    )


def test_zero_as_a_share_date_is_no_value(tables: dict[str, Table]) -> None:
    line = json.dumps({"email": "ann@x.io", "shareWithResearchAsOfDate": 0, "birthday": 0})
    keys = of_lines([line], tables["customer_landing"]).keys
    assert (keys["sharewithresearchasofdate"], keys["birthday"]) == ((1, 0), (1, 1))


def test_a_ledger_keeps_it_as_text(tables: dict[str, Table]) -> None:
    profile = of_lines([reading()], tables["accelerometer_landing"])
    assert Profile.read(profile.text()) == profile


def test_of_many_objects_the_same_share_is_looked_at(tables: dict[str, Table]) -> None:
    """Also where they come in parts of different lengths, as of plain and odd lines."""
    profiler = Profiler(tables["accelerometer_landing"], LANDED_AT)
    for part in range(100):
        odd = part % 10 == 0
        profiler.look_at_lines(pa.array([reading(odd=1) if odd else reading()] * 97))
        profiler.look_at([("user", "ann@x.io")])
    profile = profiler.profile()
    assert profile
    assert 200 <= profile.objects < 400
    assert profile.keys["odd"][0] / profile.objects == pytest.approx(0.1, abs=0.02)


@pytest.mark.parametrize("text", ["{}\n{}\n", "[{},{}]", "{}\n \n{}", "oops{}{}"])
def test_whoever_reads_an_object_it_is_looked_at(text: str, tables: dict[str, Table]) -> None:
    table = tables["accelerometer_landing"]
    content = text.replace("{}", reading())
    rows, matchers = Rows(table, LANDED_AT), Matchers(table, LANDED_AT)
    profiler = rows.profiler = Profiler(table, LANDED_AT)
    for item in read_lines(blocks_of(content), rows, matchers):
        if hasattr(item, "lines"):
            profiler.look_at_lines(item.lines)
    profile = profiler.profile()
    assert profile
    assert (profile.objects, profile.age) == (2, LANDED_AT - EPOCH - 1)


def test_without_a_readable_object_there_is_no_profile(tables: dict[str, Table]) -> None:
    assert Profiler(tables["accelerometer_landing"], LANDED_AT).profile() is None


@pytest.mark.parametrize("key", ["x", "timestamp", "share_with.research-2", "größe", "步数"])
def test_names_of_fields_are_shown(key: str) -> None:
    assert name_of_key(key) == key


@pytest.mark.parametrize(
    "key",
    [
        "ann@x.io",
        "ann\uff20x.io",
        "+49 170 1234567",
        "Ann Doe",
        "sn12345",
        "x" * 41,
        "a\x1b[31mb",
        "a\u202eb",
        "\ud800",
        "",
        "0171",
    ],
)
def test_what_may_be_a_person_or_harm_a_terminal_is_not_shown(key: str) -> None:
    assert name_of_key(key) == "•••"


def test_few_keys_are_kept(tables: dict[str, Table]) -> None:
    many = reading(**{f"k{chr(97 + n // 26)}{chr(97 + n % 26)}": n for n in range(300)})
    profile = of_lines([many, reading()], tables["accelerometer_landing"])
    assert len(profile.keys) == 50
    assert "timestamp" in profile.keys
