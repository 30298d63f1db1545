"""Takes rows out of landing tables for good, and out of quarantine what could not be read."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.changes.change import Rows
from stedi_assets.lakehouse.faults import LakehouseError, damaged
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.ledger import LEDGER, Entry, read_ledger, write_ledger
from stedi_assets.lakehouse.names import FILE, located_in, view_name
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.state import ADDED, REMOVED, ROWS_SINCE, SAME_ROWS, Snapshot, TableState
from stedi_assets.lakehouse.table import SOURCE_FILE, Table

Goes = Callable[[ir.Table], ir.BooleanValue]
"""Says which rows of a landing table go, in a filter."""

Reject = dict[str, Any]
Instead = Callable[[Reject], Reject | None]
"""What takes the place of a row of quarantine: itself, where it stays; None where it goes."""

_OF_COMPACTION = {SAME_ROWS, ROWS_SINCE}
"""What a snapshot says that has the rows of another one."""


@dataclass(frozen=True)
class Taken:
    """What was, or would be, taken out of a landing table.

    Attributes:
        rows: How many rows.
        unreadable: How many rows of quarantine.
        entries: The ledger without them.
    """

    rows: int
    unreadable: int
    entries: list[Entry]


@dataclass(frozen=True)
class Expired:
    """What went of a source by age.

    Attributes:
        rows: Rows of its landing table.
        unreadable: Rows of quarantine.
        files: Landing files that were deleted.
        files_left: Landing files of which nothing is left, and that nobody permits to delete.
    """

    rows: int = 0
    unreadable: int = 0
    files: int = 0
    files_left: int = 0

    def __str__(self) -> str:
        """What went, in words."""
        left = f" ({self.files_left:,} more may not be deleted)" if self.files_left else ""
        return (
            f"{self.rows:,} rows, {self.unreadable:,} unreadable objects and "
            f"{self.files:,} landing files{left}"
        )


class Removal:
    """Publishes landing tables without some of their rows.

    Each table is published at once with its ledger, so that every object of every file stays
    accounted for.
    """

    def __init__(self, lakehouse: Lakehouse, run_id: str) -> None:
        """Take rows out of tables of a lakehouse, which is locked."""
        self._lakehouse = lakehouse
        self._run_id = run_id
        self._catalog = lakehouse.catalog
        self._engine = lakehouse.engine.immediate

    def take_out(  # noqa: PLR0913
        self,
        name: str,
        goes: Goes,
        instead: Instead,
        counted_as: str,
        *,
        mark: Callable[[ir.Table], ir.Table] = lambda rows: rows,
        dry_run: bool = False,
    ) -> Taken | None:
        """Publish a landing table without the rows that go.

        Args:
            name: The table.
            goes: Says which rows go.
            instead: Says what goes of its source in quarantine.
            counted_as: What the ledger counts them as, the name of a field of `Entry`.
            mark: Gives all rows what `goes` asks of them besides their columns.
            dry_run: Publish and write nothing.

        Returns:
            What went; None if there is no such table.
        """
        state = self._catalog.find(name)
        published = state.published if state else None
        if state is None or published is None or LEDGER not in published.properties:
            return None
        held = None
        if published.files:  # without any there is nothing to locate
            located = mark(self.located(name, published.files, published.types))
            held = self._engine.hold(Query.of(located.filter(goes(located))))
        gone = {} if held is None else count_by_file(held, self._lakehouse)
        ledger = read_ledger(published.properties[LEDGER], self._catalog.io)
        renamed, lost = self._rejects_without(instead, ledger, dry_run=dry_run)

        def left_of(entry: Entry) -> Entry:
            rows, unreadable = gone.get(entry.path, 0), lost[entry.path]
            return replace(
                entry,
                rows=entry.rows - rows,
                quarantined=entry.quarantined - unreadable,
                rejects=renamed.get(entry.rejects or "", entry.rejects),
                **{counted_as: getattr(entry, counted_as) + rows + unreadable},
            )

        entries = [left_of(entry) for entry in ledger]
        number = self._engine.held_rows(held)
        if not dry_run and (number or entries != ledger):
            files = list(published.files)
            if held is not None:
                files = self._files_without(held, located.filter(~goes(located)), published, state)
            says = {
                **{k: v for k, v in published.properties.items() if k not in _OF_COMPACTION},
                "run-id": self._run_id,
                LEDGER: write_ledger(f"{state.location}/{LEDGER}", entries, self._catalog.io),
                ADDED: "0",
                REMOVED: str(number),
                **({} if number else {SAME_ROWS: published.rows_id}),
            }
            removed = None if held is None else held.select(*published.types)
            self.publish(published, files, says, rows=published.rows - number, removed=removed)
        return Taken(number, lost.total(), entries)

    def _files_without(
        self, held: ir.Table, rest: ir.Table, published: Snapshot, state: TableState
    ) -> list[str]:
        """The files of a table with the rest alone: those that hold other rows are written anew."""
        touched = self._engine.fetch(Query.of(held.select(FILE).distinct()))[FILE].to_pylist()
        theirs = located_in(touched, published.files)
        columns = [column for column in state.types if column in published.types]
        rows = Query.of(rest.filter(rest[FILE].isin(touched)).select(*columns))
        return [
            *(file for file in published.files if file not in theirs),
            *self._engine.write(rows, f"{state.location}/data", state.field_ids),
        ]

    def publish(
        self,
        published: Snapshot,
        files: Collection[str],
        says: Mapping[str, str],
        rows: int | None,
        removed: ir.Table | None = None,
    ) -> None:
        """Publish a table with other files.

        Raises:
            LakehouseError: They do not have as many rows as they should; nothing was published.
        """
        candidate = self._catalog.stage(published.table, files, says)
        if candidate.rows != rows:
            self._catalog.drop_candidate(candidate)
            raise LakehouseError(
                f"{published.table} without what is to go would have {candidate.rows:,} rows and "
                f"not {rows:,}: what was published stays. Report this."
            )
        if removed is not None:  # few rows, where the files that they were in may have many
            self._lakehouse.remember(published, candidate, Rows(removed=removed))
        self._catalog.publish(candidate)

    def fill_quarantine(self, quarantine: Table, landing_tables: Collection[str]) -> None:
        """Let quarantine hold what the ledgers of the landing tables name."""
        state = self._catalog.find(quarantine.name)
        if state is None or state.published is None:
            return
        rejects = self._lakehouse.rejects(landing_tables, quarantine)
        if set(rejects.files) != set(state.published.files):
            says = {
                **{k: v for k, v in state.published.properties.items() if k not in _OF_COMPACTION},
                "run-id": self._run_id,
            }
            self.publish(state.published, rejects.files, says, rows=rejects.rows)

    def located(self, name: str, files: Collection[str], types: Mapping[str, str]) -> ir.Table:
        """Rows of a table's files, with the file of each."""
        return self._engine.open_located(view_name(f"{name}_all", uuid4().hex), list(files), types)

    def _rejects_without(
        self, instead: Instead, ledger: Iterable[Entry], *, dry_run: bool
    ) -> tuple[dict[str, str | None], Counter[str]]:
        """Files of quarantine that are written anew, and rows that went, by landing file."""
        renamed: dict[str, str | None] = {}
        lost = Counter[str]()
        for file in sorted({entry.rejects for entry in ledger if entry.rejects}):
            rows = read_rejects(file, self._lakehouse)
            new, gone = rewrite_rejects(file, rows, instead, self._lakehouse, dry_run=dry_run)
            if new != file:
                renamed[file] = new
            lost += gone
        return renamed, lost


def count_by_file(rows: ir.Table, lakehouse: Lakehouse) -> dict[str, int]:
    """How many of these rows each landing file has."""
    counts = rows.group_by(SOURCE_FILE).agg(rows=ibis._.count())
    found = lakehouse.engine.immediate.fetch(Query.of(counts)).to_pylist()
    return {row[SOURCE_FILE]: row["rows"] for row in found}


def read_rejects(file: str | None, lakehouse: Lakehouse) -> list[Reject]:
    """What a file of quarantine holds."""
    if file is None:
        return []
    with damaged(file), lakehouse.storage.io.new_input(file).open() as opened:
        rows: list[Reject] = pq.ParquetFile(opened).read().to_pylist()
    return rows


def rewrite_rejects(
    file: str | None,
    rows: list[Reject],
    instead: Instead,
    lakehouse: Lakehouse,
    *,
    dry_run: bool = False,
) -> tuple[str | None, Counter[str]]:
    """Write a file of quarantine anew without some of its rows; the old one stays.

    Args:
        file: The file.
        rows: What it holds.
        instead: What takes the place of each.
        lakehouse: Where it is.
        dry_run: Write nothing.

    Returns:
        The new file, the old one if all stays, or None if all goes; and how many rows of each
        landing file went.
    """
    after = [(row, instead(row)) for row in rows]
    lost = Counter(row[SOURCE_FILE] for row, new in after if new is None)
    kept = [new for _, new in after if new is not None]
    if kept == rows or dry_run:
        return file, lost
    if not kept or file is None:
        return None, lost
    new = f"{file.rpartition('/')[0]}/{uuid4().hex}.parquet"
    with lakehouse.storage.io.new_input(file).open() as opened:
        schema = pq.ParquetFile(opened).schema_arrow
    with lakehouse.storage.io.new_output(new).create() as target:
        pq.write_table(pa.Table.from_pylist(kept, schema), target)
    return new, lost
