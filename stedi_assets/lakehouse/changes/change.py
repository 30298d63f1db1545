"""A relation before and after a change, and the rows between."""

from dataclasses import dataclass
from typing import Generic, NamedTuple, TypeVar

import ibis.expr.types as ir

from stedi_assets.lakehouse.faults import LakehouseError

Part = TypeVar("Part")


class UnderivableError(LakehouseError):
    """An expression does something whose change cannot be derived; its table is made anew."""


class Rows(NamedTuple, Generic[Part]):
    """Rows that a relation gained and lost, as bags; None stands for no rows."""

    added: Part | None = None
    removed: Part | None = None

    @property
    def is_none(self) -> bool:
        """Whether there are neither."""
        return self.added is None and self.removed is None

    @property
    def both(self) -> list[Part]:
        """Those of the two that have rows."""
        return [rows for rows in self if rows is not None]


NO_ROWS: Rows[ir.Table] = Rows()


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
    rows: Rows[ir.Table]
    kept: ir.Table | None = None
    beside: Rows[ir.Table] = NO_ROWS
