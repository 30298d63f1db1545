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
    filled,
    needs_work,
    restrict,
    windows_of,
)
from stedi_assets.lakehouse.changes.sums import partial_groups

_OLD, _NEW = "old", "new"


class Derivation:
    """The change of one expression, and of all relations that it is made of."""

    def __init__(  # noqa: PLR0913
        self,
        expression: ir.Table,
        inputs: Mapping[str, Change],
        hold: Hold,
        *,
        published: ir.Table | None = None,
        key: str | None = None,
        summed: Iterable[str] = (),
    ) -> None:
        """Derive from an expression of unbound tables that have the names of the inputs.

        Args:
            expression: The expression.
            inputs: What became of each table.
            hold: Keeps rows that are needed more than once.
            published: The rows that the expression gave before, if they are stored.
            key: A column of the expression of which each value is there once, if there is one.
            summed: Columns of which only the sums over the changed rows are wanted, with a sign
                for rows that are gone.
        """
        self._root = expression.op()
        self._inputs = inputs
        self._hold = hold
        self._published = published
        self._key = key
        self._partial = partial_groups(self._root, summed) if summed else set()
        self._rows: dict[ops.Relation, Rows] = {}
        self._touched: dict[tuple[ops.Relation, tuple[str, ...]], ir.Table | None] = {}
        self._states: dict[tuple[ops.Relation, str], ir.Table] = {}

    def rows(self) -> Rows:
        """The rows that the expression gains and loses, held.

        Raises:
            UnderivableError: It does something whose change cannot be derived.
        """
        if self._published is not None and self._key is not None:
            return self._by_key(self._published, self._key)
        return net(self.of(self._root), self._hold)

    def _by_key(self, published: ir.Table, key: str) -> Rows:
        """The rows of the keys that were touched, as they are now and as they were stored."""
        keys = self.touched(self._root, (key,))
        if keys is None:
            return Rows()
        new = self.narrowed(self._root, _NEW, {key: key}, Keys(keys))
        old = published.semi_join(keys, key)
        return net(Rows(new, old), self._hold)

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
        values, windows = op.values.values(), windows_of(op.values.values())
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
        found = self.touched(op.parent, tuple(keys))
        if found is None:
            return Rows()
        touched = self._with_nulls(found)
        columns = {key: key for key in keys}
        new, old = (
            _on(op, self.narrowed(op.parent, side, columns, touched)) for side in (_NEW, _OLD)
        )
        return net(Rows(new, old), self._hold)

    def _with_nulls(self, keys: ir.Table) -> Keys:
        """Keys of groups, among which a null may be one."""
        nulls = keys.filter(ibis.or_(*(keys[name].isnull() for name in keys.columns)))
        return Keys(keys, self._hold(nulls.limit(1)) is not None)

    def touched(self, op: ops.Relation, names: tuple[str, ...]) -> ir.Table | None:
        """All values of columns in rows that a relation gains or loses, and maybe others; held.

        To know these takes less than to know the rows: groups below need not be computed.
        """
        if (op, names) not in self._touched:
            self._touched[op, names] = self._touch(op, names) if self._changes(op) else None
        return self._touched[op, names]

    def _changes(self, op: ops.Relation) -> bool:
        """Whether anything changed that a relation is made from."""
        return any(not self._inputs[leaf.name].rows.is_none for leaf in op.find(ops.UnboundTable))

    def _touch(  # noqa: PLR0911  (one for each operation)
        self, op: ops.Relation, names: tuple[str, ...]
    ) -> ir.Table | None:
        below: Mapping[str, ops.Value] | None = None
        match op:
            case ops.Filter() if not _computes(op.predicates):
                return self.touched(op.parent, names)
            case ops.DropColumns() | ops.Distinct():
                return self.touched(op.parent, names)
            case ops.FillNull() if not filled(op) & set(names):
                return self.touched(op.parent, names)
            case ops.Union():
                sides = [self.touched(side, names) for side in (op.left, op.right)]
                return self.held_distinct([side for side in sides if side is not None])
            case ops.Project():
                windows = windows_of(op.values.values())
                if all(op.values[n] in window.group_by for n in names for window in windows):
                    below = op.values
            case ops.Aggregate() if op.groups.keys() >= set(names):
                below = op.groups
            case ops.JoinChain() if all(link.how in JOINS for link in op.rest):
                return _Chain(op, self).touched(names)
        if below is not None and all(isinstance(below[name], ops.Field) for name in names):
            return self.renamed(op.parent, {name: below[name].name for name in names})
        return self.held_distinct([part.select(*names) for part in self.of(op).both])

    def renamed(self, op: ops.Relation, sources: Mapping[str, str]) -> ir.Table | None:
        """The touched values of columns, under the names that they are given above."""
        found = self.touched(op, tuple(dict.fromkeys(sources.values())))
        if found is None or all(name == source for name, source in sources.items()):
            return found
        return found.select(**{name: found[source] for name, source in sources.items()})

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
        metrics = [(type(m), getattr(m, "where", None)) for m in op.metrics.values()]
        return op == root and metrics == [(ops.CountStar, None)]

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
        link, parent = self._links[place], self._refs[place].parent
        if link is None or link.how == "inner":
            rows = self._derivation.of(parent)
            return Rows(*(None if part is None else self._with(place, part) for part in rows))
        if link.how in {"semi", "anti"} and len(self._keys(place)) == len(link.predicates):
            came, went = self._keys_that_came_and_went(place)
            if link.how == "anti":
                came, went = went, came
            return Rows(
                *(
                    None if keys is None else self._with(place, keys, how="semi")
                    for keys in (came, went)
                )
            )
        return self._of_touched(place)

    def touched(self, names: tuple[str, ...]) -> ir.Table | None:
        """All values of columns in rows that the chain gains or loses, and maybe others; held."""
        values = {name: self._op.values[name] for name in names}
        owners = {value.rel for value in values.values() if isinstance(value, ops.Field)}
        plain = all(isinstance(value, ops.Field) for value in values.values())
        outer = {link.table for link in self._op.rest if link.how == "left"}
        if not plain or len(owners) != 1 or owners & outer:
            rows = self._derivation.of(self._op)
            return self._derivation.held_distinct([part.select(*names) for part in rows.both])
        (owner,) = owners
        sources = {name: value.name for name, value in values.items()}
        found = [self._derivation.renamed(owner.parent, sources)]
        found += [
            self._reached(place, owner, sources)
            for place, ref in enumerate(self._refs)
            if ref != owner
        ]
        return self._derivation.held_distinct([table for table in found if table is not None])

    def _reached(
        self, place: int, owner: ops.JoinReference, sources: Mapping[str, str]
    ) -> ir.Table | None:
        """Values of columns in rows of one table that can be joined with what changed of another.

        Rows that the first table lost need not be looked at: they were touched themselves.
        """
        ref = self._refs[place]
        pairs = {ours.name: theirs.name for ours, theirs in equal_fields(self._op, owner, ref)}
        if not pairs:
            rows = self._with_all(place)
            return None if rows is None else rows.select(*sources)
        touched = self._touched_keys(place, tuple(dict.fromkeys(pairs.values())))
        if touched is None:
            return None
        rows = self._derivation.narrowed(owner.parent, _NEW, pairs, Keys(touched))
        return rows.select(**{name: rows[source] for name, source in sources.items()})

    def _with_all(self, place: int) -> ir.Table | None:
        """All that one table changes, where it is compared with a third one."""
        changed = self._by(place)
        return together(changed.both)

    def _touched_keys(self, place: int, names: tuple[str, ...]) -> ir.Table | None:
        """Values of columns of one table in rows that changed, each once and none of them null."""
        found = self._derivation.touched(self._refs[place].parent, names)
        return None if found is None else self._derivation.held_distinct([found.drop_null()])

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

    def _keys_that_came_and_went(self, place: int) -> tuple[ir.Table | None, ir.Table | None]:
        """Keys that a table has now and had not before, and the other way round."""
        names = list(dict.fromkeys(field.name for _, field in self._keys(place)))
        touched = self._touched_keys(place, tuple(names))
        if touched is None:
            return None, None
        parent, columns = self._refs[place].parent, {name: name for name in names}
        hold, held = self._derivation.hold, self._derivation.held_distinct

        def there(side: str) -> ir.Table | None:
            rows = self._derivation.narrowed(parent, side, columns, Keys(touched))
            return held([rows.select(*names)])

        now, before = there(_NEW), there(_OLD)
        if now is None or before is None:
            return now, before
        return hold(ibis.difference(now, before)), hold(ibis.difference(before, now))

    def _of_touched(self, place: int) -> Rows:
        """All rows of the keys that were touched, as they were and as they are."""
        keys = self._keys(place)
        if not keys:
            raise UnderivableError("a join that compares no columns cannot be derived")
        names = tuple(dict.fromkeys(theirs.name for _, theirs in keys))
        touched = self._touched_keys(place, names)
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
