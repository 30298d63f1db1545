"""What the machinery knows of a table."""

from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

SOURCE_FILE = "source_file"
"""Column of the landing tables and of `quarantine` that says which file a row came from."""

OWNER, PERSONAL = "stedi.owner", "stedi.personal-columns"
"""Properties of an Iceberg table: who answers for it, and its columns with personal data."""

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
        strict: Whether a value that is there must be right, though none need be there.
    """

    name: str
    type: str
    nullable: bool
    description: str
    personal: bool
    strict: bool


@dataclass(frozen=True)
class Table:
    """A table as its contract describes it.

    Attributes:
        owner: Who answers for it.
        one_of: Columns of which exactly one says whose a row is, where there is a choice.
        fingerprint: Changes with the rules of the contract.
    """

    name: str
    zone: Zone
    description: str
    owner: str
    columns: tuple[Column, ...]
    one_of: tuple[str, ...]
    fingerprint: str

    def location(self, root: str) -> str:
        """Where its files are in the lakehouse below `root`."""
        return f"{root}/warehouse/{self.zone}/{self.name}"

    @property
    def arrow_schema(self) -> pa.Schema:
        """Columns and types for Arrow and Parquet, descriptions included.

        All columns are optional there: DuckDB writes them so, and the contract says what may be
        null.
        """
        return pa.schema(
            pa.field(c.name, _ARROW[c.type], metadata={"doc": c.description}) for c in self.columns
        )

    @property
    def types(self) -> dict[str, str]:
        """Type of each column, as ibis names it."""
        return {c.name: c.type for c in self.columns}

    @property
    def personal_columns(self) -> tuple[str, ...]:
        """Names of the columns with personal data."""
        return tuple(c.name for c in self.columns if c.personal)
