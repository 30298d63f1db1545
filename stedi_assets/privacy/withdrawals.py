"""Takes people who consent no longer out of what is published, where a refresh cannot replace it.

A refresh that ends early, or a table that a check holds back, leaves the last good state in place.
People who withdrew since must not stay visible in it.
"""

from collections.abc import Mapping

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.faults import sentence, unforeseen
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.refresh.release import RELEASE
from stedi_assets.refresh.view import View
from stedi_assets.tables import TABLES
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.policy import Policy

_OF_IDS = {"key-id", "times", RELEASE}
"""What a training set says of its pseudonyms and times, which stay those of its rows."""


def take_out(lakehouse: Lakehouse, policy: Policy, run_id: str) -> tuple[list[str], dict[str, str]]:
    """Publish tables without the rows of people who consent no longer.

    Each table that has such rows is published with those of consenting people only. Where that too
    breaks the consent rule, or nobody can tell any more whose the rows are and somebody left, it is
    published without rows. The next refresh makes it anew.

    Returns:
        The tables that had such rows, and the faults of tables that could not be looked into.
    """
    reduced, faults = [], {}
    for table in TABLES:
        if not table.consent:
            continue
        view = View(lakehouse, policy)
        try:
            if _shows_withdrawn(table, view, lakehouse):
                _reduce(table, view, lakehouse, policy, run_id)
                reduced.append(table.name)
        except Exception as error:  # whatever it is: the other tables are still reduced
            faults[table.name] = sentence(error) or unforeseen(error)
    return reduced, faults


def _shows_withdrawn(table: TableDefinition, view: View, lakehouse: Lakehouse) -> bool:
    """Whether a published table has rows of people who consent no longer, or may have some."""
    published = view.published(table.name)
    if published is None or not published.rows:
        return False
    try:
        return _violations(table, view) > 0
    except Exception:
        # Whose rows these are cannot be told: the key is lost, or a table that tells it is damaged.
        # Rows that nobody can read show nobody.
        lakehouse.engine.fetch(Query.of(view[table.name].limit(1)))
        if not _inputs_lost_rows(published, view, lakehouse):
            raise
        return True


def _inputs_lost_rows(published: Snapshot, view: View, lakehouse: Lakehouse) -> bool:
    """Whether rows of consenting people that it was made from are published no longer."""
    for table in TABLES:
        made_from = published.properties.get(f"input.{table.name}")
        now = view.published(table.name) if made_from and table.consent else None
        if now is None or now.rows_id == made_from:
            continue
        history = lakehouse.catalog.state(table.name).published_since(None)
        before = next((state for state in history if state.rows_id == made_from), None)
        if before is None:  # it has expired
            return True
        columns = [name for name in before.types if name in now.types]
        rows = [lakehouse.open(state).select(columns) for state in (before, now)]
        if lakehouse.engine.fetch(Query.of(ibis.difference(*rows).limit(1))).num_rows:
            return True
    return False


def _reduce(
    table: TableDefinition, view: View, lakehouse: Lakehouse, policy: Policy, run_id: str
) -> None:
    published = view.published(table.name)
    properties = (
        {name: said for name, said in published.properties.items() if name in _OF_IDS}
        if published
        else {}
    )
    properties |= {"run-id": run_id, "fingerprint": "people who withdrew were taken out"}
    try:
        candidate = _stage_consenting(table, view, lakehouse, policy, properties)
    except Exception:  # whatever it is: better no rows than theirs
        candidate = lakehouse.catalog.stage(table.name, [], properties)
    lakehouse.catalog.publish(candidate)


def _stage_consenting(
    table: TableDefinition,
    view: View,
    lakehouse: Lakehouse,
    policy: Policy,
    properties: Mapping[str, str],
) -> Snapshot:
    """Put the rows of people who still consent on `audit`, or none where that cannot be told."""
    catalog, name = lakehouse.catalog, table.name
    state = catalog.state(name)
    assert table.still_consenting
    rows: ir.Table = view.call(table.still_consenting)
    # A refresh that ended early may have given the table columns that its rows do not have yet.
    missing = {n: ibis.null(dtype) for n, dtype in state.types.items() if n not in rows.columns}
    rows = rows.mutate(**missing).select(*state.types)
    engine, folder = lakehouse.engine.immediate, f"{state.location}/data"
    files = engine.write(Query.of(rows), folder, state.field_ids)
    candidate = catalog.stage(name, files, properties)
    if _violations(table, View(lakehouse, policy, candidate)):
        catalog.drop_candidate(candidate)
        return catalog.stage(name, [], properties)
    return candidate


def _violations(table: TableDefinition, view: View) -> int:
    assert table.consent
    return view.count(table.consent)
