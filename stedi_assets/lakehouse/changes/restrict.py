"""Narrows a relation to the rows with certain keys, where the rows come from.

No engine does that by itself through a group, a window or a join: each would compute all groups to
keep a few of them.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import ibis.expr.operations as ops
import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import Hold, union

_CERTAIN = {"inner", "semi"}
"""Joins of which each row in the output has found a row."""

JOINS = _CERTAIN | {"left", "anti"}
"""Joins that can be narrowed, and whose change can be derived."""

Columns = Mapping[str, str]
"""Columns of a relation, each with the column of the keys that it has to equal."""


@dataclass(frozen=True)
class Keys:
    """Values that rows may have, each once.

    Attributes:
        table: The values.
        have_nulls: Whether a null is one of them, which then equals a null.
    """

    table: ir.Table
    have_nulls: bool = False


def restrict(rows: ir.Table, columns: Columns, keys: Keys, hold: Hold) -> ir.Table:
    """The rows whose columns have values that are among the keys."""
    return _Restriction(keys, hold).of(rows.op(), columns).to_expr()


@dataclass(frozen=True)
class _Restriction:
    keys: Keys
    hold: Hold

    def of(  # noqa: PLR0911  (one for each operation)
        self, op: ops.Relation, columns: Columns
    ) -> ops.Relation:
        match op:
            case ops.Filter() if windows_of(op.predicates):  # a window needs all of its rows
                return self._here(op, columns)
            case ops.Filter() | ops.DropColumns() | ops.Distinct():
                return op.replace({op.parent: self.of(op.parent, columns)})
            case ops.FillNull() if not columns.keys() & filled(op):
                return op.replace({op.parent: self.of(op.parent, columns)})
            case ops.Project():
                return self._below(op, op.parent, _passed_on(op, columns), columns)
            case ops.Aggregate():
                groups = {name: op.groups[name] for name in columns if name in op.groups}
                return self._below(op, op.parent, _fields(groups, columns), columns)
            case ops.Union():
                sides = [self.of(side, columns).to_expr() for side in (op.left, op.right)]
                return union(*sides, distinct=op.distinct).op()
            case ops.JoinChain() if all(link.how in JOINS for link in op.rest):
                return self._join(op, columns)
            case _:
                return self._here(op, columns)

    def _here(self, op: ops.Relation, columns: Columns) -> ops.Relation:
        rows, keys = op.to_expr(), self.keys.table
        if len(columns) < len(keys.columns):
            keys = keys.select(*columns.values()).distinct()
        conditions = [
            rows[column].identical_to(keys[key])
            if self.keys.have_nulls
            else rows[column] == keys[key]
            for column, key in columns.items()
        ]
        return rows.semi_join(keys, conditions).op()

    def _below(
        self, op: ops.Relation, parent: ops.Relation, passed_on: Columns, columns: Columns
    ) -> ops.Relation:
        """The operation on a narrowed parent; narrowed itself if that is not all there is to do."""
        if not passed_on:
            return self._here(op, columns)
        narrowed = op.replace({parent: self.of(parent, passed_on)})
        is_all = sorted(passed_on.values()) == sorted(columns.values())
        return narrowed if is_all else self._here(narrowed, columns)

    def _join(self, op: ops.JoinChain, columns: Columns) -> ops.Relation:
        sides = {ref: self._columns_of(ref, op, columns) for ref in op.tables}
        narrowed = {ref: self.of(ref.parent, side).to_expr() for ref, side in sides.items() if side}
        if not narrowed:
            return self._here(op, columns)
        for ref in op.tables:  # what is joined with few rows needs few rows itself
            if ref not in narrowed and needs_work(ref.parent):
                narrowed |= self._sideways(ref, op, narrowed)
        replaced = op.replace(
            {ref: ops.JoinReference(rows.op(), ref.identifier) for ref, rows in narrowed.items()}
        )
        return self._here(replaced, columns)

    def _columns_of(self, ref: ops.JoinReference, op: ops.JoinChain, columns: Columns) -> Columns:
        """Columns of one of the joined tables that equal a column which has to be narrowed."""
        return {
            field.name: key
            for column, key in columns.items()
            for field in _equals(op.values[column], op, have_nulls=self.keys.have_nulls)
            if field.rel == ref
        }

    def _sideways(
        self, ref: ops.JoinReference, op: ops.JoinChain, narrowed: dict[ops.JoinReference, ir.Table]
    ) -> dict[ops.JoinReference, ir.Table]:
        """The table narrowed to what those that are narrowed already can be joined with."""
        for other, rows in narrowed.items():
            pairs = {ours.name: theirs.name for ours, theirs in equal_fields(op, ref, other)}
            if not pairs:
                continue
            held = self.hold(rows)
            if held is None:  # nothing to join
                return {other: rows.limit(0), ref: ref.parent.to_expr().limit(0)}
            keys = Keys(held.select(*dict.fromkeys(pairs.values())).drop_null().distinct())
            return {other: held, ref: restrict(ref.parent.to_expr(), pairs, keys, self.hold)}
        return {}


def needs_work(op: ops.Relation) -> bool:
    """Whether a relation takes more to compute than a look at each row."""
    return bool(op.find((ops.Aggregate, ops.Distinct, ops.WindowFunction, ops.JoinChain)))


def filled(op: ops.FillNull) -> set[str]:
    """Columns whose nulls an operation replaces."""
    replaced = op.replacements
    return set(replaced if isinstance(replaced, Mapping) else op.schema.names)


def equal_fields(
    op: ops.JoinChain, ref: ops.JoinReference, other: ops.JoinReference
) -> Iterator[tuple[ops.Field, ops.Field]]:
    """Pairs of columns of two joined tables that are equal in all rows that are joined."""
    for link in op.rest:
        for left, right in equalities(link):
            if (left.rel, right.rel) == (ref, other):
                yield left, right
            elif (left.rel, right.rel) == (other, ref):
                yield right, left


def equalities(link: ops.JoinLink) -> Iterator[tuple[ops.Field, ops.Field]]:
    """Pairs of columns that a join compares, that of the table which it joins second."""
    for predicate in link.predicates:
        if isinstance(predicate, ops.Equals):
            left, right = predicate.left, predicate.right
            if isinstance(left, ops.Field) and isinstance(right, ops.Field):
                if left.rel == link.table:
                    left, right = right, left
                if right.rel == link.table and left.rel != link.table:
                    yield left, right


def _equals(value: ops.Value, op: ops.JoinChain, *, have_nulls: bool) -> set[ops.Field]:
    """Columns of the joined tables that have the value of an output column wherever they matter.

    The table of a left or anti join has no row for some rows of the output. It can be narrowed
    itself, but what else it was compared with need not be equal.
    """
    if not isinstance(value, ops.Field):
        return set()
    equal, todo = {value}, [value]
    while todo:
        field = todo.pop()
        for link in op.rest:
            for other, joined in equalities(link):
                certain = link.how in _CERTAIN
                if field == other and joined not in equal:
                    equal.add(joined)
                    todo += [joined] if certain else []
                # A key that is no null is only there if the left join found a row.
                elif field == joined and (certain or (field == value and not have_nulls)):
                    todo += {other} - equal
                    equal.add(other)
    return equal


def _passed_on(op: ops.Project, columns: Columns) -> Columns:
    """Columns of the parent that can be narrowed: within a window all rows are needed."""
    fields = _fields({name: op.values[name] for name in columns}, columns)
    windows = windows_of(op.values.values())
    return {
        name: key
        for name, key in fields.items()
        if all(ops.Field(op.parent, name) in window.group_by for window in windows)
    }


def windows_of(values: Iterable[ops.Value]) -> list[ops.WindowFunction]:
    """The windows over which values are computed."""
    return [
        window for value in values for window in value.find(ops.WindowFunction, filter=ops.Value)
    ]


def _fields(values: Mapping[str, ops.Value], columns: Columns) -> Columns:
    """Columns that are passed on as they are, by their names in the parent."""
    return {
        value.name: columns[name] for name, value in values.items() if isinstance(value, ops.Field)
    }
