"""The machinery on each deployment: a lakehouse in a folder of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest

from stedi_assets import resources
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.lakehouse.table import Table
from stedi_assets.tables.XXX import contracts
from stedi_assets.tables.contract import table_of
from stedi_assets_tests.support import under


@pytest.fixture(scope="session")
def tables() -> dict[str, Table]:
    return {name: table_of(contract) for name, contract in contracts().items()}


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
    return resources.storage(under(folder, landing=None))
