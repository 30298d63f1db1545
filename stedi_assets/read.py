"""Reading tables, for people and scripts."""

from datetime import UTC, date, datetime, time, timedelta

import ibis.expr.types as ir

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import shared_engine
from stedi_assets.lakehouse.state import Snapshot, TableState, Tag
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings


class UnknownTableError(LookupError):
    """There is no such table, or it is not published yet."""


class UnknownSnapshotError(UnknownTableError):
    """The table has no such state."""


def read_table(
    name: str,
    snapshot: int | str | None = None,
    as_of: date | datetime | str | None = None,
    settings: Settings | None = None,
) -> ir.Table:
    """Open a table of the lakehouse as an ibis table; `.to_pandas()` makes a DataFrame of it.

    Args:
        name: Table, such as `machine_learning_curated`.
        snapshot: Id or tag of the state to read; what is published now where absent.
        as_of: Read what was published then instead: at a time, in UTC where it names no zone, or
            at the end of a day, in UTC. A text is read as ISO 8601.
        settings: Which lakehouse; the one of the environment where absent.

    Raises:
        UnknownTableError: No such table is published.
        UnknownSnapshotError: The table has no such state.
        ValueError: Both `snapshot` and `as_of` are given, or `as_of` is no date or time.
    """
    settings = settings or Settings.load()
    found = find_snapshot(name, settings, snapshot, as_of)
    engine = shared_engine(open_storage(settings), settings.memory_limit, settings.threads)
    return engine.open(found.name, found.files, found.types)


def find_snapshot(
    name: str,
    settings: Settings,
    snapshot: int | str | None = None,
    as_of: date | datetime | str | None = None,
) -> Snapshot:
    """The state of a table that `read_table` reads.

    Raises:
        UnknownTableError: No such table is published.
        UnknownSnapshotError: The table has no such state.
        ValueError: Both `snapshot` and `as_of` are given, or `as_of` is no date or time.
    """
    if snapshot is not None and as_of is not None:
        raise ValueError("Give a snapshot or a time (as_of), not both.")
    state = _state(name, settings)
    if snapshot is not None:
        return _by_tag_or_id(name, state, snapshot)
    if as_of is not None:
        return _published_at(name, state, as_of)
    if state.published is None:
        raise UnknownTableError(f"{name} has not been published yet; refresh the lakehouse first.")
    return state.published


def find_tags(name: str, settings: Settings) -> tuple[Tag, ...]:
    """The tags of a table, those of the oldest snapshot first.

    Raises:
        UnknownTableError: There is no such table.
    """
    return _state(name, settings).tags


def _state(name: str, settings: Settings) -> TableState:
    storage = open_storage(settings)
    catalog = Catalog(storage)
    state = catalog.find(name) if storage.exists() else None
    if state is None:
        tables = ", ".join(sorted(catalog.tables()))
        raise UnknownTableError(f"There is no table {name}; there are: {tables or 'none yet'}.")
    return state


def _by_tag_or_id(name: str, state: TableState, snapshot: int | str) -> Snapshot:
    tag_or_id = str(snapshot)
    match = state.tagged(tag_or_id)
    if match is None and tag_or_id.isdecimal():
        match = state.snapshot(int(tag_or_id))
    if match is None and state.is_unpublished(tag_or_id):
        raise UnknownSnapshotError(f"{name}: {tag_or_id} was never published; {_tags(state)}.")
    if match is None:
        raise UnknownSnapshotError(f"{name} has no snapshot {tag_or_id}; {_tags(state)}.")
    return match


def _published_at(name: str, state: TableState, as_of: date | datetime | str) -> Snapshot:
    snapshot = state.as_of(_moment(as_of))
    if snapshot is None:
        earliest = state.earliest
        raise UnknownSnapshotError(
            f"What {name} was as of {as_of} cannot be read: nothing was published yet, or it has "
            f"expired; the earliest left is of {earliest.isoformat(timespec='milliseconds')}, "
            f"{_tags(state)}."
            if earliest
            else f"{name} has not been published yet; refresh the lakehouse first."
        )
    return snapshot


def _tags(state: TableState) -> str:
    names = ", ".join(tag.name for tag in state.tags)
    return f"its tags are: {names}" if names else "it has no tags"


def _moment(as_of: date | datetime | str) -> datetime:
    if isinstance(as_of, str):
        as_of = _parse(as_of)
    if not isinstance(as_of, datetime):
        next_day = datetime.combine(as_of + timedelta(days=1), time(), tzinfo=UTC)
        return next_day - timedelta(milliseconds=1)
    return as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)


def _parse(text: str) -> date | datetime:
    for kind in (date, datetime):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            continue
    raise ValueError(f"{text} is no date or time: write 2026-11-22 or 2026-11-22T15:00.")
