"""What the lakehouse costs: `stedi refresh` side by side with other ways to the same tables.

Each command runs as a fresh process, in rounds that take turns in their order. The numbers of rows
are compared, and an answer that differs counts as failed. The ratios of the rounds mean something
elsewhere too; the times are those of the machine they were taken on. See README.md beside this.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from benchmarks import report, samples
from benchmarks.measure import CommandError
from benchmarks.results import Size
from benchmarks.sides import SIDES, Setup, checkout, differing, inherited, lacking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.results import Round

HERE = Path(__file__).parent
CUSTOMERS = (1_000, 10_000, 100_000)


def main() -> None:
    """Measure each size, print its tables, and write them where that is asked for."""
    options = parse_options()
    console = Console()
    sizes: list[Size] = []
    skipped: list[str] = []
    for customers, rounds in sorted(options.customers):
        try:
            size = measure_size(customers, rounds or options.rounds, options, console)
        except (samples.NoRoomError, CommandError) as error:
            said = f"{customers:,} customers are skipped: {report.last_line(str(error))}"
            skipped.append(said)
            console.print(said, style="yellow", markup=False)
        else:
            sizes.append(size)
            _print(size, console)
            if options.write:  # now: the next size may be too much for the machine
                _write(sizes, skipped)
    if len(sizes) > 1:
        console.print(report.growths(sizes).rich())
    if options.write:
        _write(sizes, skipped)


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """What is asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, prog="make bench")
    parser.add_argument(
        "--customers",
        type=size_and_rounds,
        nargs="+",
        default=[(customers, None) for customers in CUSTOMERS],
        metavar="N",
        help="sizes to measure, 1000 10000 100000 where not given; with rounds of its own as in "
        "1000000:1",
    )
    parser.add_argument(
        "--rounds",
        type=int,
        default=3,
        help="of sizes that have none of their own; by default %(default)s",
    )
    parser.add_argument(
        "--only",
        type=lambda names: names.split(","),
        default=[side for side in SIDES if side != "s3"],
        metavar="SIDES",
        help=f"sides to measure, such as refresh,bare; there are: {', '.join(SIDES)}",
    )
    parser.add_argument("--s3", action="store_true", help="refresh on S3 and Glue servers, too")
    parser.add_argument("--memory-limit", metavar="SIZE", help="of DuckDB on all sides")
    parser.add_argument(
        "--timeout",
        type=float,
        default=7200,
        metavar="SECONDS",
        help="of a single command; by default %(default)s",
    )
    parser.add_argument(
        "--write", action="store_true", help="write RESULTS.md, results.svg and results.json"
    )
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - SIDES.keys():
        parser.error(f"unknown sides: {', '.join(sorted(unknown))}")
    return options


def size_and_rounds(text: str) -> tuple[int, int | None]:
    """Customers and, if it has any, rounds of a size such as `1000000:1`."""
    customers, _, rounds = text.partition(":")
    return int(customers), int(rounds) if rounds else None


def measure_size(
    customers: int, rounds: int, options: argparse.Namespace, console: Console
) -> Size:
    """Measure what is asked for at a size.

    Raises:
        NoRoomError: The disk is too small for the samples.
        CommandError: A sample cannot be made, or the project cannot be loaded.
    """
    chosen = [*options.only, *(("s3",) if options.s3 else ())]
    with ExitStack() as stack:
        with console.status(f"{customers:,} customers: writing landing files"):
            defects = (False, True) if "shared-serials" in chosen else (False,)
            samples.make(customers, defects, inherited(), options.timeout)
            copy = stack.enter_context(checkout())
        setup = Setup(
            samples.folder(customers),
            samples.folder(customers, shared_serials=True),
            copy,
            options.memory_limit,
            options.timeout,
        )
        size = Size(customers, samples.size(setup.landing), failures=lacking(chosen))
        for number in range(1, rounds + 1):
            size.rounds.append({})
            order = [side for side in SIDES if side in chosen and side not in size.failures]
            for side in order if number % 2 else reversed(order):
                with console.status(f"{customers:,} customers, round {number}: {side}"):
                    _run_side(side, setup, size, console)
            _strike_differing(size, console)
    return size


def _run_side(side: str, setup: Setup, size: Size, console: Console) -> None:
    """Add what a side measures to the last round; what fails does not take the others along."""
    try:
        for name, run in SIDES[side](setup):
            size.rounds[-1][name] = run
            console.print(f"{name}: {run.seconds:.2f} s, {run.megabytes:,.0f} MB", highlight=False)
    except Exception as error:  # not tried again at this size: a timeout would take as long
        size.failures[side] = str(error) or type(error).__name__
        console.print(f"{side} failed: {error}", style="red", markup=False, highlight=False)


def _strike_differing(size: Size, console: Console) -> None:
    """Strike out runs of the last round that gave another number of rows."""
    runs: Round = size.rounds[-1]
    for name, tables in differing(runs).items():
        del runs[name]
        size.failures[name] = f"It gives another number of rows of {', '.join(tables)}."
        console.print(f"{name}: {size.failures[name]}", style="red")


def _print(size: Size, console: Console) -> None:
    console.rule(report.heading(size))
    console.print(report.ratios(size).rich())
    for said in filter(None, (*report.failures(size), report.training_sets(size))):
        console.print(said, markup=False, highlight=False)
    console.print(report.times(size).rich())


def _write(sizes: list[Size], skipped: list[str]) -> None:
    from benchmarks.chart import svg  # noqa: PLC0415

    (HERE / "RESULTS.md").write_text(report.markdown(sizes, skipped))
    (HERE / "results.svg").write_bytes(svg(sizes))
    plain = [size.plain() for size in sizes]
    (HERE / "results.json").write_text(json.dumps(plain, indent=1) + "\n")


if __name__ == "__main__":
    # By default it would end without a word to what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
