"""How an engine writes what the project puts together of SQL."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ibis.expr.datatypes as dt
from ibis.backends.sql import compilers


@dataclass(frozen=True)
class Dialect:
    """The SQL of an engine.

    Attributes:
        name: What ibis calls it.
        quote: Stands before and after a name.
        same: Compares two values, of which a null is the same as a null.
        semi_join: Keeps the rows of one table that match a row of another.
        anti_join: Keeps those that match none.
        repeat: Repeats a row as often as a positive number says.
    """

    name: str
    quote: str
    same: str
    semi_join: str
    anti_join: str
    repeat: str

    def identifier(self, name: str) -> str:
        """A name of SQL."""
        return f"{self.quote}{name.replace(self.quote, self.quote * 2)}{self.quote}"

    def held_columns(self, types: Mapping[str, dt.DataType]) -> str:
        """Columns as rows are held: whole numbers have 64 bits, whatever an engine made of them."""
        names = {column: self.identifier(column) for column in types}
        return ", ".join(
            f"CAST({name} AS BIGINT) AS {name}" if types[column].is_int64() else name
            for column, name in names.items()
        )

    def null(self, dtype: dt.DataType) -> str:
        """A null of a type."""
        return "NULL" if dtype.is_null() else f"CAST(NULL AS {self._types.to_string(dtype)})"

    @cached_property
    def _types(self) -> Any:
        return getattr(compilers, self.name).compiler.type_mapper


DUCKDB = Dialect(
    "duckdb", '"', "IS NOT DISTINCT FROM", "SEMI JOIN", "ANTI JOIN", "UNNEST(RANGE({}))"
)

# In words, Sail would compare each row of a join with each.
SPARK = Dialect(
    "pyspark", "`", "<=>", "LEFT SEMI JOIN", "LEFT ANTI JOIN", "EXPLODE(SEQUENCE(1, {}))"
)
