"""Makes the files of a table's next state from those of the last one and what changed."""

import functools

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import Rows
from stedi_assets.lakehouse.changes.selection import Selection
from stedi_assets.lakehouse.engines.engine import Engine
from stedi_assets.lakehouse.names import FILE, located_in, view_name
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.state import Snapshot, TableState


def files_with_change(
    published: Snapshot, rows: Rows[ir.Table], state: TableState, engine: Engine
) -> list[str]:
    """The files of a state that has these rows more and less than what is published.

    Rows that are gone take the files that hold them along: what is left of these is written anew.

    Args:
        published: What is published of the table.
        rows: Held rows that it gains and loses.
        state: The table.
        engine: Where the rows are held.
    """
    written = [] if rows.added is None else [rows.added]
    files = list(published.files)
    if rows.removed is not None:
        touched, keys = _rows_like(rows.removed, published, engine)
        gone = _files_of(touched, published, engine)
        files = [file for file in files if file not in gone]
        others = engine.open(
            view_name(f"{published.table}_touched", published.rows_id),
            sorted(gone),
            published.types,
        )
        written.append(
            others.anti_join(keys, [others[key].identical_to(keys[key]) for key in keys.columns])
        )
        like, removed = (
            Selection.of(table, engine.dialect).select(published.types)
            for table in (touched, rows.removed)
        )
        left = engine.hold(like.compared(removed).repeated(negative=False))
        written += [] if left is None else [left]
    if not written:
        return files
    query = functools.reduce(union, [table.select(*state.types) for table in written])
    return [*files, *engine.write(Query.of(query), f"{state.location}/data", state.field_ids)]


def _rows_like(removed: ir.Table, published: Snapshot, engine: Engine) -> tuple[ir.Table, ir.Table]:
    """Published rows that may be among those removed, with their files; and what tells them.

    Measured values are left out of what is compared: the others tell nearly all rows apart.
    """
    names = [name for name, dtype in published.types.items() if dtype != "float64"]
    keys = engine.hold(Query.of(removed.select(*names).distinct()))
    assert keys is not None
    located = engine.open_located(
        view_name(f"{published.table}_located", published.rows_id), published.files, published.types
    )
    like = located.semi_join(keys, [located[name].identical_to(keys[name]) for name in names])
    touched = engine.hold(Query.of(like))
    assert touched is not None
    return touched, keys


def _files_of(touched: ir.Table, published: Snapshot, engine: Engine) -> set[str]:
    """The published files that hold rows, as the catalog names them."""
    found = engine.fetch(Query.of(touched.select(FILE).distinct()))[FILE].to_pylist()
    return located_in(found, published.files)


def union(left: ir.Table, right: ir.Table) -> ir.Table:
    """The rows of both, which have the same columns; where one may be null, both may."""
    tables = []
    for table, other in ((left, right), (right, left)):
        types = other.schema()
        loose = {
            name: ops.Cast(table[name], dtype.copy(nullable=True)).to_expr()
            for name, dtype in table.schema().items()
            if dtype != types[name]
        }
        tables.append(table.mutate(**loose) if loose else table)
    return ibis.union(*tables)
