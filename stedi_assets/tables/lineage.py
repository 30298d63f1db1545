"""Which columns each column is computed from, as the rules themselves say.

A rule is called on tables that have the columns of their contracts and no rows. The SQL of its
expression tells where each column comes from. So lineage cannot fall behind the rules, and needs
neither an engine nor data.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, NamedTuple, cast

import ibis
from sqlglot import exp, parse_one
from sqlglot.optimizer.scope import Scope, build_scope, find_all_in_scope

from stedi_assets.lakehouse.table import LANDED_AT, PERSON, SOURCE_FILE
from stedi_assets.tables import SOURCES, TABLES, any_key
from stedi_assets.tables.definition import TableDefinition, query_of
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.sources import files_of

FILE_PATH, FILE_TEXT, FILE_ARRIVAL = "file path", "file text", "file arrival"
"""What a landing file gives besides the keys of its JSON objects."""

_DIALECT = "duckdb"


class Origin(NamedTuple):
    """A column of a table, or a key of the JSON objects of a source's landing files."""

    table: str
    column: str

    @property
    def name(self) -> str:
        """The column with its table."""
        return f"{self.table}.{self.column}"


@dataclass(frozen=True)
class TableLineage:
    """What a table is computed from, one step back.

    Attributes:
        columns: The columns from which the values of each column are computed. Columns that only
            decide which rows there are, such as a consent date, are not among them.
        rows: The columns that decide which rows there are: those of its filters and joins.
    """

    columns: Mapping[str, tuple[Origin, ...]]
    rows: tuple[Origin, ...] = field(default=())


class Lineage:
    """Lineage of all tables; each is worked out when it is first needed, as that takes a moment."""

    def __init__(self, tables: Iterable[TableDefinition], policy: Policy) -> None:
        """Lineage of these tables under this policy."""
        self._tables = {table.name: table for table in tables}
        # Lineage does not depend on the key, and can be cached without it.
        self._policy = replace(policy, subject_key=any_key)

    def of(self, table: str) -> TableLineage:
        """Lineage of a table, one step back."""
        return _lineage(self._tables[table], self._policy)

    def markdown(self, table: str) -> str:
        """Lineage of a table back to the landing zone, to be read by people."""
        lineage = self.of(table)
        lines = ["| column | comes from |", "|---|---|"]
        for column, sources in lineage.columns.items():
            steps = [f"←\N{NO-BREAK SPACE}{_names(step)}" for step in self._steps(sources)]
            lines.append(f"| {column} | {' '.join(steps) or 'the rule itself'} |")
        if lineage.rows:
            lines += ["", f"Rows are decided by {_names(lineage.rows)}."]
        return "\n".join(lines)

    def _steps(self, sources: tuple[Origin, ...]) -> Iterator[tuple[Origin, ...]]:
        """The sources, then theirs, until all are in the landing zone."""
        while sources:
            yield sources
            sources = _sorted(
                origin
                for table, column in sources
                if table in self._tables and self._tables[table].rule
                for origin in self.of(table).columns.get(column, ())
            )


def _names(sources: Iterable[Origin]) -> str:
    return ", ".join(source.name for source in sources)


def _sorted(sources: Iterable[Origin]) -> tuple[Origin, ...]:
    return tuple(sorted(set(sources)))


@cache
def _lineage(table: TableDefinition, policy: Policy) -> TableLineage:
    return _of_rule(table, policy) if table.rule else _of_files(table)


def _of_files(table: TableDefinition) -> TableLineage:
    """Lineage of a table that no rule makes: its columns are keys of the JSON objects."""
    landing = table.landing_table
    keys = {SOURCE_FILE: FILE_PATH, LANDED_AT: FILE_ARRIVAL}
    if table.source:
        files = files_of(table.source)
        keys[PERSON] = landing.person_of or ""
        return TableLineage(
            {name: (Origin(files, keys.get(name, name)),) for name in landing.types}
        )
    keys["source"] = FILE_PATH
    all_files = [files_of(source) for source in SOURCES.values()]
    return TableLineage(
        {
            name: _sorted(Origin(files, keys.get(name, FILE_TEXT)) for files in all_files)
            for name in landing.types
        }
    )


def _of_rule(table: TableDefinition, policy: Policy) -> TableLineage:
    types = {each.name: each.table(policy).types for each in TABLES}
    tables = {name: ibis.table(types[name], name=name) for name in table.inputs}
    assert table.rule
    rows = query_of(table.rule, tables, policy)
    columns = [name for name in types[table.name] if name in rows.schema]
    scope = _scope(rows.sql(_DIALECT), {name: dict(columns) for name, columns in types.items()})
    return TableLineage(
        {column: _sorted(_origins(column, scope)) for column in columns},
        _sorted(source for part in scope.traverse() for source in _conditions(part)),
    )


def _scope(sql: str, columns: dict[str, Any]) -> Scope:
    """The query, each of its columns qualified with its table."""
    from sqlglot.optimizer.qualify import qualify  # noqa: PLC0415  (takes a while to import)

    query = qualify(
        parse_one(sql, dialect=_DIALECT), dialect=_DIALECT, schema=columns, identify=False
    )
    scope = build_scope(query)
    assert scope is not None
    for part in scope.traverse():
        for count in part.find_all(exp.Count):
            if isinstance(count.this, exp.Star):  # counts rows, so it reads all columns
                count.set("this", exp.Tuple(expressions=list(_columns(part, columns))))
    return scope


def _columns(scope: Scope, columns: dict[str, Any]) -> Iterator[exp.Column]:
    """All columns of what a part of a query selects from."""
    for name, (_, source) in scope.selected_sources.items():
        if name in scope.semi_or_anti_join_tables:
            continue
        if isinstance(source, exp.Table):
            names = list(columns[source.name])
        else:
            names = cast("exp.Query", source.expression).named_selects
        yield from (exp.column(column, table=name) for column in names)


def _origins(column: str, scope: Scope | exp.Table) -> Iterator[Origin]:
    """The columns of tables from which a column of a query is computed."""
    from sqlglot.lineage import lineage  # noqa: PLC0415  (takes a while to import)

    if isinstance(scope, exp.Table):
        yield Origin(scope.name, column)
        return
    query = scope.expression
    root = lineage(column, query, {}, scope=scope, dialect=_DIALECT, copy=False, trim_selects=False)
    for node in root.walk():
        if isinstance(node.expression, exp.Table):
            yield Origin(node.expression.name, exp.to_column(node.name).name)


def _conditions(scope: Scope) -> Iterator[Origin]:
    """The columns that the filters and joins of a part of a query look at."""
    select = scope.expression
    parts = [select.args.get(clause) for clause in ("where", "having", "qualify")]
    parts += [join.args.get("on") for join in select.args.get("joins") or ()]
    for part in filter(None, parts):
        for column in find_all_in_scope(part, exp.Column):
            yield from _origins(column.name, scope.sources[column.table])
