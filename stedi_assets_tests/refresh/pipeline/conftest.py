"""A lakehouse of a small delivery, refreshed once."""

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.settings import Settings
from stedi_assets_tests.refresh.pipeline.support import FIRST, FirstRefresh
from stedi_assets_tests.support import (
    deliver,
    refresh,
    under,
)


@pytest.fixture(scope="module")
def first_refresh(tmp_path_factory: pytest.TempPathFactory) -> FirstRefresh:
    return FirstRefresh(*map(tmp_path_factory.mktemp, ("refreshed", "spare")))


@pytest.fixture
def folder(request: pytest.FixtureRequest, new_folder: Callable[[], Path]) -> Path:
    """A folder of a deployment, for one test; see `after_first_refresh`."""
    if not hasattr(request, "param"):
        return new_folder()
    first: FirstRefresh = request.getfixturevalue("first_refresh")
    return first.again()


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
