"""SQL that is put together of parts gives the rows that it says."""

from collections.abc import Iterator
from pathlib import Path

import ibis
import pyarrow as pa
import pytest

from stedi_assets.lakehouse.changes.selection import Selection, result, sources_of
from stedi_assets.lakehouse.dialect import DUCKDB, SPARK
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine, backend_table
from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets_tests.lakehouse.changes.selections import (
    CASES,
    LEFT,
    RIGHT,
    TYPES,
    Row,
    in_order,
)


class Tables:
    """Tables of an engine in this process."""

    def __init__(self, folder: Path) -> None:
        self.engine = DuckDBEngine(LocalStorage(folder), threads=1)

    def of(self, name: str, rows: list[Row], types: dict[str, str]) -> Selection:
        backend = self.engine.backend
        columns = [pa.array([row[i] for row in rows]) for i in range(len(types))]
        backend.con.register(name, pa.table(columns, names=list(types)))
        return Selection.of(backend_table(name, types, backend), DUCKDB)

    def rows(self, selection: Selection) -> list[Row]:
        found = self.engine.fetch(selection).to_pylist()
        return in_order([tuple(row.values()) for row in found])


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    yield (made := Tables(tmp_path))
    made.engine.backend.disconnect()


@pytest.mark.parametrize("name", CASES)
def test_operation_gives_its_rows(name: str, tables: Tables) -> None:
    build, expected = CASES[name]
    selection = build(tables.of("a", LEFT, TYPES), tables.of("b", RIGHT, TYPES))
    assert tables.rows(selection) == in_order(expected)


def test_what_is_needed_in_several_places_is_written_once(tables: Tables) -> None:
    build, _ = CASES["needed in several places"]
    sql = build(tables.of("a", LEFT, TYPES), tables.of("b", RIGHT, TYPES)).sql("duckdb")
    assert sql.count("SEMI JOIN") == 1


def test_selections_with_the_same_sql_are_the_same(tables: Tables) -> None:
    table = tables.of("a", LEFT, TYPES)
    assert table.distinct() == table.distinct() != table.without_nulls()
    assert len({table.distinct(), table.distinct(), table}) == 2


def test_operation_is_computed_on_what_takes_the_place_of_its_sources(tables: Tables) -> None:
    left, right = (ibis.table(TYPES, name=name) for name in ("left", "right"))
    joined = left.join(right, "name").select("name", more=left.number + right.number).op()
    while type(joined).__name__ != "JoinChain":
        joined = joined.parent
    given = {"left": tables.of("a", LEFT, TYPES), "right": tables.of("b", RIGHT, TYPES)}
    sources = {source: given[source.parent.name] for source in sources_of(joined)}
    assert tables.rows(result(joined, sources, DUCKDB)) == [("ann", 2), ("ann", 2)]


def test_many_parts_are_put_together_and_compared_at_once(tables: Tables) -> None:
    table = tables.of("a", LEFT, TYPES)
    assert len(tables.rows(table.union(*[table] * 999))) == 1_000 * len(LEFT)
    deep, as_deep = table, table
    for _ in range(40):  # each has the one before twice
        deep, as_deep = deep.union(deep, distinct=True), as_deep.union(as_deep, distinct=True)
    assert deep == as_deep
    assert len(tables.rows(deep)) == 4


def test_what_is_printed_of_a_selection_has_no_sql(tables: Tables) -> None:
    assert "SELECT" not in repr(tables.of("a", LEFT, TYPES).distinct())


@pytest.mark.parametrize("name", ['it"s', "it`s", "source_0", "shared_0", "r"])
def test_column_may_have_any_name(name: str, tables: Tables) -> None:
    table = tables.of("a", [(1,), (None,)], {name: "int64"})
    assert tables.rows(table.matching(table, {name: name}, nulls=False)) == [(1,)]
    assert tables.rows(table.union(table).summed(name)) == [(2,)]


def test_each_dialect_quotes_names_its_own_way() -> None:
    assert DUCKDB.identifier('a"b`') == '"a""b`"'
    assert SPARK.identifier('a"b`') == '`a"b```'
