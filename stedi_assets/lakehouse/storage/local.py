"""A lakehouse in a folder of this machine, its catalog a SQLite file."""

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast
from uuid import uuid4

from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.io import FileIO
from pyiceberg.table import Table
from pyiceberg.typedef import Identifier
from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from stedi_assets.lakehouse.faults import WAY_BACK, LakehouseError
from stedi_assets.lakehouse.storage import durable, walk
from stedi_assets.lakehouse.storage.metadata_files import WithKnownMetadata
from stedi_assets.lakehouse.storage.sqlite_faults import name_file, opening
from stedi_assets.lakehouse.storage.storage import HINT, UNFINISHED, OlderVersion, StoredFile

NAMESPACE = "stedi"
"""Namespace of the tables, where a lakehouse has a catalog of its own."""

_METADATA = ".metadata.json"

BUSY = 20.0
"""Seconds to wait for another process that writes to the catalog."""


class CatalogLostError(LakehouseError):
    """The catalog is missing or empty, but its tables exist."""

    is_damage = True


_LOCATION = select(IcebergTables.metadata_location).where(
    IcebergTables.catalog_name == bindparam("catalog"),
    IcebergTables.table_namespace == bindparam("namespace"),
    IcebergTables.table_name == bindparam("table"),
)


class _SqlTables(WithKnownMetadata, SqlCatalog):
    """The tables of a SQLite file."""

    def load_table(self, identifier: str | Identifier) -> Table:
        """The table as it is now: a refresh looks hundreds of times, so this is short.

        Raises:
            NoSuchTableError: There is none.
        """
        namespace, name = self.namespace_from(identifier), self.table_name_from(identifier)
        where = self.namespace_to_string(namespace)
        asked = {"catalog": self.name, "namespace": where, "table": name}
        with self.engine.connect() as connection:
            location = connection.scalar(_LOCATION, asked)
        if location is None:
            return super().load_table(identifier)  # raises what is wrong
        metadata = self._metadata_files.read(location, self._load_file_io(location=location))
        io = self._load_file_io(metadata.properties, location)
        return Table((*namespace, name), metadata, location, io, self)


@dataclass(frozen=True)
class LocalStorage:
    """A folder of this machine, its catalog a SQLite file in it."""

    folder: Path

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickling leaves open connections behind."""
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
        return durable.LocalFileIO()

    @cached_property
    def iceberg(self) -> SqlCatalog:
        """The catalog, made if it is missing."""
        self.exists()  # raises if it is lost
        return self._connect()

    def _connect(self) -> SqlCatalog:
        durable.make_folder(self.folder)
        io = f"{durable.LocalFileIO.__module__}.{durable.LocalFileIO.__name__}"
        uri = f"sqlite:///{self._file}?timeout={BUSY}"
        with opening(self._file):
            catalog = _SqlTables(NAMESPACE, uri=uri, warehouse=self.root, **{"py-io-impl": io})
        name_file(catalog.engine, self._file)
        return catalog

    @property
    def _file(self) -> Path:
        return self.folder / "catalog.db"

    def exists(self) -> bool:
        """Whether there is a catalog yet.

        Raises:
            CatalogLostError: It is missing or empty, but its tables exist.
        """
        exists = self._file.exists()
        if not exists or (self._file.is_file() and not self._file.stat().st_size):
            # The catalog is made before its tables. Without this error a refresh would begin anew.
            if next(self._file.parent.glob("warehouse/*/*/metadata/*.metadata.json"), None):
                what = "empty" if exists else "missing"
                raise CatalogLostError(f"{self._file} is {what}, but its tables exist: {WAY_BACK}.")
        return exists

    def drop_catalog(self) -> None:
        """Replace the file, or whatever is in its place, by an empty catalog."""
        if self._file.is_dir():
            shutil.rmtree(self._file)
        else:
            self._file.unlink(missing_ok=True)
        self.__dict__["iceberg"] = self._connect()

    def claim(self) -> None:
        """The catalog is in the folder itself."""

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All files below a folder."""
        for parent, _, names in os.walk(folder, onerror=walk.refuse):
            for path in (os.path.join(parent, name) for name in names):
                try:
                    status = os.lstat(path)
                except FileNotFoundError:  # renamed or deleted meanwhile
                    continue
                if stat.S_ISREG(status.st_mode):
                    yield _stored(path, status)

    def stored(self, location: str) -> StoredFile | None:
        """A file as it is now."""
        try:
            return _stored(location, os.stat(location))
        except FileNotFoundError:
            return None

    def landing_files(self, folder: str, root: str) -> Iterator[StoredFile | str]:
        """What is below a landing folder."""
        for path, status in walk.below(folder, root):
            yield path if status is None else _stored(path, status)

    def open_landing(self, location: str, root: str) -> BinaryIO:
        """Open a file of the landing root, wherever its name leads by now."""
        return walk.open_below(location, root)

    @contextmanager
    def replacing(self, location: str) -> Iterator[BinaryIO]:
        """Write a file beside it, and rename that. Mode and time of the old one stay.

        Another name of the old file, a hard link, keeps its content.
        """
        path = Path(os.path.realpath(location))
        temporary = path.with_name(f"{UNFINISHED}{uuid4().hex}")
        try:
            with durable.LocalFile(str(temporary)).create() as file:
                yield cast("BinaryIO", file)
            if path.exists():
                shutil.copystat(path, temporary)
            durable.rename(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def erase(self, location: str) -> None:
        """Delete a file, of which nothing else is kept here."""
        self.io.delete(location)

    def erase_older(self, location: str) -> None:
        """Nothing is kept of what a file was."""

    def older_versions(self, folder: str) -> Iterator[OlderVersion]:
        """There are none here."""
        return iter(())

    def drop_uploads(self, before: datetime) -> int:
        """There are no uploads here."""
        return 0

    def engine_setup(self) -> list[str]:
        """DuckDB needs nothing to read and write files."""
        return []

    def check_written(self, files: Sequence[str]) -> None:
        """Make sure that what the engines wrote is on the disk: they leave that to the system."""
        durable.settle(files, self.folder)

    def point_readers(self) -> None:
        """Let the hint of each table name its newest metadata file; other hints are removed.

        What this file calls `main` is published. An outdated hint may show people who withdrew, so
        one that cannot be renewed is removed, too.
        """
        try:
            newest = self._newest_metadata()
        except Exception:  # nobody can tell what is published; that is reported elsewhere
            newest = {}
        for hint in {*self.folder.glob(f"warehouse/*/*/metadata/{HINT}"), *newest}:
            try:
                _renew(hint, newest[hint])
            except Exception:  # whatever it is: nobody's refresh depends on it
                with suppress(OSError):
                    hint.unlink(missing_ok=True)

    def _newest_metadata(self) -> dict[Path, str]:
        """The hint of each table, with what it has to say."""
        if not self.exists():
            return {}
        with Session(self.iceberg.engine) as session:
            locations = session.scalars(select(IcebergTables.metadata_location))
            files = [Path(location) for location in locations if location]
        # They are elsewhere if the lakehouse was moved or copied, and missing if it is damaged.
        files = [file for file in files if file.is_relative_to(self.folder) and file.is_file()]
        return {file.parent / HINT: file.name.removesuffix(_METADATA) for file in files}

    def make_private(self) -> None:
        """Let nobody else read the folder."""
        durable.make_private(self.folder)


def _renew(hint: Path, version: str) -> None:
    if not hint.exists() or hint.read_text() != version:
        durable.replace(hint, version)


def _stored(path: str, status: os.stat_result) -> StoredFile:
    modified = datetime.fromtimestamp(status.st_mtime, tz=UTC)
    return StoredFile(path, status.st_size, str(status.st_mtime_ns), modified)
