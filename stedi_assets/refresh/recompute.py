"""The proof of a table: all of it computed beside what the ordinary way gives, row for row."""

from collections.abc import Collection, Mapping, Sequence

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.names import view_name
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.staging import union
from stedi_assets.lakehouse.state import Snapshot, TableState
from stedi_assets.refresh.findings import RECOMPUTED, Finding
from stedi_assets.refresh.method import Method
from stedi_assets.refresh.stage import MADE, properties_of, write_all


def recompute(
    table: str,
    query: Query,
    method: Method,
    properties: Mapping[str, str],
    lakehouse: Lakehouse,
) -> tuple[Method, Finding]:
    """Compare a table with a full computation, after `stage`; of two results the full one counts.

    It is compared with what waits on `audit`, or with what is published if nothing does. Where the
    rows are the same, the files of the full computation are removed at once. Where they are not,
    they take the place of what waits on `audit`.

    Args:
        table: The table.
        query: Its rows, as its rule makes them of other tables.
        method: How it was made.
        properties: What a snapshot of this run says about itself, besides its inputs.
        lakehouse: Where the table is.

    Returns:
        How it is made now, and what the comparison found.
    """
    catalog = lakehouse.catalog
    state = catalog.state(table)
    candidate, ordinary = state.candidate, state.candidate or state.published
    assert ordinary is not None
    if method.kind == "anew" and ordinary.properties.get("run-id") == properties["run-id"]:
        return method, Finding(RECOMPUTED, True, "Nothing to compare: it was made anew just now.")
    lakehouse.progress.begin(f"computing all of {table}, to compare")
    files = write_all(state, query, lakehouse)
    are_kept = False
    try:
        finding = _compare(ordinary, files, state, lakehouse)
        if finding.passed:
            return method, finding
        method = Method("anew", "a full computation gave other rows")
        if candidate is not None:
            catalog.drop_candidate(candidate)
        says = properties_of(state, query, properties, lakehouse)
        catalog.stage(table, files, {**says, MADE: method.sentence})
        are_kept = True
    finally:
        if not are_kept:
            for file in files:
                catalog.io.delete(file)
    return method, finding


def _compare(
    ordinary: Snapshot, files: Collection[str], state: TableState, lakehouse: Lakehouse
) -> Finding:
    """Whether the files hold exactly the rows of a snapshot, each as often."""
    name = view_name(f"{ordinary.table}_recomputed", ordinary.rows_id)
    full = lakehouse.engine.open(name, sorted(files), state.types)
    counts = _differences(lakehouse.open(ordinary), full, list(state.types))
    [found] = lakehouse.engine.fetch(Query.of(counts)).to_pylist()
    sentence = (
        f"Rows only in {ordinary.table} as refreshes made it: {found['only_before']:,}; only in a "
        f"full computation, which takes its place if its checks pass: {found['only_full']:,}. "
        "What changed was derived wrongly, or files were damaged: report it."
    )
    is_same = not (found["only_before"] or found["only_full"])
    same = f"A full computation gave the same rows: {found['rows']:,}."
    return Finding(RECOMPUTED, is_same, same if is_same else sentence, found)


def _differences(before: ir.Table, full: ir.Table, columns: Sequence[str]) -> ir.Table:
    """How many rows only one of two tables has: EXCEPT ALL both ways, in one pass."""
    both = union(
        before.select(*columns, _before=ibis.literal(1), _full=ibis.literal(0)),
        full.select(*columns, _before=ibis.literal(0), _full=ibis.literal(1)),
    )
    times = both.group_by(columns).agg(before=both["_before"].sum(), full=both["_full"].sum())
    more = times["before"] - times["full"]
    sums = {
        "rows": times["full"],
        "only_before": more.clip(lower=0),
        "only_full": (-more).clip(lower=0),
    }
    return times.agg(
        **{name: value.sum().fill_null(0).cast("int64") for name, value in sums.items()}
    )
