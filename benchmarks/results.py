"""What was measured, and the numbers drawn from it: ratios with their bounds, and growth."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from statistics import linear_regression, median
from typing import TYPE_CHECKING, Any, Literal

from benchmarks.sides import (
    AGAIN,
    AUDIT,
    BARE,
    GLUE,
    NEW_FILES,
    ON_S3,
    REFRESH,
    SHARED,
    SPARK,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.measure import Run

Round = dict[str, "Run"]


@dataclass
class Size:
    """What was measured at a size.

    Attributes:
        customers: Customers of the sample.
        landing_bytes: Bytes of its landing files.
        rounds: Each round's runs by name.
        failures: What could not be measured, and why; it has no run in that round and those after.
    """

    customers: int
    landing_bytes: int
    rounds: list[Round] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def median(self, name: str, quantity: Callable[[Run], float]) -> float | None:
        """Median over the rounds of a quantity of the runs of a name; nothing where it has none."""
        values = [quantity(runs[name]) for runs in self.rounds if name in runs]
        return median(values) if values else None

    def plain(self) -> dict[str, Any]:
        """As plain data, without what the commands printed."""
        plain = asdict(self)
        for run in (run for runs in plain["rounds"] for run in runs.values()):
            del run["output"]
        return plain


@dataclass(frozen=True)
class Bound:
    """What a number is asked to be, at least or at most."""

    limit: float
    kind: Literal["at most", "at least"] = "at most"

    def reached(self, value: float) -> bool:
        """Whether a value is within the bound."""
        return value <= self.limit if self.kind == "at most" else value >= self.limit

    def __str__(self) -> str:
        """As a phrase, such as `at most 2`."""
        return f"{self.kind} {self.limit:g}"


@dataclass(frozen=True)
class Ratio:
    """A number of a round that means something on other machines, too.

    Attributes:
        name: What is divided by what.
        of: The number; a KeyError says that it was not measured.
        bound: What it is asked to be.
        only_at: The one size, in customers, at which the bound is asked; every size where absent.
    """

    name: str
    of: Callable[[Round], float]
    bound: Bound | None = None
    only_at: int | None = None

    def values(self, size: Size) -> list[float]:
        """The number in each round that has it."""
        found = []
        for runs in size.rounds:
            try:
                found.append(self.of(runs))
            except KeyError:
                continue
        return found

    def bound_at(self, size: Size) -> Bound | None:
        """What the number is asked to be at a size."""
        return self.bound if self.only_at in (None, size.customers) else None


def _time(name: str, other: str) -> Callable[[Round], float]:
    return lambda runs: runs[name].seconds / runs[other].seconds


RATIOS = (
    Ratio(f"{REFRESH} : {BARE}", _time(REFRESH, BARE), Bound(1.3)),
    Ratio(f"{GLUE} : {REFRESH}", _time(GLUE, REFRESH), Bound(6, "at least")),
    Ratio(f"{SPARK} : {REFRESH}", _time(SPARK, REFRESH)),
    Ratio(f"{NEW_FILES} : {REFRESH}", _time(NEW_FILES, REFRESH), Bound(0.35)),
    Ratio(f"{AGAIN} : {REFRESH}", _time(AGAIN, REFRESH)),
    Ratio(f"{SHARED} : {REFRESH}", _time(SHARED, REFRESH), Bound(2)),
    Ratio(f"audits : {REFRESH}", lambda runs: runs[REFRESH].parts[AUDIT] / runs[REFRESH].seconds),
    Ratio(f"{ON_S3} : {REFRESH}", _time(ON_S3, REFRESH)),
    Ratio(
        f"{REFRESH} : {BARE}, CPU time",
        lambda runs: runs[REFRESH].cpu_seconds / runs[BARE].cpu_seconds,
    ),
    Ratio(
        f"{REFRESH} : {BARE}, peak memory",
        lambda runs: runs[REFRESH].megabytes / runs[BARE].megabytes,
    ),
    Ratio(
        f"{REFRESH}, peak memory in GB",
        lambda runs: runs[REFRESH].megabytes / 1000,
        Bound(4),
        only_at=1_000_000,
    ),
)

QUANTITIES: dict[str, Callable[[Run], float]] = {
    "time": lambda run: run.seconds,
    "peak memory": lambda run: run.megabytes,
}
"""What is looked at as the data grow."""

GROWTH_OF = (REFRESH, BARE, SPARK)
GROWTH_BOUND = Bound(1.05)
"""Asked of `REFRESH`: twice the customers may cost a little more than twice as much."""


@dataclass(frozen=True)
class Growth:
    """How a quantity grows with the number of customers: 1 is in proportion to it.

    Attributes:
        name: Of the runs.
        quantity: Which of `QUANTITIES`.
        largest: Customers of the largest size at which it was measured.
        overall: Slope over all sizes; what does not grow, such as the start-up, flattens it.
        at_the_end: Slope between the two largest sizes.
    """

    name: str
    quantity: str
    largest: int
    overall: float
    at_the_end: float

    @property
    def steepest(self) -> float:
        """The larger of the two slopes."""
        return max(self.overall, self.at_the_end)


def growth(sizes: Sequence[Size]) -> list[Growth]:
    """The growth of each quantity that was measured at two sizes or more."""
    found = []
    for name in GROWTH_OF:
        for quantity, of in QUANTITIES.items():
            medians = [(size.customers, size.median(name, of)) for size in sizes]
            points = sorted((x, y) for x, y in medians if y)
            if len(points) > 1:
                largest = points[-1][0]
                found.append(Growth(name, quantity, largest, slope(points), slope(points[-2:])))
    return found


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Slope in log-log, by least squares: the power of x that y grows with."""
    x, y = zip(*((math.log(x), math.log(y)) for x, y in points), strict=True)
    return linear_regression(x, y).slope
