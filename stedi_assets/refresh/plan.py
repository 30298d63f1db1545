"""What there is to do: which landing files are new, and which tables are out of date."""

from collections.abc import Mapping
from dataclasses import dataclass

import ibis

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.arrivals import Arrived, Ledgers
from stedi_assets.lakehouse.landing.ledger import Entry, LandingFolder
from stedi_assets.lakehouse.state import Snapshot, TableState
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.refresh.anomalies import Anomaly
from stedi_assets.refresh.anomaly_checks import anomalies_since
from stedi_assets.refresh.release import policy_to_make
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES, TABLES, definition
from stedi_assets.tables.definition import TableDefinition, query_of
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.policy import Policy


@dataclass(frozen=True)
class Outlook:
    """What a refresh would do.

    Attributes:
        is_up_to_date: Whether all landing files are taken in and every table is made from what is
            published. False as long as a check holds a table back, so that it is checked again.
        held_back: Landing files kept out of their tables because too much of them is unreadable.
        ignored: Files in the landing folders that are not landing files.
        anomalies: If it is up to date, what is unusual about that: sources that bring nothing.
    """

    is_up_to_date: bool
    held_back: tuple[Entry, ...]
    ignored: tuple[str, ...]
    anomalies: tuple[Anomaly, ...] = ()


def look_ahead(lakehouse: Lakehouse, settings: Settings, policy: Policy) -> Outlook:
    """See what there is to do; reads the catalog, lists the landing folders, computes nothing.

    Raises:
        LakehouseError: There are no landing files, or the landing root is another one and lacks
            sources that the tables hold files of.
    """
    ledgers = ledgers_of(lakehouse.catalog, lakehouse.storage, settings)
    ledgers.assert_usable(SOURCES)
    ledgers.assert_not_empty(SOURCES)
    arrived = [_arrived(ledgers, source, table) for table, source in SOURCES.items()]
    readable = [source for source in arrived if source]
    is_up_to_date = not any(
        source is None or source.changes_table or source.replaced for source in arrived
    ) and _are_all_made(lakehouse, policy)
    return Outlook(
        is_up_to_date,
        tuple(entry for source in readable for entry in source.held_back),
        tuple(path for source in readable for path in source.listing.ignored),
        tuple(anomalies_since(ledgers)) if is_up_to_date else (),
    )


def ledgers_of(catalog: Catalog, storage: Storage, settings: Settings) -> Ledgers:
    """The ledgers of the landing tables beside the landing files: they tell which are new."""
    landing = LandingFolder(settings.landing_root, storage)
    return Ledgers(landing, catalog, settings.unreadable_limits)


def _arrived(ledgers: Ledgers, source: str, table: str) -> Arrived | None:
    """What has arrived in a source; None if it cannot be read, which a run will report."""
    try:
        return ledgers.arrived(source, table)
    except Exception:  # whatever is wrong with it
        return None


def _are_all_made(lakehouse: Lakehouse, policy: Policy) -> bool:
    """Whether all tables can be read and a refresh would make none of them."""
    try:
        return out_of_date(lakehouse, policy).is_empty and _are_landed(lakehouse, policy)
    except Exception:  # a run says what is wrong with a table, and makes the others
        return False


def _are_landed(lakehouse: Lakehouse, policy: Policy) -> bool:
    """Whether the landing tables and quarantine are published, and nothing waits on `audit`."""
    catalog = lakehouse.catalog
    states = {t: catalog.find(t.name) for t in TABLES if t.name in {*SOURCES, QUARANTINE.name}}
    return _has_all_rejects(lakehouse, policy) and all(
        state is not None
        and state.published is not None
        and state.candidate is None
        and state.contract == table.table(policy).fingerprint
        for table, state in states.items()
    )


def _has_all_rejects(lakehouse: Lakehouse, policy: Policy) -> bool:
    """Whether quarantine holds what could not be read of the files in the landing tables."""
    published = lakehouse.published(QUARANTINE.name)
    rejects = lakehouse.rejects(SOURCES, QUARANTINE.table(policy))
    return set(published.files) == set(rejects.files)


@dataclass(frozen=True)
class OutOfDate:
    """Tables that are out of date, or that cannot be compared.

    Attributes:
        behind: Tables to make, each with the input snapshots to make it from.
        held_back: Tables that a check holds back, and the tables made from them.
        unreadable: Tables that cannot be read, or whose rule cannot be compared.
    """

    behind: Mapping[str, str]
    held_back: tuple[str, ...]
    unreadable: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether all tables can be compared, and are up to date."""
        return not (self.behind or self.held_back or self.unreadable)


def out_of_date(lakehouse: Lakehouse, policy: Policy) -> OutOfDate:
    """Compare what each table was made from with what is published now; computes nothing.

    A table is not out of date while one of its inputs was never published.
    """
    published: dict[str, Snapshot] = {}
    behind: dict[str, str] = {}
    held_back: list[str] = []
    unreadable: list[str] = []
    for table in TABLES:
        try:
            state = lakehouse.catalog.find(table.name)
            if state and state.published:
                published[table.name] = state.published
            inputs = {name: published[name] for name in table.inputs if name in published}
            if not table.rule or len(inputs) < len(table.inputs):
                continue
            if set(held_back).intersection(inputs) or (state and _is_held_back(state, inputs)):
                held_back.append(table.name)
            elif not (state and _is_made_from(state, table, inputs, policy, lakehouse.catalog)):
                behind[table.name] = " ".join(sorted(each.rows_id for each in inputs.values()))
        except Exception:  # a refresh reports what is wrong with it
            unreadable.append(table.name)
    return OutOfDate(behind, tuple(held_back), tuple(unreadable))


def _is_held_back(state: TableState, inputs: Mapping[str, Snapshot]) -> bool:
    """Whether a check holds back the candidate that was made from these inputs."""
    made_from = {f"input.{name}": snapshot.rows_id for name, snapshot in inputs.items()}
    candidate = state.candidate
    return (
        candidate is not None
        and state.is_held_back
        and made_from.items() <= candidate.properties.items()
    )


def _is_made_from(
    state: TableState,
    table: TableDefinition,
    inputs: Mapping[str, Snapshot],
    policy: Policy,
    catalog: Catalog,
) -> bool:
    """Whether the published table was made from these inputs by today's rule and contract."""
    contract = table.table(policy).fingerprint
    if state.published is None or state.candidate or state.contract != contract:
        return False
    expected = _fingerprint(table, inputs, policy, catalog)
    return state.published.properties.get("fingerprint") == expected


def _fingerprint(
    table: TableDefinition, inputs: Mapping[str, Snapshot], policy: Policy, catalog: Catalog
) -> str:
    """Fingerprint of the table's rule on these inputs."""
    # No engine opens them, as nothing is computed.
    tables = {
        name: ibis.table(definition(name).table(policy).types, name=snapshot.name)
        for name, snapshot in inputs.items()
    }
    assert table.rule
    own = policy_to_make(table, catalog, tables, policy)
    return query_of(table.rule, tables, own).fingerprint(table.table(policy).fingerprint)
