"""A lakehouse in a temporary folder, and what lands in it."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engine import DuckDBEngine
from stedi_assets.lakehouse.table import Table
from stedi_assets.schemas import contracts, table_of

Land = Callable[..., Path]


@pytest.fixture(scope="session")
def tables() -> dict[str, Table]:
    return {name: table_of(contract) for name, contract in contracts().items()}


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> DuckDBEngine:
    return DuckDBEngine(tmp_path_factory.mktemp("scratch"))


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "lakehouse")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The landing root."""
    return tmp_path / "landing"


@pytest.fixture
def land(root: Path) -> Land:
    """Writes a step trainer file: objects as JSON lines, or content as it is."""

    def write(name: str, content: bytes | Iterable[Any]) -> Path:
        path = root / "step_trainer" / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes):
            content = "".join(json.dumps(found) + "\n" for found in content).encode()
        path.write_bytes(content)
        return path

    return write
