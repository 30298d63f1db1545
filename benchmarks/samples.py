"""Landing files to measure on: made once for each size, and kept in the temporary folder."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SOURCES = ("customer", "accelerometer", "step_trainer")
FILES = 100
"""Files of each source, so that one of them is 1 % of the data."""

BYTES_PER_CUSTOMER = 11_800
PROJECT = Path(__file__).resolve().parent.parent


class NoRoomError(RuntimeError):
    """The disk is too small."""


def folder(customers: int, *, shared_serials: bool = False) -> Path:
    """Where the sample of a size is kept."""
    defect = "-shared-serials" if shared_serials else ""
    return Path(tempfile.gettempdir()) / f"stedi-bench-{customers}-customers{defect}"


def make(
    customers: int, defects: Sequence[bool], environment: Mapping[str, str], timeout: float
) -> None:
    """Write samples of a size unless they are there.

    Args:
        customers: The size.
        defects: Whether with the serial-number defect, for each sample.
        environment: The environment to write them in.
        timeout: Seconds that one of them may take.

    Raises:
        NoRoomError: The disk is too small for them.
        CommandError: One of them cannot be written.
    """
    folders = {folder(customers, shared_serials=defect): defect for defect in defects}
    missing = {target: defect for target, defect in folders.items() if not target.exists()}
    assert_room(customers * BYTES_PER_CUSTOMER * (len(missing) + 1))
    size = ("--customers", str(customers), "--files", str(FILES))
    for target, defect in missing.items():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        options = (*size, "--shared-serials") if defect else size
        command = (sys.executable, "-m", "stedi_assets.cli.main", "sample", str(partial), *options)
        try:
            run(command, PROJECT, environment, timeout)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def assert_room(needed: int) -> None:
    """Refuse what the temporary folder has no room for: samples, and about as much for the tables.

    Raises:
        NoRoomError: It has not.
    """
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if needed > free:
        raise NoRoomError(
            f"It takes {needed / 1e9:,.1f} GB of disk, and {free / 1e9:,.1f} GB are free."
        )


def files(landing: Path) -> list[Path]:
    """The files of a sample, those of each source in the order they were written."""
    return [
        path
        for source in SOURCES
        for path in sorted((landing / source / "landing").iterdir(), key=_number)
    ]


def _number(path: Path) -> int:
    return int(path.stem.rpartition("-")[2])


def size(landing: Path) -> int:
    """Bytes of a sample."""
    return sum(path.stat().st_size for path in files(landing))


def read_once(landing: Path) -> None:
    """Read all files, so that what is measured next finds them in memory, as far as they fit."""
    for path in files(landing):
        with path.open("rb") as file:
            while file.read(1 << 20):
                pass


def late_files(landing: Path) -> list[Path]:
    """The last 1 % of each source's files, at least one of each."""
    late = []
    for source in SOURCES:
        of_source = sorted((landing / source / "landing").iterdir(), key=_number)
        late += of_source[-max(1, len(of_source) // 100) :]
    return late


def link(landing: Path, paths: Sequence[Path], target: Path) -> None:
    """Put files of a sample into another landing folder."""
    for path in paths:
        linked = target / path.relative_to(landing)
        linked.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, linked)
