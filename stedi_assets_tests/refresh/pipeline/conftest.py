"""A lakehouse of a small delivery, refreshed once."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.refresh.pipeline.support import FIRST, take_in_first
from stedi_assets_tests.support import (
    deliver,
    refresh,
    under,
)


@pytest.fixture
def folder(
    request: pytest.FixtureRequest, new_folder: Callable[[], Path], lakehouses: Lakehouses
) -> Path:
    """A folder of a deployment, for one test; see `after_first_refresh`."""
    if not hasattr(request, "param"):
        return new_folder()
    return lakehouses.as_made(take_in_first)


@pytest.fixture
def landing(folder: Path) -> Path:
    """Landing folder with the first delivery."""
    if not (folder / "landing").exists():
        deliver(folder / "landing", "first.json", **FIRST)
    return folder / "landing"


@pytest.fixture
def settings(folder: Path, landing: Path) -> Settings:
    return under(folder)


@pytest.fixture(scope="module")
def first(new_folder: Callable[[], Path]) -> tuple[Settings, dg.ExecuteInProcessResult]:
    """A lakehouse that has taken in the first delivery, for tests that leave it alone."""
    folder = new_folder()
    deliver(folder / "landing", "first.json", **FIRST)
    settings = under(folder)
    return settings, refresh(settings)
