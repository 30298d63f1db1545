"""What of a table breaks its contract, by pandera: counted, and said without the data."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, get_type_hints

import ibis
import ibis.expr.types as ir
import narwhals.stable.v1 as nw
import pandera.ibis as pa
import pyarrow as arrow
from pandera.config import set_config
from pandera.errors import SchemaError

from stedi_assets.lakehouse.query import Query
from stedi_assets.tables.contract import Contract, columns_of, exactly_one

# Without it pandera pulls every failing row into pandas.
set_config(use_narwhals_backend=True)


@cache
def schema_of(contract: type[Contract]) -> Any:
    """The schema of the pandera model that a contract describes."""
    fields = {
        name: pa.Field(nullable=field.nullable, unique=field.unique, **field.checks)
        for name, (_, field) in columns_of(contract).items()
    }
    config = type("Config", (), {"strict": True, "name": contract.Config.name})
    members: dict[str, Any] = {"__annotations__": get_type_hints(contract), "Config": config}
    if one_of := contract.Config.metadata.get("one_of"):
        members["one_of"] = _exactly_one(one_of)
    model: Any = type(contract.__name__, (pa.DataFrameModel,), fields | members)
    return model.to_schema()


def _exactly_one(columns: Sequence[str]) -> Any:
    """A check that one of two columns has a value, which says whose the row is."""
    first, second = columns

    def one_of(cls: object, rows: Any) -> Any:
        return rows.table[first].isnull() != rows.table[second].isnull()

    return pa.dataframe_check(name=exactly_one(columns))(classmethod(one_of))


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
    schema = schema_of(contract)
    if not fetch(Query(_AnyBroken(contract), {"table": table}))["broken"][0].as_py():
        schema = _beyond_single_columns(schema)
        if not (schema.columns or schema.checks):
            return {}
    try:
        schema.validate(table, lazy=True)
    except Exception:  # pandera cannot report checks of several kinds that fail together
        broken = [breach for part in _parts(schema) for breach in _breach(part, table)]
        return dict([*broken, *_repeated(schema, table)])
    return {}


@dataclass(frozen=True)
class _AnyBroken:
    """Whether any value by itself is not as the contract says.

    One query answers for all columns. Pandera runs one for each requirement, up to a dozen.
    """

    contract: type[Contract]

    def __call__(self, tables: Mapping[str, ir.Table]) -> ir.Table:
        frame, broken = nw.from_native(tables["table"]).lazy(), []
        for name, column in schema_of(self.contract).columns.items():
            value = nw.col(name)
            if not column.nullable:
                broken.append(value.is_null())
                if str(column.dtype) == "float64":
                    broken.append(value.is_nan())
            broken += [~check(frame, name).check_output for check in column.checks]
        # A check of an absent value gives null, which is no breach.
        return frame.select(broken=nw.any_horizontal(*broken, ignore_nulls=True).any()).to_native()


def _beyond_single_columns(schema: Any) -> Any:
    """The part of the contract that compares rows, or columns of a row, with each other."""
    unique = {name: column for name, column in schema.columns.items() if column.unique}
    columns = {name: pa.Column(nullable=True, unique=True) for name in unique}
    return pa.DataFrameSchema(columns, checks=schema.checks)


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


def _parts(schema: Any) -> Iterator[tuple[str, pa.DataFrameSchema]]:
    """The single requirements of the contract, each with its name."""
    for name, column in schema.columns.items():
        if not column.nullable:
            yield f"{name}: not null", pa.DataFrameSchema({name: pa.Column(nullable=False)})
        for check in column.checks:
            single = pa.Column(nullable=True, checks=[check])
            yield f"{name}: {check.error}", pa.DataFrameSchema({name: single})
    for check in schema.checks:
        yield check.name, pa.DataFrameSchema(checks=[check])


def _breach(part: tuple[str, pa.DataFrameSchema], table: ir.Table) -> Iterator[tuple[str, int]]:
    requirement, schema = part
    try:
        schema.validate(table)
    except SchemaError as error:
        yield requirement, error.failure_cases.count().execute()


def _repeated(schema: Any, table: ir.Table) -> Iterator[tuple[str, int]]:
    # Pandera counts a repeated value once; here each of its rows counts.
    for name, column in schema.columns.items():
        if column.unique:
            counts = table.group_by(name).agg(rows=table.count())
            if rows := counts.filter(counts.rows > 1).rows.sum().execute():
                yield f"{name}: unique", int(rows)
