"""What has arrived in the landing folders, next to what the landing tables know."""

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.ledger import (
    ENDINGS,
    LEDGER,
    Entry,
    LandingFile,
    LandingFolder,
    LedgerReader,
    Listing,
    read_ledger,
)
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.table import LANDED_AT, Table

LANDING_ROOT = "landing-root"
"""What a snapshot of a landing table calls the root that its files lie below."""


@dataclass(frozen=True)
class Arrived:
    """What is in the landing folder of a source, next to what its landing table knows.

    Attributes:
        listing: What is there.
        taken: Number of files that the table has taken in.
        new: Files that the table does not know as they are.
        replaced: Files that the table holds and that have another size or version now.
        held_back: Files left out of the table because too much of them is unreadable.
        held_back_gone: Of the files that were held back, those that have been removed since.
    """

    listing: Listing
    taken: int
    new: tuple[LandingFile, ...]
    replaced: tuple[LandingFile, ...]
    held_back: tuple[Entry, ...]
    held_back_gone: tuple[Entry, ...]

    @property
    def changes_table(self) -> bool:
        """Whether the landing table would change; files that were replaced are only reported."""
        return bool(self.new or self.held_back_gone)


class Ledgers:
    """What the landing tables know of the landing files below one root."""

    def __init__(
        self, landing: LandingFolder, catalog: Catalog, limits: Mapping[str, float]
    ) -> None:
        """Compare landing files with the tables of a catalog.

        Args:
            landing: The landing files.
            catalog: The landing tables.
            limits: Of each source, the share of a file's objects that may be unreadable before the
                file is held back; sources without a limit hold no file back.
        """
        self._landing = landing
        self._catalog = catalog
        self._limits = limits
        self._ledgers: dict[str, list[Entry]] = {}  # by path; a ledger never changes
        self._listings: dict[str, Listing] = {}

    def arrived(self, source: str, table: str) -> Arrived:
        """Compare a source's files with its landing table; neither is read or written."""
        # List first: what a refresh takes in meanwhile is then in the ledger.
        listing = self._listing(source)
        state = self._catalog.find(table) if self._landing.storage.exists() else None
        return self._compare(source, listing, self._base(state.published) if state else None)

    def assert_usable(self, sources: Mapping[str, str]) -> None:
        """Refuse a landing root that is mistyped or missing, before anything changes.

        Also refuse a catalog that cannot be read.

        Args:
            sources: The landing tables, each with the source whose files it holds.

        Raises:
            LakehouseError: A source has no landing files, and its table has files of another root;
                the catalog cannot be used; or no landing folder can be listed.
        """
        self._catalog.assert_usable()
        self._assert_listed(sources.values())
        empty = {table: source for table, source in sources.items() if self._is_empty(source)}
        other_roots = {table: root for table in empty if (root := self._root_of(table))}
        if other_roots:
            tables, roots = ", ".join(other_roots), ", ".join(sorted(set(other_roots.values())))
            raise LakehouseError(
                f"{self._landing.root} has no landing files for {tables}, which hold files of "
                f"{roots}: nothing was changed. Set STEDI_LANDING back, or STEDI_LAKEHOUSE to a "
                "new folder."
            )

    def assert_not_empty(self, sources: Mapping[str, str]) -> None:
        """If there are no landing files at all, say where they were looked for.

        Raises:
            LakehouseError: No source has a landing file.
        """
        if all(map(self._is_empty, sources.values())):
            folders = ", ".join(map(self._landing.folder, sources.values()))
            raise LakehouseError(
                f"There are no landing files: looked for {', '.join(ENDINGS)} (also .gz) in "
                f"{folders}. Put some there, or set STEDI_LANDING to the folder that holds "
                f"{'/, '.join(sources.values())}/."
            )

    def entries(self, table: str) -> list[Entry]:
        """The ledger of what is published of a landing table; empty if there is none."""
        state = self._catalog.find(table) if self._landing.storage.exists() else None
        return self._ledger(self._base(state.published)) if state else []

    def refreshed_at(self, tables: Iterable[str]) -> set[int]:
        """When refreshes began that took in files, of the landing tables that can be read."""
        times = set[int]()
        for table in tables:
            with contextlib.suppress(Exception):  # whatever is wrong with it is reported elsewhere
                times.update(entry.landed_at for entry in self.entries(table))
        return times

    def removed(self, source: str, table: Table) -> list[Entry]:
        """Files that were taken in and have been removed since."""
        present = {file.path for file in self._listing(source).files}
        entries = self._newest_ledger(table)
        return [e for e in entries if (e.rows or e.quarantined) and e.path not in present]

    def _newest_ledger(self, table: Table) -> list[Entry]:
        """The newest ledger of a table that can be read, even if the catalog is lost."""
        try:
            ledger = self._ledger(self._catalog.published(table.name))
        except Exception:  # whatever is wrong with the catalog, the table or its ledger
            ledger = []
        return ledger or self._newest_in(table.location(self._landing.storage.root))

    def _newest_in(self, location: str) -> list[Entry]:
        """The newest ledger in a table's folder that can be read."""
        ledgers = self._landing.storage.files(f"{location}/{LEDGER}")
        for file in sorted(ledgers, key=lambda file: file.modified, reverse=True):
            try:
                return read_ledger(file.location, self._catalog.io)
            except LakehouseError:  # cut off; an older one may be whole
                continue
        return []

    def _listing(self, source: str) -> Listing:
        """What is in a source's landing folder; one refresh looks once."""
        if source not in self._listings:
            self._listings[source] = self._landing.listing(source)
        return self._listings[source]

    def _assert_listed(self, sources: Iterable[str]) -> None:
        faults = []
        for source in sources:
            try:
                self._listing(source)
            except Exception as error:  # this source's alone if another one can be listed
                faults.append(error)
            else:
                return
        raise faults[0]

    def _is_empty(self, source: str) -> bool:
        try:
            return not self._listing(source).files
        except Exception:  # it cannot be listed, which is reported elsewhere
            return False

    def _root_of(self, table: str) -> str | None:
        """The root of the files that a landing table holds, if it is known to be another one."""
        try:
            published = self._catalog.published(table) if self._landing.storage.exists() else None
        except Exception:  # the table cannot be read, which is reported elsewhere
            return None
        root = published.properties[LANDING_ROOT] if published and published.rows else None
        return None if root == self._landing.root else root

    def _compare(self, source: str, listing: Listing, base: Snapshot | None) -> Arrived:
        ledger = {entry.path: entry for entry in self._ledger(base)}
        present = {file.path for file in listing.files}
        held_back = {path: entry for path, entry in ledger.items() if entry.held_back is not None}
        ingested = {path: entry for path, entry in ledger.items() if path not in held_back}
        # Under a higher limit than the one that held it back, a file is tried again.
        limit = self._limits.get(source, 1.0)
        waiting = {_as_listed(e) for e in held_back.values() if limit <= (e.held_back or 0.0)}
        return Arrived(
            listing,
            len(ingested),
            tuple(f for f in listing.files if f.path not in ingested and f not in waiting),
            tuple(_touched(listing.files, ingested)),
            tuple(held_back.values()),
            tuple(entry for entry in held_back.values() if entry.path not in present),
        )

    def _base(self, snapshot: Snapshot | None) -> Snapshot | None:
        """The snapshot, if new files can be added: it has this root's files in today's columns."""
        if snapshot is None or LANDED_AT not in snapshot.types:
            return None
        return snapshot if snapshot.properties[LANDING_ROOT] == self._landing.root else None

    def _ledger(self, snapshot: Snapshot | None) -> list[Entry]:
        if snapshot is None:
            return []
        path = snapshot.properties[LEDGER]
        if path not in self._ledgers:
            self._ledgers[path] = self._ledger_reader.entries(path)
        return self._ledgers[path]

    @cached_property
    def _ledger_reader(self) -> LedgerReader:
        return LedgerReader(self._catalog.io)


def _as_listed(file: LandingFile | Entry) -> LandingFile:
    return LandingFile(file.path, file.size, file.version)


def _touched(listed: Iterable[LandingFile], known: Mapping[str, Entry]) -> list[LandingFile]:
    return [f for f in listed if f.path in known and f != _as_listed(known[f.path])]
