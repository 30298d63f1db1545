"""What of a table breaks its contract: counted, and said without the data.

One query tells whether anything does. Only where something does, pandera says what, requirement by
requirement: it takes longer to import than most refreshes take to check their rows.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import ibis
import ibis.expr.types as ir
import pyarrow as arrow

from stedi_assets.lakehouse.query import Query
from stedi_assets.tables.contract import Contract, columns_of

_IS_FULFILLED: Mapping[str, Callable[..., ir.BooleanValue]] = {
    "ge": lambda value, least: value >= least,
    "in_range": lambda value, limits: value.between(limits["min_value"], limits["max_value"]),
    "isin": lambda value, allowed: value.isin(allowed),
    "str_length": lambda value, limits: value.length().between(
        limits["min_value"], limits.get("max_value", value.length())
    ),
}
"""The checks of pandera that contracts use, as expressions of ibis."""


def breaches(
    contract: type[Contract], table: ir.Table, fetch: Callable[[Query], arrow.Table]
) -> dict[str, int]:
    """Requirements of the contract that a table breaks, with their rows (0: the schema itself).

    No value of the table is in the answer, so it can be shown to anybody.

    Args:
        contract: The contract.
        table: The table.
        fetch: Executes a query, see `Engine.fetch`.
    """
    if wrong := column_breaches(contract, table.schema()):
        return wrong
    if not fetch(Query(_AnyBroken(contract), {"table": table}))["broken"][0].as_py():
        return {}
    from stedi_assets.tables.pandera_model import broken_requirements  # noqa: PLC0415

    # Fails closed should the two ever disagree.
    return broken_requirements(contract, table) or {"pandera finds none of it broken": 0}


@dataclass(frozen=True)
class _AnyBroken:
    """Whether any row breaks the contract."""

    contract: type[Contract]

    def __call__(self, tables: Mapping[str, ir.Table]) -> ir.Table:
        table = tables["table"]
        # A check of an absent value gives null, which is no breach.
        broken = ibis.or_(*_breaks(self.contract, table)).any()
        unique = [name for name, (_, field) in columns_of(self.contract).items() if field.unique]
        repeated = [table[name].nunique() < table[name].count() for name in unique]
        return table.aggregate(broken=ibis.or_(broken, *repeated))


def _breaks(contract: type[Contract], table: ir.Table) -> Iterator[ir.BooleanValue]:
    """For each requirement of single rows, whether a row breaks it."""
    for name, (type_, field) in columns_of(contract).items():
        value = table[name]
        if not field.nullable:
            yield value.isnull()
            if type_ == "float64":
                yield value.isnan()
        for check, argument in field.checks.items():
            yield ~_IS_FULFILLED[check](value, argument)
    if one_of := contract.Config.metadata.get("one_of"):
        first, second = (table[name].isnull() for name in one_of)
        yield first == second


def column_breaches(contract: type[Contract], columns: ibis.Schema) -> dict[str, int]:
    """The part of `breaches` that reads no row: columns missing, unknown or of another type."""
    actual = {name: str(dtype) for name, dtype in columns.items()}
    expected = {name: type_ for name, (type_, _) in columns_of(contract).items()}
    missing = [f"{name}: column is missing" for name in expected if name not in actual]
    unknown = [f"{name}: column is not in the contract" for name in actual if name not in expected]
    mistyped = [
        f"{name}: is {actual[name]} instead of {dtype}"
        for name, dtype in expected.items()
        if actual.get(name, dtype) != dtype
    ]
    return dict.fromkeys((*missing, *unknown, *mistyped), 0)
