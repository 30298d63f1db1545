"""A landing folder and the lakehouse that takes it in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from stedi_assets.lakehouse.storage.storage import Storage
    from stedi_assets.lakehouse.table import Table
    from stedi_assets_tests.conftest import IcebergReader

    Land = Callable[..., Path]
from stedi_assets_tests.lakehouse.landing.ingest.support import Lakehouse, lines


@pytest.fixture
def root(folder: Path) -> Path:
    """The landing root."""
    return folder / "landing"


@pytest.fixture
def land(root: Path) -> Land:
    """Writes a step trainer file: objects as JSON lines, or content as it is."""

    def write(name: str, content: bytes | Iterable[Any]) -> Path:
        path = root / "step_trainer" / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not isinstance(content, bytes):
            content = lines(content)
        path.write_bytes(content)
        return path

    return write


@pytest.fixture
def lakehouse(
    root: Path, storage: Storage, tables: dict[str, Table], read_iceberg: IcebergReader
) -> Lakehouse:
    made = Lakehouse(root, storage, tables)
    made.read = read_iceberg
    return made
