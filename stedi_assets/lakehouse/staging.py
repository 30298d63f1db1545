"""Makes the files of a table's next state from those of the last one and what changed."""

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import Rows, together
from stedi_assets.lakehouse.engines.engine import Engine
from stedi_assets.lakehouse.names import FILE, located_in, view_name
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.state import Snapshot, TableState


def files_with_change(
    published: Snapshot, rows: Rows, state: TableState, engine: Engine
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
        left = ibis.difference(touched.drop(FILE), rows.removed, distinct=False)
        written += [
            others.anti_join(keys, [others[key].identical_to(keys[key]) for key in keys.columns]),
            left,
        ]
    query = together([table.select(*state.types) for table in written])
    if query is None:
        return files
    return [*files, *engine.write(Query.of(query), f"{state.location}/data", state.field_ids)]


def _rows_like(removed: ir.Table, published: Snapshot, engine: Engine) -> tuple[ir.Table, ir.Table]:
    """Published rows that may be among those removed, with their files; and what tells them.

    Measured values are left out of what is compared: the others tell nearly all rows apart.
    """
    names = [name for name, dtype in published.types.items() if dtype != "float64"]
    keys = engine.hold(removed.select(*names).distinct())
    assert keys is not None
    located = engine.open_located(
        view_name(f"{published.table}_located", published.rows_id), published.files, published.types
    )
    touched = engine.hold(
        located.semi_join(keys, [located[name].identical_to(keys[name]) for name in names])
    )
    assert touched is not None
    return touched, keys


def _files_of(touched: ir.Table, published: Snapshot, engine: Engine) -> set[str]:
    """The published files that hold rows, as the catalog names them."""
    found = engine.fetch(Query.of(touched.select(FILE).distinct()))[FILE].to_pylist()
    return located_in(found, published.files)
