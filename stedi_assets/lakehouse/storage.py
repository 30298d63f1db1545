"""Where files and tables are: a folder of this machine, or (in `aws.py`) a bucket."""

import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from pyiceberg.catalog import Catalog as IcebergCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO

from stedi_assets.lakehouse.faults import WAY_BACK, LakehouseError
from stedi_assets.lakehouse.sqlite_faults import name_file, opening

NAMESPACE = "stedi"
"""Namespace of the tables, where a lakehouse has a catalog of its own."""

BUSY = 20.0
"""Seconds to wait for another process that writes to the catalog."""


@dataclass(frozen=True)
class StoredFile:
    """A file as a listing shows it.

    Attributes:
        location: Its path or URI.
        version: Another one wherever its content is another.
        modified: When it was written last.
    """

    location: str
    size: int
    version: str
    modified: datetime


class Storage(Protocol):
    """What a deployment has to offer to the machinery.

    Attributes:
        root: Path or URI of the lakehouse.
        namespace: Namespace of its tables.
        scratch: Folder of this machine for what does not fit into memory.
        io: Reads, writes and deletes single files.
        iceberg: The Iceberg catalog; asking for it makes no tables.
        file_memory: DuckDB's setting that lets it remember what files are like, if there is one.
    """

    def __hash__(self) -> int: ...  # noqa: D105  (one engine a storage)
    @property
    def root(self) -> str: ...  # noqa: D102
    @property
    def namespace(self) -> str: ...  # noqa: D102
    @property
    def scratch(self) -> Path: ...  # noqa: D102
    @property
    def io(self) -> FileIO: ...  # noqa: D102
    @property
    def iceberg(self) -> IcebergCatalog: ...  # noqa: D102
    @property
    def file_memory(self) -> str | None: ...  # noqa: D102

    def exists(self) -> bool:
        """Whether there is a catalog yet."""

    def drop_catalog(self) -> None:
        """Remove a catalog that cannot be read, so that another one can be made."""

    def claim(self) -> None:
        """Make sure that no other catalog has its tables here.

        Raises:
            LakehouseError: One has.
        """

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All files below a folder; none where there is no such folder."""

    def drop_uploads(self, before: datetime) -> int:
        """Remove what remains of uploads begun before that time; gives their number."""

    def engine_setup(self) -> list[str]:
        """What DuckDB has to be told before it can read and write here."""

    def check_written(self, location: str) -> None:
        """Make sure that a file which DuckDB wrote is stored as it has to be.

        Raises:
            LakehouseError: It is not.
        """


@dataclass(frozen=True)
class LocalStorage:
    """A folder of this machine, its catalog a SQLite file in it."""

    folder: Path

    def __reduce__(self) -> tuple[Any, ...]:
        """What is open here stays here when it is sent to another process."""
        return type(self), (self.folder,)

    @property
    def root(self) -> str:
        """The folder."""
        return str(self.folder)

    @property
    def namespace(self) -> str:
        """Namespace of its tables."""
        return NAMESPACE

    @property
    def scratch(self) -> Path:
        """Folder for what does not fit into memory."""
        return self.folder / "scratch"

    @cached_property
    def io(self) -> FileIO:
        """Reads, writes and deletes files."""
        return PyArrowFileIO()

    @cached_property
    def iceberg(self) -> IcebergCatalog:
        """The catalog, made where it is missing."""
        self.exists()
        return self._connect()

    def _connect(self) -> IcebergCatalog:
        self.folder.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{self._file}?timeout={BUSY}"
        with opening(self._file):
            catalog = SqlCatalog(NAMESPACE, uri=uri, warehouse=self.root)
        name_file(catalog.engine, self._file)
        return catalog

    @property
    def _file(self) -> Path:
        return self.folder / "catalog.db"

    def exists(self) -> bool:
        """Whether there is a catalog yet.

        Raises:
            LakehouseError: It is lost: its tables are still there.
        """
        there = self._file.exists()
        if not there or (self._file.is_file() and not self._file.stat().st_size):
            # A catalog is there before its tables; without it a refresh would begin anew.
            if next(self._file.parent.glob("warehouse/*/*/metadata/*.metadata.json"), None):
                what = "empty" if there else "missing"
                raise LakehouseError(f"{self._file} is {what}, its tables are there: {WAY_BACK}.")
        return there

    def drop_catalog(self) -> None:
        """Put an empty catalog in the place of the file, or whatever is there."""
        if self._file.is_dir():
            shutil.rmtree(self._file)
        else:
            self._file.unlink(missing_ok=True)
        self.__dict__["iceberg"] = self._connect()

    def claim(self) -> None:
        """The catalog is in the folder itself."""

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All files below a folder."""
        for parent, _, names in os.walk(folder, onerror=_refuse):
            for path in (Path(parent, name) for name in names):
                try:
                    found = path.stat()
                except FileNotFoundError:  # renamed or deleted meanwhile, or a link to nothing
                    continue
                if stat.S_ISREG(found.st_mode):
                    modified = datetime.fromtimestamp(found.st_mtime, tz=UTC)
                    yield StoredFile(str(path), found.st_size, str(found.st_mtime_ns), modified)

    def drop_uploads(self, before: datetime) -> int:
        """There are no uploads here."""
        return 0

    def engine_setup(self) -> list[str]:
        """DuckDB needs nothing to read and write files."""
        return []

    @property
    def file_memory(self) -> None:
        """Files of this machine are quick to look at."""

    def check_written(self, location: str) -> None:
        """Nothing is asked of files of this machine."""


def _refuse(error: OSError) -> None:
    # Passed over, a folder that may not be read would look like an empty one.
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
