"""Rows of a landing table, of the objects that a scanner finds."""

from collections.abc import Iterable, Iterator
from typing import Any

from stedi_assets.lakehouse.landing.objects import repeated_key
from stedi_assets.lakehouse.landing.scanner import Found, Scanner
from stedi_assets.lakehouse.landing.source import Source
from stedi_assets.lakehouse.landing.unreadable import Emails, Unreadable, named
from stedi_assets.lakehouse.landing.values import NotReadableError, read_columns, row_maker
from stedi_assets.lakehouse.table import Table

Row = tuple[Any, ...]


class Rows:
    """Makes rows in the order of a table's `read_columns`, with `person` behind them."""

    def __init__(self, table: Table, landed_at: int) -> None:
        """Make rows of `table` of what lands at `landed_at`, in epoch milliseconds."""
        self._emails = Emails(table.person_of) if table.person_of else None
        self._known = frozenset(column.name for column in read_columns(table))
        self._to_row = row_maker(table, landed_at)

    def scanner(self, source: Source) -> Scanner:
        """A scanner of a landing file of the table."""
        return Scanner(source, self._known, self._emails)

    def of(self, found: Iterable[Found | Unreadable]) -> Iterator[Row | Unreadable]:
        """The row of each object, and whatever gives none."""
        for each in found:
            yield each if isinstance(each, Unreadable) else self._row(each)

    def _row(self, found: Found) -> Row | Unreadable:
        try:
            return self._to_row(self._fields(found))
        except NotReadableError as error:
            text = found.text.decode()
            return Unreadable(found.position, text, str(error), self._person(found, text))

    def _fields(self, found: Found) -> dict[str, Any]:
        if found.object.reason:
            raise NotReadableError(found.object.reason)
        fields = {key.lower(): value for key, value in found.object.pairs}
        if len(fields) < len(found.object.pairs):
            key = repeated_key(found.object.pairs)
            if key is not None:
                # An unknown key may itself be data.
                name = f"key {key}" if key in self._known else "a key"
                raise NotReadableError(f"{name} comes twice with different values")
        return fields

    def _person(self, found: Found, text: str) -> str | None:
        return named(self._emails.of_object(found.object.pairs, text)) if self._emails else None


def read_objects(source: Source, table: Table, landed_at: int) -> Iterator[Row | Unreadable]:
    """Rows of a landing file and whatever gives no row, all by the scanner."""
    rows = Rows(table, landed_at)
    return rows.of(rows.scanner(source).scan())
