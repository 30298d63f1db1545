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
from stedi_assets.lakehouse.changes.selection import union_of
from stedi_assets.refresh.method import unbound
from stedi_assets.refresh.view import View

_ROWS = "rows"


def violations_since(rule: Callable[..., ir.IntegerScalar], view: View) -> int:
    """How many violations came with what changed.

    Raises:
        UnderivableError: They have to be counted as a whole.
    """
    return sum(_sums(rule, view).values())


def outcomes_since(account: Callable[..., ir.Table], view: View) -> dict[str, int]:
    """What changed in the account of a table: by outcome, more rows or fewer.

    Raises:
        UnderivableError: The rows have to be counted as a whole.
    """
    return _sums(account, view)


def summands(op: ops.Node) -> ir.Table:
    """The rows whose column `rows` a check or an account adds up."""
    if isinstance(op, ops.Aggregate):
        rows: ir.Table = op.parent.to_expr()
        return rows
    sums = op.find(ops.Sum, filter=ops.Value)
    if len(sums) != 1 or not isinstance(sums[0].arg, ops.Field) or sums[0].arg.name != _ROWS:
        raise UnderivableError("the check adds up no column `rows`")
    rows = sums[0].arg.rel.to_expr()
    return rows


def _sums(function: Callable[..., Any], view: View) -> dict[str, int]:
    """What the change of its tables adds to the column `rows` of a check, by the other column."""
    changes = view.change_of(function)
    rows = summands(view.query(function).build(unbound(changes)).op())
    derived = Derivation(rows, changes, view.workspace, summed=[_ROWS]).gross()
    removed = derived.removed and derived.removed.negative(_ROWS)
    both = union_of([part for part in (derived.added, removed) if part is not None])
    if both is None:
        return {}
    totals: Counter[str] = Counter()
    for row in view.engine.fetch(both.summed(_ROWS)).to_pylist():
        totals["".join(str(row[name]) for name in row if name != _ROWS)] += row[_ROWS]
    return dict(totals)
