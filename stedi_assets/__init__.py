"""The STEDI lakehouse: from landing files to a training set of consenting customers."""

__all__ = ["read_table"]


def __getattr__(name: str) -> object:
    # On first use: the `stedi` command must not pay for what it does not need.
    if name == "read_table":
        from stedi_assets.read import read_table  # noqa: PLC0415

        return read_table
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
