"""What a storage has to offer."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from pyiceberg.catalog import Catalog as IcebergCatalog
from pyiceberg.io import FileIO

HINT = "version-hint.text"
"""File beside a table's metadata files that names the newest one, as Iceberg's readers look for it.

It is for those that are given a folder: DuckDB, and whoever uses PyIceberg's static tables.
"""

UNFINISHED = ".stedi-"
"""What the name of a file begins with that is being written to take the place of another."""


@dataclass(frozen=True)
class StoredFile:
    """A file as a listing shows it.

    Attributes:
        location: Its path or URI.
        version: Changes whenever its content changes.
        modified: When it was last written.
    """

    location: str
    size: int
    version: str
    modified: datetime


@dataclass(frozen=True)
class OlderVersion:
    """What a file was before it was written anew or deleted.

    Attributes:
        location: The file.
        open: Opens it as it was.
        erase: Deletes it for good.
    """

    location: str
    open: Callable[[], BinaryIO]
    erase: Callable[[], object]


class Storage(Protocol):
    """Where a lakehouse is stored.

    Attributes:
        root: Path or URI of the lakehouse.
        namespace: Namespace of its tables.
        scratch: Folder of this machine for what does not fit into memory.
        io: Reads, writes and deletes single files.
        iceberg: The Iceberg catalog; asking for it makes no tables.
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

    def exists(self) -> bool:
        """Whether there is a catalog yet."""

    def drop_catalog(self) -> None:
        """Remove a catalog that cannot be read, so that another one can be made."""

    def claim(self) -> None:
        """Make sure that no other catalog has its tables here.

        Raises:
            LakehouseError: Another one has.
        """

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All files below a folder; none if there is no such folder."""

    def stored(self, location: str) -> StoredFile | None:
        """A file as a listing would show it; None if it is not there."""

    def landing_files(self, folder: str, root: str) -> Iterator[StoredFile | str]:
        """What is below a landing folder: files, and locations of what must not be opened.

        These are links out of the landing root, links to folders, and what is not a file.
        """

    def open_landing(self, location: str, root: str) -> BinaryIO:
        """Open a file of the landing root.

        Raises:
            FileNotFoundError: It is not there, or a listing would not show it.
        """

    def replacing(self, location: str) -> AbstractContextManager[BinaryIO]:
        """Write a file anew; nobody ever sees a part of it, also where this is killed."""

    def erase(self, location: str) -> None:
        """Delete a file with all that the storage keeps of it, such as its older versions."""

    def erase_older(self, location: str) -> None:
        """Delete all that the storage keeps of what a file was before."""

    def older_versions(self, folder: str) -> Iterator[OlderVersion]:
        """All that the storage keeps of what files below a folder were before."""

    def drop_uploads(self, before: datetime) -> int:
        """Remove what remains of uploads begun before that time; returns their number."""

    def point_readers(self) -> None:
        """Let readers that are given a table's folder find its newest metadata; never fails."""

    def make_private(self) -> None:
        """Let nobody else of this machine read what is stored here."""

    def engine_setup(self) -> list[str]:
        """Statements that DuckDB executes before it reads and writes here."""

    def check_written(self, files: Sequence[str]) -> None:
        """Make sure that files which an engine wrote are safe, and encrypted as asked for.

        Raises:
            LakehouseError: They are not.
        """
