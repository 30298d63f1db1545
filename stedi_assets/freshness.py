"""What a refresh would find to do."""

from collections.abc import Callable, Iterable, Mapping
from inspect import signature

import ibis
import ibis.expr.types as ir

from stedi_assets.assets.sources import SOURCES
from stedi_assets.lakehouse.catalog import Catalog, Snapshot
from stedi_assets.lakehouse.faults import explain
from stedi_assets.lakehouse.ingest import Ingest
from stedi_assets.lakehouse.ledger import LandingFolder
from stedi_assets.lakehouse.resource import Lakehouse
from stedi_assets.schemas import Contract, table_of
from stedi_assets.settings import Settings


def up_to_date(
    lakehouse: Lakehouse,
    rules: Iterable[Callable[..., ir.Table]],
    contracts: Mapping[str, type[Contract]],
    settings: Settings,
) -> bool:
    """Whether all landing files are taken in and every table is made from what is published.

    Reads the catalog and lists the landing folders; computes and writes nothing.
    """
    catalog = lakehouse.catalog
    for name, contract in contracts.items():
        state = catalog.find(name)
        if (
            state is None
            or state.published is None
            or state.candidate is not None
            or state.contract != table_of(contract).fingerprint
        ):
            return False
    quarantine = table_of(contracts["quarantine"])
    landing = LandingFolder(settings.landing_root, lakehouse.storage)
    ingest = Ingest(landing, catalog, lakehouse.engine, quarantine)
    if any(_has_news(ingest, source, table) for table, source in SOURCES.items()):
        return False
    if not ingest.quarantine_is_current(SOURCES):
        return False
    return all(_current(rule, lakehouse, settings) for rule in rules)


def behind(catalog: Catalog, rules: Iterable[Callable[..., ir.Table]]) -> dict[str, str]:
    """Tables that a refresh has not made from what is published, with what they are to be made of.

    A table is not behind where a check holds back what it was made into, nor are those after it,
    and not where an input was never published.

    Args:
        catalog: The tables.
        rules: Their rules, in the order data flows.
    """
    states = catalog.tables()
    published = {name: s.published.state for name, s in states.items() if s.published}
    held_back: set[str] = set()
    found = {}
    for rule in rules:
        name, inputs = rule.__name__, _inputs(rule)
        made_of = {f"input.{i}": published[i] for i in inputs if i in published}
        state = states.get(name)
        if held_back.intersection(inputs) or (state and _is_of(state.candidate, made_of)):
            held_back.add(name)
        elif len(made_of) == len(inputs) and not (state and _is_of(state.published, made_of)):
            found[name] = " ".join(sorted(made_of.values()))
    return found


def _is_of(made: Snapshot | None, inputs: Mapping[str, str]) -> bool:
    return made is not None and inputs.items() <= made.properties.items()


def _inputs(rule: Callable[..., ir.Table]) -> list[str]:
    return [name for name in signature(rule).parameters if name != "settings"]


def _has_news(ingest: Ingest, source: str, table: str) -> bool:
    try:
        return ingest.has_news(source, table)
    except Exception as error:
        if explain(error) is None:
            raise
        return True  # a refresh says what is wrong with this source, and takes in the others


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
