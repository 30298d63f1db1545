"""What is measured: each side runs its commands on one landing folder, from an empty lakehouse."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import samples
from benchmarks.glue_way import JOBS
from benchmarks.measure import Run, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

REFRESH, AGAIN, STATUS = "refresh", "refresh, nothing new", "status"
BARE = "bare.py"
GLUE = "Glue-style Spark jobs"
SPARK = "refresh on Spark"
NEW_FILES = "refresh, 1 % new files"
SHARED, BARE_SHARED = "refresh, shared serials", "bare.py, shared serials"
IMPORT, HELP = "import definitions", "--help"
ON_S3 = "refresh on S3"

AUDIT = "audit"
"""The part of a refresh that its checks take."""

# Scripts, not `python -c`: PySpark, where installed, takes that for its own doctests and exits.
SCRIPTS = {
    "stedi.py": "from stedi_assets.cli import main\n\nmain()\n",
    "start_up.py": "import stedi_assets.definitions\n",
}
STEDI, START_UP = ((sys.executable, script) for script in SCRIPTS)
HERE = Path(__file__).parent

Measured = tuple[str, Run]


@dataclass(frozen=True)
class Setup:
    """What the sides of a size share.

    Attributes:
        landing: The sample.
        shared: The sample with the serial-number defect.
        checkout: A copy of the project that has run before, so that Python has compiled it.
        memory_limit: Of DuckDB; that of each side by itself where absent.
        timeout: Seconds that a command may take.
    """

    landing: Path
    shared: Path
    checkout: Path
    memory_limit: str | None
    timeout: float


def inherited() -> dict[str, str]:
    """The environment without any setting of the project or of Dagster."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("STEDI_", "DAGSTER_"))}


@contextmanager
def checkout() -> Iterator[Path]:
    """Copy the project to run from, and let Python compile it.

    Dagster keeps its history beside the code: it goes with the copy.
    """
    with tempfile.TemporaryDirectory(prefix="stedi-bench-") as folder:
        copy = Path(folder) / "checkout"
        package = samples.PROJECT / "stedi_assets"
        shutil.copytree(package, copy / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("workspace.yaml", "dagster.yaml"):
            shutil.copy(samples.PROJECT / name, copy)
        for name, script in SCRIPTS.items():
            (copy / name).write_text(script)
        lakehouse = {"STEDI_LAKEHOUSE": str(copy / "lakehouse")}
        run(START_UP, copy, inherited() | lakehouse, timeout=600)
        yield copy


@dataclass(frozen=True)
class _Place:
    """A checkout of a side's own, with an empty lakehouse and an empty run history."""

    folder: Path
    environment: Mapping[str, str]
    timeout: float

    def run(self, *command: str) -> Run:
        return run(command, self.folder, self.environment, self.timeout)

    def status(self) -> Run:
        return self.run(*STEDI, "status", "--json")

    def refresh(self) -> Run:
        """Refresh the lakehouse, and look up how many rows the tables have then."""
        return replace(self.run(*STEDI, "refresh"), rows=_published_rows(self.status()))


@contextmanager
def _place(setup: Setup, landing: Path, **settings: str) -> Iterator[_Place]:
    with tempfile.TemporaryDirectory(prefix="stedi-bench-") as temporary:
        folder = Path(temporary) / "checkout"
        shutil.copytree(setup.checkout, folder)
        limit = {"STEDI_MEMORY_LIMIT": setup.memory_limit} if setup.memory_limit else {}
        places = {"STEDI_LANDING": str(landing), "STEDI_LAKEHOUSE": str(folder / "lakehouse")}
        yield _Place(folder, inherited() | places | limit | settings, setup.timeout)


def _published_rows(status: Run) -> dict[str, int]:
    return {
        entry["table"]: entry["published"]["rows"]
        for entry in json.loads(status.output)["tables"]
        if entry["published"]
    }


def refresh(setup: Setup) -> Iterator[Measured]:
    """`stedi refresh` from empty, its audits' share of it, and again with nothing new."""
    samples.read_once(setup.landing)
    with _place(setup, setup.landing) as place:
        first = place.run(*STEDI, "refresh")
        status = place.status()
        audits = json.loads(place.run(sys.executable, str(HERE / "audit_seconds.py")).output)
        rows = _published_rows(status)
        yield REFRESH, replace(first, rows=rows, parts={AUDIT: sum(audits.values())})
        yield STATUS, status
        yield AGAIN, place.run(*STEDI, "refresh")


def bare(setup: Setup) -> Iterator[Measured]:
    """The hand-written DuckDB script."""
    yield BARE, _bare(setup, setup.landing)


def _bare(setup: Setup, landing: Path) -> Run:
    samples.read_once(landing)
    limit = ("--memory-limit", setup.memory_limit) if setup.memory_limit else ()
    with _place(setup, landing) as place:
        script = str(HERE / "bare.py")
        made = place.run(sys.executable, script, str(landing), str(place.folder / "bare"), *limit)
        return replace(made, rows=json.loads(made.output)["rows"])


def glue(setup: Setup) -> Iterator[Measured]:
    """The five Spark jobs, one after the other."""
    samples.read_once(setup.landing)
    with _place(setup, setup.landing) as place:
        out = place.folder / "glue"
        script = str(HERE / "glue_way.py")
        jobs = {
            job: place.run(sys.executable, script, job, str(setup.landing), str(out))
            for job in JOBS
        }
        yield (
            GLUE,
            Run(
                seconds=sum(job.seconds for job in jobs.values()),
                cpu_seconds=sum(job.cpu_seconds for job in jobs.values()),
                megabytes=max(job.megabytes for job in jobs.values()),
                rows={job: _parquet_rows(out / job) for job in jobs},
                parts={name: job.seconds for name, job in jobs.items()},
            ),
        )


def _parquet_rows(folder: Path) -> int:
    import pyarrow.parquet as pq  # noqa: PLC0415

    return sum(pq.read_metadata(path).num_rows for path in folder.glob("*.parquet"))


def spark(setup: Setup) -> Iterator[Measured]:
    """`stedi refresh` from empty with Spark as its engine."""
    samples.read_once(setup.landing)
    with _place(setup, setup.landing, STEDI_ENGINE="spark") as place:
        yield SPARK, place.refresh()


def new_files(setup: Setup) -> Iterator[Measured]:
    """`stedi refresh` after the last 1 % of the files, the others taken in before."""
    samples.read_once(setup.landing)
    late = samples.late_files(setup.landing)
    early = [path for path in samples.files(setup.landing) if path not in late]
    with tempfile.TemporaryDirectory(prefix="stedi-bench-") as temporary:
        landing = Path(temporary)
        samples.link(setup.landing, early, landing)
        with _place(setup, landing) as place:
            place.run(*STEDI, "refresh")
            samples.link(setup.landing, late, landing)
            yield NEW_FILES, place.refresh()


def shared_serials(setup: Setup) -> Iterator[Measured]:
    """`stedi refresh` and the bare script where no customer record has a device's serial number."""
    samples.read_once(setup.shared)
    with _place(setup, setup.shared) as place:
        yield SHARED, place.refresh()
    yield BARE_SHARED, _bare(setup, setup.shared)


def start_up(setup: Setup) -> Iterator[Measured]:
    """What a process of Dagster pays before it does anything, and a command that does nothing."""
    with _place(setup, setup.landing) as place:
        yield IMPORT, place.run(*START_UP)
        yield HELP, place.run(*STEDI, "--help")


def s3(setup: Setup) -> Iterator[Measured]:
    """`stedi refresh` from empty on S3 and Glue servers of this machine."""
    from stedi_assets_tests.aws_servers import (  # noqa: PLC0415
        BUCKET,
        GlueServer,
        S3Server,
        settings,
    )

    with (
        tempfile.TemporaryDirectory(prefix="stedi-bench-") as folder,
        S3Server(Path(folder) / "s3") as server,
        GlueServer() as catalog,
    ):
        client = server.client()
        client.create_bucket(Bucket=BUCKET)
        for path in samples.files(setup.landing):
            client.upload_file(str(path), BUCKET, path.relative_to(setup.landing).as_posix())
        there = settings(server.endpoint, catalog.endpoint) | {
            "STEDI_LANDING": f"s3://{BUCKET}",
            "STEDI_LAKEHOUSE": f"s3://{BUCKET}/lakehouse",
            "STEDI_PSEUDONYM_KEY": "of a benchmark, so known to everybody",
        }
        with _place(setup, setup.landing, **there) as place:
            yield ON_S3, place.refresh()


SIDES: dict[str, Callable[[Setup], Iterator[Measured]]] = {
    "refresh": refresh,
    "bare": bare,
    "glue": glue,
    "spark": spark,
    "new-files": new_files,
    "shared-serials": shared_serials,
    "start-up": start_up,
    "s3": s3,
}
"""The sides by name, in the order of the first round."""

ON_SPARK = ("glue", "spark")


def lacking(sides: Sequence[str]) -> dict[str, str]:
    """Sides that cannot run here, each with a sentence that says why."""
    if find_spec("pyspark") and shutil.which("java"):
        return {}
    return {side: "It takes PySpark and Java." for side in sides if side in ON_SPARK}


_SAME_TABLES = ("customer_trusted", "accelerometer_trusted", "customers_curated")
_COMPARED = (
    (REFRESH, BARE, None),
    (SPARK, BARE, None),
    (NEW_FILES, BARE, None),
    (ON_S3, BARE, None),
    (SHARED, BARE_SHARED, None),
    (GLUE, BARE, _SAME_TABLES),  # the other two are where its answer differs
)


def differing(runs: Mapping[str, Run]) -> dict[str, list[str]]:
    """The tables of which what was measured has another number of rows than the bare script."""
    found = {}
    for name, other, tables in _COMPARED:
        if name in runs and other in runs:
            theirs = runs[other].rows
            found[name] = [
                table for table in tables or theirs if runs[name].rows.get(table) != theirs[table]
            ]
    return {name: tables for name, tables in found.items() if tables}
