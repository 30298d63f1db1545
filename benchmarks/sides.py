"""What is measured: each side makes the tables of one sample its own way, from nothing."""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from pyarrow import dataset

from benchmarks.glue_way import JOBS
from benchmarks.measure import Run, run

REFRESH, AGAIN = "refresh", "refresh, nothing new"
BARE = "bare.py"
GLUE = "Glue-style Spark jobs"
SPARK = "refresh on Spark"
NEW_FILES = "refresh, 1 % new files"
SHARED, BARE_SHARED = "refresh, shared serials", "bare.py, shared serials"

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
STEDI = (sys.executable, "-m", "stedi_assets")
FILES = 100
"""Files of each source, so that one of them is 1 % of the data."""
BYTES_PER_CUSTOMER = 11_800


class NoRoomError(RuntimeError):
    """The disk is too small."""


def sample(customers: int, timeout: float, *options: str) -> Path:
    """Landing files, made once for each size and kept in the temporary folder.

    They are read here, so that what is measured next finds them in memory as far as they fit.

    Raises:
        NoRoomError: The disk is too small for them and about as much for the tables.
        CommandError: They cannot be written.
    """
    temporary = Path(tempfile.gettempdir())
    landing = temporary / "".join((f"stedi-bench-{customers}-customers", *options))
    if not landing.exists():
        needed, free = 2 * customers * BYTES_PER_CUSTOMER, shutil.disk_usage(temporary).free
        if needed > free:
            sizes = f"{needed / 1e9:,.1f} GB of disk, and {free / 1e9:,.1f} GB are free"
            raise NoRoomError(f"It needs {sizes}.")
        size = ("--customers", str(customers), "--files", str(FILES))
        with tempfile.TemporaryDirectory(prefix="stedi-bench-") as folder:
            command = (*STEDI, "sample", f"{folder}/landing", *size, *options)
            run(command, PROJECT, environment(), timeout)
            (Path(folder) / "landing").rename(landing)
    for path in landing.rglob("*.json"):
        path.read_bytes()
    return landing


def environment() -> dict[str, str]:
    """The environment without any setting of the project or of Dagster."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("STEDI_", "DAGSTER_"))}


@dataclass(frozen=True)
class Place:
    """A copy of the project, with an empty lakehouse and an empty run history beside the code."""

    folder: Path
    landing: Path
    timeout: float

    def run(self, *command: str | Path, **settings: str) -> Run:
        """Run a command here."""
        places = {"LANDING": str(self.landing), "LAKEHOUSE": str(self.folder / "lakehouse")}
        variables = {f"STEDI_{name}": value for name, value in (places | settings).items()}
        return run([*map(str, command)], self.folder, environment() | variables, self.timeout)

    def refresh(self, **settings: str) -> Run:
        """Refresh the lakehouse, and look up how many rows the tables have then."""
        measured = self.run(*STEDI, "refresh", **settings)
        tables = json.loads(self.run(*STEDI, "status", "--json").output)["tables"]
        return replace(measured, rows={t["table"]: t["published"]["rows"] for t in tables})

    def bare(self) -> Run:
        """Make the tables with the bare script."""
        measured = self.run(sys.executable, HERE / "bare.py", self.landing, self.folder / "bare.db")
        return replace(measured, rows=json.loads(measured.output))

    def glue(self) -> Run:
        """Make the tables with the five Spark jobs, one after the other."""
        script, out = HERE / "glue_way.py", self.folder / "glue"
        jobs = [self.run(sys.executable, script, job, self.landing, out) for job in JOBS]
        return Run(
            sum(job.seconds for job in jobs),
            sum(job.cpu_seconds for job in jobs),
            max(job.megabytes for job in jobs),
            rows={job: dataset.dataset(out / job).count_rows() for job in JOBS},
        )


@contextmanager
def place(side: str, customers: int, timeout: float) -> Iterator[Place]:
    """A place for one side, with the sample that it takes."""
    defect = ("--shared-serials",) if side == "shared-serials" else ()
    with tempfile.TemporaryDirectory(prefix="stedi-bench-") as temporary:
        folder = Path(temporary) / "checkout"
        shutil.copytree(PROJECT / "stedi_assets", folder / "stedi_assets")
        for name in ("workspace.yaml", "dagster.yaml"):
            shutil.copy(PROJECT / name, folder)
        yield Place(folder, sample(customers, timeout, *defect), timeout)


Measured = Iterator[tuple[str, Run]]


def refresh(here: Place) -> Measured:
    """`stedi refresh` from empty, and again with nothing new."""
    yield REFRESH, here.refresh()
    yield AGAIN, here.refresh()


def bare(here: Place) -> Measured:
    """The hand-written DuckDB script."""
    yield BARE, here.bare()


def glue(here: Place) -> Measured:
    """The five Spark jobs."""
    yield GLUE, here.glue()


def spark(here: Place) -> Measured:
    """`stedi refresh` from empty with Spark as its engine."""
    yield SPARK, here.refresh(ENGINE="spark")


def new_files(here: Place) -> Measured:
    """`stedi refresh` after the last 1 % of the files, the others taken in before."""
    late = set(here.landing.rglob(f"*-{FILES}.json"))
    other = replace(here, landing=here.folder / "landing")
    link(here.landing, set(here.landing.rglob("*.json")) - late, other.landing)
    other.refresh()
    link(here.landing, late, other.landing)
    yield NEW_FILES, other.refresh()


def link(landing: Path, paths: Iterable[Path], other: Path) -> None:
    """Put landing files into another landing folder."""
    for path in paths:
        target = other / path.relative_to(landing)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)


def shared_serials(here: Place) -> Measured:
    """`stedi refresh` and the bare script where no customer record has a device's serial number."""
    yield SHARED, here.refresh()
    yield BARE_SHARED, here.bare()


SIDES: dict[str, Callable[[Place], Measured]] = {
    "refresh": refresh,
    "bare": bare,
    "glue": glue,
    "spark": spark,
    "new-files": new_files,
    "shared-serials": shared_serials,
}
"""The sides by name, in the order of the first round."""


def unavailable() -> dict[str, str]:
    """Sides that cannot run here, each with a sentence that says why."""
    has_spark = find_spec("pyspark") and shutil.which("java")
    return {} if has_spark else dict.fromkeys(("glue", "spark"), "It needs PySpark and Java.")


def differences(runs: Mapping[str, Run]) -> dict[str, list[str]]:
    """The tables of which a side has another number of rows than the bare script."""
    differing = {}
    for name, measured in runs.items():
        reference = runs.get(BARE_SHARED if name == SHARED else BARE)
        expected = reference.rows if reference else {}
        # Of the last two tables the Glue-style jobs have another answer.
        tables = [table for table in expected if name != GLUE or table in list(JOBS)[:3]]
        differing[name] = [table for table in tables if measured.rows.get(table) != expected[table]]
    return {name: tables for name, tables in differing.items() if tables}
