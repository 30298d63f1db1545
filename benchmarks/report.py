"""Says what was measured: the same tables for the terminal and for RESULTS.md."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich import box
from rich.markup import escape
from rich.table import Table

from benchmarks.results import GROWTH_BOUND, RATIOS, growth
from benchmarks.sides import GLUE, REFRESH

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.measure import Run
    from benchmarks.results import Bound, Size

PACKAGES = ("dagster", "duckdb", "ibis-framework", "pandera", "pyiceberg", "pyspark")
TRAINING_SET = "machine_learning_curated"


@dataclass(frozen=True)
class Grid:
    """A table of text; the first column is to the left, numbers to the right."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def rich(self) -> Table:
        """For the terminal."""
        table = Table(title=self.title, title_justify="left", box=box.SIMPLE)
        for number, column in enumerate(self.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=bool(number))
        for row in self.rows:
            table.add_row(*map(escape, row))
        return table

    def markdown(self) -> str:
        """For a page."""
        lines = [self.columns, ["---"] + ["---:"] * (len(self.columns) - 1), *self.rows]
        return f"**{self.title}**\n\n" + "\n".join(f"| {' | '.join(line)} |" for line in lines)


def ratios(size: Size) -> Grid:
    """The ratios of a size, each beside what it is asked to be."""
    rows = []
    for ratio in RATIOS:
        if values := ratio.values(size):
            middle, bound = median(values), ratio.bound_at(size)
            spread = f"{min(values):.2f} to {max(values):.2f}"
            rows.append((ratio.name, f"{middle:.2f}", spread, *_asked(bound, middle)))
    return Grid("Ratios", ("ratio", "median", "min to max", "asked", ""), rows)


def _asked(bound: Bound | None, value: float) -> tuple[str, str]:
    if bound is None:
        return "", ""
    return str(bound), "reached" if bound.reached(value) else "not reached"


def growths(sizes: Sequence[Size]) -> Grid:
    """How time and memory grow with the number of customers."""
    rows = [
        (
            f"{found.name}, {found.quantity}",
            f"{found.largest:,}",
            f"{found.overall:.2f}",
            f"{found.at_the_end:.2f}",
            *_asked(GROWTH_BOUND if found.name == REFRESH else None, found.steepest),
        )
        for found in growth(sizes)
    ]
    columns = (
        "grows with the customers to the power of",
        "up to",
        "all sizes",
        "largest two",
        "asked",
        "",
    )
    return Grid("Growth", columns, rows)


def times(size: Size) -> Grid:
    """What each process took, on this machine."""
    rows: list[tuple[str, ...]] = []
    for name in dict.fromkeys(name for runs in size.rounds for name in runs):
        runs = [runs[name] for runs in size.rounds if name in runs]
        seconds = [run.seconds for run in runs]
        rows.append(
            (
                name,
                f"{median(seconds):,.2f}",
                f"{min(seconds):,.2f} to {max(seconds):,.2f}",
                f"{median(run.cpu_seconds for run in runs):,.2f}",
                f"{median(run.megabytes for run in runs):,.0f}",
            )
        )
        rows += _parts(runs)
    columns = ("process", "seconds", "min to max", "CPU s", "peak MB")
    return Grid("Times on this machine, medians", columns, rows)


def _parts(runs: list[Run]) -> list[tuple[str, ...]]:
    return [
        (f"- {part}", f"{median(run.parts[part] for run in runs):,.2f}", "", "", "")
        for part in runs[0].parts
    ]


def training_sets(size: Size) -> str:
    """How many rows each way gives the training set; empty where not both were measured."""
    rows = {
        name: runs[name].rows[TRAINING_SET]
        for runs in size.rounds
        for name in (REFRESH, GLUE)
        if name in runs and TRAINING_SET in runs[name].rows
    }
    if rows.keys() != {REFRESH, GLUE}:
        return ""
    return (
        f"Rows of {TRAINING_SET}: {rows[REFRESH]:,} by the refresh, {rows[GLUE]:,} by the "
        "Glue-style jobs, which join on the time alone and trust the records' serial numbers."
    )


def failures(size: Size) -> list[str]:
    """What could not be measured at a size, a line each."""
    return [f"Not measured: {name}: {last_line(said)}" for name, said in size.failures.items()]


def last_line(said: str) -> str:
    """The last line of what a command said: of a traceback, the error."""
    return said.strip().splitlines()[-1]


def heading(size: Size) -> str:
    """What a size is."""
    plural = "" if len(size.rounds) == 1 else "s"
    landed = f"{size.landing_bytes / 1e6:,.0f} MB of landing files"
    return f"{size.customers:,} customers: {landed}, {len(size.rounds)} round{plural}"


def markdown(sizes: Sequence[Size], skipped: Sequence[str]) -> str:
    """The page of results."""
    sections = [
        "# What the lakehouse costs",
        f"Measured on {datetime.now(UTC):%Y-%m-%d} by `make bench`. The ratios mean something "
        "elsewhere, too; the times are those of one machine. How it is measured: "
        "[README](README.md).",
        "![Times and ratios over the number of customers; the numbers are in the tables below]"
        "(results.svg)",
        machine().markdown(),
    ]
    if len(sizes) > 1:
        sections.append(growths(sizes).markdown())
    sections += skipped
    for size in sizes:
        sections += [f"## {heading(size)}", ratios(size).markdown()]
        sections += [*failures(size), training_sets(size), times(size).markdown()]
    return "\n\n".join(section for section in sections if section) + "\n"


def machine() -> Grid:
    """What it was measured on."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    rows = [
        ("cores", str(os.cpu_count())),
        ("memory", f"{memory / 1e9:.1f} GB"),
        ("CPU", _cpu()),
        ("system", _system()),
        ("Python", platform.python_version()),
        *((package, _version(package)) for package in PACKAGES),
        ("Java", _java()),
        ("options of make bench", " ".join(sys.argv[1:])),
    ]
    return Grid("Machine", ("", ""), rows)


def _cpu() -> str:
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{next(names, 'unknown')}, {platform.machine()}"


def _system() -> str:
    if sys.platform != "linux":
        return platform.platform(terse=True)
    try:
        return platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        return "Linux"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _java() -> str:
    if not shutil.which("java"):
        return "not installed"
    said = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    return (said.stderr or said.stdout).partition("\n")[0]
