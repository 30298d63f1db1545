"""An object inside a broken one is part of it, and never a record of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from stedi_assets_tests.lakehouse.landing.records import (
    EPOCH,
    ONE,
    THREE,
    TWO,
    persons,
    raws,
    times,
)

if TYPE_CHECKING:
    from stedi_assets_tests.lakehouse.landing.conftest import Read

OLD = json.dumps({"user": "old@x.io", "timestamp": EPOCH + 7})
OLDER = json.dumps({"user": "older@x.io", "timestamp": EPOCH + 8})

BROKEN = {
    "value missing behind it": f'{{"user": "dee@x.io", "previous": {OLD}, "timestamp":}}',
    "value missing behind an array": f'{{"user": "dee@x.io", "past": [{OLD}, {OLDER}], "x":}}',
    "value missing before it": f'{{"user": "dee@x.io", "timestamp":, "previous": {OLD}}}',
    "value missing before an array": f'{{"user": "dee@x.io", "x":, "past": [{OLD},{OLDER}]}}',
    "odd value before it": f'{{"user": "dee@x.io", "x": nope, "previous": {OLD}}}',
    "odd value before an array": f'{{"user": "dee@x.io", "x": nope, "past": [{OLD}, {OLDER}]}}',
    "odd quote before it": f'{{"user": "dee@x.io", "x": "a"b", "previous": {OLD}}}',
    "odd quote before an array": f'{{"user": "dee@x.io", "x": "a"b", "past": [{OLD},{OLDER}]}}',
    "cut off behind it": f'{{"user":"dee@x.io","previous":{OLD}',
    "cut off in it": f'{{"user":"dee@x.io","previous":{OLD[:-1]}',
    "cut off behind an array's first": f'{{"user":"dee@x.io","past":[{OLD}',
    "cut off behind a comma": f'{{"user":"dee@x.io","past":[{OLD},',
    "cut off behind an array's second": f'{{"user":"dee@x.io","past":[{OLD}, {OLDER}',
    "cut off in arrays": f'{{"user":"dee@x.io","past":[[{OLD}],[{OLDER}',
    "rest of one": f'"timestamp": 5, "previous": {OLD}}}',
    "rest of one with an array": f'"timestamp": 5, "past": [{OLD}, {OLDER}]}}',
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_object_inside_a_broken_one_is_no_record(read: Read, broken: str) -> None:
    for end in ("", "\n", f"\n{TWO}\n{THREE}\n", f"\r\n{TWO}\r\n{THREE}"):
        found = read(f"{ONE}\n{broken}{end}")
        assert times(found) == ([1, 2, 3] if TWO in end else [1])
        assert raws(found) == [broken.rstrip()]


OUTER = {
    "user": "dee@x.io",
    "x": "NOPE",
    "past": [json.loads(OLD), json.loads(OLDER)],
    "previous": json.loads(OLD),
}


@pytest.mark.parametrize("indent", [1, 2, "\t"])
@pytest.mark.parametrize("order", [OUTER, dict(reversed(OUTER.items()))])
def test_pretty_printed_object_that_is_broken_is_one_reject(
    read: Read, order: dict[str, object], indent: int | str
) -> None:
    broken = json.dumps(order, indent=indent).replace('"NOPE"', "nope")
    found = read(f"{ONE}\n{broken}\n{TWO}\n")
    assert times(found) == [1, 2]
    assert raws(found) == [broken]
    found = read(f"[\n{ONE},\n{broken},\n{TWO}\n]")
    assert times(found) == [1, 2]
    assert len(raws(found)) == 1


def test_pretty_printed_object_that_is_cut_off_gives_no_record(read: Read) -> None:
    whole = json.dumps(OUTER, indent=2)
    for end in range(1, len(whole)):
        assert times(read(whole[:end])) == []


def test_cut_off_line_is_one_reject_and_the_next_line_a_record(read: Read) -> None:
    for cut in ('{"a":', '{"a": ', '{"user": "dee@x.io", "timestamp":', '{"a":[', '{"a":[1,'):
        for end in ("", "\n", f"\n{THREE}", f"\n\n{THREE}\n"):
            found = read(f"{ONE}\n{cut}\n{TWO}{end}")
            assert times(found) == ([1, 2, 3] if THREE in end else [1, 2])
            assert raws(found) == [cut.rstrip()]


def test_cut_off_line_of_a_file_with_commas_costs_no_neighbour(read: Read) -> None:
    for cut in ('{"a":', '{"a":[', '{"a":[1', '{"a":{"b":'):
        found = read(f"[\n{ONE},\n{cut}\n{TWO},\n{THREE}\n]\n")
        assert times(found) == [1, 2, 3]
        assert raws(found) == [cut]


def test_value_on_a_line_of_its_own_is_no_record(read: Read) -> None:
    broken = f'{{"user": "dee@x.io",\n"previous":\n{OLD},\n"timestamp": nope}}'
    assert times(read(f"{ONE}\n{broken}\n{TWO}\n")) == [1, 2]
    broken = f'{{"user": "dee@x.io", "past": [\n{OLD},\n{OLDER}\n], "timestamp": nope}}'
    assert times(read(f"{ONE}\n{broken}\n{TWO}\n")) == [1, 2]


def test_each_bad_line_counts_once(read: Read) -> None:
    bad = ["x", '{"user":', '{"user": "dee@x.io", "x": nope}', "{oops} {oops}", "y", '{"a":[']
    found = read("".join(f"{line}\n" for line in bad) + f"{TWO}\n{THREE}\n")
    assert times(found) == [2, 3]
    assert raws(found) == bad


def test_record_behind_a_cut_off_one_in_its_line_is_read(read: Read) -> None:
    for cut in ('{"user":"a","la', '{"user":"a","note":"b', '{"user":"a",', '{"user":"a"', '{"us'):
        found = read(f"{cut}{ONE}\n{TWO}")
        assert times(found) == [1, 2]
        assert raws(found) == [cut]


def test_good_records_on_a_bad_line_are_read(read: Read) -> None:
    found = read(f"{ONE[:-9]}{ONE}, {TWO[:-9]}{TWO} oops\n{THREE}")
    assert times(found) == [1, 2, 3]
    assert raws(found) == [ONE[:-9].rstrip(), TWO[:-9].rstrip(), "oops"]


def test_whose_a_broken_object_is_does_not_depend_on_what_is_inside(read: Read) -> None:
    found = read(f'{{"user":"dee@x.io","previous":{OLD}')
    assert persons(found) == ["dee@x.io\x1fold@x.io"]
