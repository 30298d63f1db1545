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
from benchmarks.measure import CommandError
from benchmarks.report import Size
from benchmarks.sides import (
    BARE,
    HERE,
    SIDES,
    NoRoomError,
    Stage,
    WrongAnswerError,
    differences,
    sample,
    unavailable,
)


def main() -> None:
    """Measure each size, print its tables and, with --write, write them."""
    options = parse_options()
    console = Console(highlight=False)
    sizes: list[Size] = []
    skipped: list[str] = []
    for customers, rounds in sorted(options.customers):
        try:
            sizes.append(measure_size(customers, rounds or options.runs, options, console))
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
    sizes = "sizes, each with rounds of its own if it is written as 1000000:1; by default "
    sizes += "1000 10000 100000"
    default = [(1_000, None), (10_000, None), (100_000, None)]
    parser.add_argument(
        "--customers", type=size_and_rounds, nargs="+", default=default, metavar="N", help=sizes
    )
    sides = f"what to measure, separated by commas, by default all: {', '.join(SIDES)}"
    parser.add_argument(
        "--sides", type=lambda names: names.split(","), default=[*SIDES], help=sides
    )
    rounds = "rounds of a size, by default %(default)s"
    parser.add_argument("--runs", type=int, default=3, metavar="N", help=rounds)
    memory = "STEDI_MEMORY_LIMIT of refreshes on DuckDB and of bare.py, by default %(default)s"
    parser.add_argument("--memory-limit", default="2.5GB", metavar="SIZE", help=memory)
    seconds = "that a command may take, by default %(default)s"
    parser.add_argument("--timeout", type=float, default=7200, metavar="SECONDS", help=seconds)
    check = "compare the rows after each scenario with those of a refresh from empty; not timed"
    parser.add_argument("--check", action="store_true", help=check)
    files = "write RESULTS.md, results.svg and results.json"
    parser.add_argument("--write", action="store_true", help=files)
    options = parser.parse_args(arguments)
    if unknown := set(options.sides) - SIDES.keys():
        parser.error(f"unknown sides: {', '.join(sorted(unknown))}")
    return options


def size_and_rounds(text: str) -> tuple[int, int | None]:
    """Customers and, if there are any, rounds of a size such as `1000000:1`."""
    customers, _, rounds = text.partition(":")
    return int(customers), int(rounds) if rounds else None


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
        customers,
        options.memory_limit,
        failures={s: why for s, why in unavailable().items() if s in options.sides},
    )
    with Stage(customers, options.timeout, options.memory_limit, check=options.check) as stage:
        for number in range(rounds):
            order = [side for side in SIDES if side in options.sides and side not in size.failures]
            size.rounds.append({})
            for side in reversed(order) if number % 2 else order:
                try:
                    with (
                        console.status(f"{customers:,} customers, round {number + 1}: {side}"),
                        stage.place(side) as here,
                    ):
                        for name, run in SIDES[side](here):
                            size.rounds[-1][name] = replace(run, output="")
                            console.print(f"{name}: {run.seconds:.2f} s, {run.megabytes:,.0f} MB")
                except Exception as error:
                    size.failures[side] = str(error) or type(error).__name__
            for name, tables in differences(size.rounds[-1]).items():
                del size.rounds[-1][name]
                size.failures[name] = str(WrongAnswerError(tables, BARE))
    return size


if __name__ == "__main__":
    # By default it would end without stopping what it started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
