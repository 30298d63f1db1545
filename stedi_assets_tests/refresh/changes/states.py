"""All tables in one state after another, and what changed between, on an in-memory DuckDB."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa

from stedi_assets import tables as definitions
from stedi_assets.lakehouse.changes.change import Change, Rows
from stedi_assets.lakehouse.changes.derive import Derivation
from stedi_assets.lakehouse.changes.workspace import Workspace
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine, backend_table
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.refresh.audit_changes import summands
from stedi_assets.tables import definition
from stedi_assets.tables.definition import TableDefinition, apply, inputs_of
from stedi_assets.tables.policy import Policy
from stedi_assets_tests.strategies import Landing
from stedi_assets_tests.support import as_ingested

LANDED = ("customer_landing", "accelerometer_landing", "step_trainer_landing", "quarantine")


class States:
    """Tables as they were and as they are."""

    def __init__(self, policy: Policy, folder: Path) -> None:
        self._policy = policy
        self.engine = DuckDBEngine(LocalStorage(folder), threads=1)
        self._number = 0
        self._workspace = Workspace(self.engine)
        self._now: dict[str, ir.Table] = {}

    def derive(self, landing: Landing) -> None:
        """Go on to a next state; each table and check is derived, and compared with it as a whole.

        The first state is only made.
        """
        before, self._now, changes = self._now, {}, {}
        self._number += 1
        for name, objects in zip(LANDED, landing, strict=True):
            self._now[name] = self._landed(name, list(map(as_ingested, objects)))
            if before:
                changes[name] = self._change(before[name], self._now[name])
        for table in definitions.TABLES:
            if table.rule:
                self._now[table.name] = self._made(table, self._now)
                if before:
                    changes[table.name] = self._derived(table, before, changes)
        if before:
            self._compare_checks(before, changes)
        self.engine.let_go()
        self._workspace = Workspace(self.engine)

    def _landed(self, name: str, rows: list[dict[str, Any]]) -> ir.Table:
        table = definition(name).table(self._policy)
        arrow = pa.Table.from_pylist(rows, table.arrow_schema.remove_metadata())
        self.engine.backend.con.register("landed", arrow)
        return self._stored(name, table.types, "FROM landed")

    def _made(self, table: TableDefinition, tables: Mapping[str, ir.Table]) -> ir.Table:
        types = table.table(self._policy).types
        assert table.rule
        rows = apply(table.rule, tables, self._policy).select(*types)
        return self._stored(table.name, types, Query.of(rows).sql())

    def _stored(self, name: str, types: Mapping[str, str], sql: str) -> ir.Table:
        backend, stored = self.engine.backend, f"{name}_{self._number}"
        backend.raw_sql(f"CREATE TABLE {stored} AS {sql}")
        return backend_table(stored, types, backend)

    def _change(self, old: ir.Table, new: ir.Table) -> Change:
        hold = self.engine.hold
        added, removed = (
            hold(Query.of(ibis.difference(one, other, distinct=False)))
            for one, other in ((new, old), (old, new))
        )
        return self._with_kept(old, new, Rows(added, removed))

    def _with_kept(self, old: ir.Table, new: ir.Table, rows: Rows[ir.Table]) -> Change:
        """A change that tells what was kept, as that of a table in files does, or does not."""
        if self._number % 2:
            return Change(old, new, rows)
        kept = new if rows.added is None else ibis.difference(new, rows.added, distinct=False)
        return Change(old, new, rows, self.engine.hold(Query.of(kept)), rows)

    def _derived(
        self, table: TableDefinition, before: Mapping[str, ir.Table], changes: Mapping[str, Change]
    ) -> Change:
        rule, types = table.rule, table.table(self._policy).types
        assert rule
        expression = apply(rule, self._unbound(inputs_of(rule)), self._policy).select(*types)
        old, new = before[table.name], self._now[table.name]
        rows = Derivation(expression, changes, self._workspace, published=old).rows()
        gone, came = self._bag(old), self._bag(new)
        assert (self._bag(rows.added), self._bag(rows.removed)) == (came - gone, gone - came), (
            table.name
        )
        return self._with_kept(old, new, rows)

    def _compare_checks(
        self, before: Mapping[str, ir.Table], changes: Mapping[str, Change]
    ) -> None:
        for table in definitions.TABLES:
            for check in filter(None, (table.serial_numbers, table.account)):
                expression = apply(check, self._unbound(inputs_of(check)), self._policy)
                rows = Derivation(
                    summands(expression.op()), changes, self._workspace, summed=["rows"]
                ).rows()
                derived = Counter(self._sums(rows.added))
                derived.subtract(self._sums(rows.removed))
                whole = Counter(self._sums(apply(check, self._now, self._policy)))
                whole.subtract(self._sums(apply(check, before, self._policy)))
                assert +derived == +whole and -derived == -whole, (table.name, check.__name__)

    def _unbound(self, names: tuple[str, ...]) -> dict[str, ir.Table]:
        return {
            name: ibis.table(definition(name).table(self._policy).types, name=name)
            for name in names
        }

    def _bag(self, rows: ir.Table | None) -> Counter[str]:
        return Counter() if rows is None else Counter(map(repr, self._fetch(rows)))

    def _sums(self, rows: ir.Table | ir.IntegerScalar | None) -> Counter[str]:
        if rows is None:
            return Counter()
        if isinstance(rows.op(), ops.Value):
            rows = rows.as_table().rename(rows=rows.get_name())
        sums: Counter[str] = Counter()
        for row in self._fetch(rows):
            sums[row.get("outcome", "")] += row["rows"] or 0
        return sums

    def _fetch(self, rows: ir.Table) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.engine.fetch(Query.of(rows)).to_pylist()
        return found
