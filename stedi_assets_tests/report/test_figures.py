"""The numbers behind the pictures, against tables counted by hand."""

from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import ibis
import ibis.expr.types as ir
import pytest

from stedi_assets.report.charts import Theme, svg
from stedi_assets.report.figures import (
    BINS,
    BUCKETS,
    Timeline,
    histogram,
    readings_over_time,
    readings_per_person,
)

HOUR = 3_600_000
NOON = int(datetime(2023, 5, 1, 12, tzinfo=UTC).timestamp()) * 1000


def values(*numbers: float | None) -> ir.Table:
    return ibis.memtable({"v": list(numbers)}, schema={"v": "float64"})


def counted(*numbers: float | None) -> Any:
    return histogram(values(*numbers), "v", "v", "rows")


def timeline(accelerometer: list[int], step_trainer: list[int]) -> Timeline | None:
    return readings_over_time(
        ibis.memtable({"timestamp": accelerometer}, schema={"timestamp": "int64"}),
        ibis.memtable({"sensorreadingtime": step_trainer}, schema={"sensorreadingtime": "int64"}),
    )


def test_whole_numbers_have_a_bin_each() -> None:
    found = counted(1, 1, 1, 2, 4)
    assert found.bins == [(1, 1), (2, 2), (3, 3), (4, 4)]
    assert (found.counts, found.outside, found.missing) == ((3, 1, 0, 1), 0, 0)


def test_bins_hold_as_many_possible_values_each() -> None:
    tenths = counted(*(number / 10 for number in range(-10, 11)))
    assert tenths.counts == (1,) * 21
    hundred = counted(*range(100))
    assert len(hundred.counts) <= BINS
    assert set(hundred.counts[:-1]) == {3}


def test_values_without_a_step_are_counted_in_bins_of_one_width() -> None:
    found = counted(*(number / 7 for number in range(701)))
    assert len(found.counts) == BINS
    assert sum(found.counts) == 701
    assert max(found.counts) - min(found.counts) <= 1


def test_rows_without_a_value_are_told() -> None:
    found = counted(None, 3.25, None)
    assert (sum(found.counts), found.missing) == (1, 2)
    assert counted(None) is None
    assert counted() is None


def test_people_are_counted_by_their_rows() -> None:
    with_one, with_two = list(range(60)), [*range(60, 100)] * 2
    rows = ibis.memtable({"subject_id": [str(person) for person in with_one + with_two]})
    found = readings_per_person(rows)
    assert found is not None
    assert (found.bins, found.counts, found.left_out) == ([(1, 1), (2, 2)], (60, 40), False)
    few = ibis.memtable({"subject_id": [str(person) for person in with_one + [0] * 200]})
    found = readings_per_person(few)
    assert found is not None
    assert (sum(found.counts), found.outside, found.left_out) == (59, 0, True)
    assert readings_per_person(rows.limit(0)) is None


def test_outliers_are_told_and_do_not_stretch_the_picture() -> None:
    found = counted(*[1.0, 2.0, 3.0] * 200, 1e300, -123.456)
    assert (found.bins, found.counts) == ([(1, 1), (2, 2), (3, 3)], (200, 200, 200))
    assert found.outside == 2


def test_one_value_alone_has_one_bin() -> None:
    for value in (0.0, 200.0, 0.123456, -1e300):
        found = counted(value, value, value)
        assert (found.bins, found.counts) == ([pytest.approx((value, value))], (3,))
    assert counted(1.0, 1.0000000000000002).counts == (2,)


def test_the_greatest_numbers_there_are_do_not_overflow() -> None:
    found = counted(*[-1.7e308, 0.5, 1.7e308] * 10)
    assert sum(found.counts) + found.outside == 30


def test_readings_are_counted_per_hour_and_source() -> None:
    found = timeline([NOON, NOON + 1, NOON + 2 * HOUR], [NOON + HOUR - 1])
    assert found is not None
    assert found.bucket == "hour"
    assert found.edges[0] == datetime(2023, 5, 1, 12, tzinfo=UTC)
    assert found.counts == {"accelerometer": (2, 0, 1), "step trainer": (1, 0, 0)}
    assert found.outside == 0


@pytest.mark.parametrize(
    ("days", "bucket"), [(7, "hour"), (30, "day"), (400, "week"), (4_000, "3 weeks")]
)
def test_longer_spans_are_counted_in_coarser_buckets(days: int, bucket: str) -> None:
    times = [NOON + day * 24 * HOUR for day in range(days + 1)]
    found = timeline(times, [])
    assert found is not None
    assert found.bucket == bucket
    assert len(found.edges) - 1 <= BUCKETS
    assert len({later - earlier for earlier, later in pairwise(found.edges)}) == 1
    assert sum(found.counts["accelerometer"]) == len(times)


def test_days_begin_at_midnight_and_weeks_on_monday() -> None:
    for days in (30, 400):
        found = timeline([NOON, NOON + days * 24 * HOUR], [])
        assert found is not None
        assert found.edges[0] == datetime(2023, 5, 1, tzinfo=UTC)  # a Monday


def test_impossible_times_are_told_and_do_not_stretch_the_picture() -> None:
    found = timeline([NOON] * 300 + [2**62, -(2**62), 0], [])
    assert found is not None
    assert (found.bucket, found.counts["accelerometer"], found.outside) == ("hour", (300,), 3)


def test_nothing_but_impossible_times_can_be_counted() -> None:
    found = timeline([2**62, -(2**62)], [])
    assert found is not None
    assert len(found.edges) - 1 <= BUCKETS
    ElementTree.fromstring(svg(found, Theme.LIGHT))


def test_without_readings_there_is_nothing_over_time() -> None:
    assert timeline([], []) is None
