"""Derives what a change of its inputs does to an expression: the rows that it gains and loses.

| operation | rows gained and lost |
|---|---|
| filter, projection, dropped columns, filled nulls, union | the same of each |
| inner join | the change of one table, joined with the others as they were or as they are |
| semi-join and anti-join on equal keys | likewise; and all rows of a key that came or went |
| left join, further conditions, window, distinct, group | all rows of each key that was touched |

A chain of joins changes by one table after the other: with all before it as they were, and all
after it as they are. What is both gained and lost cancels out.
"""

from collections.abc import Iterable, Mapping

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import (
    Change,
    Hold,
    Rows,
    UnderivableError,
    held,
    net,
    together,
)
from stedi_assets.lakehouse.changes.restrict import (
    JOINS,
    Columns,
    Keys,
    equal_fields,
    equalities,
    needs_work,
    restrict,
)
from stedi_assets.lakehouse.changes.sums import partial_groups

_OLD, _NEW = "old", "new"


class Derivation:
    """The change of one expression, and of all relations that it is made of."""

    def __init__(
        self,
        expression: ir.Table,
        inputs: Mapping[str, Change],
        hold: Hold,
        *,
        published: ir.Table | None = None,
        summed: Iterable[str] = (),
    ) -> None:
        """Derive from an expression of unbound tables that have the names of the inputs.

        Args:
            expression: The expression.
            inputs: What became of each table.
            hold: Keeps rows that are needed more than once.
            published: The rows that the expression gave before, if it counts rows by group: then
                the counts of what changed are added to them.
            summed: Columns of which only the sums over the changed rows are wanted, with a sign
                for rows that are gone.
        """
        self._root = expression.op()
        self._inputs = inputs
        self._hold = hold
        self._published = published
        self._partial = partial_groups(self._root, summed) if summed else set()
        self._rows: dict[ops.Relation, Rows] = {}
        self._states: dict[tuple[ops.Relation, str], ir.Table] = {}

    def rows(self) -> Rows:
        """The rows that the expression gains and loses, held.

        Raises:
            UnderivableError: It does something whose change cannot be derived.
        """
        return net(self.of(self._root), self._hold)

    def of(self, op: ops.Relation) -> Rows:
        """The rows that a relation gains and loses."""
        if op not in self._rows:
            self._rows[op] = self._derive(op)
        return self._rows[op]

    def _derive(self, op: ops.Relation) -> Rows:  # noqa: PLR0911  (one for each operation)
        match op:
            case ops.UnboundTable():
                return self._inputs[op.name].rows
            case ops.Filter() if not _computes(op.predicates):
                return self._linear(op)
            case ops.DropColumns() | ops.FillNull():
                return self._linear(op)
            case ops.Project():
                return self._project(op)
            case ops.Union() if not op.distinct:
                sides = [self.of(op.left), self.of(op.right)]
                return Rows(
                    together([side.added for side in sides if side.added is not None]),
                    together([side.removed for side in sides if side.removed is not None]),
                )
            case ops.Distinct():
                return self._grouped(op, op.schema.names)
            case ops.Aggregate():
                return self._aggregate(op)
            case ops.JoinChain() if all(link.how in JOINS for link in op.rest):
                return _Chain(op, self).rows()
            case _:
                raise UnderivableError(f"{type(op).__name__} cannot be derived")

    def state(self, op: ops.Relation, side: str) -> ir.Table:
        """A relation before or after the change."""
        if (op, side) not in self._states:
            tables = {
                leaf: getattr(self._inputs[leaf.name], side).op()
                for leaf in op.find(ops.UnboundTable)
            }
            self._states[op, side] = op.replace(tables).to_expr()
        return self._states[op, side]

    def narrowed(self, op: ops.Relation, side: str, columns: Columns, keys: Keys) -> ir.Table:
        """The rows of a relation, before or after the change, that have these keys."""
        return restrict(self.state(op, side), columns, keys, self._hold)

    def _linear(self, op: ops.Relation) -> Rows:
        """An operation on each row by itself."""
        rows = self.of(op.parent)
        return Rows(*(None if part is None else _on(op, part) for part in rows))

    def _project(self, op: ops.Project) -> Rows:
        values = op.values.values()
        windows = [
            window
            for value in values
            for window in value.find(ops.WindowFunction, filter=ops.Value)
        ]
        if not windows:
            if _computes(values):
                raise UnderivableError("a projection that computes over rows cannot be derived")
            return self._linear(op)
        keys = set.intersection(*(_names(window.group_by) for window in windows))
        if not keys:
            raise UnderivableError("a window over all rows cannot be derived")
        return self._grouped(op, sorted(keys))

    def _aggregate(self, op: ops.Aggregate) -> Rows:
        if op in self._partial:
            return self._linear(op)
        keys = _names(op.groups.values())
        if not keys or len(keys) < len(op.groups):
            raise UnderivableError("a group by computed values, or of all rows, cannot be derived")
        if self._published is not None and self._is_count(op):
            return self._counted(op, self._published)
        return self._grouped(op, [group.name for group in op.groups.values()])

    def _grouped(self, op: ops.Relation, keys: Iterable[str]) -> Rows:
        """An operation on groups of rows: all groups that were touched, as they were and are."""
        rows = self.of(op.parent)
        touched = self._keys_of([part.select(*keys) for part in rows.both])
        if touched is None:
            return Rows()
        columns = {key: key for key in keys}
        new, old = (
            _on(op, self.narrowed(op.parent, side, columns, touched)) for side in (_NEW, _OLD)
        )
        return net(Rows(new, old), self._hold)

    def _keys_of(self, rows: list[ir.Table]) -> Keys | None:
        held = self.held_distinct(rows)
        if held is None:
            return None
        nulls = held.filter(ibis.or_(*(held[name].isnull() for name in held.columns)))
        return Keys(held, self._hold(nulls.limit(1)) is not None)

    def held_distinct(self, rows: list[ir.Table]) -> ir.Table | None:
        """The different rows of tables."""
        all_rows = together(rows)
        return None if all_rows is None else self._hold(all_rows.distinct())

    def hold(self, rows: ir.Table) -> ir.Table | None:
        """Keep rows; None if there are none."""
        return self._hold(rows)

    def _is_count(self, op: ops.Aggregate) -> bool:
        """Whether it is the outermost operation, but for the order of columns, and counts rows."""
        root = self._root
        if isinstance(root, ops.Project) and all(
            isinstance(value, ops.Field) and value.name == name
            for name, value in root.values.items()
        ):
            root = root.parent
        metrics = list(op.metrics.values())
        return op == root and [type(metric) for metric in metrics] == [ops.CountStar]

    def _counted(self, op: ops.Aggregate, published: ir.Table) -> Rows:
        """Counts by group: those of the changed rows are added to those that were published."""
        rows = self.of(op.parent)
        (count,), groups = op.metrics, list(op.groups)
        differences = [
            counted.mutate(**{count: sign * counted[count]})
            for part, sign in ((rows.added, 1), (rows.removed, -1))
            if part is not None
            for counted in [_on(op, part)]
        ]
        changed = together(differences)
        if changed is None:
            return Rows()
        changed = changed.group_by(groups).agg(**{count: changed[count].sum()})
        changed = self._hold(changed.filter(changed[count] != 0))
        if changed is None:
            return Rows()
        before = published.semi_join(
            changed, [published[group].identical_to(changed[group]) for group in groups]
        )
        before = self._hold(before.select(*op.schema.names))
        after = together([table for table in (before, changed) if table is not None])
        assert after is not None
        after = after.group_by(groups).agg(**{count: after[count].sum()})
        return Rows(self._hold(after.filter(after[count] != 0)), before)


class _Chain:
    """The change of a chain of joins."""

    def __init__(self, op: ops.JoinChain, derivation: Derivation) -> None:
        self._op = op
        self._derivation = derivation
        self._refs = op.tables
        self._links = [None, *op.rest]

    def rows(self) -> Rows:
        changes = [self._by(place) for place in range(len(self._refs))]
        return net(
            Rows(
                together([c.added for c in changes if c.added is not None]),
                together([c.removed for c in changes if c.removed is not None]),
            ),
            self._derivation.hold,
        )

    def _by(self, place: int) -> Rows:
        """What the change of one table does, all before it as they were and all after it as now."""
        rows = self._derivation.of(self._refs[place].parent)
        if rows.is_none:
            return Rows()
        link = self._links[place]
        if link is None or link.how == "inner":
            return Rows(*(None if part is None else self._with(place, part) for part in rows))
        if link.how in {"semi", "anti"} and len(self._keys(place)) == len(link.predicates):
            came, went = self._keys_that_came_and_went(place, rows)
            if link.how == "anti":
                came, went = went, came
            return Rows(
                *(
                    None if keys is None else self._with(place, keys, how="semi")
                    for keys in (came, went)
                )
            )
        return self._touched(place, rows)

    def _keys(self, place: int) -> list[tuple[ops.Field, ops.Field]]:
        """What a join compares: a column of a table before, and one of this table."""
        link = self._links[place]
        assert link is not None
        return list(equalities(link))

    def _with(self, place: int, part: ir.Table, how: str | None = None) -> ir.Table:
        """The chain with these rows in one place."""
        rows = held(part, self._derivation.hold)
        if rows is None:
            return self._build({place: part})
        tables = {place: rows}
        for other, ref in enumerate(self._refs):
            if other == place or not needs_work(ref.parent):
                continue
            pairs = {
                theirs.name: ours.name
                for theirs, ours in equal_fields(self._op, ref, self._refs[place])
            }
            if pairs:  # few rows are joined with few rows
                keys = Keys(rows.select(*dict.fromkeys(pairs.values())).drop_null().distinct())
                tables[other] = self._derivation.narrowed(
                    ref.parent, self._side(other, place), pairs, keys
                )
        return self._build(tables, place, how)

    def _side(self, other: int, place: int) -> str:
        return _OLD if other < place else _NEW

    def _build(
        self, tables: Mapping[int, ir.Table], place: int = 0, how: str | None = None
    ) -> ir.Table:
        """The chain of these tables, and of the others before and after one place."""
        replaced = {
            ref: ops.JoinReference(
                (
                    tables[number]
                    if number in tables
                    else self._derivation.state(ref.parent, self._side(number, place))
                ).op(),
                ref.identifier,
            )
            for number, ref in enumerate(self._refs)
        }
        chain = self._op.replace(replaced)
        if how:
            links = [
                link.copy(how=how) if number == place else link
                for number, link in enumerate(chain.rest, 1)
            ]
            chain = ops.JoinChain(chain.first, links, chain.values)
        return chain.to_expr()

    def _keys_that_came_and_went(
        self, place: int, rows: Rows
    ) -> tuple[ir.Table | None, ir.Table | None]:
        """Keys that a table has now and had not before, and the other way round."""
        names = list(dict.fromkeys(field.name for _, field in self._keys(place)))
        touched = self._derivation.held_distinct(
            [part.select(*names).drop_null() for part in rows.both]
        )
        if touched is None:
            return None, None
        parent, columns = self._refs[place].parent, {name: name for name in names}
        hold, held = self._derivation.hold, self._derivation.held_distinct

        def there(side: str) -> ir.Table | None:
            rows = self._derivation.narrowed(parent, side, columns, Keys(touched))
            return held([rows.select(*names)])

        now = touched if rows.removed is None else there(_NEW)
        before = touched if rows.added is None else there(_OLD)
        if now is None or before is None:
            return now, before
        return hold(ibis.difference(now, before)), hold(ibis.difference(before, now))

    def _touched(self, place: int, rows: Rows) -> Rows:
        """All rows of the keys that were touched, as they were and as they are."""
        keys = self._keys(place)
        if not keys:
            raise UnderivableError("a join that compares no columns cannot be derived")
        names = {theirs.name for _, theirs in keys}
        touched = self._derivation.held_distinct(
            [part.select(*names).drop_null() for part in rows.both]
        )
        if touched is None:
            return Rows()
        narrowed, derivation = Keys(touched), self._derivation
        # Rows that have a part of a touched key alone are the same before and after.
        tables = {
            number: derivation.narrowed(ref.parent, self._side(number, place), ours, narrowed)
            for number, ref in enumerate(self._refs)
            if (ours := {our.name: their.name for our, their in keys if our.rel == ref})
        }
        theirs, parent = {name: name for name in names}, self._refs[place].parent
        new, old = (
            self._build(
                tables | {place: derivation.narrowed(parent, side, theirs, narrowed)}, place
            )
            for side in (_NEW, _OLD)
        )
        return net(Rows(new, old), derivation.hold)


def _on(op: ops.Relation, rows: ir.Table) -> ir.Table:
    """The operation on other rows."""
    return op.replace({op.parent: rows.op()}).to_expr()


def _names(values: Iterable[ops.Value]) -> set[str]:
    """Names of those values that are columns."""
    return {value.name for value in values if isinstance(value, ops.Field)}


def _computes(values: Iterable[ops.Value]) -> bool:
    """Whether values are computed over several rows, or from other tables."""
    kinds = (ops.Reduction, ops.WindowFunction, ops.Analytic, ops.Subquery, ops.Impure)
    return any(value.find(kinds, filter=ops.Value) for value in values)
