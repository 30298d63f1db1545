"""The derived change of an expression is what two computations of the whole differ by."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pytest
from ibis import _
from ibis.common.exceptions import IntegrityError

from stedi_assets.lakehouse.changes import derive
from stedi_assets.lakehouse.changes.change import Change, Rows, UnderivableError
from stedi_assets.lakehouse.changes.derive import Derivation
from stedi_assets.lakehouse.changes.workspace import Workspace
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine, backend_table
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.storage.local import LocalStorage

Expression = Callable[[ir.Table, ir.Table, ir.Table], ir.Table]
Row = tuple[str | None, int | None, float | None]

TYPES = {"name": "string", "time": "int64", "value": "float64"}


def _ranked(a: ir.Table, b: ir.Table, c: ir.Table) -> ir.Table:
    place = ibis.row_number().over(group_by=a.name, order_by=[a.time, a.value])
    return a.mutate(place=place).filter(ibis._.place == 0)


def _largest(a: ir.Table, b: ir.Table, c: ir.Table) -> ir.Table:
    return a.group_by("name").agg(most=a.value.max(), rows=a.count())


def _other_names(a: ir.Table, b: ir.Table) -> ir.Table:
    return a.left_join(b, "time").select(a.name, a.value, other=b.name)


def _through_a_third(a: ir.Table, b: ir.Table, c: ir.Table) -> ir.Table:
    pairs = a.join(b, "time").select("time", a.name, other=b.name)
    return pairs.join(c, [("other", "name")]).select("time", "name", "other", value=c.value)


def _computed_and_joined(a: ir.Table, b: ir.Table, c: ir.Table) -> ir.Table:
    joined = a.left_join(b, "name")
    whose = ibis.ifelse(joined.value > 1, joined.name_right, ibis.null("string"))
    named = a.select("time", whose="name")
    both = named.union(joined.select("time", whose=whose))
    return both.left_join(c.select("name", at="time"), [("whose", "name")])


def _not_among_groups(a: ir.Table, b: ir.Table, c: ir.Table) -> ir.Table:
    often = b.group_by("name").agg(rows=b.count()).filter(ibis._.rows > 1)
    return a.anti_join(often, "name")


def _after(a: ir.Table, b: ir.Table, c: ir.Table) -> ir.Table:
    return a.semi_join(b, [a.name == b.name, a.time >= b.time])


EXPRESSIONS: dict[str, Expression] = {
    "filter": lambda a, b, c: a.filter(a.value > 0).select("name", double=a.value * 2),
    "union": lambda a, b, c: a.union(b),
    "union of different rows": lambda a, b, c: a.select("name").distinct().union(b.select("name")),
    "distinct": lambda a, b, c: a.select("name", "time").distinct(),
    "group": _largest,
    "window": _ranked,
    "filled": lambda a, b, c: a.fill_null({"name": "none"}).join(b, "name"),
    "join": lambda a, b, c: a.join(b, "name"),
    "join on two columns": lambda a, b, c: a.join(b, ["name", "time"]),
    "left join": lambda a, b, c: a.left_join(b, "name"),
    "group of a left join": lambda a, b, c: (
        _other_names(a, b).group_by("other").agg(rows=_.count())
    ),
    "different rows of a left join": lambda a, b, c: _other_names(a, b).distinct(),
    "window over a left join": lambda a, b, c: _other_names(a, b).mutate(
        most=_.value.max().over(group_by=_.other)
    ),
    "left join of a left join": lambda a, b, c: (
        _other_names(a, b).left_join(c, [("other", "name")]).select("name", "other").distinct()
    ),
    "semi-join": lambda a, b, c: a.semi_join(b, "name"),
    "semi-join with a further condition": _after,
    "anti-join": lambda a, b, c: a.anti_join(b, "time"),
    "anti-join with groups": _not_among_groups,
    "joins of three": lambda a, b, c: a.join(b.select("time"), "time").left_join(c, "name"),
    "joins through a third table": _through_a_third,
    "joins on what is computed": _computed_and_joined,
    "groups of a join": lambda a, b, c: _largest(a.semi_join(b, "time"), b, c),
    "joins with two tables that change": lambda a, b, c: a.semi_join(b, "name").anti_join(
        c, [a.name == c.name, a.time == c.time]
    ),
    "left join through a left join": lambda a, b, c: a.left_join(
        b, "name", rname="b_{name}"
    ).left_join(c, b.time == c.time, rname="c_{name}"),
    "inner joins in a chain": lambda a, b, c: a.join(b, "name", rname="b_{name}").join(
        c, b.time == c.time, rname="c_{name}"
    ),
    "left join with two tables": lambda a, b, c: a.join(b, "name", rname="b_{name}").left_join(
        c, [a.name == c.name, b.value == c.value], rname="c_{name}"
    ),
    "unnested and joined": lambda a, b, c: (
        a.mutate(part=a.name.split("n").unnest()).semi_join(b, "time").select("time")
    ),
    "window that nobody needs": lambda a, b, c: (
        a.left_join(b, "time", rname="b_{name}")
        .select("time", who=ibis.coalesce(b.name, a.name))
        .mutate(place=ibis.row_number().over(group_by=_.who))
        .select("time")
    ),
    "one of several and joined": lambda a, b, c: (
        _ranked(a, b, c).anti_join(b, "name").left_join(c, "name").select("name", "value_right")
    ),
    "a table twice": lambda a, b, c: a.join(a.view(), "time"),
}


class Tables:
    """Three small tables before and after a random change."""

    def __init__(self, seed: int, folder: Path) -> None:
        self._random = random.Random(seed)
        self.engine = DuckDBEngine(LocalStorage(folder), threads=1)
        self.changes = {name: self._change(name) for name in "abc"}

    def _change(self, name: str) -> Change:
        old = [self._row() for _ in range(self._random.choice([0, 5, 12]))]
        removed = self._random.sample(old, min(len(old), self._random.choice([0, 0, 1, 3])))
        kept = list((Counter(old) - Counter(removed)).elements())
        added = [self._row() for _ in range(self._random.choice([0, 0, 1, 4]))]
        rows = Rows(self._table(f"{name}_added", added), self._table(f"{name}_removed", removed))
        stored = self._table(f"{name}_kept", kept) if self._random.random() < 0.5 else None
        whole = [self._table(f"{name}_{i}", kept + more) for i, more in enumerate((removed, added))]
        before, now = (table if table is not None else self._empty(name) for table in whole)
        return Change(before, now, rows, stored, rows if stored is not None else Rows())

    def _row(self) -> Row:
        choose = self._random.choice
        return choose(["ann", "bob", "cy", None]), choose([1, 2, 3, None]), choose([0.5, 2.0, None])

    def _table(self, name: str, rows: list[Row]) -> ir.Table | None:
        return self._stored(name, rows) if rows else None

    def _empty(self, name: str) -> ir.Table:
        return self._stored(f"{name}_empty", [])

    def _stored(self, name: str, rows: list[Row]) -> ir.Table:
        schema = pa.schema({"name": pa.string(), "time": pa.int64(), "value": pa.float64()})
        columns = [dict(zip(TYPES, row, strict=True)) for row in rows]
        connection = self.engine.backend.con
        connection.register("given", pa.Table.from_pylist(columns, schema))
        connection.execute(f"CREATE OR REPLACE TABLE {name} AS FROM given")
        return backend_table(name, TYPES, self.engine.backend)

    def give(self, name: str, old: list[Row], new: list[Row]) -> None:
        """Let a table have other rows before and after."""
        before, now = (self._stored(f"{name}_{i}", rows) for i, rows in enumerate((old, new)))
        added = self._table(f"{name}_added", list((Counter(new) - Counter(old)).elements()))
        removed = self._table(f"{name}_removed", list((Counter(old) - Counter(new)).elements()))
        self.changes[name] = Change(before, now, Rows(added, removed))

    def bag(self, rows: ir.Table | None) -> Counter[str]:
        if rows is None:
            return Counter()
        return Counter(map(repr, self.engine.fetch(Query.of(rows)).to_pylist()))


@pytest.fixture
def tables(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Tables]:
    yield (made := Tables(request.param, tmp_path))
    made.engine.backend.disconnect()


def unbound() -> list[ir.Table]:
    return [ibis.table(TYPES, name=name) for name in "abc"]


@pytest.mark.parametrize("tables", range(4), indirect=True)
@pytest.mark.parametrize("kind", EXPRESSIONS)
def test_change_is_what_two_computations_of_the_whole_differ_by(kind: str, tables: Tables) -> None:
    build = EXPRESSIONS[kind]
    old, new = (
        tables.bag(build(*(getattr(change, side) for change in tables.changes.values())))
        for side in ("old", "new")
    )
    rows = Derivation(build(*unbound()), tables.changes, Workspace(tables.engine)).rows()
    assert (tables.bag(rows.added), tables.bag(rows.removed)) == (new - old, old - new)


@pytest.mark.parametrize("tables", [0], indirect=True)
def test_row_that_lost_nothing_is_not_taken_for_one_that_has_no_other(tables: Tables) -> None:
    ann: Row = ("ann", 1, None)
    bob: Row = ("bob", 2, None)
    tables.give("a", [ann, bob], [bob])
    tables.give("b", [bob], [bob])
    expression = _other_names(*unbound()[:2]).group_by("other").agg(rows=_.count())
    rows = Derivation(expression, tables.changes, Workspace(tables.engine)).rows()
    assert rows.added is None
    assert tables.bag(rows.removed) == Counter([repr({"other": None, "rows": 1})])


@pytest.mark.parametrize("tables", [1], indirect=True)
def test_of_a_join_only_what_is_needed_of_all_is_looked_up(tables: Tables) -> None:
    """Of rows that tie, a rule may take any: looked up twice, the others' columns may differ."""
    ann: Row = ("ann", 1, 0.5)
    bob: Row = ("bob", 2, 0.5)
    tables.give("a", [ann, bob], [bob])
    tables.give("b", [bob], [ann])
    a, b = unbound()[:2]
    expression = a.anti_join(b, "name").filter(_.time > 0).select("name", "time")
    workspace = Workspace(tables.engine)
    rows = Derivation(expression, tables.changes, workspace).rows()
    assert tables.bag(rows.added) == Counter([repr({"name": "bob", "time": 2})])
    assert tables.bag(rows.removed) == Counter([repr({"name": "ann", "time": 1})])
    held = [each.table for each in workspace._held.values() if each]  # noqa: SLF001
    values = [each.value for each in held if each is not None and "value" in each.columns]
    assert values
    assert not any(each.count().to_pyarrow().as_py() for each in values)


@pytest.mark.parametrize("tables", [1], indirect=True)
@pytest.mark.parametrize(
    "build",
    [
        lambda a, b, c: a.agg(rows=a.count()),
        lambda a, b, c: a.mutate(mean=a.value.mean()),
        lambda a, b, c: a.join(b, a.time < b.time),
        lambda a, b, c: a.join(b, "name", how="outer"),
        lambda a, b, c: a.limit(1),
        lambda a, b, c: a.join(b, a.time < b.time, rname="b_{name}").left_join(
            c, [a.name == c.name, b.value == c.value], rname="c_{name}"
        ),
        lambda a, b, c: a.join(b, "name").select(
            "time", place=ibis.row_number().over(group_by="name")
        ),
    ],
)
def test_what_depends_on_all_rows_is_not_derived(build: Expression, tables: Tables) -> None:
    with pytest.raises(UnderivableError, match="cannot be derived"):
        Derivation(build(*unbound()), tables.changes, Workspace(tables.engine)).rows()


@pytest.mark.parametrize("tables", [1], indirect=True)
def test_what_ibis_refuses_is_not_derived(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> ir.Table:
        raise IntegrityError("Bob")

    monkeypatch.setattr(derive, "restrict", refuse)
    build = EXPRESSIONS["join"]
    with pytest.raises(UnderivableError, match="IntegrityError") as refused:
        Derivation(build(*unbound()), tables.changes, Workspace(tables.engine)).rows()
    assert "Bob" not in str(refused.value)


def test_what_a_run_held_is_let_go_whatever_came_of_it(tmp_path: Path) -> None:
    storage = LocalStorage(tmp_path)
    lakehouse = Lakehouse(storage, engine := DuckDBEngine(storage, threads=1))
    for number in (1, 2):  # names of what is held are given again
        with lakehouse.locked(warn=print):
            rows = ibis.range(number).unnest().name("n").as_table()
            held = lakehouse.workspace.hold(lakehouse.workspace.selection(rows))
            assert held is not None
            assert engine.fetch(held).num_rows == number
        assert "held" not in str(engine.backend.raw_sql("SHOW TABLES").fetchall())
