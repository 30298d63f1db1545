"""What there is to do: which landing files are new, and which tables are out of date."""

from collections.abc import Mapping
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.expressions import fingerprint
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.arrivals import Arrived, Ledgers
from stedi_assets.lakehouse.landing.ledger import Entry, LandingFolder
from stedi_assets.lakehouse.state import Snapshot, TableState
from stedi_assets.settings import Settings
from stedi_assets.tables import DERIVED, SOURCES, TABLES
from stedi_assets.tables.definition import TableDefinition, apply
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.policy import Policy


@dataclass(frozen=True)
class Outlook:
    """What a refresh would find to do.

    Attributes:
        is_up_to_date: Whether all landing files are taken in and every table is made from what is
            published.
        held_back: Landing files that are left out of their tables, for too much of them is
            unreadable.
        ignored: Files in the landing folders that are not landing files.
    """

    is_up_to_date: bool
    held_back: tuple[Entry, ...]
    ignored: tuple[str, ...]


def look_ahead(lakehouse: Lakehouse, settings: Settings, policy: Policy) -> Outlook:
    """See what there is to do; reads the catalog, lists the landing folders, computes nothing.

    Raises:
        LakehouseError: There are no landing files, or the landing root is another one and lacks
            sources that the tables hold files of.
    """
    files = landing_files(lakehouse, settings)
    files.assert_usable(SOURCES)
    files.assert_not_empty(SOURCES)
    arrived = [_arrived(files, source, table) for table, source in SOURCES.items()]
    known = [source for source in arrived if source]
    return Outlook(
        not any(source is None or source.has_news or source.replaced for source in arrived)
        and _are_current(lakehouse, policy),
        tuple(entry for source in known for entry in source.held_back),
        tuple(path for source in known for path in source.listing.ignored),
    )


def landing_files(lakehouse: Lakehouse, settings: Settings) -> Ledgers:
    """The landing files, next to what the landing tables know of them: tells which are new."""
    landing = LandingFolder(settings.landing_root, lakehouse.storage)
    return Ledgers(landing, lakehouse.catalog, settings.unreadable_limits)


def _arrived(files: Ledgers, source: str, table: str) -> Arrived | None:
    """What has arrived in a source; nothing where it cannot be looked at, which a run will say."""
    try:
        return files.arrived(source, table)
    except Exception:  # whatever is wrong with it
        return None


def _are_current(lakehouse: Lakehouse, policy: Policy) -> bool:
    """Whether a refresh would make no table, as far as all of them can be read."""
    try:
        return (
            _are_published(lakehouse, policy)
            and _is_quarantine_current(lakehouse, policy)
            and all(_is_current(table, lakehouse, policy) for table in DERIVED)
        )
    except Exception:  # a run says what is wrong with a table, and sees to the others
        return False


def _are_published(lakehouse: Lakehouse, policy: Policy) -> bool:
    """Whether every table is published under its contract, and nothing waits on audit."""
    states = ((lakehouse.catalog.find(table.name), table) for table in TABLES)
    return all(
        state is not None
        and state.published is not None
        and state.candidate is None
        and state.contract == table.table(policy).fingerprint
        for state, table in states
    )


def _is_quarantine_current(lakehouse: Lakehouse, policy: Policy) -> bool:
    """Whether quarantine has the rejects of all files the landing tables hold."""
    published = lakehouse.published(QUARANTINE.name)
    rejects = lakehouse.rejects(SOURCES, QUARANTINE.table(policy))
    return set(published.files) == set(rejects.files)


def _is_current(table: TableDefinition, lakehouse: Lakehouse, policy: Policy) -> bool:
    """Whether a table is made from what is published, by the rule and contract of today."""
    inputs = {name: _unopened(lakehouse.published(name)) for name in table.inputs}
    assert table.rule
    expression = apply(table.rule, inputs, policy)
    state = lakehouse.catalog.state(table.name)
    made_from = fingerprint(expression, state.contract)
    return state.published is not None and state.published.properties["fingerprint"] == made_from


def _unopened(snapshot: Snapshot) -> ir.Table:
    """The table as expressions see it; no engine opens it, as nothing is computed."""
    return ibis.table(snapshot.types, name=snapshot.name)


def out_of_date(catalog: Catalog) -> dict[str, str]:
    """Tables that are out of date, each with the input snapshots it should be made from.

    A table is not out of date where a check holds back what it was made into, nor are those after
    it, and not where an input was never published. Tables that cannot be read are passed over.
    """
    states = {name: state for name in catalog.names() if (state := _read(catalog, name))}
    published = {name: s.published.state for name, s in states.items() if s.published}
    held_back: set[str] = set()
    behind = {}
    for table in DERIVED:
        name = table.name
        made_of = {f"input.{i}": published[i] for i in table.inputs if i in published}
        state = states.get(name)
        waits = state and state.is_held_back and _is_of(state.candidate, made_of)
        if held_back.intersection(table.inputs) or waits:
            held_back.add(name)
        elif len(made_of) == len(table.inputs) and not (state and _is_of(state.published, made_of)):
            behind[name] = " ".join(sorted(made_of.values()))
    return behind


def _read(catalog: Catalog, name: str) -> TableState | None:
    """A table, with what is published of it and what waits; nothing where it cannot be read."""
    try:
        state = catalog.state(name)
        _ = state.published, state.candidate
    except Exception:  # whatever is wrong with it: a refresh says so
        return None
    return state


def _is_of(made: Snapshot | None, inputs: Mapping[str, str]) -> bool:
    return made is not None and inputs.items() <= made.properties.items()
