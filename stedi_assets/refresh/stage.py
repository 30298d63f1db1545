"""Puts a rule's rows on the branch `audit`, unless they are there or published already."""

from collections.abc import Mapping

from stedi_assets.lakehouse.changes.change import Change, UnderivableError
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.staging import files_with_change
from stedi_assets.lakehouse.state import ADDED, REMOVED, SAME_ROWS, TableState
from stedi_assets.refresh.anomaly_checks import row_history
from stedi_assets.refresh.method import Method, changes_of, derive, method_of
from stedi_assets.refresh.release import RELEASE
from stedi_assets.refresh.view import SEEN
from stedi_assets.tables.definition import TableDefinition, inputs_of

MADE = "made"
"""What a snapshot calls how it was made: from changes or anew, and why."""


def stage(table: str, query: Query, properties: Mapping[str, str], lakehouse: Lakehouse) -> Method:
    """Put the rows of a table's rule on `audit`: derived from what changed, or computed anew.

    The fingerprint covers the inputs' snapshots, the rule and the contract. Where the table has it
    already, nothing is computed.

    Args:
        table: The table.
        query: Its rows, as its rule makes them of other tables.
        properties: What the snapshot says about itself, besides its inputs.
        lakehouse: Where the table is.

    Returns:
        How it was made. If nothing changed, nothing waits on `audit`.
    """
    catalog = lakehouse.catalog
    state = catalog.state(table)
    now = {name: lakehouse.published(name) for name in query.tables}
    method = method_of(state, query, now, lakehouse, properties.get(RELEASE))
    candidate = state.candidate
    if candidate is not None and candidate.properties.get("fingerprint") == query.fingerprint(
        state.contract
    ):
        # Of the same inputs as what is published: a full computation found that to be wrong.
        is_proven = method.kind == "unchanged"
        return Method("anew", "a full computation waits on audit") if is_proven else method
    if method.kind == "unchanged":
        catalog.discard_candidate(table)
        return method
    says = properties_of(state, query, properties, lakehouse)
    if method.before is not None:
        try:
            changes = changes_of(method.before, now, lakehouse)
            _stage_change(state, query, changes, {**says, MADE: method.sentence}, lakehouse)
        except UnderivableError as error:
            method = Method("anew", str(error), method.changed, method.rows)
        else:
            return method
    lakehouse.progress.begin(f"computing {table}")
    files = write_all(state, query, lakehouse)
    catalog.stage(table, files, {**says, MADE: method.sentence})
    return method


def properties_of(
    state: TableState, query: Query, properties: Mapping[str, str], lakehouse: Lakehouse
) -> dict[str, str]:
    """What a snapshot says about itself: also what it is made from, and how many rows it had."""
    inputs = {f"input.{name}": id_ for name, id_ in query.inputs.items()}
    made_from = {"fingerprint": query.fingerprint(state.contract), **inputs}
    return {**made_from, **properties, **row_history(state.published, lakehouse)}


def write_all(state: TableState, query: Query, lakehouse: Lakehouse) -> list[str]:
    """Compute all rows of a rule; gives the files that hold them."""
    rows, folder = query.select(tuple(state.types)), f"{state.location}/data"
    return lakehouse.engine.write(rows, folder, state.field_ids)


def _stage_change(
    state: TableState,
    query: Query,
    changes: Mapping[str, Change],
    says: Mapping[str, str],
    lakehouse: Lakehouse,
) -> None:
    published, engine = state.published, lakehouse.engine.immediate
    assert published is not None
    lakehouse.progress.begin(f"deriving {published.table} from what changed")
    rows = derive(state, query, changes, lakehouse)
    files = files_with_change(published, rows, state, engine)
    added, removed = (engine.held_rows(part) for part in rows)
    # Tables that are made of this one need not be made again for the sake of a new snapshot.
    same = {SAME_ROWS: published.rows_id} if rows.is_none else {}
    candidate = lakehouse.catalog.stage(
        published.table,
        files,
        {**says, ADDED: str(added), REMOVED: str(removed), **same},
    )
    if candidate.rows != published.rows + added - removed:
        lakehouse.catalog.drop_candidate(candidate)
        raise UnderivableError("its files and what was derived of them do not add up")
    lakehouse.remember(published, candidate, rows)


def seen_by_checks(table: TableDefinition, lakehouse: Lakehouse) -> dict[str, str]:
    """States of the tables that its checks look at besides its inputs, for its snapshot."""
    names = {
        name
        for check in (table.consent, table.serial_numbers, table.account)
        if check
        for name in inputs_of(check)
    }
    seen = {name: lakehouse.catalog.published(name) for name in names - {table.name}}
    return {
        f"{SEEN}{name}": snapshot.rows_id
        for name, snapshot in seen.items()
        if snapshot and name not in table.inputs
    }
