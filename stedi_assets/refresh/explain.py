"""What a refresh would do with each table, and why, as far as can be told before it."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import ibis

from stedi_assets.lakehouse.faults import sentence, unforeseen
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.arrivals import Arrived, Ledgers
from stedi_assets.lakehouse.state import TableState
from stedi_assets.refresh import method
from stedi_assets.refresh.findings import files_are
from stedi_assets.refresh.method import Method, method_of
from stedi_assets.refresh.plan import ledgers_of
from stedi_assets.refresh.release import policy_to_make
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES, TABLES
from stedi_assets.tables.definition import TableDefinition, query_of
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.policy import Policy

_NOT_MADE = Method("anew", "it was not made before")

_UNITS = ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12)


@dataclass(frozen=True)
class Prospect:
    """What a refresh would do with a table.

    Attributes:
        sentence: What and why; counts and reasons, no value of the data.
        changes: Whether the table would, or might, change.
        waits: Whether a check holds it back, or a table that it is made from.
    """

    table: str
    sentence: str
    changes: bool
    waits: bool = False


def explain(
    lakehouse: Lakehouse, settings: Settings, policy: Policy, tables: Collection[str]
) -> list[Prospect]:
    """What a refresh would do with tables, and with those they are made from.

    Reads the catalog and lists the landing folders; computes and writes nothing, takes no lock.

    Raises:
        LakehouseError: There are no landing files, or the landing root is another one and lacks
            sources that the tables hold files of.
    """
    ledgers = ledgers_of(lakehouse.catalog, lakehouse.storage, settings)
    ledgers.assert_usable(SOURCES)
    ledgers.assert_not_empty(SOURCES)
    wanted = _with_inputs(tables)
    prospects: dict[str, Prospect] = {}
    for table in TABLES:
        if table.name in wanted:
            prospects[table.name] = _prospect(table, lakehouse, ledgers, policy, prospects)
    return list(prospects.values())


def _with_inputs(tables: Iterable[str]) -> set[str]:
    names = set(tables)
    for table in reversed(TABLES):
        if table.name in names:
            names.update(table.inputs)
    if QUARANTINE.name in names:
        names.update(SOURCES)
    return names


def _prospect(
    table: TableDefinition,
    lakehouse: Lakehouse,
    ledgers: Ledgers,
    policy: Policy,
    before: Mapping[str, Prospect],
) -> Prospect:
    """What becomes of a table, given what becomes of those before it."""
    try:
        if table.name in SOURCES:
            return _of_source(table.name, ledgers.arrived(SOURCES[table.name], table.name))
        if table.name == QUARANTINE.name:
            return _of_quarantine(lakehouse, policy, before)
        return _of_rule(table, lakehouse, policy, before)
    except Exception as error:  # the other tables are explained all the same
        # The message of an unforeseen error may quote data.
        reason = sentence(error) or unforeseen(error)
        return Prospect(table.name, f"cannot be told: {reason}", changes=True)


def _of_source(name: str, arrived: Arrived) -> Prospect:
    parts = []
    if arrived.new:
        files = "1 new file" if len(arrived.new) == 1 else f"{len(arrived.new):,} new files"
        parts.append(f"taken in: {files}, {_size(sum(file.size for file in arrived.new))}")
    if gone := arrived.held_back_gone:
        parts.append(f"no longer held back, as removed: {len(gone):,} files")
    stay = set(arrived.held_back) - set(gone)
    if waiting := {entry.path for entry in stay} - {file.path for file in arrived.new}:
        parts.append(f"{files_are(len(waiting))} still held back")
    if arrived.replaced:
        parts.append(f"{len(arrived.replaced):,} files changed, which it only warns of")
    sentence = "; ".join(parts) or f"unchanged: no new file, {arrived.taken:,} taken in"
    return Prospect(name, sentence, arrived.changes_table)


def _of_quarantine(
    lakehouse: Lakehouse, policy: Policy, before: Mapping[str, Prospect]
) -> Prospect:
    name, changing = QUARANTINE.name, _changing(SOURCES, before)
    if changing:
        text = f"filled with what cannot be read of the files of {_and(changing)}"
        return Prospect(name, text, changes=True)
    rejects = lakehouse.rejects(SOURCES, QUARANTINE.table(policy))
    published = lakehouse.catalog.published(name)
    if published is None or set(published.files) != set(rejects.files):
        text = "filled with what could not be read of the files, and with who is held"
        return Prospect(name, text, changes=True)
    return Prospect(name, "unchanged: nothing new that cannot be read", changes=False)


def _of_rule(
    table: TableDefinition, lakehouse: Lakehouse, policy: Policy, before: Mapping[str, Prospect]
) -> Prospect:
    if waiting := [name for name in table.inputs if name in before and before[name].waits]:
        text = f"waits for {_and(waiting)}, unless the checks pass now"
        return Prospect(table.name, text, changes=True, waits=True)
    state = lakehouse.catalog.find(table.name) if lakehouse.storage.exists() else None
    changing = _changing(table.inputs, before)
    if state is None or (changing and state.published is None):
        return Prospect(table.name, _NOT_MADE.sentence, changes=True)
    now = {name: lakehouse.published(name) for name in table.inputs}
    # No engine opens them, as nothing is computed.
    tables = {name: ibis.table(old.types, name=old.name) for name, old in now.items()}
    assert table.rule
    own = policy_to_make(table, lakehouse.catalog, tables, policy)
    query, contract = query_of(table.rule, tables, own), table.table(policy).fingerprint
    found = Method("anew", "its contract changed")
    if state.contract == contract:
        found = method_of(state, query, now, lakehouse, own.release)
    if changing == [QUARANTINE.name] and found.kind == "unchanged":  # mostly, it gains nothing
        text = f"unchanged, unless {QUARANTINE.name} gains what cannot be read"
        return Prospect(table.name, text, changes=False)
    if changing:
        small = method.are_small(now.values(), lakehouse)
        return Prospect(table.name, _after(changing, found, small=small), changes=True)
    candidate = state.candidate if found.kind != "unchanged" else None
    if candidate and candidate.properties.get("fingerprint") == query.fingerprint(contract):
        return _audited_again(state, table.name)
    return Prospect(table.name, found.sentence, found.kind != "unchanged")


def _audited_again(state: TableState, name: str) -> Prospect:
    """A table whose candidate is there: it is not computed again."""
    if state.is_held_back:
        checks = ", ".join(state.held_back_by)
        return Prospect(name, f"checked again: held back by {checks}", changes=True, waits=True)
    return Prospect(name, "checked: its refresh was cut short once it was made", changes=True)


def _after(changing: Collection[str], found: Method, *, small: bool) -> str:
    """How a table is made whose inputs change first, so that only their rules can be told."""
    if found.kind == "anew" and found.changed is None:  # whatever becomes of its inputs
        return found.sentence
    if small:
        return f"anew, after {_and(changing)}: its inputs are small"
    return f"from what changes of {_and(changing)}; anew if that is most of its inputs"


def _changing(names: Iterable[str], before: Mapping[str, Prospect]) -> list[str]:
    return [name for name in names if name in before and before[name].changes]


def _and(names: Collection[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _size(size: int) -> str:
    """Bytes in the largest unit of which there is one."""
    unit, factor = next(((u, f) for u, f in reversed(_UNITS) if size >= f), _UNITS[0])
    return f"{size / factor:,.1f} {unit}"
