"""Whether anything is known of an address: if not, it may be misspelled."""

from collections.abc import Iterable

import ibis

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import shared_engine
from stedi_assets.lakehouse.landing.holds import read_holds
from stedi_assets.lakehouse.landing.person import SEPARATOR
from stedi_assets.lakehouse.names import view_name
from stedi_assets.privacy.naming import being_forgotten
from stedi_assets.privacy.person import find_people, is_theirs, landed, landing_zone, one_spelling
from stedi_assets.refresh.forgotten import Forgotten
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings

_NAMED = {
    "customer_landing": "person",
    "accelerometer_landing": "person",
    "device_ownership": "email",
    "quarantine": "person",
}
"""Tables that name people in the one spelling, with the column."""


def unknown_people(emails: Iterable[str], settings: Settings) -> list[str]:
    """Those of whom no state of a table has anything, and who were neither held nor forgotten.

    Args:
        emails: Addresses in any spelling.
        settings: Which lakehouse.

    Returns:
        Their addresses, in the one spelling. Personal data: never to be logged.

    Raises:
        ValueError: An address has no letter.
        LandingZoneError: The landing zone cannot be read.
    """
    people = list(dict.fromkeys(map(one_spelling, emails)))
    with landing_zone("Whether anything is known of somebody"):
        storage = open_storage(settings)
        if not storage.exists():
            return people
        forgotten = Forgotten.read(storage)
        known = {*being_forgotten(storage), *(each.person for each in read_holds(storage))}
        known |= {person for person in people if forgotten.asked_at(person) is not None}
        for table, column in _NAMED.items():
            asked = [person for person in people if person not in known]
            known |= _named(asked, table, column, settings)
        unknown = [person for person in people if person not in known]
        # Tables may have been made anew since. Whose of several a row is makes no difference here.
        return [] if unknown and _is_in_older_states(unknown, settings) else unknown


def _named(people: list[str], table: str, column: str, settings: Settings) -> set[str]:
    """Those of these people whom a table names."""
    if not people:
        return set()
    rows = landed(table, settings)
    named = rows.filter(rows[column].notnull())
    each = named.select(person=named[column].split(SEPARATOR).unnest())
    asked = ibis.memtable({"person": people})
    found: list[str] = asked.semi_join(each, "person").to_pyarrow()["person"].to_pylist()
    return set(found)


def _is_in_older_states(people: list[str], settings: Settings) -> bool:
    """Whether any state of a table has a row of one of these people."""
    persons = find_people(people, settings)
    storage = open_storage(settings)
    engine = shared_engine(storage, settings.memory_limit, settings.threads)
    for name, state in Catalog(storage).tables().items():
        seen: set[str] = set()
        for snapshot in state.all_snapshots:
            new = [file for file in snapshot.files if file not in seen]
            seen.update(new)
            if new:
                opened = view_name(f"{name}_known", str(snapshot.id))
                rows = engine.open(opened, new, snapshot.types)
                theirs = rows.filter(is_theirs(rows, persons)).limit(1).count()
                if theirs.to_pyarrow().as_py():
                    return True
    return False
