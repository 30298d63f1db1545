"""How a table is brought up to date: from what changed of its inputs, or anew; and why."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import Change, Rows
from stedi_assets.lakehouse.changes.derive import Derivation
from stedi_assets.lakehouse.dialect import DUCKDB, SPARK
from stedi_assets.lakehouse.lakehouse import Lakehouse, rows_apart
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.state import ADDED, REMOVED, Snapshot, TableState
from stedi_assets.refresh.release import RELEASE

FEW_BYTES = 32 << 20
"""Size of all inputs up to which a table is made anew: to derive many small steps takes longer.

Not their rows: a customer's has ten texts, and takes many times as long as a reading.
"""

FACTOR_OF_FEW = {DUCKDB: 1, SPARK: 4}
"""How many times `FEW_BYTES` is few, by engine: on Spark each small step takes much longer."""

MOST = 0.5
"""Share of the inputs' rows that may have changed for a table still to be derived from them."""


@dataclass(frozen=True)
class Method:
    """How a table is made.

    Attributes:
        kind: Not at all, from what changed, or anew.
        reason: Why, in a few words.
        changed: Rows of its inputs that changed, as far as it was made from something before.
        rows: Rows of its inputs.
        before: The inputs that what is published was made from, where it is made from changes.
    """

    kind: Literal["unchanged", "changes", "anew"]
    reason: str
    changed: int | None = None
    rows: int | None = None
    before: Mapping[str, Snapshot] | None = None

    @property
    def sentence(self) -> str:
        """The method as people read it."""
        of = "" if self.changed is None else f"{self.changed:,} of {self.rows:,} rows"
        match self.kind:
            case "unchanged":
                return f"unchanged: {self.reason}"
            case "changes":
                return f"from what changed: {of}, in {self.reason}"
            case _:
                return f"anew: {self.reason}" + (f" ({of} changed)" if of else "")


def method_of(  # noqa: PLR0911  (each reason)
    state: TableState,
    query: Query,
    now: Mapping[str, Snapshot],
    lakehouse: Lakehouse,
    release: str | None = None,
) -> Method:
    """Choose how to make a table; computes nothing.

    Args:
        state: The table.
        query: Its rule on its inputs as they are now.
        now: These inputs.
        lakehouse: Where they are.
        release: Whose pseudonyms its rows will have, where each release has its own.
    """
    published = state.published
    if published is None:
        return Method("anew", "it was not made before")
    if published.properties.get("fingerprint") == query.fingerprint(state.contract):
        return Method("unchanged", "it was made from the same inputs")
    if release and release != published.properties.get(RELEASE):
        return Method("anew", "each training set has pseudonyms of its own")
    before: dict[str, Snapshot] = {}
    for name, snapshot in now.items():
        rows_id = published.properties.get(f"input.{name}")
        old = _state_of(name, rows_id, snapshot, lakehouse)
        if old is None:
            return Method("anew", f"the state of {name} that it was made from is gone")
        before[name] = old
    # No engine opens them, as nothing is computed.
    tables = {name: ibis.table(old.types, name=old.name) for name, old in before.items()}
    made_by = Query(query.build, tables).fingerprint(state.contract)
    if published.properties.get("fingerprint") != made_by:
        return Method("anew", "its rule, its contract or a setting changed")
    rows = sum(snapshot.rows for snapshot in now.values())
    changed = sum(_changed_rows(before[name], now[name], lakehouse) for name in now)
    if are_small(now.values(), lakehouse):
        return Method("anew", "its inputs are small", changed, rows)
    if changed > MOST * rows:
        return Method("anew", "most of its inputs changed", changed, rows)
    names = [name for name in now if before[name].rows_id != now[name].rows_id]
    return Method("changes", ", ".join(names), changed, rows, before)


def are_small(inputs: Iterable[Snapshot], lakehouse: Lakehouse) -> bool:
    """Whether inputs are so small that a table is made anew of them."""
    few = FEW_BYTES * FACTOR_OF_FEW[lakehouse.engine.immediate.dialect]
    return sum(snapshot.size for snapshot in inputs) <= few


def _state_of(
    name: str, rows_id: str | None, now: Snapshot, lakehouse: Lakehouse
) -> Snapshot | None:
    """The published state of a table with this id, if it is still there."""
    if rows_id == now.rows_id:
        return now
    state = lakehouse.catalog.find(name)
    return state.snapshot(int(rows_id)) if state and rows_id and rows_id.isdigit() else None


def _changed_rows(old: Snapshot, new: Snapshot, lakehouse: Lakehouse) -> int:
    """Rows of the files that only one of two states has, or fewer where the change is known."""
    if lakehouse.is_known(old, new):
        return sum(int(new.properties.get(name, "0")) for name in (ADDED, REMOVED))
    return rows_apart(*lakehouse.nearest(old, new))


def changes_of(
    before: Mapping[str, Snapshot], now: Mapping[str, Snapshot], lakehouse: Lakehouse
) -> dict[str, Change]:
    """What became of tables."""
    return {name: lakehouse.change(before[name], now[name]) for name in now}


def derive(
    state: TableState, query: Query, changes: Mapping[str, Change], lakehouse: Lakehouse
) -> Rows[ir.Table]:
    """The rows that a table gains and loses by what became of its inputs, held.

    Raises:
        UnderivableError: The rule does something whose change cannot be derived.
    """
    assert state.published is not None
    rule = query.select(tuple(state.types)).build(unbound(changes))
    published = lakehouse.open(state.published)
    return Derivation(rule, changes, lakehouse.workspace, published=published).rows()


def unbound(changes: Mapping[str, Change]) -> dict[str, ibis.Table]:
    """Tables of the names and columns of those that changed, without rows."""
    return {name: ibis.table(change.new.schema(), name=name) for name, change in changes.items()}
