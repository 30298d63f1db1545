"""Which groups of an expression need not be whole, because their numbers are only added up.

A check or an account adds up counts of rows. There, the rows that changed can be counted by
themselves: what they add to a sum is all that matters of them.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

import ibis.expr.operations as ops

from stedi_assets.lakehouse.changes.restrict import (
    fields_of,
    from_the_top,
    parents_of,
    windows_of,
)


@dataclass
class _Use:
    """How what is above a relation uses it.

    Attributes:
        values: Columns whose values matter, each by itself.
        sums: Columns of which only the sum over rows matters.
        counted: Whether it matters how many rows there are.
    """

    values: set[str] = field(default_factory=set)
    sums: set[str] = field(default_factory=set)
    counted: bool = False

    def __ior__(self, other: "_Use") -> "_Use":
        self.values |= other.values
        self.sums |= other.sums
        self.counted |= other.counted
        return self


def partial_groups(rows: ops.Relation, summed: Iterable[str]) -> set[ops.Aggregate]:
    """Groups of which only sums matter, where only the sums of some columns of `rows` matter."""
    uses: dict[ops.Relation, _Use] = defaultdict(_Use)
    summed = set(summed)
    uses[rows] = _Use(set(rows.schema.names) - summed, summed)
    partial = set()
    for op in from_the_top(rows):
        use = uses[op]
        if isinstance(op, ops.Aggregate) and _is_partial(op, use):
            partial.add(op)
        for parent, its_use in _of_parents(op, use, is_partial=op in partial):
            uses[parent] |= its_use
    return partial


def _is_partial(op: ops.Aggregate, use: _Use) -> bool:
    metrics = set(op.metrics)
    return (
        not use.counted
        and not metrics & use.values
        and bool(metrics & use.sums)
        and all(map(_adds_up, op.metrics.values()))
        and all(isinstance(group, ops.Field) for group in op.groups.values())
    )


def _adds_up(metric: ops.Value) -> bool:
    """Whether what it gives for all rows is the sum of what it gives for parts of them."""
    metric = _unsigned(metric)
    return isinstance(metric, (ops.CountStar, ops.Count, ops.Sum)) and metric.where is None


def _unsigned(value: ops.Value) -> ops.Value:
    return value.arg if isinstance(value, ops.Negate) else value


def _of_parents(
    op: ops.Relation, use: _Use, *, is_partial: bool
) -> Iterable[tuple[ops.Relation, _Use]]:
    match op:
        case ops.Aggregate():
            yield op.parent, _of_groups(op) if is_partial else _everything(op.parent)
        case ops.Project():
            yield op.parent, _of_columns(op, use)
        case ops.Filter() if not _has_windows(op):
            values = fields_of(op.predicates, op.parent)
            yield op.parent, _Use(use.values | values, use.sums - values, use.counted)
        case ops.DropColumns():
            yield op.parent, use
        case ops.Union() if not op.distinct:
            yield from ((op.left, use), (op.right, use))
        case _:
            yield from ((parent, _everything(parent)) for parent in parents_of(op))


def _of_groups(op: ops.Aggregate) -> _Use:
    use = _Use(fields_of(op.groups.values(), op.parent))
    for metric in map(_unsigned, op.metrics.values()):
        if isinstance(metric, ops.Sum) and isinstance(metric.arg, ops.Field):
            use.sums.add(metric.arg.name)
        else:
            use.counted = True
            use.values |= fields_of([metric], op.parent)
    return use


def _of_columns(op: ops.Project, use: _Use) -> _Use:
    """How columns use the relation that they are computed from."""
    below = _Use(counted=use.counted or _has_windows(op))
    for name, value in op.values.items():
        source = _unsigned(value)
        if name in use.sums and isinstance(source, ops.Field):
            below.sums.add(source.name)
        elif name in use.sums or name in use.values:
            below.values |= fields_of([value], op.parent)
            below.counted |= name in use.sums
    return below


def _has_windows(op: ops.Relation) -> bool:
    return bool(windows_of(op.predicates if isinstance(op, ops.Filter) else op.values.values()))


def _everything(op: ops.Relation) -> _Use:
    return _Use(set(op.schema.names), counted=True)
