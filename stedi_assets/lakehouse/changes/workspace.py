"""Where rows are kept while changes are derived, so that nothing is looked up twice."""

from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass, field

import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import Change, Rows
from stedi_assets.lakehouse.changes.keys import Columns, Keys
from stedi_assets.lakehouse.changes.selection import Selection, union_of
from stedi_assets.lakehouse.dialect import Dialect
from stedi_assets.lakehouse.engines.engine import Engine


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
    keys: Selection
    rows: list[Selection] = field(default_factory=list)
    asked: set[Selection] = field(default_factory=set)


class Workspace:
    """Rows that were computed. The rule of a table and its checks often need the same."""

    def __init__(self, engine: Engine) -> None:
        """Keep rows by means of an engine; it is of no use once the engine has let them go."""
        self._engine = engine
        self._held: dict[Selection, Selection | None] = {}
        self._found: dict[tuple[Selection, frozenset[str]], list[_Found]] = defaultdict(list)

    @property
    def dialect(self) -> Dialect:
        """The SQL of what is computed."""
        return self._engine.dialect

    def selection(self, table: ir.Table) -> Selection:
        """The rows of a table that is stored, or an expression of such tables."""
        return Selection.of(table, self.dialect)

    def selections(self, rows: Rows[ir.Table]) -> Rows[Selection]:
        """The rows of tables that are stored."""
        return Rows(*(None if table is None else self.selection(table) for table in rows))

    def hold(self, rows: Selection) -> Selection | None:
        """Compute rows unless that was done before; None if there are none."""
        if rows not in self._held:
            table = self._engine.hold(rows)
            held = self._held[rows] = None if table is None else self.selection(table)
            if held is not None:
                self._held[held] = held
        return self._held[rows]

    def net(self, rows: Rows[Selection]) -> Rows[ir.Table]:
        """The rows without those that were both added and removed, held."""
        added, removed = (self._stored(part) for part in rows)
        if added is not None and removed is not None:
            added, removed = (part and self.hold(part) for part in self.apart(added, removed))
        return Rows(added and added.table, removed and removed.table)

    def apart(self, one: Selection, other: Selection) -> Rows[Selection]:
        """Rows that the one has more often than the other, and those that it has less often.

        They are not held; where neither is None, one of them may have no rows.
        """
        counts = self.hold(one.compared(other))
        if counts is None:
            return Rows()
        return Rows(counts.repeated(negative=False), counts.repeated(negative=True))

    def _stored(self, rows: Selection | None) -> Selection | None:
        """The rows, held unless they are stored already; None if there are none."""
        return rows if rows is None or rows.table is not None else self.hold(rows)

    def matching(
        self, change: Change, names: Collection[str], columns: Columns, keys: Keys, *, is_new: bool
    ) -> list[Selection]:
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
        wanted = {*names, *columns}
        found = [self._find(self.selection(part), wanted, columns, keys) for part in parts]
        return [rows for rows in found if rows is not None]

    def _telling(self, columns: Columns, keys: Keys) -> Columns:
        """One column with whole numbers, if that tells most keys apart: it is compared faster."""
        for column, key in columns.items() if len(columns) > 1 else ():
            if keys.values.schema[key].is_integer() and self.hold(keys.values.tells_apart(key)):
                return {column: key}
        return columns

    def _find(
        self, table: Selection, names: Collection[str], columns: Columns, keys: Keys
    ) -> Selection | None:
        """Rows of a stored table with these keys: those that are not known yet are looked up."""
        wanted = keys.values.renamed({name: columns[name] for name in sorted(columns)})
        if len(columns) < len(keys.values.schema):
            wanted = wanted.distinct()
        place = table, frozenset(columns)
        known = next((f for f in self._found[place] if f.names.issuperset(names)), None)
        missing: Selection | None = None
        if known is None:
            missing = self.hold(wanted)
            if missing is None:
                return None
            known = _Found(frozenset(names), missing)
            self._found[place].append(known)
        elif wanted not in known.asked:
            missing = self.hold(wanted.minus(known.keys))
        known.asked.add(wanted)
        same = {column: column for column in columns}
        if missing is not None:
            some = table.select(name for name in table.schema if name in known.names)
            more = self.hold(Keys(missing, keys.have_nulls).matched(some, same))
            known.rows += [] if more is None else [more]
            if missing is not known.keys:
                known.keys = self._together(known.keys, missing)
        rows = union_of(known.rows)
        if rows is None or known.asked == {wanted}:
            return rows
        return Keys(wanted, keys.have_nulls).matched(rows, same)

    def _together(self, keys: Selection, more: Selection) -> Selection:
        held = self.hold(keys.union(more))
        assert held is not None
        return held
