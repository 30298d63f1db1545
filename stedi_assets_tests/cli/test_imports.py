"""What the commands import: imports are most of what a command with nothing to do costs."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from stedi_assets_tests.commands import deliver_people

DAGSTER = {"dagster", "stedi_assets.defs", "stedi_assets.defs.project"}
CHECKS = {"pandera", "narwhals", "polars"}
FRAMES = {"pandas", "pyarrow.dataset", "pyiceberg.io.pyarrow"}
OTHERS = {"pyspark", "matplotlib", "boto3", "jinja2"}
TABLES = {"ibis", "duckdb", "pyarrow", "pyiceberg", "sqlalchemy"}
SETTINGS = {"pydantic", "pydantic_settings"}
HEAVY = DAGSTER | CHECKS | FRAMES | OTHERS | TABLES | SETTINGS

RUN = """
import sys
from stedi_assets.cli.main import app
sys.argv = ["stedi", *sys.argv[1:]]
try:
    app()
finally:
    print(*sys.modules, file=sys.stderr)
"""


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment of a refreshed lakehouse."""
    folder = tmp_path_factory.mktemp("place")
    deliver_people(folder / "lakehouse/landing")
    environment = {**os.environ, "STEDI_LAKEHOUSE": str(folder / "lakehouse")}
    imported = imported_by(environment, "refresh", folder)[1]
    assert imported >= DAGSTER  # so that this is a way to see it
    assert not imported & CHECKS  # as no row breaks a contract
    return environment


def imported_by(environment: Mapping[str, str], command: str, folder: Path) -> tuple[str, set[str]]:
    """What a command says, and which of the heavy modules it imports."""
    ended = subprocess.run(
        [sys.executable, "-c", RUN, *command.split()],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout, HEAVY.intersection(ended.stderr.split())


def test_refresh_with_nothing_new_imports_neither_dagster_nor_pandera_nor_pandas(
    refreshed: Mapping[str, str], tmp_path: Path
) -> None:
    said, imported = imported_by(refreshed, "refresh", tmp_path)
    assert said.startswith("Nothing new: ")
    assert imported == TABLES | SETTINGS


def test_status_imports_neither_dagster_nor_pandera(
    refreshed: Mapping[str, str], tmp_path: Path
) -> None:
    said, imported = imported_by(refreshed, "status --json", tmp_path)
    assert '"customer_trusted"' in said
    assert not imported & (DAGSTER | CHECKS | OTHERS)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_command_that_opens_no_lakehouse_imports_nothing_heavy(option: str, tmp_path: Path) -> None:
    assert imported_by(os.environ, option, tmp_path)[1] == set()
