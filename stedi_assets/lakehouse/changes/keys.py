"""Values that rows are looked up by."""

from collections.abc import Mapping
from dataclasses import dataclass

from stedi_assets.lakehouse.changes.selection import Selection

Columns = Mapping[str, str]
"""Columns of a relation, each with the column of the keys that it has to equal."""


@dataclass(frozen=True)
class Keys:
    """Values that rows may have.

    Attributes:
        values: The values.
        have_nulls: Whether a null is one of them, which then equals a null.
    """

    values: Selection
    have_nulls: bool = False

    def matched(self, rows: Selection, columns: Columns) -> Selection:
        """The rows whose columns have values that are among the keys."""
        return rows.matching(self.values, columns, nulls=self.have_nulls)

    def unmatched(self, rows: Selection, columns: Columns) -> Selection:
        """The rows whose columns have no values that are among the keys, none of which is null.

        With those `matched`, these are all rows.
        """
        assert not self.have_nulls
        return rows.not_matching(self.values, columns)
