"""Takes new landing files into the landing tables: each file once, one commit a source."""

import hashlib
import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import chain

import duckdb
from pyiceberg.exceptions import NoSuchTableError

from stedi_assets.lakehouse.catalog import Catalog, Snapshot, TableState
from stedi_assets.lakehouse.engine import Engine
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.reader import examine, parse
from stedi_assets.lakehouse.ledger import (
    LEDGER,
    Content,
    Entry,
    LandingFile,
    LandingFolder,
    Listing,
    read_ledger,
    write_ledger,
)
from stedi_assets.lakehouse.table import Table

_ROOT, _FINGERPRINT = "landing-root", "fingerprint"


class LandingFileError(LakehouseError):
    """A landing file cannot be taken in now; the message says which and what to do."""


@dataclass(frozen=True)
class Ingested:
    """What a refresh found in the landing folder of a source.

    Attributes:
        candidate: The landing table with the new files; nothing where there are none.
        entries: All files the table has taken in, with the candidate.
        new: The entries that the published table does not have.
        changed: Paths of files that changed after they were taken in.
        ignored: Number of files in the landing folder that are no landing files.
        other_root: The landing root whose files the table held until now, if another.
    """

    candidate: Snapshot | None
    entries: tuple[Entry, ...]
    new: tuple[Entry, ...]
    changed: tuple[str, ...]
    ignored: int
    other_root: str | None = None

    @property
    def taken(self) -> list[Entry]:
        """The new files that are no duplicates."""
        return [entry for entry in self.new if entry.duplicate_of is None]


@dataclass(frozen=True)
class Arrived:
    """What is in the landing folder of a source, next to what its landing table knows.

    Attributes:
        listing: What is there.
        taken: Number of files that the table holds.
        new: Files that are neither in the table nor in its candidate as they are.
        waiting: Files that the candidate on `audit` has and the table does not.
        replaced: Files that the table holds and that have another size or version now.
        candidate: What the waiting files are in.
        outdated: The candidate that lacks some of its files by now, and nothing is waiting in.
    """

    listing: Listing
    taken: int
    new: tuple[LandingFile, ...]
    waiting: tuple[LandingFile, ...]
    replaced: tuple[LandingFile, ...]
    candidate: Snapshot | None
    outdated: Snapshot | None


class Ledgers:
    """What the landing tables know of the landing files below one root."""

    def __init__(self, landing: LandingFolder, catalog: Catalog) -> None:
        """Compare those files with the tables of that catalog."""
        self._landing = landing
        self._catalog = catalog
        self._ledgers: dict[str, list[Entry]] = {}  # none ever changes

    def arrived(self, source: str, table: str) -> Arrived:
        """Compare a source's files with its landing table; neither is read or written."""
        # Listed first: what a refresh takes in meanwhile is known then.
        listing = self._landing.listing(source)
        state = self._catalog.find(table) if self._landing.storage.exists() else None
        known = {e.path: e for e in self._ledger(self._base(state) if state else None)}
        candidate = self._of_root(state.candidate) if state else None
        held = {_seen(e) for e in self._ledger(candidate) if e.path not in known}
        pending = [file for file in listing.files if file.path not in known]
        if not held.issubset(pending):
            held.clear()  # without one of its files, a refresh makes another candidate
        return Arrived(
            listing,
            len(known),
            tuple(file for file in pending if file not in held),
            tuple(file for file in pending if file in held),
            tuple(_touched(listing.files, known)),
            candidate if held else None,
            None if held else candidate,
        )

    def _base(self, state: TableState) -> Snapshot | None:
        return self._of_root(state.published)

    def _of_root(self, snapshot: Snapshot | None) -> Snapshot | None:
        return snapshot if snapshot and snapshot.properties[_ROOT] == self._landing.root else None

    def _ledger(self, snapshot: Snapshot | None) -> list[Entry]:
        if snapshot is None:
            return []
        path = snapshot.properties[LEDGER]
        if path not in self._ledgers:
            self._ledgers[path] = read_ledger(path, self._catalog.io)
        return self._ledgers[path]


class Ingest(Ledgers):
    """Ingests the landing files below one root into the tables of a catalog."""

    def __init__(
        self, landing: LandingFolder, catalog: Catalog, engine: Engine, quarantine: Table
    ) -> None:
        """Read there; what cannot be read goes to the table `quarantine`."""
        super().__init__(landing, catalog)
        self._engine = engine
        self._quarantine = quarantine
        self._landed_at = time.time_ns() // 1_000_000

    def stage(self, source: str, table: Table, run_id: str) -> Ingested:
        """Put the landing table with the source's new files on `audit`.

        Without new files nothing is written, but for an empty table where there is none yet. A
        landing table holds the files of one landing root: under another root it starts anew, and
        its older rows stay in its older snapshots.

        Raises:
            LandingFileError: A file changed while it was read, or the landing root changed to one
                without files of this source.
        """
        self._catalog.ensure(table)
        state = self._catalog.state(table.name)
        published = self._base(state)
        known = {entry.path: entry for entry in self._ledger(published)}
        listing = self._landing.listing(source)
        changed = self._changed(listing.files, known)
        new = [file for file in listing.files if file.path not in known]
        if not new and published:
            self._catalog.discard_candidate(table.name)
            return Ingested(None, tuple(known.values()), (), changed, listing.ignored)
        held = state.published
        if held and held.rows and not new:
            raise self._emptied(table.name, source, held)
        news = _News(source, table, new, known, published)
        candidate = state.candidate
        if candidate is None or candidate.properties.get(_FINGERPRINT) != news.fingerprint:
            try:
                candidate = self._read(news, run_id)
            except FileNotFoundError as error:
                raise _deleted(error.filename) from None
            except duckdb.Error:
                self._assert_unchanged(news)  # that would be why
                raise
        entries = tuple(self._ledger(candidate))
        fresh = tuple(entry for entry in entries if entry.path not in known)
        other_root = held.properties[_ROOT] if held and held.rows and not published else None
        return Ingested(candidate, entries, fresh, changed, listing.ignored, other_root)

    def has_news(self, source: str, table: str) -> bool:
        """Whether there are landing files that are new, or changed after they were taken in."""
        published = self._base(self._catalog.state(table))
        known = {entry.path: entry for entry in self._ledger(published)}
        listed = self._landing.listing(source).files
        return (
            published is None
            or any(file.path not in known for file in listed)
            or bool(self._changed(listed, known))
        )

    def stage_quarantine(self, landing_tables: Collection[str], run_id: str) -> Snapshot | None:
        """Put the rejects of all files the landing tables hold, or wait to hold, on `audit`."""
        self._catalog.ensure(self._quarantine)
        name = self._quarantine.name
        made_from = {table: self._current(table) for table in landing_tables}
        rejects = self._rejects(made_from.values())
        state = self._catalog.state(name)
        published, candidate = state.published, state.candidate
        if published and set(published.files) == rejects:
            self._catalog.discard_candidate(name)
            return None
        if candidate and set(candidate.files) == rejects:
            return candidate
        inputs = {f"input.{table}": str(state.id) for table, state in made_from.items() if state}
        return self._catalog.stage(name, rejects, {"run-id": run_id, **inputs})

    def quarantine_is_current(self, landing_tables: Collection[str]) -> bool:
        """Whether quarantine has the rejects of all files the landing tables hold."""
        published = self._catalog.published(self._quarantine.name)
        rejects = self._rejects(map(self._current, landing_tables))
        return published is not None and set(published.files) == rejects

    def _rejects(self, states: Iterable[Snapshot | None]) -> set[str]:
        return {entry.rejects for state in states for entry in self._ledger(state) if entry.rejects}

    def entries(self, table: str) -> list[Entry]:
        """Files that a landing table holds or, where a candidate waits, is to hold."""
        return self._ledger(self._current(table))

    def _current(self, table: str) -> Snapshot | None:
        try:
            state = self._catalog.state(table)
        except NoSuchTableError:  # quarantine alone, or one source alone, was asked for
            return None
        return state.candidate or self._base(state)

    def _changed(self, listed: Sequence[LandingFile], known: dict[str, Entry]) -> tuple[str, ...]:
        """Paths of known files with another content; files only touched are read to tell."""
        touched = [file.path for file in _touched(listed, known)]
        contents = self._landing.examine(touched)
        return tuple(
            path
            for path, content in zip(touched, contents, strict=True)
            if content.digest != known[path].digest
        )

    def _read(self, news: "_News", run_id: str) -> Snapshot:
        location = self._catalog.location(news.table.name)
        paths = [file.path for file in news.files]
        sizes = {file.path: file.size for file in news.files}
        examined = self._engine.spread(
            partial(examine, landing=self._landing), paths, list(sizes.values())
        )
        contents = {path: content for share in examined for path, content in share.items()}
        entries = news.entries(contents)
        unique = [(e.path, contents[e.path]) for e in entries if e.duplicate_of is None]
        work = partial(
            parse,
            landing=self._landing,
            source=news.source,
            table=news.table,
            quarantine=self._quarantine,
            folder=f"{location}/data",
            rejects=f"{self._catalog.location(self._quarantine.name)}/data",
            landed_at=self._landed_at,
            max_unreadable=None,
        )
        shares = self._engine.spread(work, unique, [sizes[path] for path, _ in unique])
        self._assert_unchanged(news)
        read = {path: (share, counts) for share in shares for path, counts in share.counts.items()}
        for i, entry in enumerate(entries):
            if entry.path in read:
                share, counts = read[entry.path]
                has_rejects = counts.quarantined and not counts.held_back
                rejects = share.rejects if has_rejects else None
                entries[i] = replace(entry, **asdict(counts), rejects=rejects)
        ledger = write_ledger(
            f"{location}/ledger", [*news.known.values(), *entries], self._catalog.io
        )
        rows = chain.from_iterable(share.rows for share in shares)
        files = [*(news.published.files if news.published else ()), *rows]
        properties = {
            "run-id": run_id,
            LEDGER: ledger,
            _ROOT: self._landing.root,
            _FINGERPRINT: news.fingerprint,
        }
        return self._catalog.stage(news.table.name, files, properties)

    def _emptied(self, table: str, source: str, held: Snapshot) -> LandingFileError:
        return LandingFileError(
            f"{table} holds files of {held.properties[_ROOT]}, and there are none in "
            f"{self._landing.folder(source)}. Set STEDI_LANDING back, or STEDI_LAKEHOUSE "
            "to a new folder."
        )

    def _assert_unchanged(self, news: "_News") -> None:
        now = {file.path: file for file in self._landing.listing(news.source).files}
        for file in news.files:
            if file.path not in now:
                raise _deleted(self._landing.location(file.path))
            if now[file.path] != file:
                raise LandingFileError(
                    f"{file.path} changed while it was read; nothing was taken in: refresh again "
                    "when it is complete (write it under a temporary name, then rename it)."
                )


def _seen(file: LandingFile | Entry) -> LandingFile:
    return LandingFile(file.path, file.size, file.version)


def _touched(listed: Iterable[LandingFile], known: Mapping[str, Entry]) -> list[LandingFile]:
    return [file for file in listed if file.path in known and file != _seen(known[file.path])]


def _deleted(location: str) -> LandingFileError:
    return LandingFileError(
        f"{location} was deleted while it was read; nothing was taken in: refresh again."
    )


@dataclass(frozen=True)
class _News:
    """New files of a source, on top of what its landing table holds."""

    source: str
    table: Table
    files: list[LandingFile]
    known: dict[str, Entry]
    published: Snapshot | None

    @property
    def fingerprint(self) -> str:
        """The same where a candidate would hold the same."""
        base = self.published.id if self.published else None
        made_from = [asdict(file) for file in self.files], base, self.table.fingerprint
        return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()

    def entries(self, contents: Mapping[str, Content]) -> list[Entry]:
        """Ledger entries of the files, those marked whose content is there already."""
        originals = {e.digest: e.path for e in self.known.values() if e.size and not e.duplicate_of}
        entries = []
        for file in self.files:
            digest = contents[file.path].digest
            original = originals.setdefault(digest, file.path) if file.size else file.path
            duplicate_of = original if original != file.path else None
            entries.append(Entry(**asdict(file), digest=digest, duplicate_of=duplicate_of))
        return entries
