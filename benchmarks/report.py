"""The results as Markdown and as a chart."""

import io
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from math import log
from pathlib import Path
from statistics import linear_regression, median
from typing import Any

import matplotlib as mpl
from cycler import cycler
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from benchmarks.measure import Run
from benchmarks.sides import (
    AGAIN,
    BARE,
    EMPTY,
    GLUE,
    MIXED,
    ONE_FILE,
    PYSPARK,
    SHARED,
    SPARK,
    SPARK_MIXED,
    WITHDRAWALS,
)

HUNDRED_THOUSAND, MILLION = 100_000, 1_000_000


@dataclass(frozen=True)
class Ratio:
    """What is divided by what, in which quantity, and what is asked of that at some sizes."""

    of: str
    over: str
    asked: Mapping[int, str] = field(default_factory=dict)
    quantity: str = "seconds"
    suffix: str = ""

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return f"{self.of} : {self.over}{self.suffix}"


RATIOS = (
    Ratio(EMPTY, BARE, {HUNDRED_THOUSAND: "at most 2.5", MILLION: "at most 2.2"}),
    Ratio(GLUE, EMPTY, {HUNDRED_THOUSAND: "at least 6", MILLION: "at least 2"}),
    Ratio(SPARK, EMPTY, {10_000: "at most 2", HUNDRED_THOUSAND: "at most 2"}),
    Ratio(PYSPARK, GLUE, {HUNDRED_THOUSAND: "at most 1.5"}),
    Ratio(
        SPARK,
        PYSPARK,
        {10_000: "at most 0.25", HUNDRED_THOUSAND: "at most 0.25"},
        quantity="megabytes",
        suffix=", peak memory",
    ),
    Ratio(SPARK_MIXED, SPARK, {HUNDRED_THOUSAND: "at most 0.5", MILLION: "at most 0.15"}),
    Ratio(MIXED, EMPTY, {HUNDRED_THOUSAND: "at most 0.40", MILLION: "at most 0.08"}),
    Ratio(WITHDRAWALS, EMPTY, {HUNDRED_THOUSAND: "at most 0.40", MILLION: "at most 0.08"}),
    Ratio(ONE_FILE, EMPTY, {HUNDRED_THOUSAND: "at most 0.30", MILLION: "at most 0.05"}),
    Ratio(AGAIN, EMPTY),
    Ratio(SHARED, EMPTY, {HUNDRED_THOUSAND: "at most 2"}),
    Ratio(MIXED, EMPTY, quantity="cpu_seconds", suffix=", CPU time"),
    Ratio(EMPTY, BARE, quantity="cpu_seconds", suffix=", CPU time"),
    Ratio(EMPTY, BARE, quantity="megabytes", suffix=", peak memory"),
)
PEAK = f"{EMPTY}, peak memory in GB"
ASKED = {ratio.name: ratio.asked for ratio in RATIOS} | {PEAK: {MILLION: "at most 4"}}
"""What is asked of the numbers, by name and by customers."""

# Colors of Okabe and Ito, which the color-blind tell apart; the markers tell them apart in grey.
_COLORS = ("#0072b2", "#000000", "#d55e00", "#cc79a7", "#009e73", "#b07800", "#56b4e9", "#e69f00")
_STYLE: Any = {
    "axes.prop_cycle": cycler(color=_COLORS, marker=list("os^vDPX*")),
    "axes.grid": True,
    "grid.color": "#d0d7de",
    "svg.fonttype": "none",
    "svg.hashsalt": "stedi",
}

Values = dict[str, list[float]]
"""A number of each round, by what it is of."""


@dataclass
class Size:
    """What was measured at a size.

    Attributes:
        customers: Customers of the sample.
        memory_limit: STEDI_MEMORY_LIMIT of refreshes on DuckDB and of the bare script.
        rounds: Each round's runs by name.
        failures: What could not be measured, and why; it has no run in that round and those after.
    """

    customers: int
    memory_limit: str
    rounds: list[dict[str, Run]] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def values(self, quantity: str) -> Values:
        """A quantity of all runs."""
        values: Values = {}
        for name, run in (each for runs in self.rounds for each in runs.items()):
            values.setdefault(name, []).append(getattr(run, quantity))
        return values

    def ratios(self) -> Values:
        """The ratios within each round, and the peak memory."""
        ratios: Values = {}
        for ratio in RATIOS:
            for runs in (runs for runs in self.rounds if {ratio.of, ratio.over} <= runs.keys()):
                of, over = (getattr(runs[side], ratio.quantity) for side in (ratio.of, ratio.over))
                ratios.setdefault(ratio.name, []).append(of / over)
        if memory := self.values("megabytes").get(EMPTY):
            ratios[PEAK] = [peak / 1000 for peak in memory]
        return ratios


def lines(sizes: Sequence[Size], of: Callable[[Size], Values]) -> dict[str, dict[int, float]]:
    """The medians over the rounds, by name and by customers."""
    medians: dict[str, dict[int, float]] = {}
    for size in sizes:
        for name, values in of(size).items():
            medians.setdefault(name, {})[size.customers] = median(values)
    return medians


def grid(title: str, columns: str, rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown."""
    names = columns.split("|")
    head = [names, ["---", *["---:"] * (len(names) - 1)]]
    return f"**{title}**\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in [*head, *rows])


def spread(values: Sequence[float]) -> tuple[str, str, str]:
    """Median, minimum and maximum."""
    return f"{median(values):,.2f}", f"{min(values):,.2f}", f"{max(values):,.2f}"


def asked(name: str, customers: int) -> str:
    """What is asked of a number at a size, such as `at most 2`, if anything is."""
    return ASKED[name].get(customers, "")


def verdict(target: str, value: float) -> str:
    """Whether a value meets a target, if there is one."""
    if not target:
        return ""
    kind, bound = target.rsplit(" ", 1)
    reached = value <= float(bound) if kind == "at most" else value >= float(bound)
    return "reached" if reached else "not reached"


def growth(sizes: Sequence[Size]) -> str:
    """How time and memory grow with the customers; `largest two` leaves the start-up out."""
    rows = []
    for quantity in ("seconds", "megabytes"):
        medians = lines(sizes, partial(Size.values, quantity=quantity))
        for name, target in ((EMPTY, "at most 1.05"), (BARE, ""), (SPARK, "")):
            if len(points := medians.get(name, {})) > 1:
                slopes = slope(points), slope(dict(sorted(points.items())[-2:]))
                powers = (f"{power:.2f}" for power in slopes)
                reached = verdict(target, max(slopes))
                rows.append((f"{name}, {quantity}", *powers, target, reached))
    columns = "grows with the customers to the power of|all sizes|largest two|asked|"
    return grid("Growth", columns, rows) if rows else ""


def slope(points: Mapping[int, float]) -> float:
    """Slope in log-log, by least squares: the power of x that y grows with."""
    return linear_regression(list(map(log, points)), list(map(log, points.values()))).slope


def section(size: Size) -> str:
    """All that is known of a size."""
    cpu, memory = size.values("cpu_seconds"), size.values("megabytes")
    times = [
        (name, *spread(seconds), f"{median(cpu[name]):,.2f}", f"{median(memory[name]):,.0f}")
        for name, seconds in size.values("seconds").items()
    ]
    ratios = [
        (name, *spread(v), target := asked(name, size.customers), verdict(target, median(v)))
        for name, v in size.ratios().items()
    ]
    parts = [
        f"## {size.customers:,} customers, rounds: {len(size.rounds)}",
        f"STEDI_MEMORY_LIMIT is {size.memory_limit} for refreshes on DuckDB and for {BARE}.",
        grid("Ratios", "ratio|median|min|max|asked|", ratios),
        *(f"Not measured: {name}: {reason}" for name, reason in size.failures.items()),
        grid("Times on this machine", "process|seconds|min|max|CPU s|peak MB", times),
    ]
    return "\n\n".join(parts)


def page(sizes: Sequence[Size], skipped: Sequence[str]) -> str:
    """RESULTS.md."""
    intro = (
        f"# What the lakehouse costs\n\nMeasured on {datetime.now(UTC):%Y-%m-%d} by `make bench`. "
        "The ratios mean something elsewhere, too; the times are those of one machine. How it is "
        "measured: [README](README.md).\n\n![Times, memory and ratios over the number of "
        "customers; the numbers are in the tables below](results.svg)"
    )
    parts = [intro, machine(), growth(sizes), *skipped, *map(section, sizes)]
    return "\n\n".join(filter(None, parts)) + "\n"


def machine() -> str:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    model = re.search("model name.*: (.*)", Path("/proc/cpuinfo").read_text())
    rows = {
        "machine": f"{os.cpu_count()} cores, {memory / 1e9:.1f} GB of memory",
        "CPU": model[1] if model else platform.machine(),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        **{name: version(name) for name in ("dagster", "duckdb", "ibis-framework", "pyiceberg")},
        "options of make bench": " ".join(sys.argv[1:]),
    }
    return grid("Machine", "|", rows.items())


def svg(sizes: Sequence[Size]) -> bytes:
    """Draw time, memory and ratios over the customers; the same results give the same bytes."""
    ratios = lines(sizes, Size.ratios).items()
    pictures = {
        "Time, seconds": lines(sizes, lambda size: size.values("seconds")),
        "Peak memory, MB": lines(sizes, lambda size: size.values("megabytes")),
        "Ratios, and what is asked of them (dashed)": {n: v for n, v in ratios if " : " in n},
    }
    customers = [size.customers for size in sizes]
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(10, 11), layout="constrained")
        for axes, (title, series) in zip(figure.subplots(3), pictures.items(), strict=True):
            for name, points in series.items():
                [line] = axes.plot(list(points), list(points.values()), label=name)
                targets = {n: target for n in points if (target := ASKED.get(name, {}).get(n))}
                bounds = [float(target.rsplit(" ", 1)[1]) for target in targets.values()]
                axes.plot(list(targets), bounds, color=line.get_color(), linestyle="--", marker="_")
            axes.set(xscale="log", yscale="log", xlabel="customers")
            axes.set_title(title, loc="left")
            axes.set_xticks(customers, [f"{number:,}" for number in customers])
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_major_formatter("{x:,g}")
            axes.legend(loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
        file = io.BytesIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
        return file.getvalue()
