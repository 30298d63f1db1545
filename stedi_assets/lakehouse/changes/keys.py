"""Values that rows are looked up by."""

from collections.abc import Mapping
from dataclasses import dataclass

import ibis.expr.operations as ops
import ibis.expr.types as ir

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


def matching(rows: ir.Table, columns: Columns, keys: Keys) -> ir.Table:
    """The rows whose columns have values that are among the keys."""
    if isinstance(op := rows.op(), ops.JoinChain):  # or it takes the next join for one of its own
        rows = ops.Project(op, {name: ops.Field(op, name) for name in op.schema.names}).to_expr()
    table = keys.table
    if len(columns) < len(table.columns):
        table = table.select(*dict.fromkeys(columns.values())).distinct()
    conditions = [
        rows[column].identical_to(table[key]) if keys.have_nulls else rows[column] == table[key]
        for column, key in columns.items()
    ]
    return rows.semi_join(table, conditions)
