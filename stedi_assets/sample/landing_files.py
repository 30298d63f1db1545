"""Synthetic landing files, seeded, with the defects that real deliveries have had.

Everything is drawn in SQL from hashes of the seed. A sample of any size needs no Python loop over
its readings, and the same options give the same bytes under the same DuckDB version.
"""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import duckdb

from stedi_assets.lakehouse.progress import SILENT, Progress
from stedi_assets.sample.bad_files import SHAPES, spare_objects
from stedi_assets.sample.options import SOURCES, Sample
from stedi_assets.sample.people import SHARED_SERIALS, draw_people
from stedi_assets.sample.readings import draw_readings

if TYPE_CHECKING:
    from pyiceberg.io import FileIO

__all__ = [
    "SHARED_SERIALS",
    "SOURCES",
    "Sample",
    "SampleSummary",
    "define_draws",
    "draw_sample",
    "upload_sample",
    "write_sample",
]


@dataclass(frozen=True)
class SampleSummary:
    """What was written.

    Attributes:
        customers: Number of distinct people.
        objects: Objects per source that a reader should be able to land, in bad files too.
        unreadable: Fragments per source that belong in quarantine: text that is no object, and
            objects that lack a required field or hold a value of the wrong type there.
        files: Number of files.
        bytes_written: Their size.
    """

    customers: int
    objects: dict[str, int]
    unreadable: dict[str, int]
    files: int
    bytes_written: int


def write_sample(landing: Path, sample: Sample, progress: Progress = SILENT) -> SampleSummary:
    """Write a sample below a landing folder, as `SOURCE/landing/SOURCE-<n>.json`.

    Each file appears under its name only when it is complete. If not all can be
    written, none stays.

    Args:
        landing: Root of the landing folders; made where it does not exist.
        sample: What to write.
        progress: Is told how many files were written.

    Returns:
        What was written.

    Raises:
        FileExistsError: A file of the sample exists already; nothing was written.
    """
    paths = {source: _paths(landing, source, sample) for source in SOURCES}
    for path in (path for files in paths.values() for path in files):
        if path.exists():
            raise FileExistsError(f"{path} exists already, and a sample overwrites nothing.")

    try:
        objects, unreadable = _write(paths, sample, progress)
    except BaseException:  # Ctrl-C, too: the same sample can then be written again
        for path in (path for files in paths.values() for path in files):
            with suppress(OSError):
                path.unlink()
        raise
    sizes = [path.stat().st_size for files in paths.values() for path in files]
    return SampleSummary(sample.customers, objects, unreadable, len(sizes), sum(sizes))


def upload_sample(
    landing: str, sample: Sample, io: "FileIO", progress: Progress = SILENT
) -> SampleSummary:
    """Write a sample below an S3 prefix.

    Args:
        landing: Root of the landing folders, `s3://bucket/prefix`.
        sample: What to write.
        io: Writes objects there.
        progress: Is told how many files were written.

    Returns:
        What was written.

    Raises:
        FileExistsError: A file of the sample exists already; nothing was written.
    """
    with TemporaryDirectory() as folder:
        summary = write_sample(Path(folder), sample, progress)
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        targets = {path: f"{landing}/{path.relative_to(folder).as_posix()}" for path in paths}
        for target in targets.values():
            if io.new_output(target).exists():
                raise FileExistsError(f"{target} exists already, and a sample overwrites nothing.")
        progress.begin("uploading files", len(targets), summary.bytes_written)
        try:
            for path, target in targets.items():
                with path.open("rb") as file, io.new_output(target).create() as target_file:
                    shutil.copyfileobj(file, target_file, 1 << 20)
                progress.advance(1, path.stat().st_size)
        except BaseException:
            for target in targets.values():
                with suppress(OSError):
                    io.delete(target)
            raise
    return summary


def _write(
    paths: Mapping[str, Sequence[Path]], sample: Sample, progress: Progress
) -> tuple[dict[str, int], dict[str, int]]:
    """Write the files of each source, and count what is readable in them and what is not."""
    objects, unreadable = dict.fromkeys(SOURCES, 0), dict.fromkeys(SOURCES, 0)
    # Otherwise it looks for tables among Python's variables, and loads pandas for that.
    with duckdb.connect(config={"python_enable_replacements": False}) as connection:
        progress.begin("making up people and their readings")
        draw_sample(connection, sample)
        for source, files in paths.items():
            files[0].parent.mkdir(parents=True, exist_ok=True)
            spare = spare_objects(connection, source)
            progress.begin(f"writing {source} files", len(files))
            for number, path in enumerate(files[: sample.files]):
                objects[source] += _write_lines(connection, source, number, path)
                progress.advance(1)
            for path, shape in zip(files[sample.files :], SHAPES.values(), strict=False):
                bad = shape(source, next(spare))
                with _complete(path) as partial:
                    partial.write_bytes(bad.body)
                objects[source] += bad.readable
                unreadable[source] += bad.unreadable
                progress.advance(1)
    return objects, unreadable


def _paths(landing: Path, source: str, sample: Sample) -> list[Path]:
    """Name the files of a source, clean ones first."""
    names = [f"{number}.json" for number in range(1, sample.files + 1)]
    if sample.malformed:
        names += SHAPES
    return [landing / source / "landing" / f"{source}-{name}" for name in names]


@contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """Give a name to write under that no reader takes for a landing file; rename at the end."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


def _write_lines(
    connection: duckdb.DuckDBPyConnection, source: str, number: int, path: Path
) -> int:
    """Write one clean file, and count its objects."""
    with _complete(path) as partial:
        name = str(partial).replace("'", "''")
        # JSON escapes tabs, so a line never needs the quoting that is switched off here.
        copied = connection.execute(f"""
            COPY (SELECT line FROM {source} WHERE file = {number} ORDER BY position)
            TO '{name}' (FORMAT csv, HEADER false, DELIMITER '\t', QUOTE '', ESCAPE '')
        """).fetchone()
    return int(copied[0]) if copied else 0


def draw_sample(connection: duckdb.DuckDBPyConnection, sample: Sample) -> None:
    """Make the views `customer`, `accelerometer` and `step_trainer` of file, position, line."""
    define_draws(connection, sample.seed)
    draw_people(connection, sample)
    draw_readings(connection, sample)


def define_draws(connection: duckdb.DuckDBPyConnection, seed: int) -> None:
    """Make the macros that draw numbers, which all that is drawn goes by."""
    # The outer hash is needed: hashes of several values combine by XOR. Without it two draws for
    # the same row would share their low bits, up to a constant.
    connection.execute(f"""
        CREATE MACRO bits(what, i) AS
            (hash(hash(what, i::BIGINT, {seed}::BIGINT)) >> 2)::BIGINT;
        CREATE MACRO draw(what, i, n) AS bits(what, i) % n;
        CREATE MACRO serial_number(what, i) AS md5(concat_ws(' ', what, {seed}, i))::UUID
    """)
