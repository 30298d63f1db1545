"""Whether a refresh would find anything to do."""

from collections.abc import Callable, Iterable, Mapping
from inspect import signature

import ibis.expr.types as ir

from stedi_assets.assets.sources import SOURCES
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


def _has_news(ingest: Ingest, source: str, table: str) -> bool:
    try:
        return ingest.has_news(source, table)
    except Exception as error:
        if explain(error) is None:
            raise
        return True  # a refresh says what is wrong with this source, and takes in the others


def _current(rule: Callable[..., ir.Table], lakehouse: Lakehouse, settings: Settings) -> bool:
    expression = rule(
        **{
            name: settings if name == "settings" else lakehouse.table(name)
            for name in signature(rule).parameters
        }
    )
    state = lakehouse.catalog.state(rule.__name__)
    fingerprint = lakehouse.fingerprint(expression, state.contract)
    return state.published is not None and state.published.properties["fingerprint"] == fingerprint
