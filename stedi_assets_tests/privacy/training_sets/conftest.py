"""A lakehouse of training sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stedi_assets_tests.support import (
    under,
)

if TYPE_CHECKING:
    from pathlib import Path

    from stedi_assets.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return under(tmp_path, landing=None)
