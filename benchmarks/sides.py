"""What is measured: each side makes the tables of one sample its own way.

Most start from nothing. The scenarios start from a lakehouse that has the sample, and take in a
delivery.
"""

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from compileall import compile_dir
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from pyarrow import dataset

from benchmarks.deliveries import SCENARIOS
from benchmarks.glue_way import JOBS
from benchmarks.measure import Run, run

EMPTY, AGAIN = "refresh from empty", "refresh, nothing new"
MIXED = "refresh, 1 % new readings and more"
WITHDRAWALS = "refresh, 10 withdrawals"
ONE_FILE = "refresh, one file"
BARE = "bare.py"
GLUE = "Glue-style Spark jobs"
SPARK = "refresh on Sail"
PYSPARK = "refresh on PySpark"
SPARK_MIXED = f"{MIXED}, on Sail"
SHARED, BARE_SHARED = "refresh, shared serials", "bare.py, shared serials"
DELIVERED = (MIXED, WITHDRAWALS, ONE_FILE, SPARK_MIXED)
"""What is measured after a delivery, and so has other data than the sample."""

ON_SPARK = "spark_"
"""What the name of a side begins with that is a scenario on Sail."""

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parent
STEDI = (sys.executable, "-m", "stedi_assets")
FILES = 100
"""Files of each source."""
BYTES_PER_CUSTOMER = 11_800


class NoRoomError(RuntimeError):
    """The disk is too small."""


class WrongAnswerError(RuntimeError):
    """Tables have another number of rows than they should."""

    def __init__(self, tables: Iterable[str], reference: str) -> None:
        """Name the tables, and what gives the right number."""
        super().__init__(
            f"It gives another number of rows of {', '.join(tables)} than {reference}."
        )


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
    read_through(landing)
    return landing


def delivery(scenario: str, customers: int, timeout: float) -> Path:
    """A landing folder with what a scenario delivers, made and kept like the sample.

    Raises:
        CommandError: It cannot be written.
    """
    name = f"stedi-bench-{customers}-customers-{scenario}"
    landing = Path(tempfile.gettempdir()) / name
    if not landing.exists():
        with tempfile.TemporaryDirectory(prefix="stedi-bench-") as folder:
            module = (sys.executable, "-m", "benchmarks.deliveries")
            command = (*module, scenario, str(customers), f"{folder}/landing")
            run(command, PROJECT, environment(), timeout)
            (Path(folder) / "landing").rename(landing)
    return landing


def read_through(folder: Path) -> None:
    """Read all files below a folder, so that they lie in memory as far as they fit."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


def environment() -> dict[str, str]:
    """The environment without any setting of the project or of Dagster."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("STEDI_", "DAGSTER_"))}


@dataclass(frozen=True)
class Place:
    """A copy of the project, with a lakehouse beside the code, its run history in it.

    Attributes:
        folder: Of the code.
        landing: Root of the landing folders.
        timeout: Seconds that a command may take.
        memory: Limit of the embedded engine, for `stedi` and for the bare script.
        check: Whether what a scenario gives is compared with a refresh from empty.
        lakehouse: Name of the lakehouse's folder.
    """

    folder: Path
    landing: Path
    timeout: float
    memory: str
    check: bool = False
    lakehouse: str = "lakehouse"

    def run(self, *command: str | Path, **settings: str) -> Run:
        """Run a command here."""
        places = {"LANDING": str(self.landing), "LAKEHOUSE": str(self.folder / self.lakehouse)}
        variables = {f"STEDI_{name}": value for name, value in (places | settings).items()}
        return run([*map(str, command)], self.folder, environment() | variables, self.timeout)

    def refresh(self, engine: str = "duckdb", **settings: str) -> Run:
        """Refresh the lakehouse, and look up how many rows the tables have then."""
        # With Spark the setting is of something else, the memory of a task.
        limit = {"MEMORY_LIMIT": self.memory} if engine == "duckdb" else {}
        measured = self.run(*STEDI, "refresh", ENGINE=engine, **limit, **settings)
        tables = json.loads(self.run(*STEDI, "status", "--json").output)["tables"]
        return replace(measured, rows={t["table"]: t["published"]["rows"] for t in tables})

    def bare(self) -> Run:
        """Make the tables with the bare script."""
        command = (sys.executable, HERE / "bare.py", self.landing, self.folder / "bare.db")
        measured = self.run(*command, MEMORY_LIMIT=self.memory)
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


class Stage:
    """The places of the sides of a size, until it is closed."""

    def __init__(self, customers: int, timeout: float, memory: str, *, check: bool = False) -> None:
        """Places for so many customers; the others are attributes of `Place`."""
        self._customers = customers
        self._timeout = timeout
        self._memory = memory
        self._check = check
        self._temporary = tempfile.TemporaryDirectory(prefix="stedi-bench-")
        self._refreshed: Place | None = None

    def __enter__(self) -> Self:
        """Stay until the end of the block."""
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the lakehouse that the scenarios start from."""
        self._temporary.cleanup()

    @contextmanager
    def place(self, side: str) -> Iterator[Place]:
        """A place for one side, ready to be measured.

        Raises:
            NoRoomError: The disk is too small for its landing files.
            CommandError: Its landing files, or the lakehouse of a scenario, cannot be made.
        """
        scenario = side.removeprefix(ON_SPARK)
        if scenario in SCENARIOS:
            with self._restored(scenario) as here:
                yield here
            return
        defect = ("--shared-serials",) if side == "shared-serials" else ()
        with tempfile.TemporaryDirectory(prefix="stedi-bench-") as folder:
            landing = sample(self._customers, self._timeout, *defect)
            yield self._checkout(Path(folder), landing)

    def _checkout(self, folder: Path, landing: Path) -> Place:
        checkout = folder / "checkout"
        shutil.copytree(PROJECT / "stedi_assets", checkout / "stedi_assets")
        compile_dir(checkout / "stedi_assets", quiet=1)  # as it is after the first command
        for name in ("workspace.yaml", "dagster.yaml"):
            shutil.copy(PROJECT / name, checkout)
        return Place(checkout, landing, self._timeout, self._memory, self._check)

    @contextmanager
    def _restored(self, scenario: str) -> Iterator[Place]:
        """The lakehouse as it was after the sample, and a delivery among the landing files.

        It lies where it was made: its catalog and metadata have absolute paths.
        """
        here = self._refreshed = self._refreshed or self._refresh_sample()
        delivered = delivery(scenario, self._customers, self._timeout)
        lakehouse = here.folder / here.lakehouse
        shutil.rmtree(lakehouse, ignore_errors=True)
        shutil.copytree(here.folder / "refreshed", lakehouse, copy_function=copy)
        link(delivered, here.landing)
        read_through(lakehouse)
        read_through(delivered)
        try:
            yield here
        finally:
            for path in delivered.rglob("*.json"):
                (here.landing / path.relative_to(delivered)).unlink()

    def _refresh_sample(self) -> Place:
        """The lakehouse that scenarios start from, refreshed and put aside."""
        landing = sample(self._customers, self._timeout)
        folder = Path(tempfile.mkdtemp(dir=self._temporary.name))
        here = self._checkout(folder, folder / "landing")
        link(landing, here.landing)
        here.refresh()
        (here.folder / here.lakehouse).rename(here.folder / "refreshed")
        return here


def copy(source: str, target: str) -> None:
    """Copy a file of a lakehouse; data files are linked, as they are written once."""
    if source.endswith(".parquet"):
        os.link(source, target)
    else:
        shutil.copy2(source, target)


def link(landing: Path, other: Path) -> None:
    """Put the files of a landing folder into another one, too."""
    for path in landing.rglob("*.json"):
        target = other / path.relative_to(landing)
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, target)


Measured = Iterator[tuple[str, Run]]


def empty(here: Place) -> Measured:
    """`stedi refresh` from empty, and again with nothing new."""
    yield EMPTY, here.refresh()
    yield AGAIN, here.refresh()


def scenario(name: str, here: Place, engine: str = "duckdb") -> Measured:
    """`stedi refresh` of what was delivered to a lakehouse that has the sample.

    Raises:
        WrongAnswerError: A refresh from empty of the same files gives other numbers of rows.
    """
    measured = here.refresh(engine)
    if here.check:
        anew = replace(here, lakehouse="anew")
        try:
            if tables := differing(measured.rows, anew.refresh().rows):
                raise WrongAnswerError(tables, "a refresh from empty")
        finally:
            shutil.rmtree(here.folder / anew.lakehouse, ignore_errors=True)
    yield name, measured


def bare(here: Place) -> Measured:
    """The hand-written DuckDB script."""
    yield BARE, here.bare()


def glue(here: Place) -> Measured:
    """The five Spark jobs."""
    yield GLUE, here.glue()


def spark(here: Place) -> Measured:
    """`stedi refresh` from empty with Sail, which is Spark on this machine."""
    yield SPARK, here.refresh("spark")


def pyspark(here: Place) -> Measured:
    """`stedi refresh` from empty with Spark itself, on the JVM of this machine."""
    yield PYSPARK, here.refresh("spark", SPARK_CONF='{"spark.master": "local[*]"}')


def shared_serials(here: Place) -> Measured:
    """`stedi refresh` and the bare script where no customer record has a device's serial number."""
    yield SHARED, here.refresh()
    yield BARE_SHARED, here.bare()


SIDES: dict[str, Callable[[Place], Measured]] = {
    "empty": empty,
    "mixed": partial(scenario, MIXED),
    "withdrawals": partial(scenario, WITHDRAWALS),
    "one_file": partial(scenario, ONE_FILE),
    "bare": bare,
    "glue": glue,
    "spark": spark,
    f"{ON_SPARK}mixed": partial(scenario, SPARK_MIXED, engine="spark"),
    "pyspark": pyspark,
    "shared-serials": shared_serials,
}
"""The sides by name, in the order of the first round."""


def unavailable() -> dict[str, str]:
    """Sides that cannot run here, each with a sentence that says why."""
    missing: dict[str, str] = {}
    if not (find_spec("pyspark") and find_spec("pysail")):
        missing |= dict.fromkeys(("spark", f"{ON_SPARK}mixed"), "It needs PySpark and Sail.")
    if not (find_spec("pyspark") and shutil.which("java")):
        missing |= dict.fromkeys(("glue", "pyspark"), "It needs PySpark and Java.")
    return missing


def differing(rows: Mapping[str, int], expected: Mapping[str, int]) -> list[str]:
    """The expected tables that have another number of rows, or none."""
    return [table for table in expected if rows.get(table) != expected[table]]


def differences(runs: Mapping[str, Run]) -> dict[str, list[str]]:
    """The tables of which a side has another number of rows than the bare script of its data."""
    differences = {}
    for name, measured in runs.items():
        reference = runs.get(BARE_SHARED if name == SHARED else BARE)
        if reference and name not in DELIVERED:
            tables = differing(measured.rows, reference.rows)
            # Of the last two tables the Glue-style jobs have another answer.
            asked = [table for table in tables if name != GLUE or table in list(JOBS)[:3]]
            differences[name] = asked
    return {name: tables for name, tables in differences.items() if tables}
