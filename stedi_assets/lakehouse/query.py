"""A rule or check on certain states of its tables, and what a table is made from."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from uuid import uuid4

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from stedi_assets.lakehouse.names import parts_of, view_name

Build = Callable[[Mapping[str, ir.Table]], Any]
"""Makes an expression of tables, by name.

The SQL is kept by it: equal ones must make equal expressions.
"""


class Statement(Protocol):
    """SQL that gives rows."""

    def sql(self, dialect: str) -> str:
        """The SQL."""

    @property
    def schema(self) -> ibis.Schema:
        """Columns and types of the rows."""


@dataclass(frozen=True)
class Query:
    """An expression of tables, compiled once in a process whatever states these have.

    On small tables, building and compiling an expression takes longer than executing it, so the SQL
    is kept for the process. That of one state differs from that of another by the names of the
    tables alone.

    Attributes:
        build: Makes the expression.
        tables: The tables by name, as an engine opened them.
    """

    build: Build
    tables: Mapping[str, ir.Table]

    @classmethod
    def of(cls, expression: ir.Table) -> "Query":
        """An expression of tables that are open already."""
        return cls(_Fixed(expression), {})

    @property
    def expression(self) -> Any:
        """The expression itself."""
        return self.build(self.tables)

    def sql(self, dialect: str = "duckdb") -> str:
        """Its SQL, on the names under which the engine opened the tables."""
        if isinstance(self.build, _Fixed):
            return sql_of(self.build.expression, dialect)
        sql = _compiled(self.build, self._schemas, dialect)
        for name, table in self.tables.items():
            sql = sql.replace(_placeholder(name), table.get_name())
        return sql

    @property
    def schema(self) -> ibis.Schema:
        """Columns and types of its rows."""
        if isinstance(self.build, _Fixed):
            return self.build.expression.schema()
        schema: ibis.Schema = _built(self.build, self._schemas).as_table().schema()
        return schema

    @property
    def inputs(self) -> dict[str, str]:
        """Id of the rows of each table."""
        return {name: parts_of(table.get_name())[1] for name, table in self.tables.items()}

    def select(self, columns: Sequence[str]) -> "Query":
        """Some of its columns; where these are all, itself: its SQL is compiled already."""
        if tuple(columns) == self.schema.names:
            return self
        return Query(_Select(self.build, tuple(columns)), self.tables)

    def fingerprint(self, contract: str = "") -> str:
        """What its rows are made from: the rule, the inputs' snapshots, and the contract."""
        # Which engine executes it makes no difference to the rows, hence one dialect for all.
        return hashlib.sha256(f"{self.sql()}\n{contract}".encode()).hexdigest()

    @property
    def _schemas(self) -> tuple[tuple[str, ibis.Schema], ...]:
        return tuple((name, table.schema()) for name, table in self.tables.items())


@dataclass(frozen=True, eq=False)
class _Fixed:
    """Builds one expression, whatever tables it is given: its tables are open already."""

    expression: ir.Table

    def __call__(self, tables: Mapping[str, ir.Table]) -> ir.Table:
        return self.expression


@dataclass(frozen=True)
class _Select:
    build: Build
    columns: tuple[str, ...]

    def __call__(self, tables: Mapping[str, ir.Table]) -> ir.Table:
        rows: ir.Table = self.build(tables)
        return rows.select(*self.columns)


def sql_of(expression: ir.Table, dialect: str = "duckdb") -> str:
    """The SQL of an expression of tables that are open already.

    Expressions that differ in the names of their tables alone are compiled once.
    """
    op = expression.op()
    tables = op.find(ops.DatabaseTable)
    names = {table: _placeholder(f"table_{number}_") for number, table in enumerate(tables)}
    like = {table: ops.UnboundTable(name, schema=table.schema) for table, name in names.items()}
    sql = _compiled_shape(op.replace(like), dialect)
    for table, name in names.items():
        sql = sql.replace(name, table.name)
    return sql


@lru_cache(maxsize=512)
def _compiled_shape(op: ops.Relation, dialect: str) -> str:
    return str(ibis.to_sql(op.to_expr(), dialect=dialect, pretty=False))


def _placeholder(name: str) -> str:
    # No text of a rule has it, such as an address that somebody asks for.
    return view_name(name, _TOKEN)


_TOKEN = f"any_{uuid4().hex}"


_Schemas = tuple[tuple[str, ibis.Schema], ...]


@lru_cache(maxsize=512)
def _built(build: Build, schemas: _Schemas) -> ir.Expr:
    return build({name: ibis.table(schema, name=_placeholder(name)) for name, schema in schemas})


@lru_cache(maxsize=512)
def _compiled(build: Build, schemas: _Schemas, dialect: str) -> str:
    return str(ibis.to_sql(_built(build, schemas), dialect=dialect))
