"""Contracts: the one place that names a table's columns, types and personal data.

Everything else that needs a column list (landing reader, Iceberg schema, Dagster column schema,
docs/tables.md) derives it from the contract. So do the query that checks a table, see `breaches`,
and the pandera model that says what is wrong with it, see `pandera_model`.
"""

import hashlib
from abc import ABC
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import getdoc
from typing import Any, ClassVar, get_type_hints

from stedi_assets.lakehouse.table import Column, Table, Zone

OWNER = "team:data-platform"
"""Who answers for the tables."""

_TYPES = {str: "string", int: "int64", float: "float64"}
"""What ibis calls the types of columns."""


@dataclass(frozen=True)
class Field:
    """What a contract says of a column besides its type, see `Column` for the rest.

    Attributes:
        unit: Its unit.
        unique: Whether a value may be there once only.
        checks: What a value must be: checks of pandera, with what these take.
    """

    description: str
    unit: str | None
    personal: bool
    strict: bool
    is_time: bool
    zero_is_none: bool
    nullable: bool
    unique: bool
    checks: Mapping[str, Any]


class Contract(ABC):  # noqa: B024  (nobody makes an instance of it)
    """What every table has: exactly the columns of its contract.

    A contract is written as a model of pandera is: an annotation and a `Field` for each column.
    """

    class Config:
        name = ""
        metadata: ClassVar[dict[str, Any]] = {}


def columns_of(contract: type[Contract]) -> dict[str, tuple[str, Field]]:
    """The columns of a contract: the type of each, as ibis names it, and what else is said of it.

    Those of a contract that it is made from come first.
    """
    types = get_type_hints(contract)
    return {name: (_TYPES[type_], getattr(contract, name)) for name, type_ in types.items()}


def table_of(contract: type[Contract]) -> Table:
    """What the lakehouse needs to know of a table, as its contract says."""
    columns, metadata = columns_of(contract), contract.Config.metadata
    one_of = metadata.get("one_of", ())
    return Table(
        name=contract.Config.name,
        zone=Zone(metadata["zone"]),
        description=getdoc(contract) or "",
        owner=OWNER,
        columns=tuple(
            Column(
                name=name,
                type=type_,
                nullable=field.nullable,
                description=_description(field),
                personal=field.personal,
                strict=field.strict,
                is_time=field.is_time,
                zero_is_none=field.zero_is_none,
            )
            for name, (type_, field) in columns.items()
        ),
        one_of=one_of,
        person_of=metadata.get("person_of"),
        fingerprint=hashlib.sha256(repr((one_of, columns)).encode()).hexdigest(),
    )


def _description(field: Field) -> str:
    return f"{field.description} ({field.unit})" if field.unit else field.description


def unique_column(contract: type[Contract]) -> str | None:
    """The column of which each value is there once, if there is one."""
    return next((name for name, (_, field) in columns_of(contract).items() if field.unique), None)


def exactly_one(columns: Sequence[str]) -> str:
    """What `one_of` asks of a row, in words."""
    return f"{' or '.join(columns)} is there, never both"
