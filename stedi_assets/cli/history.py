"""The history of a lakehouse's runs, which lies with the lakehouse."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from stedi_assets.settings import PROJECT, Settings

_CONFIGURATION = "dagster.yaml"


@contextlib.contextmanager
def instance_of(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Dagster's instance with the runs of this lakehouse, and of no other."""
    with dg.DagsterInstance.from_config(str(prepare_history(settings))) as instance:
        yield instance


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
