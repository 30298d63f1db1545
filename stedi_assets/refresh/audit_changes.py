"""Audits what changed: where the published state passed, only a change can break a rule.

What decides who may be seen, consent, is not among this: it is looked at whole each time.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import ibis.expr.operations as ops
import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import UnderivableError
from stedi_assets.lakehouse.changes.derive import Derivation
from stedi_assets.lakehouse.query import Query
from stedi_assets.refresh.method import unbound
from stedi_assets.refresh.view import View

_ROWS = "rows"


def violations_since(rule: Callable[..., ir.IntegerScalar], view: View) -> int:
    """How many violations came with what changed.

    Args:
        rule: The check: a sum of rows.
        view: The tables, with the candidate in its place.

    Raises:
        UnderivableError: It has to be counted as a whole.
    """
    return sum(_sums(rule, view, _summed_rows).values())


def outcomes_since(account: Callable[..., ir.Table], view: View) -> dict[str, int]:
    """What changed in the account of a table: by outcome, more rows or fewer.

    Raises:
        UnderivableError: The rows have to be counted as a whole.
    """
    return _sums(account, view, lambda op: op.parent)


def _summed_rows(op: Any) -> ops.Relation:
    """The relation whose column `rows` a check adds up."""
    sums = op.find(ops.Sum, filter=ops.Value)
    if len(sums) != 1 or not isinstance(sums[0].arg, ops.Field) or sums[0].arg.name != _ROWS:
        raise UnderivableError("the check adds up no column `rows`")
    relation: ops.Relation = sums[0].arg.rel
    return relation


def _sums(
    function: Callable[..., Any],
    view: View,
    summed: Callable[[Any], ops.Relation],
) -> dict[str, int]:
    """What the change of its tables adds to the column `rows` of a check, by the other column."""
    changes = view.change_of(function)
    expression = view.query(function).build(unbound(changes))
    summands = summed(expression.op()).to_expr()
    engine = view.engine
    derived = Derivation(summands, changes, engine.hold, summed=[_ROWS]).rows()
    totals: Counter[str] = Counter()
    for part, sign in ((derived.added, 1), (derived.removed, -1)):
        if part is None:
            continue
        groups = [name for name in part.columns if name != _ROWS]
        counted = part.group_by(groups) if groups else part
        sums = counted.agg(rows=part[_ROWS].sum().fill_null(0).cast("int64"))
        for row in engine.fetch(Query.of(sums)).to_pylist():
            totals["".join(str(row[name]) for name in groups)] += sign * row[_ROWS]
    return dict(totals)
