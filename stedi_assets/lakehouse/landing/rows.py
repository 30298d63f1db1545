"""Makes rows of a landing table from the objects that a scanner finds."""

from collections.abc import Iterable, Iterator
from typing import Any

from stedi_assets.lakehouse.landing.buffer import TextBuffer
from stedi_assets.lakehouse.landing.objects import repeated_key
from stedi_assets.lakehouse.landing.profile import Profiler
from stedi_assets.lakehouse.landing.scanner import ScannedObject, Scanner
from stedi_assets.lakehouse.landing.unreadable import Emails, Unreadable, join_persons
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
        self.profiler = Profiler(table, landed_at)

    def scanner(self, buffer: TextBuffer) -> Scanner:
        """A scanner of a landing file of the table."""
        return Scanner(buffer, self._known, self._emails)

    def of(self, items: Iterable[ScannedObject | Unreadable]) -> Iterator[Row | Unreadable]:
        """The row of each object, and each text that gives no row."""
        for item in items:
            yield item if isinstance(item, Unreadable) else self._row(item)

    def _row(self, scanned: ScannedObject) -> Row | Unreadable:
        try:
            row = self._to_row(self._fields(scanned))
        except NotReadableError as error:
            text = scanned.text.decode()
            return Unreadable(scanned.position, text, str(error), self._person(scanned, text))
        self.profiler.look_at(scanned.object.pairs)
        return row

    def _fields(self, scanned: ScannedObject) -> dict[str, Any]:
        if scanned.object.reason:
            raise NotReadableError(scanned.object.reason)
        fields = {key.lower(): value for key, value in scanned.object.pairs}
        if len(fields) < len(scanned.object.pairs):
            key = repeated_key(scanned.object.pairs)
            if key is not None:
                # An unknown key may itself be data.
                name = f"key {key}" if key in self._known else "a key"
                raise NotReadableError(f"{name} comes twice with different values")
        return fields

    def _person(self, scanned: ScannedObject, text: str) -> str | None:
        if self._emails is None:
            return None
        return join_persons(self._emails.of_object(scanned.object.pairs, text))
