"""The machinery on each deployment: a lakehouse in a folder of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.lakehouse.table import Table
from stedi_assets.resources import open_storage
from stedi_assets.tables import TABLES
from stedi_assets.tables.policy import Policy
from stedi_assets_tests.support import under


@pytest.fixture(scope="session")
def tables() -> dict[str, Table]:
    return {table.name: table.table(Policy()) for table in TABLES}


@pytest.fixture(scope="module")
def engine(new_folder: Callable[[], Path]) -> DuckDBEngine:
    return DuckDBEngine(storage_in(new_folder()))


@pytest.fixture
def storage(folder: Path) -> Storage:
    return storage_in(folder)


@pytest.fixture
def catalog(storage: Storage) -> Catalog:
    return Catalog(storage)


def storage_in(folder: Path) -> Storage:
    """Where the lakehouse in a folder is."""
    return open_storage(under(folder, landing=None))
