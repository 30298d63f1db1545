"""A sensor that is looked at tick by tick."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from stedi_assets.settings import Settings
from stedi_assets_tests.defs.sensors.landing.support import FIRST, LANDING, Watch, watched
from stedi_assets_tests.support import (
    deliver,
    refresh,
    under,
)


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A lakehouse on this machine, without landing files."""
    (tmp_path / "landing").mkdir()
    return watched(under(tmp_path), monkeypatch)


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "landing"


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lakehouse that has taken in a first file of customers, and is only looked at."""
    folder = tmp_path_factory.mktemp("holding")
    deliver(folder / "landing", "first.json", customer=FIRST["customer"])
    settings = under(folder)
    refresh(settings, only=LANDING[:1])
    return settings


@pytest.fixture
def taken_in(holding: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    watch = watched(holding, monkeypatch)
    watch.tick()
    yield watch
    for path in Path(holding.landing_root).rglob("*.json"):
        if path.name != "first.json":
            path.unlink()
