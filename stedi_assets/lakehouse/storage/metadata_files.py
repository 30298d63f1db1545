"""Reads the metadata files of tables; what was read before is not parsed again.

A refresh looks into each table tens of times, and what it reads has all snapshots of the table.
"""

from hashlib import sha256
from io import BytesIO

from pyiceberg.io import FileIO
from pyiceberg.serializers import Compressor, FromByteStream
from pyiceberg.table.metadata import TableMetadata


class MetadataFiles:
    """The last metadata file of each table."""

    def __init__(self) -> None:
        """Know none yet."""
        self._known: dict[str, tuple[bytes, TableMetadata]] = {}

    def read(self, location: str, io: FileIO) -> TableMetadata:
        """The metadata in a file. The file is read each time, for it may be damaged meanwhile."""
        with io.new_input(location).open() as file:
            content = file.read()
        folder, digest = location.rpartition("/")[0], sha256(content).digest()
        known = self._known.get(folder)
        if known is None or known[0] != digest:
            compressor = Compressor.get_compressor(location)
            known = digest, FromByteStream.table_metadata(BytesIO(content), compression=compressor)
            self._known[folder] = known
        return known[1]
