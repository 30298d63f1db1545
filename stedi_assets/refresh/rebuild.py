"""Makes the tables anew from the landing files, even where old metadata is damaged."""

from collections.abc import Collection, Mapping

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.ledger import Entry
from stedi_assets.refresh.plan import landing_files
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES
from stedi_assets.tables.policy import Policy


def lost_files(
    lakehouse: Lakehouse, settings: Settings, sources: Collection[str]
) -> Mapping[str, list[Entry]]:
    """Landing files that are gone, by source: a rebuild would lose their rows."""
    files = landing_files(lakehouse, settings)
    lost = {
        table.source: files.lost(table.source, table.table(Policy()))
        for table in TABLES
        if table.source and table.source in sources
    }
    return {source: entries for source, entries in lost.items() if entries}


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
