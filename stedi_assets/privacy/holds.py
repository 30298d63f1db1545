"""Restriction: the data of a person who is held is kept in the landing zone, and used nowhere."""

import time
from collections.abc import Callable

from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.holds import (
    drop_released,
    read_holds,
    release_holds,
    write_hold,
)
from stedi_assets.privacy.person import one_spelling
from stedi_assets.refresh.land import Landing
from stedi_assets.settings import Settings
from stedi_assets.tables.consent import HOLD
from stedi_assets.tables.landing.quarantine import QUARANTINE

Warn = Callable[[str], object]

REASON = "held: their data is kept and used nowhere"
"""What quarantine says of a person who is held."""


def hold(email: str, lakehouse: Lakehouse, settings: Settings, warn: Warn) -> bool:
    """Hold a person: from the next refresh on they count as not consenting, whatever they say.

    Args:
        email: Their address, in any spelling; of them nothing need have landed yet.
        lakehouse: Where the tables are.
        settings: The same.
        warn: Is told if this has to wait for a refresh.

    Returns:
        Whether they were not held before.

    Raises:
        ValueError: The address has no letter.
        LakehouseError: There are no tables yet.
    """
    person = one_spelling(email)
    with lakehouse.locked(warn):
        state = lakehouse.catalog.find(QUARANTINE.name)
        if state is None:
            raise LakehouseError("No tables yet: refresh the lakehouse first (stedi refresh).")
        if any(each.person == person for each in read_holds(lakehouse.storage)):
            return False
        row = {
            "source": HOLD,
            "source_file": HOLD,
            "position": 0,
            "raw": "",
            "reason": REASON,
            "landed_at": time.time_ns() // 1_000_000,
            "person": person,
        }
        schema = QUARANTINE.landing_table.numbered(state.field_ids).arrow_schema
        write_hold(lakehouse.storage, row, schema)
        _fill_quarantine(lakehouse, settings)
        return True


def release(email: str, lakehouse: Lakehouse, settings: Settings, warn: Warn) -> bool:
    """Release a person who was held: from the next refresh on their own records decide again.

    Returns:
        Whether they were held.

    Raises:
        ValueError: The address has no letter.
    """
    person = one_spelling(email)
    with lakehouse.locked(warn):
        holds = [each for each in read_holds(lakehouse.storage) if each.person == person]
        release_holds(lakehouse.storage, holds)
        if holds:
            _fill_quarantine(lakehouse, settings)
        return bool(holds)


def _fill_quarantine(lakehouse: Lakehouse, settings: Settings) -> None:
    """Let quarantine say it at once: the sensor then finds tables that are out of date.

    Where this fails, the next refresh does it, and says what is wrong.
    """
    landing = Landing(lakehouse, settings, HOLD, rebuild=(), is_last_try=True)
    landing.fill_quarantine()


def drop_released_holds(lakehouse: Lakehouse) -> None:
    """Delete holds of people who were released, once no state of quarantine has them any more."""

    def in_use() -> set[str]:
        state = lakehouse.catalog.find(QUARANTINE.name)
        return {file for each in (state.all_snapshots if state else ()) for file in each.files}

    drop_released(lakehouse.storage, in_use)
