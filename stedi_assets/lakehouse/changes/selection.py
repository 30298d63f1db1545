"""Rows, as SQL that is put together of parts.

The operations of a rule are compiled one by one, each once in a process: whatever rows one is
given, its SQL is the same. To build and compile an expression of ibis for each of the few hundred
small queries of a refresh takes longer than to execute them.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import sha256
from typing import Any
from uuid import uuid4

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir

from stedi_assets.lakehouse.dialect import Dialect
from stedi_assets.lakehouse.query import sql_of

TIMES = "_times"
"""The column that says how often a row counts."""


@dataclass(frozen=True, eq=False)
class Selection:
    """Rows that a SELECT gives.

    Attributes:
        text: The SELECT, with placeholders for where its rows come from; or the name of a table.
        sources: Where they come from, in the order of the placeholders' numbers.
        schema: Its columns.
        dialect: The SQL that it is written in.
        table: The table, if it is one.
    """

    text: str = field(repr=False)  # a rule may hold the key of the pseudonyms
    sources: tuple["Selection", ...] = field(repr=False)
    schema: ibis.Schema
    dialect: Dialect
    table: ir.Table | None = field(default=None, repr=False)

    @cached_property
    def digest(self) -> bytes:
        """Of its SQL, with all that it is made of: it is looked up often."""
        digest = sha256(self.text.encode("utf-8", "surrogatepass"))
        for source in self.sources:
            digest.update(source.digest)
        return digest.digest()

    def __hash__(self) -> int:
        """That of its SQL."""
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        """Whether the other has the same SQL."""
        return isinstance(other, Selection) and self.digest == other.digest

    @classmethod
    def of(cls, table: ir.Table, dialect: Dialect) -> "Selection":
        """The rows of a table that an engine has, or of an expression of such tables."""
        schema = table.schema()
        if isinstance(op := table.op(), ops.DatabaseTable):
            return cls(dialect.identifier(op.name), (), schema, dialect, table)
        return cls(sql_of(table, dialect.name), (), schema, dialect)

    def sql(self, dialect: str) -> str:
        """The whole SELECT; what is needed in several places is written once.

        Args:
            dialect: The one that it is written in.
        """
        assert dialect == self.dialect.name
        return _Writing(self).sql()

    def select(self, names: Iterable[str]) -> "Selection":
        """Some of its columns."""
        return self.renamed({name: name for name in names})

    def renamed(self, sources: Mapping[str, str]) -> "Selection":
        """Some of its columns, each under another name."""
        if [*sources.items()] == [(name, name) for name in self.schema]:
            return self
        columns = self._list(
            self._as(self._name(source), name) if name != source else self._name(name)
            for name, source in sources.items()
        )
        schema = ibis.schema({name: self.schema[source] for name, source in sources.items()})
        return self._on(f"SELECT {columns} FROM {self._source()}", schema)

    def with_columns(self, schema: ibis.Schema) -> "Selection":
        """Its rows with the columns of a schema, null where it has none."""
        columns = self._list(
            self._name(name) if name in self.schema else self._as(self.dialect.null(dtype), name)
            for name, dtype in schema.items()
        )
        return self._on(f"SELECT {columns} FROM {self._source()}", schema)

    def distinct(self) -> "Selection":
        """Its different rows."""
        return self._on(f"SELECT DISTINCT {self._columns} FROM {self._source()}")

    def without_nulls(self) -> "Selection":
        """Those of its rows that have a value in each column."""
        return self._where(" AND ".join(f"{name} IS NOT NULL" for name in self._names))

    def with_nulls(self) -> "Selection":
        """One of its rows that lacks a value, if there is such a row."""
        lacks = " OR ".join(f"{name} IS NULL" for name in self._names)
        return self._where(f"{lacks} LIMIT 1")

    def none(self) -> "Selection":
        """None of its rows, without looking for them."""
        columns = self._list(
            self._as(self.dialect.null(dtype), name) for name, dtype in self.schema.items()
        )
        return Selection(f"SELECT {columns} WHERE FALSE", (), self.schema, self.dialect)

    def matching(self, keys: "Selection", pairs: Mapping[str, str], *, nulls: bool) -> "Selection":
        """Its rows whose columns equal those of a key; with `nulls`, a null equals a null."""
        equals = self.dialect.same if nulls else "="
        names = [(self._name(column), self._name(key)) for column, key in pairs.items()]
        conditions = " AND ".join(f"r.{column} {equals} k.{key}" for column, key in names)
        tables = f"{self._source()} AS r {self.dialect.semi_join} {self._source(1)} AS k"
        return self._on(f"SELECT r.* FROM {tables} ON {conditions}", None, keys)

    def not_matching(self, keys: "Selection", pairs: Mapping[str, str]) -> "Selection":
        """Its rows whose columns equal those of no key."""
        names = [(self._name(column), self._name(key)) for column, key in pairs.items()]
        conditions = " AND ".join(f"r.{column} = k.{key}" for column, key in names)
        tables = f"{self._source()} AS r {self.dialect.anti_join} {self._source(1)} AS k"
        return self._on(f"SELECT r.* FROM {tables} ON {conditions}", None, keys)

    def minus(self, other: "Selection") -> "Selection":
        """Its different rows that another does not have."""
        return self._on(f"{self._select()} EXCEPT {self._select(1)}", None, other)

    def compared(self, other: "Selection") -> "Selection":
        """The rows that another has less or more often, each with the difference in `TIMES`.

        One pass over both; EXCEPT ALL would take two, each of which takes longer.
        """
        return self.counted(1).union(other.counted(-1)).summed(TIMES)

    def counted(self, times: int) -> "Selection":
        """Its rows, each with the same number in `TIMES`."""
        assert TIMES not in self.schema
        schema = ibis.schema({**self.schema, TIMES: "int64"})
        number = self._as(f"CAST({times} AS BIGINT)", TIMES)
        return self._on(f"SELECT {self._columns}, {number} FROM {self._source()}", schema)

    def repeated(self, *, negative: bool) -> "Selection":
        """The rows with a positive or a negative number in `TIMES`, each that many times."""
        names = [name for name in self.schema if name != TIMES]
        columns, number = self._list(map(self._name, names)), self._name(TIMES)
        times = self._as(self.dialect.repeat.format(f"ABS({number})"), TIMES)
        sign = "<" if negative else ">"
        rows = f"SELECT {columns}, {times} FROM {self._source()} WHERE {number} {sign} 0"
        schema = ibis.schema({name: self.schema[name] for name in names})
        return self._on(f"SELECT {columns} FROM ({rows}) AS r", schema)

    def union(self, *others: "Selection", distinct: bool = False) -> "Selection":
        """Its rows and those of others."""
        union = " UNION " if distinct else " UNION ALL "
        return self._on(union.join(map(self._select, range(len(others) + 1))), None, *others)

    def negative(self, name: str) -> "Selection":
        """Its rows, with a column as a negative number."""
        columns = self._list(
            self._as(f"-{self._name(column)}", column) if column == name else self._name(column)
            for column in self.schema
        )
        return self._on(f"SELECT {columns} FROM {self._source()}")

    def summed(self, name: str) -> "Selection":
        """The sums of a column that are not 0, by all other columns."""
        groups = [column for column in self.schema if column != name]
        total = self._as(f"CAST(SUM({self._name(name)}) AS BIGINT)", name)
        by = f" GROUP BY {self._list(map(self._name, groups))}" if groups else ""
        columns = self._list([*map(self._name, groups), total])
        schema = ibis.schema({column: self.schema[column] for column in groups} | {name: "int64"})
        sums = f"SELECT {columns} FROM {self._source()}{by}"
        return self._on(f"SELECT * FROM ({sums}) AS s WHERE {self._name(name)} <> 0", schema)

    def tells_apart(self, name: str) -> "Selection":
        """A row, if a column by itself tells most of its rows apart."""
        counts = f"COUNT(*) AS n, COUNT(DISTINCT {self._name(name)}) AS kinds"
        text = f"SELECT n FROM (SELECT {counts} FROM {self._source()}) AS c WHERE kinds * 2 >= n"
        return self._on(text, ibis.schema({"n": "int64"}))

    def _where(self, condition: str) -> "Selection":
        return self._on(f"SELECT * FROM {self._source()} WHERE {condition}")

    def _on(
        self, text: str, schema: ibis.Schema | None = None, *others: "Selection"
    ) -> "Selection":
        return Selection(text, (self, *others), schema or self.schema, self.dialect)

    def _select(self, number: int = 0) -> str:
        """Its columns of one of several sources, each with the same columns in any order."""
        return f"SELECT {self._columns} FROM {self._source(number)}"

    def _source(self, number: int = 0) -> str:
        return self._name(_placeholder(number))

    def _name(self, name: str) -> str:
        return self.dialect.identifier(name)

    def _as(self, value: str, name: str) -> str:
        return f"{value} AS {self._name(name)}"

    @property
    def _names(self) -> Iterable[str]:
        return map(self._name, self.schema)

    @property
    def _columns(self) -> str:
        return self._list(self._names)

    @staticmethod
    def _list(parts: Iterable[str]) -> str:
        return ", ".join(parts)


def union_of(selections: Sequence[Selection]) -> Selection | None:
    """The rows of all of them, repeated as often as they are there; None of no selections."""
    if len(selections) > 1:
        return selections[0].union(*selections[1:])
    return selections[0] if selections else None


def result(
    op: ops.Relation, sources: Mapping[ops.Relation, Selection], dialect: Dialect
) -> Selection:
    """The rows of an operation.

    Args:
        op: The operation.
        sources: What takes the place of each relation that it is made from (`sources_of`).
        dialect: The SQL to write.
    """
    if isinstance(op, ops.Union):  # by the names of the columns, which may be in any order
        return sources[op.left].union(sources[op.right], distinct=op.distinct)
    text = _compiled(op, dialect.name)
    return Selection(text, tuple(sources[each] for each in sources_of(op)), op.schema, dialect)


def sources_of(op: ops.Relation) -> list[ops.Relation]:
    """The relations that one is made from, each once; as the references that a join has to them."""
    found: dict[ops.Relation, None] = {}
    todo = list(op.__children__)
    while todo:
        child = todo.pop(0)
        if isinstance(child, ops.Relation):
            found[child] = None
        else:
            todo += child.__children__
    return list(found)


def referred(source: ops.Relation) -> ops.Relation:
    """The relation itself, where a join has a reference to it."""
    return source.parent if isinstance(source, ops.Reference) else source


@lru_cache(maxsize=2048)
def _compiled(op: ops.Relation, dialect: str) -> str:
    """The SQL of one operation, with placeholders for what it is made from."""
    names = {}
    for number, source in enumerate(sources_of(op)):
        table = ops.UnboundTable(_placeholder(number), schema=source.schema)
        is_reference = isinstance(source, ops.Reference)
        names[source] = source.copy(parent=table) if is_reference else table

    def with_names(node: ops.Node, _: object, **arguments: Any) -> ops.Node:
        return node.__recreate__(
            {
                name: names.get(value, value) if isinstance(value, ops.Relation) else value
                for name, value in arguments.items()
            }
        )

    # What is below its sources is of no interest.
    here = op.map(with_names, filter=lambda node: node is op or not isinstance(node, ops.Relation))
    return str(ibis.to_sql(here[op].to_expr(), dialect=dialect, pretty=False))


_TOKEN = uuid4().hex  # no text of a rule has it
_PLACEHOLDER = re.compile(rf'(["`])source_(\d+)_{_TOKEN}\1')


def _placeholder(number: int) -> str:
    return f"source_{number}_{_TOKEN}"


class _Writing:
    """Writes a selection and all that it is made of as one SELECT."""

    def __init__(self, selection: Selection) -> None:
        self._root = selection
        self._uses: Counter[Selection] = Counter()
        self._shared: dict[Selection, str] = {}

    def sql(self) -> str:
        order = [*self._from_below(self._root)]
        clauses: list[str] = []
        for selection in order:
            if self._uses[selection] > 1 and selection.table is None:
                name = f"shared_{len(clauses)}"
                clauses.append(f"{name} AS ({self._text(selection)})")
                self._shared[selection] = name
        text = self._text(self._root)
        return f"WITH {', '.join(clauses)} {text}" if clauses else text

    def _from_below(self, selection: Selection) -> Iterator[Selection]:
        for source in selection.sources:
            self._uses[source] += 1
            if self._uses[source] == 1:
                yield from self._from_below(source)
        yield selection

    def _text(self, selection: Selection) -> str:
        if selection.table is not None:
            return f"SELECT * FROM {selection.text}"
        return _PLACEHOLDER.sub(
            lambda match: self._source(selection.sources[int(match[2])]), selection.text
        )

    def _source(self, source: Selection) -> str:
        if source in self._shared:
            return self._shared[source]
        return source.text if source.table is not None else f"({self._text(source)})"
