"""What the operations of a selection give, whatever engine executes them."""

from collections.abc import Callable

import ibis

from stedi_assets.lakehouse.changes.selection import Selection, union_of

Row = tuple[str | int | None, ...]

TYPES = {"name": "string", "number": "int64"}

LEFT: list[Row] = [("ann", 1), ("ann", 1), ("bob", 2), (None, 3), ("cy", None)]
RIGHT: list[Row] = [("ann", 1), (None, 3), ("dee", 4)]

CASES: dict[str, tuple[Callable[[Selection, Selection], Selection], list[Row]]] = {
    "select": (lambda left, _: left.select(["number"]), [(1,), (1,), (2,), (3,), (None,)]),
    "renamed": (
        lambda left, _: left.renamed({"number": "number", "who": "name"}).select(["who"]),
        [("ann",), ("ann",), ("bob",), (None,), ("cy",)],
    ),
    "with columns": (
        lambda _, right: right.select(["number"]).with_columns(ibis.schema(TYPES)),
        [(None, 1), (None, 3), (None, 4)],
    ),
    "none, with a column without a type": (
        lambda left, _: left.with_columns(ibis.schema({**TYPES, "x": "null"})).none().select(TYPES),
        [],
    ),
    "distinct": (lambda left, _: left.distinct(), [*LEFT[1:]]),
    "without nulls": (lambda left, _: left.without_nulls(), LEFT[:3]),
    "with nulls": (lambda left, _: left.select(["name"]).with_nulls(), [(None,)]),
    "with no nulls": (lambda left, _: left.without_nulls().with_nulls(), []),
    "none": (lambda left, _: left.none(), []),
    "matching": (
        lambda left, right: left.matching(right, {"name": "name"}, nulls=False),
        [("ann", 1), ("ann", 1)],
    ),
    "matching nulls": (
        lambda left, right: left.matching(right, {"name": "name"}, nulls=True),
        [("ann", 1), ("ann", 1), (None, 3)],
    ),
    "matching other names": (
        lambda left, right: left.matching(
            right.renamed({"n": "number", "who": "name"}),
            {"name": "who", "number": "n"},
            nulls=True,
        ),
        [("ann", 1), ("ann", 1), (None, 3)],
    ),
    "more often": (
        lambda left, right: left.union(left).compared(right).repeated(negative=False),
        [*[("ann", 1)] * 3, *[("bob", 2), ("cy", None)] * 2, (None, 3)],
    ),
    "less often": (
        lambda left, right: left.compared(right.union(right, right)).repeated(negative=True),
        [("ann", 1), *[(None, 3)] * 2, *[("dee", 4)] * 3],
    ),
    "as often, in another order of columns": (
        lambda left, _: left.compared(left.select(["number", "name"])).repeated(negative=False),
        [],
    ),
    "minus all like them": (
        lambda left, right: left.minus(right),
        [("bob", 2), ("cy", None)],
    ),
    "union": (lambda left, right: left.union(right), [*LEFT, *RIGHT]),
    "union by name": (
        lambda left, right: left.union(right.select(["number", "name"])),
        [*LEFT, *RIGHT],
    ),
    "union of different rows": (
        lambda left, right: left.union(right, distinct=True),
        [*LEFT[1:], ("dee", 4)],
    ),
    "negative": (
        lambda _, right: right.negative("number"),
        [("ann", -1), (None, -3), ("dee", -4)],
    ),
    "summed": (
        lambda left, right: left.union(right.negative("number")).summed("number"),
        [("ann", 1), ("bob", 2), ("dee", -4)],
    ),
    "summed without groups": (lambda left, _: left.select(["number"]).summed("number"), [(7,)]),
    "tells apart": (lambda left, _: left.tells_apart("number"), [(5,)]),
    "tells few apart": (
        lambda left, right: left.union(left).union(right).tells_apart("number"),
        [],
    ),
    "needed in several places": (
        lambda left, right: _three_times(
            left.distinct().matching(right, {"name": "name"}, nulls=False)
        ),
        [("ann", 1)] * 3,
    ),
}
"""By name, what to make of the two tables, and the rows that it has."""


def _three_times(rows: Selection) -> Selection:
    together = union_of([rows] * 3)
    assert together is not None
    return together


def in_order(rows: list[Row]) -> list[Row]:
    """Rows in an order of their own, as engines give them in any."""
    return sorted(rows, key=repr)
