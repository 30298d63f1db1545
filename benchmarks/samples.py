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


def folder(customers: int, *, shared_serials: bool = False) -> Path:
    """Where the sample of a size is kept."""
    defect = "-shared-serials" if shared_serials else ""
    return Path(tempfile.gettempdir()) / f"stedi-bench-{customers}-customers{defect}"


def lacking_disk(customers: int, samples: Sequence[Path]) -> str | None:
    """A sentence where the disk is too small for samples and for what is made of them."""
    missing = [sample for sample in samples if not sample.exists()]
    needed = customers * BYTES_PER_CUSTOMER * (len(missing) + 1)
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if needed <= free:
        return None
    return (
        f"{customers:,} customers are skipped: they take {needed / 1e9:,.1f} GB of disk, and "
        f"{free / 1e9:,.1f} GB are free."
    )


def make(
    customers: int, environment: Mapping[str, str], timeout: float, *, shared_serials: bool = False
) -> None:
    """Write the sample of a size unless it is there."""
    target = folder(customers, shared_serials=shared_serials)
    if not target.exists():
        partial = target.with_name(f"{target.name}.{os.getpid()}")
        defect = ("--shared-serials",) if shared_serials else ()
        size = ("--customers", str(customers), "--files", str(FILES))
        command = (sys.executable, "-m", "stedi_assets.cli", "sample", str(partial), *size, *defect)
        try:
            run(command, PROJECT, environment, timeout)
            partial.rename(target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


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
