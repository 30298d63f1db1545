"""Derives what a change of its inputs does to an expression: the rows that it gains and loses.

| operation | rows gained and lost |
|---|---|
| filter, projection, dropped columns, filled nulls, union | the same of each |
| window, distinct, group | all rows of each partition or group that was touched, as it was and is |
| join | what it makes of rows of its first table that are gained or lost, or can be joined with \
what another table gains or loses: as they were, and as they are |

What is both gained and lost cancels out. Which keys were touched takes less to know than which
rows changed: groups need not be computed for that, and joins are followed from key to key.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import ibis.expr.operations as ops
import ibis.expr.types as ir
from ibis.common.exceptions import IbisError

from stedi_assets.lakehouse.changes.change import Change, Rows, UnderivableError
from stedi_assets.lakehouse.changes.keys import Columns, Keys
from stedi_assets.lakehouse.changes.restrict import (
    JOINS,
    fields_reached,
    filled,
    joined,
    needed_columns,
    restrict,
    windows_of,
)
from stedi_assets.lakehouse.changes.selection import (
    Selection,
    referred,
    result,
    sources_of,
    union_of,
)
from stedi_assets.lakehouse.changes.sums import partial_groups
from stedi_assets.lakehouse.changes.workspace import Workspace


class Derivation:
    """The change of one expression, and of all relations that it is made of."""

    def __init__(
        self,
        expression: ir.Table,
        inputs: Mapping[str, Change],
        workspace: Workspace,
        *,
        published: ir.Table | None = None,
        summed: Iterable[str] = (),
    ) -> None:
        """Derive from an expression of unbound tables that have the names of the inputs.

        Args:
            expression: The expression.
            inputs: What became of each table.
            workspace: Keeps rows that are needed more than once.
            published: The rows that the expression gave before, if they are stored.
            summed: Columns of which only the sums over the changed rows are wanted, with a sign
                for rows that are gone.
        """
        self._root = expression.op()
        # Of rows that tie, a rule may take any, as long as nothing of the others is needed. Looked
        # up twice, a row is the same only in the columns that the whole expression needs.
        self._needed = needed_columns(self._root, self._root.schema.names)
        self._inputs = inputs
        self._workspace = workspace
        self._published = published
        self._partial = partial_groups(self._root, summed) if summed else set()
        self._old, self._new = (_Side(inputs, workspace, is_new=new) for new in (False, True))
        self._rows: dict[ops.Relation, Rows[Selection]] = {}
        self._touched: dict[tuple[ops.Relation, tuple[str, ...]], Selection | None] = {}

    def rows(self) -> Rows[ir.Table]:
        """The rows that the expression gains and loses, held.

        Raises:
            UnderivableError: It does something whose change cannot be derived.
        """
        return self._workspace.net(self.gross())

    def gross(self) -> Rows[Selection]:
        """The same rows, not held; some may be among both.

        Raises:
            UnderivableError: It does something whose change cannot be derived.
        """
        try:
            return self._of(self._root)
        except IbisError as error:  # to make the table anew is always right
            kind = type(error).__name__
            raise UnderivableError(f"a part of it cannot be compiled ({kind})") from error

    def _of(self, op: ops.Relation) -> Rows[Selection]:
        if op not in self._rows:
            self._rows[op] = self._derive(op)
        return self._rows[op]

    def _derive(self, op: ops.Relation) -> Rows[Selection]:  # noqa: PLR0911  (one for each operation)
        match op:
            case ops.UnboundTable():
                rows = self._workspace.selections(self._inputs[op.name].rows)
                return Rows(*(part and part.select(op.schema.names) for part in rows))
            case ops.Filter() if not _computes(op.predicates):
                return self._linear(op)
            case ops.DropColumns() | ops.FillNull():
                return self._linear(op)
            case ops.Project():
                return self._project(op)
            case ops.Union() if not op.distinct:
                sides = [self._of(op.left), self._of(op.right)]
                return Rows(
                    union_of([side.added for side in sides if side.added is not None]),
                    union_of([side.removed for side in sides if side.removed is not None]),
                )
            case ops.Distinct():
                return self._with_keys(op, op.schema.names)
            case ops.Aggregate():
                return self._aggregate(op)
            case ops.JoinChain() if _is_derivable(op):
                return self._joined(op)
            case _:
                raise UnderivableError(f"{type(op).__name__} cannot be derived")

    def _linear(self, op: ops.Relation) -> Rows[Selection]:
        """An operation on each row by itself."""
        rows = self._of(op.parent)
        return Rows(*(None if part is None else self._on(op, part) for part in rows))

    def _on(self, op: ops.Relation, rows: Selection) -> Selection:
        """The operation on other rows."""
        return result(op, {op.parent: rows}, self._workspace.dialect)

    def _project(self, op: ops.Project) -> Rows[Selection]:
        values, windows = op.values.values(), windows_of(op.values.values())
        if not windows:
            if _computes(values):
                raise UnderivableError("a projection that computes over rows cannot be derived")
            return self._linear(op)
        groups = set.intersection(*(_names(window.group_by) for window in windows))
        keys = [
            name
            for name, value in op.values.items()
            if isinstance(value, ops.Field) and value.name in groups
        ]
        if not keys:
            raise UnderivableError("a window over all rows cannot be derived")
        return self._with_keys(op, keys)

    def _aggregate(self, op: ops.Aggregate) -> Rows[Selection]:
        if op in self._partial:
            return self._linear(op)
        if not op.groups or len(_names(op.groups.values())) < len(op.groups):
            raise UnderivableError("a group by computed values, or of all rows, cannot be derived")
        if self._published is not None and self._is_count(op):
            return self._counted(op, self._workspace.selection(self._published))
        return self._with_keys(op, [*op.groups])

    def _joined(self, op: ops.JoinChain) -> Rows[Selection]:
        """What a join makes of each row of its first table depends on the other tables alone.

        So only those rows count that the first table gains or loses, or that can be joined with
        what another table gains or loses.
        """
        first = op.first.parent
        names = sorted(self._needed[first])
        if not names:
            raise UnderivableError("a join that needs no column of its first table")
        concerned = self._concerned(op, names)
        own = self._of(first) if self._changes(first) else Rows[Selection]()
        gained, lost = (rows and self._workspace.hold(rows.select(names)) for rows in own)
        staying, other_lost = concerned, lost
        if concerned is not None and lost is not None:
            staying, other_lost = self._workspace.apart(concerned, lost)
        rows: list[Selection | None] = []
        for parts, side in (
            ((gained, staying), self._new),  # with the other tables as they are
            ((concerned, other_lost), self._old),  # as they were
        ):
            some = union_of([part for part in parts if part is not None])
            held = some and self._workspace.hold(some.with_columns(first.schema))
            rows.append(held and joined(op, held, side, self._needed))
        return Rows(*rows)

    def _concerned(self, op: ops.JoinChain, names: Sequence[str]) -> Selection | None:
        """Rows of the first table, as it was, that can be joined with what changed of another."""
        first = op.first.parent
        found: list[Selection] = []
        known: list[tuple[Columns, Keys]] = []
        for link in op.rest:
            if not self._changes(link.table.parent):
                continue
            way = _way(op, link.table, op.first)
            keys = self._keys_on_the_way(link.table, way)
            if keys is None:
                continue
            rows = restrict(first, way[-1].pairs, keys, self._old, names).select(names)
            for columns, others in known:
                rows = others.unmatched(rows, columns)
            known.append((way[-1].pairs, keys))
            held = self._workspace.hold(rows)
            found += [] if held is None else [held]
        return union_of(found)

    def _keys_on_the_way(self, ref: ops.JoinReference, way: Sequence["_Step"]) -> Keys | None:
        """What the last table of a way is looked up by, to find what can be joined with a change.

        Rows that a table on the way lost need not be looked at: they were touched themselves.

        Args:
            ref: The table that changed.
            way: The way from there.
        """
        keys = self.touched(ref.parent, tuple(dict.fromkeys(way[0].pairs.values())))
        for step in way[:-1]:
            if keys is None:
                return None
            near = restrict(
                step.table.parent, step.pairs, Keys(keys.without_nulls()), self._new, step.onward
            )
            keys = self._distinct([near.select(step.onward)])
        return None if keys is None else Keys(keys.without_nulls())

    def _with_keys(self, op: ops.Relation, keys: Collection[str]) -> Rows[Selection]:
        """All rows with a key that was touched, as they were and as they are."""
        found = self.touched(op, tuple(keys))
        if found is None:
            return Rows()
        touched, columns = self._with_nulls(found), {key: key for key in keys}
        new, old = (restrict(op, columns, touched, side) for side in (self._new, self._old))
        return Rows(new, old)

    def _with_nulls(self, keys: Selection) -> Keys:
        """Keys of rows, among which a null may be one."""
        return Keys(keys, self._workspace.hold(keys.with_nulls()) is not None)

    def touched(self, op: ops.Relation, names: tuple[str, ...]) -> Selection | None:
        """All values of columns in rows that a relation gains or loses, and maybe others; held."""
        if (op, names) not in self._touched:
            self._touched[op, names] = self._touch(op, names) if self._changes(op) else None
        return self._touched[op, names]

    def _changes(self, op: ops.Relation) -> bool:
        """Whether anything changed that a relation is made from."""
        return any(not self._inputs[leaf.name].rows.is_none for leaf in op.find(ops.UnboundTable))

    def _touch(  # noqa: PLR0911  (one for each operation)
        self, op: ops.Relation, names: tuple[str, ...]
    ) -> Selection | None:
        below: Mapping[str, ops.Value] | None = None
        match op:
            case ops.Filter() if not _computes(op.predicates):
                return self.touched(op.parent, names)
            case ops.DropColumns() | ops.Distinct():
                return self.touched(op.parent, names)
            case ops.FillNull() if not filled(op) & set(names):
                return self.touched(op.parent, names)
            case ops.Union():
                return self._distinct([self.touched(side, names) for side in (op.left, op.right)])
            case ops.Project():
                windows = windows_of(op.values.values())
                if all(op.values[n] in window.group_by for n in names for window in windows):
                    below = op.values
            case ops.Aggregate() if op.groups.keys() >= set(names):
                below = op.groups
            case ops.JoinChain() if _is_derivable(op):
                return self._touched_by_join(op, names)
        if below is not None and all(isinstance(below[name], ops.Field) for name in names):
            return self._renamed(op.parent, {name: below[name].name for name in names})
        return self._touched_in_rows(op, names)

    def _touched_in_rows(self, op: ops.Relation, names: tuple[str, ...]) -> Selection | None:
        """The values of columns in the rows that a relation gains and loses."""
        if not self._needed[op].issuperset(names):  # others have no values there
            raise UnderivableError("a key that the expression itself needs nowhere")
        return self._distinct([part.select(names) for part in self._of(op).both])

    def _renamed(self, op: ops.Relation, sources: Mapping[str, str]) -> Selection | None:
        """The touched values of columns, under the names that they are given above."""
        found = self.touched(op, tuple(dict.fromkeys(sources.values())))
        return None if found is None else found.renamed(sources)

    def _distinct(self, parts: Iterable[Selection | None]) -> Selection | None:
        """The different rows of those that there are; held."""
        rows = union_of([part for part in parts if part is not None])
        return None if rows is None else self._workspace.hold(rows.distinct())

    def _touched_by_join(self, op: ops.JoinChain, names: tuple[str, ...]) -> Selection | None:
        """What was touched of columns of one joined table, or can be joined with what was."""
        values = {name: op.values[name] for name in names}
        owners = {value.rel for value in values.values() if isinstance(value, ops.Field)}
        plain = all(isinstance(value, ops.Field) for value in values.values())
        outer = {link.table for link in op.rest if link.how == "left"}
        if not plain or len(owners) != 1 or owners & outer:
            return self._touched_in_rows(op, names)
        (owner,) = owners
        sources = {name: value.name for name, value in values.items()}
        found = [self._renamed(owner.parent, sources)]
        found += [self._reached(op, ref, owner, sources) for ref in op.tables if ref != owner]
        return self._distinct(found)

    def _reached(
        self,
        op: ops.JoinChain,
        ref: ops.JoinReference,
        owner: ops.JoinReference,
        sources: Mapping[str, str],
    ) -> Selection | None:
        """Values of columns in rows of a table that can be joined with what changed of another."""
        if not self._changes(ref.parent):
            return None
        way = _way(op, ref, owner)
        keys = self._keys_on_the_way(ref, way)
        if keys is None:
            return None
        names = tuple(dict.fromkeys(sources.values()))
        rows = restrict(owner.parent, way[-1].pairs, keys, self._new, names)
        return rows.select(names).renamed(sources)

    def _is_count(self, op: ops.Aggregate) -> bool:
        """Whether it is the outermost operation, but for the order of columns, and counts rows."""
        root = self._root
        if isinstance(root, ops.Project) and all(
            isinstance(value, ops.Field) and value.name == name
            for name, value in root.values.items()
        ):
            root = root.parent
        metrics = [(type(m), getattr(m, "where", None)) for m in op.metrics.values()]
        return op == root and metrics == [(ops.CountStar, None)]

    def _counted(self, op: ops.Aggregate, published: Selection) -> Rows[Selection]:
        """Counts by group: those of the changed rows are added to those that were published."""
        hold, groups = self._workspace.hold, {group: group for group in op.groups}
        (count,) = op.metrics
        added, removed = (
            None if part is None else self._on(op, part) for part in self._of(op.parent)
        )
        removed = None if removed is None else removed.negative(count)
        counted = union_of([part for part in (added, removed) if part is not None])
        changed = None if counted is None else hold(counted.summed(count))
        if changed is None:
            return Rows()
        before = hold(published.matching(changed, groups, nulls=True).select(op.schema.names))
        after = changed if before is None else before.union(changed).summed(count)
        return Rows(hold(after), before)


class _Side:
    """The inputs before the change, or after it."""

    def __init__(self, inputs: Mapping[str, Change], workspace: Workspace, *, is_new: bool) -> None:
        self._inputs = inputs
        self._workspace = workspace
        self._is_new = is_new
        self._whole: dict[ops.Relation, Selection] = {}

    def whole(self, op: ops.Relation) -> Selection:
        """All rows of a relation of these tables."""
        if op not in self._whole:
            is_stored = isinstance(op, ops.UnboundTable)
            self._whole[op] = self._table(op) if is_stored else self.result(op, {})
        return self._whole[op]

    def _table(self, leaf: ops.UnboundTable) -> Selection:
        change = self._inputs[leaf.name]
        table = self._workspace.selection(change.new if self._is_new else change.old)
        return table.select(leaf.schema.names)

    def result(self, op: ops.Relation, narrowed: Mapping[ops.Relation, Selection]) -> Selection:
        """The rows of an operation on what was narrowed, and on the whole of its other sources."""
        sources = {
            source: narrowed[source] if source in narrowed else self.whole(referred(source))
            for source in sources_of(op)
        }
        return result(op, sources, self._workspace.dialect)

    def narrowed(
        self, leaf: ops.UnboundTable, names: Collection[str], columns: Columns, keys: Keys
    ) -> Selection:
        """The rows of a table with these keys; columns of other names have no values."""
        change = self._inputs[leaf.name]
        names = {*names, *columns}
        found = self._workspace.matching(change, names, columns, keys, is_new=self._is_new)
        rows = union_of([part.with_columns(leaf.schema) for part in found])
        if rows is None:
            return self._table(leaf).none()
        return rows if len(columns) == 1 else keys.matched(rows, columns)

    def hold(self, rows: Selection) -> Selection | None:
        """Compute rows once; None if there are none."""
        return self._workspace.hold(rows)


@dataclass(frozen=True)
class _Step:
    """A table on the way from one joined table to another.

    Attributes:
        table: The table.
        pairs: Its columns that equal a column of the table before.
        onward: Its columns that equal one of the next table.
    """

    table: ops.JoinReference
    pairs: Columns
    onward: tuple[str, ...]


def _way(op: ops.JoinChain, ref: ops.JoinReference, owner: ops.JoinReference) -> list[_Step]:
    """The tables after `ref`, up to `owner`, each of which is compared with the one before.

    Raises:
        UnderivableError: There is no such way.
    """
    ways, seen = [[ref]], {ref}
    while ways and ways[0][-1] != owner:
        way = ways.pop(0)
        for table in op.tables:
            if table not in seen and any(fields_reached(op, table, way[-1])):
                seen.add(table)
                ways.append([*way, table])
    if not ways:
        raise UnderivableError("a join that compares no columns cannot be derived")
    tables = ways[0]
    pairs = [
        {ours.name: theirs.name for ours, theirs in fields_reached(op, table, before)}
        for before, table in pairwise(tables)
    ]
    onward = [tuple(dict.fromkeys(following.values())) for following in pairs[1:]]
    return [_Step(*step) for step in zip(tables[1:], pairs, [*onward, ()], strict=True)]


def _is_derivable(op: ops.JoinChain) -> bool:
    """Whether what a join makes of a row depends on no other row of its first table."""
    return all(link.how in JOINS for link in op.rest) and not _computes(op.values.values())


def _names(values: Iterable[ops.Value]) -> set[str]:
    """Names of those values that are columns."""
    return {value.name for value in values if isinstance(value, ops.Field)}


def _computes(values: Iterable[ops.Value]) -> bool:
    """Whether values are computed over several rows, or from other tables."""
    kinds = (ops.Reduction, ops.WindowFunction, ops.Analytic, ops.Subquery, ops.Impure)
    return any(value.find(kinds, filter=ops.Value) for value in values)
