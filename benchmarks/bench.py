"""What the lakehouse costs over a bare script: `stedi refresh` and bare.py, side by side.

With `--s3`, the same refresh on S3 and Glue servers of this machine, too.

Each command runs as a fresh process, in rounds that take turns in who goes first. The ratios of the
rounds mean something elsewhere too; the times are those of the machine they were taken on.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))  # the test servers
# Scripts, not `python -c`: PySpark, where installed, takes that for its own doctests and exits.
SCRIPTS = {
    "stedi.py": "from stedi_assets.cli import main\n\nmain()\n",
    "start_up.py": "import stedi_assets.definitions\n",
}
STEDI, START_UP = ((sys.executable, script) for script in SCRIPTS)

REFRESH, BARE, AGAIN = "refresh from empty", "bare.py", "refresh, nothing new"
ON_S3 = "refresh from empty, on S3"
STATUS, IMPORT, HELP = "status", "import definitions", "--help"


_PROCESSES = (REFRESH, ON_S3, BARE, AGAIN, STATUS, IMPORT, HELP)


@dataclass(frozen=True)
class Run:
    """What one process took.

    Attributes:
        seconds: From its start to its end.
        cpu_seconds: Of user and system, in all its threads and children.
        megabytes: Its peak resident memory; of the largest, should it have started others.
        output: What it printed.
    """

    seconds: float
    cpu_seconds: float
    megabytes: float
    output: str


class CommandError(RuntimeError):
    """A measured command failed, or did something else than it should."""


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=100_000, help="size of the sample")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-limit", metavar="SIZE", help="of DuckDB on both sides")
    parser.add_argument(
        "--landing",
        type=Path,
        help="landing folder to use; without it a sample is made, and kept for the next time, "
        f"in {_sample_folder('CUSTOMERS')}",
    )
    parser.add_argument("--s3", action="store_true", help="refresh on S3 and Glue servers, too")
    options = parser.parse_args()
    try:
        landing = (options.landing or _sample(options.customers)).resolve()
        size = _read_once(landing)
        with ExitStack() as stack:
            s3 = stack.enter_context(_s3_servers(landing)) if options.s3 else {}
            rounds = [
                _round(landing, options.memory_limit, s3, bare_first=number % 2 == 1)
                for number in range(options.rounds)
            ]
    except CommandError as error:
        sys.exit(str(error))
    _report(rounds, size)


def _sample_folder(customers: object) -> Path:
    return Path(tempfile.gettempdir()) / f"stedi-bench-{customers}"


def _sample(customers: int) -> Path:
    folder = _sample_folder(customers)
    if not folder.exists():
        # In a process of its own: what this one ever held would count as its children's peak.
        partial = folder.with_name(f"{folder.name}.{os.getpid()}")
        command = (*STEDI, "sample", str(partial), "--customers", str(customers), "--files", "10")
        with _checkout() as checkout:
            _run(command, checkout, dict(os.environ))
        partial.rename(folder)
    return folder


def _read_once(landing: Path) -> int:
    """Read all landing files, so that no round waits for the disk; return their size."""
    size = 0
    for path in landing.glob("*/landing/*"):
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                size += len(chunk)
    return size


@contextmanager
def _s3_servers(landing: Path) -> Iterator[dict[str, str]]:
    """Serve the landing files on S3; gives the environment of a lakehouse there."""
    from stedi_assets_tests.aws_servers import (  # noqa: PLC0415
        BUCKET,
        GlueServer,
        S3Server,
        settings,
    )

    with (
        tempfile.TemporaryDirectory(prefix="stedi-bench-") as folder,
        S3Server(Path(folder) / "s3") as s3,
        GlueServer() as glue,
    ):
        client = s3.client()
        client.create_bucket(Bucket=BUCKET)
        for path in landing.glob("*/landing/*"):
            client.upload_file(str(path), BUCKET, path.relative_to(landing).as_posix())
        key = {"STEDI_PSEUDONYM_KEY": "of a benchmark, so known to everybody"}
        yield settings(s3.endpoint, glue.endpoint) | key | {"STEDI_LANDING": f"s3://{BUCKET}"}


def _round(
    landing: Path, memory_limit: str | None, s3: dict[str, str], *, bare_first: bool
) -> dict[str, Run]:
    with _checkout() as checkout:
        environment = _environment(landing, checkout, memory_limit)
        limit = ("--memory-limit", memory_limit) if memory_limit else ()
        bare = str(Path(__file__).with_name("bare.py"))
        sides = {
            REFRESH: (*STEDI, "refresh"),
            BARE: (sys.executable, bare, str(landing), str(checkout / "bare"), *limit),
        }
        commands = dict(reversed(sides.items())) if bare_first else sides
        commands |= {
            AGAIN: (*STEDI, "refresh"),
            STATUS: (*STEDI, "status", "--json"),
            IMPORT: START_UP,
            HELP: (*STEDI, "--help"),
        }
        _run(START_UP, checkout, environment)  # compiles the copy
        runs = {name: _run(command, checkout, environment) for name, command in commands.items()}
        if s3:
            name = checkout.name.replace("-", "_").lower()  # a lakehouse of this round's own
            there = {"STEDI_DATABASE": name, "STEDI_LAKEHOUSE": f"{s3['STEDI_LANDING']}/{name}"}
            runs[ON_S3] = _run((*STEDI, "refresh"), checkout, environment | s3 | there)
    if differing := _differing(runs):
        raise CommandError(f"The two disagree on the rows of {', '.join(differing)}.")
    return runs


@contextmanager
def _checkout() -> Iterator[Path]:
    """Copy the project to run from, so that every round starts with an empty run history.

    Dagster keeps its history beside the code, and Python what it compiles: both go with the copy.
    """
    with tempfile.TemporaryDirectory(prefix="stedi-bench-") as folder:
        checkout = Path(folder)
        package = PROJECT / "stedi_assets"
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, checkout / package.name, ignore=ignored)
        for name in ("workspace.yaml", "dagster.yaml"):
            shutil.copy(PROJECT / name, checkout)
        for name, script in SCRIPTS.items():
            (checkout / name).write_text(script)
        yield checkout


def _environment(landing: Path, checkout: Path, memory_limit: str | None) -> dict[str, str]:
    """The environment of a round: an empty lakehouse, all else by default."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("STEDI_", "DAGSTER_"))}
    limit = {"STEDI_MEMORY_LIMIT": memory_limit} if memory_limit else {}
    return {
        **inherited,
        "STEDI_LANDING": str(landing),
        "STEDI_LAKEHOUSE": str(checkout / "lakehouse"),
        **limit,
    }


def _run(command: Sequence[str], checkout: Path, environment: dict[str, str]) -> Run:
    """Run a command to its end.

    Raises:
        CommandError: It failed; the message is the end of what it said.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, env=environment, cwd=checkout, stdout=output, stderr=errors
        )
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        printed = output.read()
        if process.returncode:
            raise CommandError(f"{' '.join(command)} failed:\n{(printed + errors.read())[-2000:]}")
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / unit, printed)


def _differing(runs: dict[str, Run]) -> list[str]:
    """Tables of which the two sides have another number of rows."""
    bare = json.loads(runs[BARE].output)["rows"]
    ours = {
        entry["table"]: entry["published"]["rows"] if entry["published"] else None
        for entry in json.loads(runs[STATUS].output)["tables"]
    }
    return [name for name, rows in bare.items() if ours.get(name) != rows]


def _report(rounds: list[dict[str, Run]], size: int) -> None:
    console = Console()
    console.print(f"{size / 1e9:.2f} GB of landing files, {len(rounds)} rounds.")
    ratios = Table(title="Refresh from empty : bare.py", title_justify="left")
    ratios.add_column("ratio of")
    ratios.add_column("median", justify="right")
    ratios.add_column("min to max", justify="right")
    net = [r[REFRESH].seconds - r[IMPORT].seconds for r in rounds]
    bare = [r[BARE].seconds for r in rounds]
    on_s3 = {"time, on S3 : in a folder": [_s3_ratio(r) for r in rounds if ON_S3 in r]}
    for name, values in {
        "time": [r[REFRESH].seconds / r[BARE].seconds for r in rounds],
        "time, net of start-up": [n / b for n, b in zip(net, bare, strict=True)],
        "CPU time": [r[REFRESH].cpu_seconds / r[BARE].cpu_seconds for r in rounds],
        "peak memory": [r[REFRESH].megabytes / r[BARE].megabytes for r in rounds],
        **{name: values for name, values in on_s3.items() if values},
    }.items():
        ratios.add_row(name, f"{median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}")
    console.print(ratios, _times(rounds))


def _s3_ratio(runs: dict[str, Run]) -> float:
    return runs[ON_S3].seconds / runs[REFRESH].seconds


def _times(rounds: list[dict[str, Run]]) -> Table:
    machine = f"{os.cpu_count()} cores, {platform.machine()}"
    table = Table(
        title=f"On this machine ({machine}), medians",
        caption=f"net: without the start-up, which is '{IMPORT}'",
        title_justify="left",
        caption_justify="left",
    )
    table.add_column("process", no_wrap=True)
    for column in ("seconds", "min to max", "net", "CPU s", "peak MB"):
        table.add_column(column, justify="right", no_wrap=True)
    for name in (name for name in _PROCESSES if name in rounds[0]):
        seconds = [r[name].seconds for r in rounds]
        net = median(r[name].seconds - r[IMPORT].seconds for r in rounds)
        table.add_row(
            name,
            f"{median(seconds):.2f}",
            f"{min(seconds):.2f} to {max(seconds):.2f}",
            f"{net:.2f}" if name in (REFRESH, ON_S3, AGAIN) else "",
            f"{median(r[name].cpu_seconds for r in rounds):.2f}",
            f"{median(r[name].megabytes for r in rounds):.0f}",
        )
    return table


if __name__ == "__main__":
    main()
