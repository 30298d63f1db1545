"""Narrows a relation to the rows with certain keys, where the rows come from; and what joins them.

No engine does that by itself through a group, a window or a join: each would compute all groups to
keep a few of them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import ibis.expr.operations as ops
from ibis.common.graph import Graph

from stedi_assets.lakehouse.changes.keys import Columns, Keys
from stedi_assets.lakehouse.changes.selection import Selection, referred, sources_of

_CERTAIN = {"inner", "semi"}
"""Joins of which each row in the output has found a row."""

JOINS = _CERTAIN | {"left", "anti"}
"""Joins that can be narrowed, and whose change can be derived."""


_FOR_THEMSELVES = (ops.Unnest, ops.WindowFunction)
"""What is needed whoever needs its values: it makes rows, or its groups are what changes."""


class Side(Protocol):
    """The tables before a change, or after it."""

    def whole(self, op: ops.Relation) -> Selection:
        """All rows of a relation of these tables."""

    def result(self, op: ops.Relation, narrowed: Mapping[ops.Relation, Selection]) -> Selection:
        """The rows of an operation on what was narrowed, and on the whole of its other sources."""

    def narrowed(
        self, leaf: ops.UnboundTable, names: Collection[str], columns: Columns, keys: Keys
    ) -> Selection:
        """The rows of a table with these keys; only columns with these names have their values."""

    def hold(self, rows: Selection) -> Selection | None:
        """Compute rows once; None if there are none."""


def restrict(
    op: ops.Relation, columns: Columns, keys: Keys, side: Side, names: Collection[str] | None = None
) -> Selection:
    """The rows of a relation whose columns have values that are among the keys.

    Args:
        op: The relation.
        columns: Its columns that have to equal a column of the keys.
        keys: The keys.
        side: Has the tables that it is made of.
        names: The columns that are needed, by default all.
    """
    needed = needed_columns(op, op.schema.names if names is None else {*names, *columns})
    return _Restriction(keys, side, needed).of(op, columns)


def joined(
    op: ops.JoinChain, first: Selection, side: Side, needed: Mapping[ops.Relation, set[str]]
) -> Selection:
    """The rows that a join makes of some rows of its first table.

    Args:
        op: The join.
        first: The rows, held.
        side: Has the tables that they are joined with.
        needed: The columns that are needed of each relation; others may have no values.
    """
    found = {op.first: first}
    while more := _sideways(op, found, side, needed):
        found |= more
    return side.result(op, found)


@dataclass(frozen=True)
class _Restriction:
    keys: Keys
    side: Side
    needed: Mapping[ops.Relation, set[str]]

    def of(  # noqa: PLR0911  (one for each operation)
        self, op: ops.Relation, columns: Columns
    ) -> Selection:
        match op:
            case ops.UnboundTable():
                return self.side.narrowed(op, self.needed[op], columns, self.keys)
            case ops.Filter() if windows_of(op.predicates):  # a window needs all of its rows
                return self._of_whole(op, columns)
            case ops.Filter() | ops.DropColumns() | ops.Distinct():
                return self._on_narrowed(op, columns)
            case ops.FillNull() if not columns.keys() & filled(op):
                return self._on_narrowed(op, columns)
            case ops.Project():
                return self._below(op, _passed_on(op, columns), columns)
            case ops.Aggregate():
                groups = {name: op.groups[name] for name in columns if name in op.groups}
                return self._below(op, _fields(groups, columns), columns)
            case ops.Union():
                sides = {side: self.of(side, columns) for side in (op.left, op.right)}
                return self.side.result(op, sides)
            case ops.JoinChain() if all(link.how in JOINS for link in op.rest):
                return self._join(op, columns)
            case _:
                return self._of_whole(op, columns)

    def _of_whole(self, op: ops.Relation, columns: Columns) -> Selection:
        return self.keys.matched(self.side.whole(op), columns)

    def _below(self, op: ops.Relation, passed_on: Columns, columns: Columns) -> Selection:
        """The operation on a narrowed parent; narrowed itself if that is not all there is to do."""
        if not passed_on:
            return self._of_whole(op, columns)
        rows = self._on_narrowed(op, passed_on)
        is_all = sorted(passed_on.values()) == sorted(columns.values())
        return rows if is_all else self.keys.matched(rows, columns)

    def _on_narrowed(self, op: ops.Relation, columns: Columns) -> Selection:
        """The operation on a parent that is narrowed by columns of its own."""
        return self.side.result(op, {op.parent: self.of(op.parent, columns)})

    def _join(self, op: ops.JoinChain, columns: Columns) -> Selection:
        sides = {ref: self._columns_of(ref, op, columns) for ref in op.tables}
        narrowed: dict[ops.JoinReference, Selection] = {}
        # What can only be computed whole is better narrowed to what it is joined with.
        for some in ({ref: _stored(ref.parent, side) for ref, side in sides.items()}, sides):
            narrowed |= {
                ref: self.of(ref.parent, side)
                for ref, side in some.items()
                if side and ref not in narrowed
            }
            while more := _sideways(op, narrowed, self.side, self.needed):
                narrowed |= more
        if not narrowed:
            return self._of_whole(op, columns)
        return self.keys.matched(self.side.result(op, narrowed), columns)

    def _columns_of(self, ref: ops.JoinReference, op: ops.JoinChain, columns: Columns) -> Columns:
        """Columns of one of the joined tables that equal a column which has to be narrowed."""
        return {
            field.name: key
            for column, key in columns.items()
            for field in _equals(op.values[column], op, have_nulls=self.keys.have_nulls)
            if field.rel == ref
        }


def _sideways(
    op: ops.JoinChain,
    narrowed: Mapping[ops.JoinReference, Selection],
    side: Side,
    needed: Mapping[ops.Relation, set[str]],
) -> dict[ops.JoinReference, Selection]:
    """One more table narrowed to what those that are narrowed already can be joined with.

    Few rows are joined with few rows.
    """
    certain = {op.first, *(link.table for link in op.rest if link.how in _CERTAIN)}
    ways = [
        (ref, other, pairs)
        for ref in op.tables
        for other in narrowed
        if ref not in narrowed and other in certain
        if (pairs := {our.name: their.name for our, their in equal_fields(op, ref, other)})
    ]
    if not ways:
        return {}
    # First those by columns that are stored: there is not all to be computed.
    ways.sort(key=lambda way: not _stored(way[0].parent, way[2]))
    ref, other, pairs = ways[0]
    held = side.hold(narrowed[other])
    if held is None:  # nothing to join
        return {other: narrowed[other].none(), ref: side.whole(ref.parent).none()}
    keys = Keys(held.select(dict.fromkeys(pairs.values())).without_nulls().distinct())
    return {other: held, ref: _Restriction(keys, side, needed).of(ref.parent, pairs)}


def _stored(op: ops.Relation, columns: Columns) -> Columns:
    """Those of the columns that have values which are stored."""
    return {name: key for name, key in columns.items() if _is_stored(op, name)}


def _is_stored(op: ops.Relation, name: str) -> bool:  # noqa: PLR0911  (one for each operation)
    """Whether a column has values of a table as they are, so that they can be looked up there."""
    match op:
        case ops.UnboundTable():
            return True
        case ops.Filter() | ops.DropColumns() | ops.Distinct():
            return _is_stored(op.parent, name)
        case ops.FillNull() if name not in filled(op):
            return _is_stored(op.parent, name)
        case ops.Union():
            return _is_stored(op.left, name) and _is_stored(op.right, name)
        case ops.Project():
            value, parent = op.values[name], op.parent
            if any(value not in window.group_by for window in windows_of(op.values.values())):
                return False
        case ops.Aggregate() if name in op.groups:
            value, parent = op.groups[name], op.parent
        case ops.JoinChain():
            outer = {link.table for link in op.rest if link.how == "left"}
            value = op.values[name]
            if not isinstance(value, ops.Field) or value.rel in outer:
                return False
            parent = value.rel.parent
        case _:
            return False
    return isinstance(value, ops.Field) and _is_stored(parent, value.name)


def needed_columns(op: ops.Relation, names: Collection[str]) -> dict[ops.Relation, set[str]]:
    """Of each relation that another is made from, the columns that some of its columns need."""
    needed: dict[ops.Relation, set[str]] = defaultdict(set)
    needed[op] = set(names)
    for relation in from_the_top(op):
        for parent, columns in _needed_of_parents(relation, needed[relation]):
            needed[parent] |= columns
    return needed


def _needed_of_parents(
    op: ops.Relation, names: set[str]
) -> Iterator[tuple[ops.Relation, set[str]]]:
    match op:
        case ops.Project():
            used = [v for n, v in op.values.items() if n in names or v.find(_FOR_THEMSELVES)]
            yield op.parent, fields_of(used, op.parent)
        case ops.Aggregate():
            metrics = (op.metrics[name] for name in names & op.metrics.keys())
            yield op.parent, fields_of([*op.groups.values(), *metrics], op.parent)
        case ops.Filter():
            yield op.parent, names | fields_of(op.predicates, op.parent)
        case ops.DropColumns() | ops.FillNull():
            yield op.parent, names
        case ops.Union() if not op.distinct:
            yield from ((op.left, names), (op.right, names))
        case ops.JoinChain():
            values = [op.values[name] for name in names]
            values += [predicate for link in op.rest for predicate in link.predicates]
            yield from ((ref.parent, fields_of(values, ref)) for ref in op.tables)
        case _:
            yield from ((parent, {*parent.schema.names}) for parent in parents_of(op))


def from_the_top(op: ops.Relation) -> Iterator[ops.Relation]:
    """The relations of an expression, each before those it is made from."""
    order, _ = Graph(op).toposort()
    for node in reversed(order):
        if isinstance(node, ops.Relation) and not isinstance(node, ops.Reference):
            yield node


def parents_of(op: ops.Relation) -> Iterator[ops.Relation]:
    """The relations that one is made from."""
    return map(referred, sources_of(op))


def fields_of(values: Iterable[ops.Value], rel: ops.Relation) -> set[str]:
    """Columns of a relation that values are computed from."""
    fields = (field for value in values for field in value.find(ops.Field, filter=ops.Value))
    return {field.name for field in fields if field.rel == rel}


def filled(op: ops.FillNull) -> set[str]:
    """Columns whose nulls an operation replaces."""
    replaced = op.replacements
    return set(replaced if isinstance(replaced, Mapping) else op.schema.names)


def equal_fields(
    op: ops.JoinChain,
    ref: ops.JoinReference,
    other: ops.JoinReference,
    links: Iterable[ops.JoinLink] | None = None,
) -> Iterator[tuple[ops.Field, ops.Field]]:
    """Pairs of columns of two joined tables that are equal in all rows that are joined."""
    for link in op.rest if links is None else links:
        for left, right in equalities(link):
            if (left.rel, right.rel) == (ref, other):
                yield left, right
            elif (left.rel, right.rel) == (other, ref):
                yield right, left


def fields_reached(
    op: ops.JoinChain, ref: ops.JoinReference, other: ops.JoinReference
) -> Iterator[tuple[ops.Field, ops.Field]]:
    """Pairs of columns of two joined tables that are equal where a row of the other one is joined.

    What a left or anti join compares says nothing of the tables before it: their rows are joined
    without a match, too.
    """
    links = [link for link in op.rest if link.table == other or link.how in _CERTAIN]
    return equal_fields(op, ref, other, links)


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
    if have_nulls and value.rel in {link.table for link in op.rest if link.how == "left"}:
        return set()  # without a row that it was joined with, a row would have a null, too
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
                elif field == joined and (certain or field == value):
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
