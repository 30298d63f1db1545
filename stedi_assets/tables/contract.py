"""Contracts: the one place that names a table's columns, types and personal data.

Everything else that needs a column list (landing reader, Iceberg schema, Dagster column schema,
docs/tables.md) derives it from the contract.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from inspect import getdoc
from typing import Any, ClassVar

import ibis
import ibis.expr.types as ir
import narwhals.stable.v1 as nw
import pandera.ibis as pa
import pyarrow as arrow
from pandera.config import set_config
from pandera.errors import SchemaError

from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.table import Column, Table, Zone

# Without it pandera pulls every failing row into pandas.
set_config(use_narwhals_backend=True)

OWNER = "team:data-platform"
"""Who answers for the tables."""


class Contract(pa.DataFrameModel):
    """What every table has: exactly the columns of its contract."""

    class Config:
        strict = True
        metadata: ClassVar[dict[str, Any]] = {}


def table_of(contract: type[Contract]) -> Table:
    """What the lakehouse needs to know of a table, as its contract says."""
    schema = contract.to_schema()
    metadata = contract.Config.metadata
    return Table(
        name=str(schema.name),
        zone=Zone(metadata["zone"]),
        description=getdoc(contract) or "",
        owner=OWNER,
        columns=tuple(
            Column(
                name=name,
                type=str(column.dtype),
                nullable=column.nullable,
                description=_description(column),
                personal=column.metadata["personal"],
                strict=column.metadata["strict"],
                is_time=column.metadata["is_time"],
                zero_is_none=column.metadata["zero_is_none"],
            )
            for name, column in schema.columns.items()
        ),
        one_of=metadata.get("one_of", ()),
        person_of=metadata.get("person_of"),
        fingerprint=hashlib.sha256(repr(_identity(schema)).encode()).hexdigest(),
    )


def _description(column: Any) -> str:
    unit = column.metadata["unit"]
    return f"{column.description} ({unit})" if unit else str(column.description)


def _identity(schema: Any) -> list[object]:
    columns = [
        (
            name,
            str(c.dtype),
            c.nullable,
            c.unique,
            c.description,
            c.metadata,
            list(map(str, c.checks)),
        )
        for name, c in schema.columns.items()
    ]
    return [schema.strict, [str(check) for check in schema.checks], columns]


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
    schema = contract.to_schema()
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
        for name, column in self.contract.to_schema().columns.items():
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
    schema = contract.to_schema()
    actual = {name: str(dtype) for name, dtype in columns.items()}
    expected = {name: str(column.dtype) for name, column in schema.columns.items()}
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
