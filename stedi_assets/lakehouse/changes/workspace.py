"""Where rows are kept while changes are derived, so that nothing is looked up twice."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import Change, Hold, together
from stedi_assets.lakehouse.changes.keys import Columns, Keys, matching


@dataclass
class _Found:
    """Rows that were looked up in a table.

    Attributes:
        names: Their columns.
        keys: All keys that they were looked up by, under the names of the table's columns.
        rows: The rows, as they were found.
        asked: What they were looked up by, one time after the other.
    """

    names: frozenset[str]
    keys: ir.Table
    rows: list[ir.Table] = field(default_factory=list)
    asked: set[ops.Relation] = field(default_factory=set)


class Workspace:
    """Rows that were computed. The rule of a table and its checks often need the same."""

    def __init__(self, hold: Hold) -> None:
        """Keep rows by means of an engine; it is of no use once the engine has let them go."""
        self._hold = hold
        self._held: dict[ops.Relation, ir.Table | None] = {}
        self._found: dict[tuple[ops.Relation, frozenset[str]], list[_Found]] = defaultdict(list)

    def hold(self, rows: ir.Table) -> ir.Table | None:
        """Compute rows unless that was done before; None if there are none."""
        op = rows.op()
        if op not in self._held:
            held = self._held[op] = self._hold(rows)
            if held is not None:
                self._held[held.op()] = held
        return self._held[op]

    def matching(
        self, change: Change, names: Collection[str], columns: Columns, keys: Keys, *, is_new: bool
    ) -> list[ir.Table]:
        """The rows with these keys that a table has after a change, or had before.

        Args:
            change: What became of the table.
            names: Columns that are needed at least.
            columns: Columns that have to equal one of the keys.
            keys: The keys.
            is_new: Whether to look after the change.
        """
        if change.kept is None:
            parts = [change.new if is_new or change.rows.is_none else change.old]
        else:  # most is the same before and after, and looked up once
            beside = change.beside.added if is_new else change.beside.removed
            parts = [change.kept] if beside is None else [change.kept, beside]
        columns = self._telling(columns, keys)
        found = [self._find(part, {*names, *columns}, columns, keys) for part in parts]
        return [rows for rows in found if rows is not None]

    def _telling(self, columns: Columns, keys: Keys) -> Columns:
        """One column with whole numbers, if that tells most keys apart: it is compared faster."""
        types = keys.table.schema()
        for column, key in columns.items() if len(columns) > 1 else ():
            if types[key].is_integer():
                number = keys.table.agg(rows=keys.table.count(), kinds=keys.table[key].nunique())
                if self.hold(number.filter(number.kinds * 2 >= number.rows)) is not None:
                    return {column: key}
        return columns

    def _find(
        self, table: ir.Table, names: Collection[str], columns: Columns, keys: Keys
    ) -> ir.Table | None:
        """Rows of a stored table with these keys: those that are not known yet are looked up."""
        wanted = keys.table.select(**{name: keys.table[columns[name]] for name in sorted(columns)})
        if len(columns) < len(keys.table.columns):
            wanted = wanted.distinct()
        place = table.op(), frozenset(columns)
        known = next((f for f in self._found[place] if f.names.issuperset(names)), None)
        missing: ir.Table | None = None
        if known is None:
            missing = self.hold(wanted)
            if missing is None:
                return None
            known = _Found(frozenset(names), missing)
            self._found[place].append(known)
        elif wanted.op() not in known.asked:
            missing = self.hold(ibis.difference(wanted, known.keys))
        known.asked.add(wanted.op())
        same = {column: column for column in columns}
        if missing is not None:
            rows = table.select(*(name for name in table.columns if name in known.names))
            more = self.hold(matching(rows, same, Keys(missing, keys.have_nulls)))
            known.rows += [] if more is None else [more]
            if missing is not known.keys:
                known.keys = self._together(known.keys, missing)
        rows = together(known.rows)
        return None if rows is None else matching(rows, same, Keys(wanted, keys.have_nulls))

    def _together(self, keys: ir.Table, more: ir.Table) -> ir.Table:
        held = self.hold(keys.union(more))
        assert held is not None
        return held
