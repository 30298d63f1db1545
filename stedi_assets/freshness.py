"""What a refresh would find to do."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from inspect import signature

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.catalog import Catalog, Snapshot, TableState
from stedi_assets.lakehouse.ingest import Ingest
from stedi_assets.lakehouse.landing.arrivals import Arrived
from stedi_assets.lakehouse.ledger import Entry, LandingFolder
from stedi_assets.lakehouse.resource import Lakehouse
from stedi_assets.schemas import SOURCES, Contract, table_of
from stedi_assets.settings import Settings


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


def look_ahead(
    lakehouse: Lakehouse,
    rules: Iterable[Callable[..., ir.Table]],
    contracts: Mapping[str, type[Contract]],
    settings: Settings,
) -> Outlook:
    """See what there is to do; reads the catalog, lists the landing folders, computes nothing.

    Raises:
        LakehouseError: There are no landing files, or the landing root is another one and lacks
            sources that the tables hold files of.
    """
    quarantine = table_of(contracts["quarantine"])
    landing = LandingFolder(settings.landing_root, lakehouse.storage)
    ingest = Ingest(
        landing, lakehouse.catalog, lakehouse.engine, quarantine, settings.unreadable_limits
    )
    ingest.assert_usable(SOURCES)
    ingest.assert_not_empty(SOURCES)
    arrived = [_arrived(ingest, source, table) for table, source in SOURCES.items()]
    known = [source for source in arrived if source]
    return Outlook(
        not any(source is None or source.has_news or source.replaced for source in arrived)
        and _are_current(lakehouse, ingest, rules, contracts, settings),
        tuple(entry for source in known for entry in source.held_back),
        tuple(path for source in known for path in source.listing.ignored),
    )


def _are_current(
    lakehouse: Lakehouse,
    ingest: Ingest,
    rules: Iterable[Callable[..., ir.Table]],
    contracts: Mapping[str, type[Contract]],
    settings: Settings,
) -> bool:
    """Whether a refresh would make no table, as far as all of them can be read."""
    try:
        return (
            _tables_are_current(lakehouse, contracts)
            and ingest.quarantine_is_current(SOURCES)
            and all(_current(rule, lakehouse, settings) for rule in rules)
        )
    except Exception:  # a run says what is wrong with a table, and sees to the others
        return False


def _tables_are_current(lakehouse: Lakehouse, contracts: Mapping[str, type[Contract]]) -> bool:
    """Whether every table is published under its contract, and nothing waits on audit."""
    states = ((lakehouse.catalog.find(name), model) for name, model in contracts.items())
    return all(
        state is not None
        and state.published is not None
        and state.candidate is None
        and state.contract == table_of(model).fingerprint
        for state, model in states
    )


def behind(catalog: Catalog, rules: Iterable[Callable[..., ir.Table]]) -> dict[str, str]:
    """Tables that are out of date, each with the input snapshots it should be made from.

    A table is not out of date where a check holds back what it was made into, nor are those after
    it, and not where an input was never published. Tables that cannot be read are passed over.

    Args:
        catalog: The tables.
        rules: Their rules, in the order data flows.
    """
    states = {name: state for name in catalog.names() if (state := _read(catalog, name))}
    published = {name: s.published.state for name, s in states.items() if s.published}
    held_back: set[str] = set()
    found = {}
    for rule in rules:
        name, inputs = rule.__name__, _inputs(rule)
        made_of = {f"input.{i}": published[i] for i in inputs if i in published}
        state = states.get(name)
        waits = state and state.is_held_back and _is_of(state.candidate, made_of)
        if held_back.intersection(inputs) or waits:
            held_back.add(name)
        elif len(made_of) == len(inputs) and not (state and _is_of(state.published, made_of)):
            found[name] = " ".join(sorted(made_of.values()))
    return found


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


def _inputs(rule: Callable[..., ir.Table]) -> list[str]:
    return [name for name in signature(rule).parameters if name != "settings"]


def _arrived(ingest: Ingest, source: str, table: str) -> Arrived | None:
    """What has arrived in a source; nothing where it cannot be looked at, which a run will say."""
    try:
        return ingest.arrived(source, table)
    except Exception:  # whatever is wrong with it
        return None


def _named(snapshot: Snapshot) -> ir.Table:
    """The table as expressions see it; no engine opens it, as nothing is computed."""
    return ibis.table(snapshot.types, name=snapshot.name)


def _current(rule: Callable[..., ir.Table], lakehouse: Lakehouse, settings: Settings) -> bool:
    expression = rule(
        **{
            name: settings if name == "settings" else _named(lakehouse.published(name))
            for name in signature(rule).parameters
        }
    )
    state = lakehouse.catalog.state(rule.__name__)
    fingerprint = lakehouse.fingerprint(expression, state.contract)
    return state.published is not None and state.published.properties["fingerprint"] == fingerprint
