"""What the lakehouse knows of a table: columns, zone, owner."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

import pyarrow as pa

SOURCE_FILE = "source_file"
"""Column of the landing tables and of `quarantine` that says which file a row came from."""

LANDED_AT = "landed_at"
"""Column of the landing tables and of `quarantine` that says when the file was taken in."""

PERSON = "person"
"""Column of the landing tables and of `quarantine` with the one spelling of an e-mail."""

EARLIEST = 946_684_800_000
"""2000-01-01 in epoch milliseconds: nothing was registered or measured before."""

OWNER, PERSONAL = "stedi.owner", "stedi.personal-columns"
"""Properties of an Iceberg table: who answers for it, and its columns with personal data."""

REQUIRED = "stedi.required-columns"
"""Property of an Iceberg table: columns that its contract wants filled; of a snapshot: those of
them that are filled in all its rows."""

_FIELD_ID = "PARQUET:field_id"
"""What pyarrow calls the id of a column in the metadata of a field."""

_ARROW = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}


class Zone(StrEnum):
    """Zones, in the order data flows."""

    LANDING = "landing"
    TRUSTED = "trusted"
    CURATED = "curated"


@dataclass(frozen=True)
class Column:
    """A column: its type as ibis names it, its meaning with the unit.

    Attributes:
        personal: Whether it is personal data.
        strict: Whether a wrong value quarantines its object; an absent value may be right.
        is_time: Whether it is a time in epoch milliseconds, read from a landing file.
        zero_is_none: Whether 0 in a landing file says that no time was given.
        field_id: Its id in the Iceberg table; None if the table was not asked.
    """

    name: str
    type: str
    nullable: bool
    description: str
    personal: bool
    strict: bool
    is_time: bool = False
    zero_is_none: bool = False
    field_id: int | None = None


@dataclass(frozen=True)
class Table:
    """A table as its contract describes it.

    Attributes:
        owner: Who answers for it.
        one_of: Columns of which exactly one has a value, which says whose the row is.
        person_of: Column with the e-mail that `person` is made of, if there is one.
        fingerprint: Changes with the rules of the contract.
    """

    name: str
    zone: Zone
    description: str
    owner: str
    columns: tuple[Column, ...]
    one_of: tuple[str, ...]
    person_of: str | None
    fingerprint: str

    def location(self, root: str) -> str:
        """Where its files are in the lakehouse below `root`."""
        return f"{root}/warehouse/{self.zone}/{self.name}"

    @property
    def arrow_schema(self) -> pa.Schema:
        """Columns and types for Arrow and Parquet, with descriptions and field ids.

        All columns are optional there: DuckDB writes them so, and the contract says what may be
        null.
        """
        return pa.schema(
            pa.field(
                c.name,
                _ARROW[c.type],
                metadata={"doc": c.description}
                | ({} if c.field_id is None else {_FIELD_ID: str(c.field_id)}),
            )
            for c in self.columns
        )

    def numbered(self, field_ids: Mapping[str, int]) -> "Table":
        """The table with the ids that its columns have in the Iceberg table."""
        columns = tuple(replace(c, field_id=field_ids.get(c.name)) for c in self.columns)
        return replace(self, columns=columns)

    @property
    def field_ids(self) -> dict[str, int]:
        """Field id of each column, as far as they are known."""
        return {c.name: c.field_id for c in self.columns if c.field_id is not None}

    @property
    def required_columns(self) -> tuple[str, ...]:
        """Names of the columns that may not be null."""
        return tuple(c.name for c in self.columns if not c.nullable)

    @property
    def types(self) -> dict[str, str]:
        """Type of each column, as ibis names it."""
        return {c.name: c.type for c in self.columns}

    @property
    def personal_columns(self) -> tuple[str, ...]:
        """Names of the columns with personal data."""
        return tuple(c.name for c in self.columns if c.personal)
