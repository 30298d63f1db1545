"""No rule, check or account can leave the whole numbers of 64 bits.

Sail does not fail where one does, but goes on with a wrong number.
"""

from collections.abc import Iterator
from functools import cache
from itertools import product
from typing import Any

import ibis
import ibis.expr.operations as ops
import pytest

from stedi_assets.tables import TABLES
from stedi_assets.tables.definition import apply
from stedi_assets.tables.policy import Policy
from stedi_assets_tests.support import KEY

MOST_ROWS = 2**52
"""More rows, and sums of counts of them, than any lakehouse can have."""

MOST_TIME = 2**43
"""A time is at most a day after its file landed: this is the year 2248."""

TIMES = {"timestamp", "sensorreadingtime", "landed_at", "matched_at"}
COUNTS = {"matched", "readings", "times", "position", "people", "records"}

POLICIES = [
    Policy(scope, pseudonymize, times, lambda: KEY)  # type: ignore[arg-type]
    for scope, pseudonymize, times in product(
        ("any", "from_consent_date"), (True, False), ("exact", "shifted")
    )
]


COUNTED = ops.CountStar, ops.Count, ops.CountDistinct, ops.CountDistinctStar


@cache
def largest(value: ops.Value) -> float:  # noqa: PLR0911  (one for each operation)
    """The largest absolute value that a number can have."""
    if is_count(value):
        return MOST_ROWS
    match value:
        case ops.Literal():
            return float(abs(value.value))
        case ops.Field():
            sources = list(sources_of(value))
            return max(map(largest, sources)) if sources else MOST_TIME
        case ops.Add() | ops.Subtract():
            return largest(value.left) + largest(value.right)
        case ops.Multiply():
            return largest(value.left) * largest(value.right)
        case ops.Negate() | ops.Cast() | ops.Min() | ops.Max():
            return largest(value.arg)
        case ops.StringFind(ops.Literal()):
            return len(value.arg.value)
    raise AssertionError(f"say how large {type(value).__name__} can be")


@cache
def is_count(value: ops.Value) -> bool:  # noqa: PLR0911  (one for each operation)
    """Whether a number counts rows; the sum of such numbers does so, too."""
    match value:
        case ops.Field(ops.UnboundTable()):
            is_time = value.name in TIMES or value.name.endswith("date")
            assert is_time or value.name in COUNTS, f"say how large {value.name} can be"
            return not is_time
        case ops.Field():
            return all(map(is_count, sources_of(value)))
        case ops.Sum():
            assert value.arg.dtype.is_boolean() or is_count(value.arg), "it can be any number"
            return True
        case ops.Literal():
            return value.value in (0, 1)
        case ops.Negate() | ops.Min() | ops.Max():
            return is_count(value.arg)
        case ops.Coalesce():
            return all(map(is_count, value.arg))
        case ops.Subtract():
            return is_count(value.left) and is_count(value.right)
    return isinstance(value, COUNTED)


def sources_of(field: ops.Field) -> Iterator[ops.Value]:
    """What a column of a relation is computed from; nothing if it is one of a table."""
    rel, name = field.rel, field.name
    if isinstance(rel, ops.Union):
        yield from (ops.Field(side, name) for side in (rel.left, rel.right))
    elif isinstance(rel, ops.UnboundTable):
        return
    elif rel.values.get(name, field) != field:
        yield rel.values[name]
    else:
        yield ops.Field(rel.parent, name)


def sums_and_products(expression: ibis.Expr) -> set[ops.Value]:
    kinds = (ops.Add, ops.Subtract, ops.Multiply, ops.Negate, ops.Sum, ops.Cast)
    others = expression.op().find(ops.NumericBinary, filter=None)
    assert all(isinstance(op, (*kinds, ops.Divide)) for op in others), "say how large these can be"
    found = expression.op().find(kinds)
    return {op for op in found if op.dtype.is_integer()}


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_whole_number_grows_beyond_64_bits(table: Any, policy: Policy) -> None:
    tables = {each.name: ibis.table(each.table(policy).types, name=each.name) for each in TABLES}
    functions = table.rule, table.consent, table.serial_numbers, table.account
    for function in filter(None, functions):
        for number in sums_and_products(apply(function, tables, policy)):
            assert largest(number) < 2**63, number


def test_sum_of_times_would_be_found() -> None:
    readings = ibis.table({"timestamp": "int64"}, name="readings")
    [total] = sums_and_products(readings.agg(total=readings.timestamp.sum()))
    with pytest.raises(AssertionError):
        largest(total)


def test_product_that_is_too_large_would_be_found() -> None:
    readings = ibis.table({"timestamp": "int64"}, name="readings")
    [squared] = sums_and_products(readings.select(squared=readings.timestamp * readings.timestamp))
    assert largest(squared) > 2**63
