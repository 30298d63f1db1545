"""What the lakehouse costs: `stedi refresh` beside other ways to the same tables. See README.md."""

import argparse
import json
import signal
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace

from rich.console import Console
from rich.markdown import Markdown

from benchmarks import report
from benchmarks.measure import CommandError, Run
from benchmarks.report import Size
from benchmarks.sides import HERE, SIDES, NoRoomError, differences, place, sample, unavailable


def main() -> None:
    """Measure each size, print its tables and, with --write, write them."""
    options = parse_options()
    console = Console(highlight=False)
    sizes: list[Size] = []
    skipped: list[str] = []
    for customers, rounds in sorted(options.customers):
        try:
            sizes.append(measure_size(customers, rounds, options, console))
        except (NoRoomError, CommandError) as error:
            skipped.append(f"{customers:,} customers are skipped: {error}")
            console.print(skipped[-1], style="yellow", markup=False)
        else:
            console.print(Markdown(report.section(sizes[-1])))
        if options.write and sizes:  # now: the next size may be too much for the machine
            (HERE / "RESULTS.md").write_text(report.page(sizes, skipped))
            (HERE / "results.svg").write_bytes(report.svg(sizes))
            plain = json.dumps([asdict(size) for size in sizes], indent=1)
            (HERE / "results.json").write_text(plain + "\n")
    console.print(Markdown(report.growth(sizes)))


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="make bench")
    sizes = "sizes, and rounds where not 3; by default 1000:3 10000:3 100000:3"
    default = [(1_000, 3), (10_000, 3), (100_000, 3)]
    parser.add_argument(
        "--customers", type=size_and_rounds, nargs="+", default=default, metavar="N", help=sizes
    )
    sides = f"what to measure, separated by commas, by default all: {', '.join(SIDES)}"
    parser.add_argument("--only", type=lambda names: names.split(","), default=[*SIDES], help=sides)
    seconds = "that a command may take, by default %(default)s"
    parser.add_argument("--timeout", type=float, default=7200, metavar="SECONDS", help=seconds)
    files = "write RESULTS.md, results.svg and results.json"
    parser.add_argument("--write", action="store_true", help=files)
    options = parser.parse_args(arguments)
    if unknown := set(options.only) - SIDES.keys():
        parser.error(f"unknown sides: {', '.join(sorted(unknown))}")
    return options


def size_and_rounds(text: str) -> tuple[int, int]:
    """Customers and rounds of a size such as `1000000:1`."""
    customers, _, rounds = text.partition(":")
    return int(customers), int(rounds or 3)


def measure_size(
    customers: int, rounds: int, options: argparse.Namespace, console: Console
) -> Size:
    """Measure the chosen sides at a size; one that fails is not tried again, the others go on.

    Raises:
        NoRoomError: The disk is too small for the sample.
        CommandError: The sample cannot be made.
    """
    with console.status(f"{customers:,} customers: writing landing files"):
        sample(customers, options.timeout)
    size = Size(
        customers, failures={s: why for s, why in unavailable().items() if s in options.only}
    )
    for number in range(rounds):
        runs: dict[str, Run] = {}
        size.rounds.append(runs)
        order = [side for side in SIDES if side in options.only and side not in size.failures]
        for side in reversed(order) if number % 2 else order:
            try:
                with (
                    console.status(f"{customers:,} customers, round {number + 1}: {side}"),
                    place(side, customers, options.timeout) as here,
                ):
                    for name, run in SIDES[side](here):
                        runs[name] = replace(run, output="")
                        console.print(f"{name}: {run.seconds:.2f} s, {run.megabytes:,.0f} MB")
            except Exception as error:
                size.failures[side] = str(error) or type(error).__name__
        for name, tables in differences(runs).items():
            del runs[name]
            size.failures[name] = f"It gives another number of rows of {', '.join(tables)}."
    return size


if __name__ == "__main__":
    # By default it would end without stopping what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
