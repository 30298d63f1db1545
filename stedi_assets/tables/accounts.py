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


def reclassified(counted: ir.Table, rows: ir.Table, outcome: str) -> ir.Table:
    """The outcomes, with these rows counted under another one than kept."""
    number = rows.agg(rows=rows.count())
    there = number.mutate(outcome=ibis.literal(outcome))
    not_kept = number.select(rows=-number.rows, outcome=ibis.literal(KEPT))
    return counted.union(there).union(not_kept)


def marked(table: ir.Table, those: ir.Table, key: str, mark: str) -> ir.Table:
    """The table, each row marked with whether `those` (distinct keys) has its key."""
    those = those.select(**{f"{key}_of_those": key})
    joined = table.left_join(those, [(key, f"{key}_of_those")])
    return joined.mutate(**{mark: joined[f"{key}_of_those"].notnull()}).drop(f"{key}_of_those")
