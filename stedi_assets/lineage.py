"""Which columns each column is computed from, read off the rules themselves.

A rule is called on tables that have the columns of their contracts and no rows; the expression it
gives, as SQL, tells where each column comes from. So lineage cannot fall behind the rules, and
takes neither an engine nor data.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from inspect import signature
from typing import Any, NamedTuple, cast

import dagster as dg
import ibis
import ibis.expr.types as ir
from pydantic import SecretStr
from sqlglot import exp, parse_one
from sqlglot.optimizer.scope import Scope, build_scope, find_all_in_scope

from stedi_assets.assets.sources import source_key
from stedi_assets.lakehouse.table import LANDED_AT, PERSON, SOURCE_FILE, Table
from stedi_assets.schemas import SOURCES, contracts, table_of
from stedi_assets.settings import MIN_KEY, Settings

Rule = Callable[..., ir.Table]

FILE_PATH, FILE_TEXT, FILE_ARRIVAL = "file path", "file text", "file arrival"
"""What a landing file gives besides the keys of its JSON objects."""

_DIALECT = "duckdb"


class Source(NamedTuple):
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
        columns: The columns from which the values of each column are computed. What only decides
            which rows there are, such as a consent date, is not among them.
        rows: The columns that decide which rows there are: those of its filters and joins.
    """

    columns: Mapping[str, tuple[Source, ...]]
    rows: tuple[Source, ...] = field(default=())


class Lineage:
    """Lineage of all tables; derived when it is first asked for, as that takes a moment."""

    def __init__(self, rules: Iterable[Rule], settings: Settings) -> None:
        """Read it off these rules, as they are under these settings."""
        self._rules = {rule.__name__: rule for rule in rules}
        # Neither a secret nor places make a difference to it; without them it can be remembered.
        self._settings = settings.model_copy(
            update={
                "pseudonym_key": SecretStr("-" * MIN_KEY),
                "lakehouse": "",
                "landing": None,
                "database": "",
            }
        )

    def of(self, table: str) -> TableLineage:
        """Lineage of a table, one step back."""
        if rule := self._rules.get(table):
            return _derived(rule, self._settings)
        return _landed(_tables(pseudonymize=self._settings.pseudonymize)[table])

    def of_columns(self, table: str) -> dg.TableColumnLineage:
        """The same as Dagster records it."""
        return dg.TableColumnLineage(
            {
                column: [dg.TableColumnDep(dg.AssetKey(table), name) for table, name in sources]
                for column, sources in self.of(table).columns.items()
            }
        )

    def markdown(self, table: str) -> str:
        """Lineage of a table back to the landing zone, to be read by people."""
        found = self.of(table)
        lines = ["| column | comes from |", "|---|---|"]
        for column, sources in found.columns.items():
            steps = [f"←\N{NO-BREAK SPACE}{_names(step)}" for step in self._steps(sources)]
            lines.append(f"| {column} | {' '.join(steps) or 'the rule itself'} |")
        if found.rows:
            lines += ["", f"Rows are decided by {_names(found.rows)}."]
        return "\n".join(lines)

    def _steps(self, sources: tuple[Source, ...]) -> Iterator[tuple[Source, ...]]:
        """The sources, then theirs, until all are in the landing zone."""
        while sources:
            yield sources
            sources = _sorted(
                before
                for table, column in sources
                if table in self._rules
                for before in self.of(table).columns.get(column, ())
            )


def _names(sources: Iterable[Source]) -> str:
    return ", ".join(source.name for source in sources)


def _sorted(sources: Iterable[Source]) -> tuple[Source, ...]:
    return tuple(sorted(set(sources)))


@cache
def _tables(*, pseudonymize: bool) -> dict[str, Table]:
    return {
        name: table_of(contract) for name, contract in contracts(pseudonymize=pseudonymize).items()
    }


def _landed(table: Table) -> TableLineage:
    """Lineage of a table that no rule makes: its columns are keys of the JSON objects."""
    if source := SOURCES.get(table.name):
        files = source_key(source).to_user_string()
        added = {SOURCE_FILE: FILE_PATH, LANDED_AT: FILE_ARRIVAL, PERSON: table.person_of or ""}
        return TableLineage({name: (Source(files, added.get(name, name)),) for name in table.types})
    added = {"source": FILE_PATH, SOURCE_FILE: FILE_PATH, LANDED_AT: FILE_ARRIVAL}
    all_files = [source_key(source).to_user_string() for source in SOURCES.values()]
    return TableLineage(
        {
            name: _sorted(Source(files, added.get(name, FILE_TEXT)) for files in all_files)
            for name in table.types
        }
    )


@cache
def _derived(rule: Rule, settings: Settings) -> TableLineage:
    tables = _tables(pseudonymize=settings.pseudonymize)
    given: dict[str, Any] = {
        name: ibis.table(table.types, name=name) for name, table in tables.items()
    }
    given["settings"] = settings
    expression = rule(**{name: given[name] for name in signature(rule).parameters})
    columns = [name for name in tables[rule.__name__].types if name in expression.columns]
    sql = ibis.to_sql(expression.select(columns), dialect=_DIALECT)
    scope = _scope(sql, {name: dict(table.types) for name, table in tables.items()})
    return TableLineage(
        {column: _sorted(_origins(column, scope)) for column in columns},
        _sorted(source for part in scope.traverse() for source in _conditions(part)),
    )


def _scope(sql: str, columns: dict[str, Any]) -> Scope:
    """The query, each of its columns with the table it is of."""
    from sqlglot.optimizer.qualify import qualify  # noqa: PLC0415  (takes a while to import)

    query = qualify(
        parse_one(sql, dialect=_DIALECT), dialect=_DIALECT, schema=columns, identify=False
    )
    scope = build_scope(query)
    assert scope is not None
    for part in scope.traverse():
        for count in part.find_all(exp.Count):
            if isinstance(count.this, exp.Star):  # rows are counted, with whatever is in them
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


def _origins(column: str, scope: Scope | exp.Table) -> Iterator[Source]:
    """The columns of tables from which a column of a query is computed."""
    from sqlglot.lineage import lineage  # noqa: PLC0415  (takes a while to import)

    if isinstance(scope, exp.Table):
        yield Source(scope.name, column)
        return
    query = scope.expression
    found = lineage(
        column, query, {}, scope=scope, dialect=_DIALECT, copy=False, trim_selects=False
    )
    for node in found.walk():
        if isinstance(node.expression, exp.Table):
            yield Source(node.expression.name, exp.to_column(node.name).name)


def _conditions(scope: Scope) -> Iterator[Source]:
    """The columns that the filters and joins of a part of a query look at."""
    select = scope.expression
    parts = [select.args.get(clause) for clause in ("where", "having", "qualify")]
    parts += [join.args.get("on") for join in select.args.get("joins") or ()]
    for part in filter(None, parts):
        for column in find_all_in_scope(part, exp.Column):
            yield from _origins(column.name, scope.sources[column.table])
