"""Refreshes that derive tables from what changed, killed one after the other."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stedi_assets.settings import Settings
from stedi_assets_tests.refresh.changes.test_refresh import NEXT, assert_as_made_anew, methods
from stedi_assets_tests.refresh.pipeline.support import FIRST
from stedi_assets_tests.support import KEY, PROJECT, deliver, refresh, under

KILLED = """
import os
import signal
import sys
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.refresh import method
from stedi_assets.settings import Settings
from stedi_assets_tests.support import refresh

method.FEW_BYTES, method.MOST = -1, 1e9
kind, name, number, done = sys.argv[1:]
owner = {"Catalog": Catalog, "DuckDBEngine": DuckDBEngine}[kind]
original, calls = getattr(owner, name), 0

def killed(*given, **named):
    global calls
    calls += 1
    if calls != int(number):
        return original(*given, **named)
    if done == "after":
        original(*given, **named)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(owner, name, killed)
refresh(Settings.load())
"""

PLACES = [
    ("Catalog", "stage", 5, "after"),
    ("Catalog", "publish", 6, "before"),
    ("DuckDBEngine", "hold", 60, "after"),
    ("DuckDBEngine", "write", 1, "after"),
]
"""A method, the call of it at which the process is killed, and on which side of that call."""


pytestmark = pytest.mark.usefixtures("derive_small_data")


def killed(settings: Settings, script: Path, *place: object) -> None:
    """Refresh in a process of its own, which is killed."""
    variables = {
        "PYTHONPATH": str(PROJECT),
        "STEDI_LAKEHOUSE": settings.lakehouse,
        "STEDI_LANDING": settings.landing_root,
        "STEDI_PSEUDONYM_KEY": KEY,
    }
    run = subprocess.run(
        [sys.executable, script, *map(str, place)],
        env=os.environ | variables,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == -signal.SIGKILL, run.stderr.decode()


def test_one_killed_after_the_other_leaves_nothing_out_and_nothing_twice(tmp_path: Path) -> None:
    landing, script = tmp_path / "landing", tmp_path / "killed.py"
    script.write_text(KILLED)
    deliver(landing, "first.json", **FIRST)
    settings = under(tmp_path / "a", landing=str(landing))
    assert refresh(settings).success
    deliveries = [*NEXT.values()]
    for number, objects in enumerate(deliveries):
        deliver(landing, f"{number}.json", **objects)
        if number < len(PLACES):
            killed(settings, script, *PLACES[number])
    assert refresh(settings).success
    assert "from what changed" in methods(settings).values()
    assert_as_made_anew(settings, tmp_path / "b")
