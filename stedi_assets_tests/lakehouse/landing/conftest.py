"""Readers of single landing files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stedi_assets_tests.lakehouse.landing.records import scanned

if TYPE_CHECKING:
    from collections.abc import Callable

    from stedi_assets.lakehouse.table import Table
    from stedi_assets_tests.lakehouse.landing.records import Found

    Read = Callable[..., Found]


@pytest.fixture(scope="session")
def read(tables: dict[str, Table]) -> Read:
    """Reads a landing file: its rows, and what gives none."""

    def read(content: bytes | str, source: str = "accelerometer") -> Found:
        return scanned(content, tables[f"{source}_landing"])

    return read
