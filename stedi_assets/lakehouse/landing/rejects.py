"""What belongs in quarantine: what could not be read, by the landing tables' ledgers, and holds."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from pyiceberg.exceptions import NoSuchTableError

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.landing.holds import folder_of_holds, held_files
from stedi_assets.lakehouse.landing.ledger import LEDGER, read_rejects
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.table import LANDED_AT


@dataclass(frozen=True)
class Rejects:
    """What could not be read of landing files, and who is held.

    Attributes:
        files: The Parquet files that hold it.
        rows: Number of its rows; None if it is not known.
        made_from: Snapshot id of each landing table.
    """

    files: frozenset[str]
    rows: int | None
    made_from: Mapping[str, str]


def find_rejects(catalog: Catalog, landing_tables: Collection[str], quarantine: str) -> Rejects:
    """What could not be read of the files that landing tables hold, or wait to hold; and holds.

    It says who is suspended, so it does not depend on the table `quarantine`, which may be damaged
    or out of date. If the ledger of a landing table cannot be read, all that is published of
    quarantine is included.
    """
    files: set[str] = set()
    rows: int | None = 0
    made_from: dict[str, str] = {}
    for table in landing_tables:
        try:
            current = _current(catalog, table)
            if current is None:
                continue
            rejected, count = read_rejects(current.properties[LEDGER], catalog.io)
        except Exception:  # whatever is wrong with this table is reported elsewhere
            files |= _published(catalog, quarantine)
            rows = None
            continue
        files |= rejected
        made_from[table] = current.rows_id
        rows = None if rows is None else rows + count
    of_holds = f"{folder_of_holds(catalog.storage.root)}/"
    holds = held_files(catalog.storage)
    files = {file for file in files if not file.startswith(of_holds)} | holds
    return Rejects(frozenset(files), rows if rows is None else rows + len(holds), made_from)


def _current(catalog: Catalog, table: str) -> Snapshot | None:
    try:
        state = catalog.state(table)
    except NoSuchTableError:  # only quarantine, or only one source, was refreshed so far
        return None
    return state.candidate or _of_today(state.published)


def _published(catalog: Catalog, quarantine: str) -> set[str]:
    try:
        published = _of_today(catalog.published(quarantine))
    except Exception:  # it cannot be read either
        published = None
    return set(published.files if published else ())


def _of_today(snapshot: Snapshot | None) -> Snapshot | None:
    """The snapshot, if its rows have today's columns."""
    return snapshot if snapshot and LANDED_AT in snapshot.types else None
