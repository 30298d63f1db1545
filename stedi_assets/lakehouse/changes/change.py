"""A relation before and after a change, and the rows between."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from stedi_assets.lakehouse.faults import LakehouseError

Hold = Callable[[ir.Table], "ir.Table | None"]
"""Computes rows once and keeps them for what follows; None if there are none.

A planner then knows how few they are, and whatever depends on no rows at all ends there.
"""


class UnderivableError(LakehouseError):
    """An expression does something whose change cannot be derived; its table is made anew."""


class Rows(NamedTuple):
    """Rows that a relation gained and lost, as bags; None stands for no rows."""

    added: ir.Table | None = None
    removed: ir.Table | None = None

    @property
    def is_none(self) -> bool:
        """Whether there are neither."""
        return self.added is None and self.removed is None

    @property
    def both(self) -> list[ir.Table]:
        """Those of the two that have rows."""
        return [rows for rows in self if rows is not None]


NO_ROWS = Rows()


@dataclass(frozen=True)
class Change:
    """A table before and after a change.

    Attributes:
        old: Its rows before.
        new: Its rows after.
        rows: What `new` has more and less than `old`. A row that is in both may be counted as
            removed and as added.
        kept: Most of what both have, if it is known.
        beside: What `new` and `old` have beside that.
    """

    old: ir.Table
    new: ir.Table
    rows: Rows
    kept: ir.Table | None = None
    beside: Rows = NO_ROWS


def together(tables: list[ir.Table]) -> ir.Table | None:
    """The rows of all of them, repeated as often as they are there; None of no tables."""
    return functools.reduce(union, tables) if tables else None


def union(left: ir.Table, right: ir.Table, *, distinct: bool = False) -> ir.Table:
    """The rows of both, which have the same columns; where one may be null, both may."""
    tables = []
    for table, other in ((left, right), (right, left)):
        types = other.schema()
        loose = {
            name: ops.Cast(table[name], dtype.copy(nullable=True)).to_expr()
            for name, dtype in table.schema().items()
            if dtype != types[name]
        }
        tables.append(table.mutate(**loose) if loose else table)
    return ibis.union(*tables, distinct=distinct)


def net(rows: Rows, hold: Hold) -> Rows:
    """The rows without those that were both added and removed."""
    added, removed = held(rows.added, hold), held(rows.removed, hold)
    if added is None or removed is None:
        return Rows(added, removed)
    return Rows(
        hold(ibis.difference(added, removed, distinct=False)),
        hold(ibis.difference(removed, added, distinct=False)),
    )


def held(rows: ir.Table | None, hold: Hold) -> ir.Table | None:
    """The rows, held unless they are stored already; None if there are none."""
    return rows if rows is None or isinstance(rows.op(), ops.DatabaseTable) else hold(rows)
