"""What of a contract is broken, requirement by requirement: by the pandera model that it is."""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, get_type_hints

import ibis.expr.types as ir
import pandera.ibis as pa
from pandera.config import set_config
from pandera.errors import SchemaError

from stedi_assets.tables.contract import Contract, columns_of, exactly_one

# Without it pandera pulls every failing row into pandas.
set_config(use_narwhals_backend=True)


def broken_requirements(contract: type[Contract], table: ir.Table) -> dict[str, int]:
    """The requirements of a contract that a table with its columns breaks, with their rows."""
    schema = _schema_of(contract)
    # One by one: pandera cannot report checks of several kinds that fail together.
    broken = [breach for part in _parts(schema) for breach in _breach(part, table)]
    return dict([*broken, *_repeated(schema, table)])


@cache
def _schema_of(contract: type[Contract]) -> Any:
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
