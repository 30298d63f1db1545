"""What has arrived in the landing folders, next to what the landing tables know."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.ledger import (
    ENDINGS,
    LEDGER,
    Entry,
    LandingFile,
    LandingFolder,
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
        held_back: Files left out of the table, for too much of them is unreadable.
        gone: Of the files that were held back, those that are not there any more.
    """

    listing: Listing
    taken: int
    new: tuple[LandingFile, ...]
    replaced: tuple[LandingFile, ...]
    held_back: tuple[Entry, ...]
    gone: tuple[Entry, ...]

    @property
    def has_news(self) -> bool:
        """Whether a refresh would find something to do with these files."""
        return bool(self.new or self.gone)


class Ledgers:
    """What the landing tables know of the landing files below one root."""

    def __init__(
        self, landing: LandingFolder, catalog: Catalog, limits: Mapping[str, float] | None = None
    ) -> None:
        """Compare those files with the tables of that catalog.

        Args:
            landing: The landing files.
            catalog: The landing tables.
            limits: Of each source, the share of a file's objects that may be unreadable before the
                file is held back; sources without a limit hold no file back.
        """
        self._landing = landing
        self._catalog = catalog
        self._limits = limits or {}
        self._ledgers: dict[str, list[Entry]] = {}  # none ever changes
        self._listings: dict[str, Listing] = {}

    def arrived(self, source: str, table: str) -> Arrived:
        """Compare a source's files with its landing table; neither is read or written."""
        # Listed first: what a refresh takes in meanwhile is known then.
        listing = self._listing(source)
        state = self._catalog.find(table) if self._landing.storage.exists() else None
        return self._compare(source, listing, self._base(state.published) if state else None)

    def assert_usable(self, sources: Mapping[str, str]) -> None:
        """Refuse a landing root that is mistyped or missing, before anything changes.

        And a catalog that cannot be read, which would be every table's trouble.

        Args:
            sources: The landing tables, each with the source whose files it holds.

        Raises:
            LakehouseError: A source has no landing file whose table holds files of another root,
                the catalog is not as it should be, or no landing folder can be listed.
        """
        self._catalog.assert_usable()
        self._assert_listed(sources.values())
        empty = {table: source for table, source in sources.items() if self._is_empty(source)}
        held = {table: root for table in empty if (root := self._root_of(table))}
        if held:
            tables, roots = ", ".join(held), ", ".join(sorted(set(held.values())))
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

    def lost(self, source: str, table: Table) -> list[Entry]:
        """Files that were taken in and have been removed since."""
        there = {file.path for file in self._listing(source).files}
        known = self._known(table)
        return [e for e in known if (e.rows or e.quarantined) and e.path not in there]

    def _known(self, table: Table) -> list[Entry]:
        """All that is known of a table's files, even if the catalog that knew it is gone."""
        try:
            ledger = self._ledger(self._catalog.published(table.name))
        except Exception:  # whatever is wrong with the catalog, the table or its ledger
            ledger = []
        return ledger or self._last_ledger(table.location(self._landing.storage.root))

    def _last_ledger(self, location: str) -> list[Entry]:
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
            except Exception as error:  # its own trouble, where another one can be listed
                faults.append(error)
            else:
                return
        raise faults[0]

    def _is_empty(self, source: str) -> bool:
        try:
            return not self._listing(source).files
        except Exception:  # it cannot be listed, which is its own trouble
            return False

    def _root_of(self, table: str) -> str | None:
        """The root of the files that a landing table holds, where it is known to be another."""
        try:
            published = self._catalog.published(table) if self._landing.storage.exists() else None
        except Exception:  # the table cannot be read, which is its own trouble
            return None
        root = published.properties[LANDING_ROOT] if published and published.rows else None
        return None if root == self._landing.root else root

    def _compare(self, source: str, listing: Listing, base: Snapshot | None) -> Arrived:
        known = {entry.path: entry for entry in self._ledger(base)}
        there = {file.path for file in listing.files}
        held = {path: entry for path, entry in known.items() if entry.held_back is not None}
        taken = {path: entry for path, entry in known.items() if path not in held}
        # Under a higher limit than the one that held it back, a file is tried again.
        limit = self._limits.get(source, 1.0)
        waiting = {_seen(e) for e in held.values() if limit <= (e.held_back or 0.0)}
        return Arrived(
            listing,
            len(taken),
            tuple(f for f in listing.files if f.path not in taken and f not in waiting),
            tuple(_touched(listing.files, taken)),
            tuple(held.values()),
            tuple(entry for entry in held.values() if entry.path not in there),
        )

    def _base(self, snapshot: Snapshot | None) -> Snapshot | None:
        """What new files can be added to: it holds files of this root, in the columns of today."""
        if snapshot is None or LANDED_AT not in snapshot.types:
            return None
        return snapshot if snapshot.properties[LANDING_ROOT] == self._landing.root else None

    def _ledger(self, snapshot: Snapshot | None) -> list[Entry]:
        if snapshot is None:
            return []
        path = snapshot.properties[LEDGER]
        if path not in self._ledgers:
            self._ledgers[path] = read_ledger(path, self._catalog.io)
        return self._ledgers[path]


def _seen(file: LandingFile | Entry) -> LandingFile:
    return LandingFile(file.path, file.size, file.version)


def _touched(listed: Iterable[LandingFile], known: Mapping[str, Entry]) -> list[LandingFile]:
    return [file for file in listed if file.path in known and file != _seen(known[file.path])]
