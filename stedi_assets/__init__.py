"""The STEDI lakehouse: from landing files to a training set of consenting customers."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stedi_assets.privacy.trace import trace
    from stedi_assets.privacy.training_sets import split_by_person, training_sets
    from stedi_assets.read import read_table

__all__ = ["read_table", "split_by_person", "trace", "training_sets"]

_MODULES = {
    "read_table": "stedi_assets.read",
    "split_by_person": "stedi_assets.privacy.training_sets",
    "trace": "stedi_assets.privacy.trace",
    "training_sets": "stedi_assets.privacy.training_sets",
}


def __getattr__(name: str) -> object:
    # On first use: the `stedi` command must not pay for what it does not need.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
