"""Reads the metadata files of tables; what was read or written before is not parsed again.

A refresh looks into each table tens of times, and what it reads has all snapshots of the table.
"""

from collections import OrderedDict
from hashlib import sha256
from io import BytesIO
from threading import Lock

from pyiceberg.catalog import MetastoreCatalog
from pyiceberg.io import FileIO
from pyiceberg.serializers import Compressor, FromByteStream
from pyiceberg.table import CommitTableResponse, Table
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableRequirement, TableUpdate

MOST_TABLES = 64
"""Tables whose metadata is kept."""


class MetadataFiles:
    """The last metadata file of each table that this process has looked into lately."""

    def __init__(self) -> None:
        """Know none yet."""
        self._lock = Lock()
        self._known: OrderedDict[str, tuple[bytes, TableMetadata]] = OrderedDict()

    def read(self, location: str, io: FileIO) -> TableMetadata:
        """The metadata in a file. The file is read each time, for it may be damaged meanwhile."""
        with io.new_input(location).open() as file:
            content = file.read()
        digest = sha256(content).digest()
        known = self._known.get(_folder(location))
        if known is not None and known[0] == digest:
            return known[1]
        compressor = Compressor.get_compressor(location)
        metadata = FromByteStream.table_metadata(BytesIO(content), compression=compressor)
        self._keep(location, digest, metadata)
        return metadata

    def written(self, location: str, metadata: TableMetadata) -> None:
        """Know what was just committed. If the file has other bytes, `read` parses it."""
        compress = Compressor.get_compressor(location).bytes_compressor()
        content = compress(metadata.model_dump_json(exclude_none=True).encode())
        self._keep(location, sha256(content).digest(), metadata)

    def _keep(self, location: str, digest: bytes, metadata: TableMetadata) -> None:
        folder = _folder(location)
        with self._lock:
            self._known[folder] = digest, metadata
            self._known.move_to_end(folder)
            while len(self._known) > MOST_TABLES:
                self._known.popitem(last=False)


class WithKnownMetadata(MetastoreCatalog):
    """A catalog that knows the metadata which it has read or written."""

    _metadata_files = MetadataFiles()  # of all catalogs of this process

    def commit_table(
        self,
        table: Table,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> CommitTableResponse:
        """Commit changes; what they make of the metadata need not be parsed from its file."""
        # That of the catalog which it is mixed into.
        response = super().commit_table(table, requirements, updates)  # type: ignore[safe-super]
        self._metadata_files.written(response.metadata_location, response.metadata)
        return response


def _folder(location: str) -> str:
    return location.rpartition("/")[0]
