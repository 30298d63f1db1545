"""What a rebuild does before its refresh: say what would be lost, and drop what is damaged."""

from collections.abc import Collection, Mapping

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.ledger import Entry
from stedi_assets.refresh.plan import ledgers_of
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES


def removed_files(
    lakehouse: Lakehouse, settings: Settings, sources: Collection[str]
) -> Mapping[str, list[Entry]]:
    """Landing files that were removed, by source: a rebuild would lose their rows."""
    ledgers = ledgers_of(lakehouse.catalog, lakehouse.storage, settings)
    removed = {
        table.source: ledgers.removed(table.source, table.landing_table)
        for table in TABLES
        if table.source and table.source in sources
    }
    return {source: entries for source, entries in removed.items() if entries}


def damaged_tables(lakehouse: Lakehouse) -> list[str] | None:
    """Tables whose metadata cannot be read; None if the catalog itself cannot be read."""
    catalog = lakehouse.catalog
    try:
        names = catalog.names()
    except Exception:  # whatever is wrong with it
        return None
    return [name for name in names if not catalog.is_whole(name)]


def drop_damaged(lakehouse: Lakehouse, damaged: list[str] | None) -> None:
    """Take what cannot be read out of the catalog, so that it can be made anew.

    Their files stay; the vacuum removes those that no table refers to.
    """
    if damaged is None:
        lakehouse.storage.drop_catalog()
    for name in damaged or ():
        lakehouse.catalog.drop(name)
