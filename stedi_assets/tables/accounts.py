"""Where the rows of a table's inputs went: rows in = rows kept + rows withheld, by reason.

An account gives (outcome, rows) of the input; the outcome of rows that are kept is `KEPT`. No
account looks at the table it accounts for, except that of device_ownership.
"""

import ibis
import ibis.expr.types as ir

KEPT = "kept"


def outcomes(rows: ir.Table) -> ir.Table:
    """The rows added up by outcome."""
    return rows.group_by("outcome").agg(rows=ibis._.rows.sum().fill_null(0).cast("int64"))


def reclassified(counts: ir.Table, rows: ir.Table, outcome: str) -> ir.Table:
    """The outcomes, with these rows counts under this outcome instead of `KEPT`."""
    number = rows.agg(rows=rows.count())
    added = number.mutate(outcome=ibis.literal(outcome))
    removed = number.select(rows=-number.rows, outcome=ibis.literal(KEPT))
    return counts.union(added).union(removed)


def marked(table: ir.Table, members: ir.Table, key: str, mark: str) -> ir.Table:
    """The table with a column `mark`: whether the row's key is among `members` (distinct keys)."""
    members = members.select(**{f"{key}_of_those": key})
    joined = table.left_join(members, [(key, f"{key}_of_those")])
    return joined.mutate(**{mark: joined[f"{key}_of_those"].notnull()}).drop(f"{key}_of_those")
