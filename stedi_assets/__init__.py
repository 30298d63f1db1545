"""The STEDI lakehouse: from landing files to a training set of consenting customers."""

from importlib import import_module

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
