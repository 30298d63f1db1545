"""What tests of several modules share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

IcebergReader = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(scope="session")
def read_iceberg() -> IcebergReader:
    """Reads the rows of an Iceberg table, given its metadata file, with DuckDB's own reader.

    It shares no code with PyIceberg: what it sees, Athena should see too. The extensions come
    from PyPI packages, so nothing is downloaded.
    """
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    for name in ("avro", "iceberg"):
        connection.execute(f"LOAD '{_extension(name)}'")

    def read(metadata_location: str) -> list[dict[str, Any]]:
        found = connection.execute("FROM iceberg_scan(?)", [metadata_location])
        return found.to_arrow_table().to_pylist()

    return read


def _extension(name: str) -> Path:
    package = pytest.importorskip(f"duckdb_extension_{name}")
    folder = Path(package.__path__[0]) / "extensions" / f"v{duckdb.__version__}"
    return folder / f"{name}.duckdb_extension"
