"""The numbers behind each picture: counts that the engine makes, and nothing of a single person."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import ibis
import ibis.expr.types as ir

BINS = 40
"""Bins of a histogram, at most."""

BUCKETS = 200
"""Buckets of a timeline, at most."""

SMALLEST_GROUP = 5
"""People of whom a count is shown: fewer might be recognized."""

_PER_BIN = 25
"""People that a bin has on average, at least; so that few bins are too small to be shown."""

_DIGITS = (0, 1, 2)
_FINE = 1e9  # greater numbers are hardly told apart by their digits

_HOUR = timedelta(hours=1)
_DAY = timedelta(days=1)
_WEEK = timedelta(weeks=1)
_MONDAY = datetime(1970, 1, 5, tzinfo=UTC)  # where hours, days and weeks all begin
_EARLIEST, _LATEST = datetime(1000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Bars:
    """How many there are of each of a few kinds.

    Attributes:
        unit: What is counted.
        counts: The number of each kind; None if so few are not shown.
    """

    unit: str
    counts: Mapping[str, int | None]

    @classmethod
    def of_people(cls, unit: str, counts: Mapping[str, int]) -> "Bars":
        """Of people or what belongs to them: numbers below SMALLEST_GROUP are not shown."""
        return cls(unit, {kind: None if _is_small(n) else n for kind, n in counts.items()})


@dataclass(frozen=True)
class Histogram:
    """How often a quantity has which value.

    Attributes:
        quantity: What the values are.
        unit: What is counted.
        edges: Where the bins begin and the last one ends; one more than there are counts.
        outside: Number of values that lie outside the bins, far from all others.
        missing: Number of rows without a value.
        grain: What all values are multiples of, such as 1 or 0.1; 0 where there is no such step.
        left_out: Whether there are values that are not shown, as so few people have them.
    """

    quantity: str
    unit: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    outside: int
    missing: int
    grain: float
    left_out: bool = False

    @property
    def bins(self) -> list[tuple[float, float]]:
        """The least and the greatest value that belong into each bin."""
        half = self.grain / 2
        return [(low + half, high - half) for low, high in pairwise(self.edges)]


@dataclass(frozen=True)
class Timeline:
    """How many readings each source has over time.

    Attributes:
        bucket: How long a bucket is, in words.
        edges: When the buckets begin and the last one ends; one more than there are counts.
        counts: Of each source, the number of readings in each bucket.
        outside: Number of readings that lie outside, far from all others.
    """

    bucket: str
    edges: tuple[datetime, ...]
    counts: Mapping[str, tuple[int, ...]]
    outside: int


@dataclass(frozen=True)
class History:
    """How many rows a table had after each of the last refreshes that published it."""

    published: tuple[datetime, ...]
    rows: tuple[int, ...]


Numbers = Bars | Histogram | Timeline | History


def consent_funnel(
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
    customers_curated: ir.Table,
    device_ownership: ir.Table,
    machine_learning_curated: ir.Table,
) -> Bars:
    """How many people there are at each step from customer to training set."""
    with_device = customers_curated.semi_join(device_ownership, "email")
    steps = {
        "customers": customer_landing.person.nunique(),
        "consenting": customer_trusted.count(),
        "with readings": customers_curated.count(),
        "with a proven device": with_device.count(),
        "in the training set": machine_learning_curated.subject_id.nunique(),
    }
    return Bars.of_people("people", {step: _number(people) for step, people in steps.items()})


def readings_per_person(machine_learning_curated: ir.Table) -> Histogram | None:
    """How many rows of the training set people have; None where it is empty.

    Bins with fewer than SMALLEST_GROUP people are left empty.
    """
    people = machine_learning_curated.group_by("subject_id").agg(rows=ibis._.count())
    most = min(BINS, max(1, _number(people.count()) // _PER_BIN))
    exact = histogram(people, "rows", "rows of a person", "people", most)
    if exact is None:
        return None
    shown = tuple(0 if _is_small(count) else count for count in exact.counts)
    outside = 0 if _is_small(exact.outside) else exact.outside
    left_out = (shown, outside) != (exact.counts, exact.outside)
    return replace(exact, counts=shown, outside=outside, left_out=left_out)


def _is_small(people: int) -> bool:
    return 0 < people < SMALLEST_GROUP


def histogram(
    table: ir.Table, column: str, quantity: str, unit: str, most: int = BINS
) -> Histogram | None:
    """How often a column has which value, in so many bins at most; None where it has none."""
    values = table.select(value=table[column])
    totals = _row(values.agg(rows=values.count(), present=values.value.count()))
    if not totals["present"]:
        return None
    near, low, high = _without_outliers(values)
    edges, grain = _bins(near, low, high, most)
    counts = _counts_in_bins(near, edges)
    present = totals["present"]
    outside, missing = present - sum(counts), totals["rows"] - present
    return Histogram(quantity, unit, edges, counts, outside, missing, grain)


def readings_over_time(
    accelerometer_landing: ir.Table, step_trainer_landing: ir.Table
) -> Timeline | None:
    """How many readings each source has per hour, day or weeks; None where there are none."""
    times = {
        "accelerometer": accelerometer_landing.select(value="timestamp"),
        "step trainer": step_trainer_landing.select(value="sensorreadingtime"),
    }
    both = ibis.union(*times.values())
    readings = _number(both.count())
    if not readings:
        return None
    _, low, high = _without_outliers(both)
    bucket, edges = _buckets(_moment(low), _moment(high))
    limits = tuple(edge.timestamp() * 1000 for edge in edges)
    counts = {
        source: _counts_in_bins(
            table.filter(table.value >= int(limits[0]), table.value < int(limits[-1])), limits
        )
        for source, table in times.items()
    }
    return Timeline(bucket, edges, counts, readings - sum(map(sum, counts.values())))


def _number(expression: ir.IntegerScalar) -> int:
    return int(expression.to_pyarrow().as_py())


def _row(aggregates: ir.Table) -> dict[str, Any]:
    [row] = aggregates.to_pyarrow().to_pylist()
    return dict(row)


def _without_outliers(values: ir.Table) -> tuple[ir.Table, float, float]:
    """The values without those far from nearly all others; the least and greatest of them."""
    first, last = values.value.quantile(0.01), values.value.quantile(0.99)
    least, greatest = values.value.min(), values.value.max()
    row = _row(values.agg(first=first, last=last, least=least, greatest=greatest))
    span = row["last"] - row["first"]
    # In this order a span that is NaN, as of the greatest doubles there are, is ignored.
    low = max(row["least"], row["first"] - span)
    high = min(row["greatest"], row["last"] + span)
    near = values.filter(values.value.between(low, high))
    row = _row(near.agg(low=near.value.min(), high=near.value.max()))
    return near, row["low"], row["high"]


def _bins(values: ir.Table, low: float, high: float, most: int) -> tuple[tuple[float, ...], float]:
    """Edges of bins, and what all values are multiples of."""
    nothing = abs(high) * 1e-9
    if high - low <= nothing:
        half = max(0.5, nothing)
        return (low - half, low + half), 2 * half
    grain = _grain(values) if max(-low, high) < _FINE else 0.0
    if not grain:
        shares = [number / most for number in range(most + 1)]
        # Not from their difference: that of two doubles may be infinite.
        return tuple(low * (1 - share) + high * share for share in shares), grain
    # If edges were values, some bins would hold more values than others by chance.
    first, last = round(low / grain), round(high / grain)
    width = math.ceil((last - first + 1) / most)
    bins = math.ceil((last - first + 1) / width)
    return tuple((first + width * number - 0.5) * grain for number in range(bins + 1)), grain


def _grain(values: ir.Table) -> float:
    rounded = {f"{d}": (values.value.round(d) == values.value).all() for d in _DIGITS}
    row = _row(values.agg(**rounded))
    return next((10.0**-d for d in _DIGITS if row[f"{d}"]), 0.0)


def _counts_in_bins(values: ir.Table, edges: tuple[float, ...]) -> tuple[int, ...]:
    """Values in each bin; all lie within the edges, which are equally far apart."""
    width, bins = edges[1] - edges[0], len(edges) - 1
    number = ((values.value / width) - edges[0] / width).floor().cast("int64")
    counts = values.group_by(bin=number.clip(0, bins - 1)).agg(rows=ibis._.count())
    by_bin = {row["bin"]: row["rows"] for row in counts.to_pyarrow().to_pylist()}
    return tuple(by_bin.get(number, 0) for number in range(bins))


def _moment(milliseconds: float) -> datetime:
    earliest, latest = _EARLIEST.timestamp() * 1000, _LATEST.timestamp() * 1000
    within = min(max(milliseconds, earliest), latest)
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=within)


def _buckets(first: datetime, last: datetime) -> tuple[str, tuple[datetime, ...]]:
    """The finest buckets of which there are at most BUCKETS, with their edges."""
    span = last - first
    weeks = span // (_WEEK * (BUCKETS - 1)) + 1  # the first and the last may be parts
    name, width = next(
        (name, width)
        for name, width in (
            ("hour", _HOUR),
            ("day", _DAY),
            ("week" if weeks == 1 else f"{weeks} weeks", _WEEK * weeks),
        )
        if span / width < BUCKETS - 1 or width >= _WEEK
    )
    start = _MONDAY + (first - _MONDAY) // width * width
    number = (last - start) // width + 1
    return name, tuple(start + width * edge for edge in range(number + 1))
