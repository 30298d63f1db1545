"""The history of a lakehouse's runs, which lies with the lakehouse."""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from stedi_assets.settings import PROJECT, Settings

_CONFIGURATION, _HOME = "dagster.yaml", "DAGSTER_HOME"


@contextlib.contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance with the runs of this lakehouse, and of no other."""
    home = str(prepare_history(settings))
    with _dagster_home(home), dg.DagsterInstance.from_config(home) as instance:
        yield instance


@contextlib.contextmanager
def _dagster_home(home: str) -> Iterator[None]:
    """Let the configuration find the folder that it is in."""
    before = os.environ.get(_HOME)
    os.environ[_HOME] = home
    try:
        yield
    finally:
        if before is None:
            del os.environ[_HOME]


def prepare_history(settings: Settings) -> Path:
    """Make the lakehouse's DAGSTER_HOME, configured like the project; gives its folder.

    One that the environment names is left as it is.
    """
    home = settings.dagster_home
    if not settings.has_dagster_home:
        home.mkdir(parents=True, exist_ok=True)
        if (PROJECT / _CONFIGURATION).exists():
            shutil.copyfile(PROJECT / _CONFIGURATION, home / _CONFIGURATION)
    return home
