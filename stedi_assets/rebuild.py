"""Makes the tables anew from the landing files, also where what was there is damaged."""

from collections.abc import Collection, Mapping

from stedi_assets.lakehouse.landing.arrivals import Ledgers
from stedi_assets.lakehouse.ledger import Entry, LandingFolder
from stedi_assets.lakehouse.resource import Lakehouse
from stedi_assets.schemas import SOURCES, contracts, table_of
from stedi_assets.settings import Settings, make_key
from stedi_assets.training import TRAINING_SET


def lost_files(
    lakehouse: Lakehouse, settings: Settings, sources: Collection[str]
) -> Mapping[str, list[Entry]]:
    """Landing files whose rows a rebuild would lose, by source: they are not there any more."""
    landing = LandingFolder(settings.landing_root, lakehouse.storage)
    ledgers = Ledgers(landing, lakehouse.catalog)
    models = contracts(pseudonymize=settings.pseudonymize)
    found = {
        source: ledgers.lost(source, table_of(models[table]))
        for table, source in SOURCES.items()
        if source in sources
    }
    return {source: entries for source, entries in found.items() if entries}


def damaged_tables(lakehouse: Lakehouse) -> list[str] | None:
    """Tables whose metadata cannot be read; nothing where the catalog itself cannot be."""
    catalog = lakehouse.catalog
    try:
        names = catalog.names()
    except Exception:  # whatever is wrong with it
        return None
    return [name for name in names if not catalog.is_whole(name)]


def drop_damaged(lakehouse: Lakehouse, damaged: list[str] | None) -> None:
    """Take what cannot be read out of the catalog, so that it can be made anew.

    Files are left; the vacuum removes those that no table refers to.
    """
    if damaged is None:
        lakehouse.storage.drop_catalog()
    for name in damaged or ():
        lakehouse.catalog.drop(name)


def begin_with_new_key(lakehouse: Lakehouse, settings: Settings) -> list[str]:
    """Let `subject_id` be made under another key, and release the training sets of the old one.

    The new key is STEDI_PSEUDONYM_KEY or, where that is not set, one that is made.

    Returns:
        The tags of the training sets that are released.
    """
    if settings.pseudonym_key is None and settings.deployment == "local":
        settings.key_file.unlink(missing_ok=True)
        make_key(settings.key_file)
    state = lakehouse.catalog.find(TRAINING_SET)
    tags = [tag.name for tag in state.tags] if state else []
    lakehouse.catalog.untag(TRAINING_SET, tags)
    return tags
