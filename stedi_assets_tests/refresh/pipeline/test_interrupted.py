"""Refreshes that are interrupted or killed, and two at once."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.settings import Settings
from stedi_assets_tests.refresh.pipeline.support import FIRST_COUNTS, Start, failed_checks
from stedi_assets_tests.support import (
    KEY,
    PROJECT,
    TABLES,
    counts,
    on_this_machine,
    refresh,
)


@on_this_machine
@pytest.mark.parametrize(
    ("method", "call", "done"),
    [
        ("stage", 1, True),  # customer_landing
        ("stage", 4, False),  # quarantine
        ("stage", 6, True),  # accelerometer_trusted
        ("publish", 1, False),
        ("publish", 7, True),
        ("publish", 10, False),  # machine_learning_curated
    ],
)
def test_run_after_an_interrupted_one_neither_loses_nor_repeats_a_row(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, method: str, call: int, done: bool
) -> None:
    original, calls = getattr(Catalog, method), 0

    def interrupted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != call:
            return original(*args)
        if done:
            original(*args)
        raise RuntimeError("interrupted")

    monkeypatch.setattr(Catalog, method, interrupted)
    assert not refresh(settings).success
    monkeypatch.undo()
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == FIRST_COUNTS


@on_this_machine
@pytest.mark.parametrize("call", [1, 2, 9, 16])
def test_run_after_one_interrupted_while_it_wrote_to_the_catalog_succeeds(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    original, calls = SqlCatalog.commit_table, 0

    def interrupted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            raise RuntimeError("interrupted")
        return original(*args)

    monkeypatch.setattr(SqlCatalog, "commit_table", interrupted)
    assert not refresh(settings).success
    monkeypatch.undo()
    assert refresh(settings).success
    assert counts(settings) == FIRST_COUNTS


REFRESH = """
from stedi_assets.settings import Settings
from stedi_assets_tests.support import refresh
raise SystemExit(not refresh(Settings.load()).success)
"""


KILLED = """
import os
from stedi_assets_tests.support import PROJECT, SHARED
from stedi_assets.lakehouse.catalog import Catalog
publish, published = Catalog.publish, []
def killed(catalog, candidate, *account):
    if len(published) == 4:
        os._exit(9)
    published.append(publish(catalog, candidate, *account))
Catalog.publish = killed
"""


@pytest.fixture
def start(settings: Settings, tmp_path: Path) -> Start:
    """Starts a refresh in a process of its own."""

    def start(name: str, script: str) -> subprocess.Popen[bytes]:
        file = tmp_path / f"{name}.py"  # under `-c`, importing pyspark exits
        file.write_text(script)
        variables = {
            "PYTHONPATH": str(PROJECT),
            "STEDI_DEPLOYMENT": settings.deployment,
            "STEDI_DATABASE": settings.database,
            "STEDI_LAKEHOUSE": settings.lakehouse,
            "STEDI_LANDING": settings.landing_root,
            "STEDI_PSEUDONYM_KEY": KEY,
        }
        return subprocess.Popen([sys.executable, file], env=os.environ | variables)

    return start


@on_this_machine
def test_run_after_a_killed_one_is_not_locked_out_and_completes_it(
    settings: Settings, start: Start
) -> None:
    with start("killed", KILLED + REFRESH) as killed:
        assert killed.wait(timeout=60) == 9
    assert 0 < len(counts(settings)) < len(TABLES)
    assert refresh(settings).success
    assert counts(settings) == FIRST_COUNTS


@on_this_machine
def test_two_refreshes_at_once_both_end_and_neither_doubles_a_row(
    settings: Settings, start: Start
) -> None:
    with start("one", REFRESH) as one, start("two", REFRESH) as two:
        assert [one.wait(timeout=120), two.wait(timeout=120)] == [0, 0]
    assert counts(settings) == FIRST_COUNTS
