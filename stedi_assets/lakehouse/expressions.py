"""What a table is made from: the table names in its expression hold snapshot ids."""

import hashlib

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir


def fingerprint(expression: ir.Table, contract: str) -> str:
    """What a table is made from: its rule, its contract, its inputs' snapshots."""
    # The names of the inputs in the SQL hold their snapshot ids. Which engine executes it makes
    # no difference to the rows, hence one dialect for all.
    sql = ibis.to_sql(expression, dialect="duckdb")
    return hashlib.sha256(f"{sql}\n{contract}".encode()).hexdigest()


def input_snapshots(expression: ir.Table) -> dict[str, str]:
    """Snapshot id of each table that an expression is made from."""
    tables = expression.op().find(ops.DatabaseTable)
    return dict(table.name.rsplit("__", 1) for table in tables)


def digest(expression: ir.Table) -> str:
    """Tells whether two processes have the same rule, policy, inputs and pseudonym key."""
    # Engines name tables alike, so the SQL of one dialect is the same for all.
    return hashlib.sha256(ibis.to_sql(expression, dialect="duckdb").encode()).hexdigest()
