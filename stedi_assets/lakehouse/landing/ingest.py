"""Takes new landing files into the landing tables: each file once, one commit a source."""

import hashlib
import json
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from itertools import chain
from typing import Any

import ibis

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.engine import Engine
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.arrivals import LANDING_ROOT, Arrived, Ledgers
from stedi_assets.lakehouse.landing.ledger import (
    LEDGER,
    Content,
    Entry,
    LandingFileError,
    LandingFolder,
    Listing,
    deleted,
    write_ledger,
)
from stedi_assets.lakehouse.landing.parquet import without
from stedi_assets.lakehouse.landing.reader import Parsed, examine, parse
from stedi_assets.lakehouse.landing.rejects import Rejects, find_rejects
from stedi_assets.lakehouse.names import display_name
from stedi_assets.lakehouse.state import Snapshot, TableState
from stedi_assets.lakehouse.table import LANDED_AT, PERSON, SOURCE_FILE, Table

_FINGERPRINT = "fingerprint"

LANDED = "landed-at"
"""What a snapshot calls the time at which the refresh began that took its newest files in."""

MANY = 100
"""If none of so many objects in a file has a value for a column, that is no accident."""

Sift = Callable[[Table, Parsed], Parsed]
"""Leaves out some of what was read of new files, of a landing table."""


@dataclass(frozen=True)
class Ingested:
    """What a refresh found in the landing folder of a source.

    Attributes:
        candidate: The landing table with the new files; None if there are none.
        entries: All files in the ledger, with those of the candidate.
        new: The entries that the published table does not have.
        changed: Paths of files that changed after they were taken in.
        listing: What is in the folder.
        waiting: Why new files cannot be read now and wait for the next refresh, a sentence for
            each, by its path.
        other_root: The other landing root whose files the table held until now, if any.
    """

    candidate: Snapshot | None
    entries: tuple[Entry, ...]
    new: tuple[Entry, ...]
    changed: tuple[str, ...]
    listing: Listing
    waiting: Mapping[str, str] = field(default_factory=dict)
    other_root: str | None = None

    @property
    def taken(self) -> list[Entry]:
        """The new files whose objects are in the table or in quarantine."""
        return [e for e in self.new if e.duplicate_of is None and e.held_back is None]

    @property
    def held_back(self) -> list[Entry]:
        """The files left out of the table because too much of them is unreadable."""
        return [entry for entry in self.entries if entry.held_back is not None]


class Ingest(Ledgers):
    """Ingests the landing files below one root into the tables of a catalog.

    Attributes:
        began: When the refresh began, in epoch milliseconds.
    """

    def __init__(  # noqa: PLR0913
        self,
        landing: LandingFolder,
        catalog: Catalog,
        engine: Engine,
        quarantine: Table,
        limits: Mapping[str, float],
        *,
        ordered: Collection[str],
        sift: Sift | None = None,
    ) -> None:
        """Read landing files into tables; what cannot be read goes to `quarantine`.

        Args:
            landing: The landing files.
            catalog: The tables.
            engine: Reads the files.
            quarantine: The table of what cannot be read.
            limits: As of `Ledgers`.
            ordered: Sources whose latest record decides: content that lands again counts again.
            sift: Leaves out what must not be taken in of what was read.
        """
        super().__init__(landing, catalog, limits)
        self._ordered = ordered
        self._sift = sift or (lambda _table, parsed: parsed)
        self._engine = engine
        self._quarantine = quarantine
        self._root = landing.storage.root
        self.began = time.time_ns() // 1_000_000

    def stage(self, source: str, table: Table, run_id: str, *, anew: bool = False) -> Ingested:
        """Put the landing table with the source's new files on `audit`.

        Without new files nothing is written, except an empty table where there is none yet. New
        files that cannot be read now, or change meanwhile, wait for the next refresh. A landing
        table holds the files of one landing root. Under another root it starts anew, and its older
        rows stay in its older snapshots.

        Args:
            source: The source.
            table: Its landing table.
            run_id: The run that asks.
            anew: Read all files again, as they are now; each keeps the time it landed at.

        Raises:
            LandingFileError: The table must be made anew, and a file cannot be read now, so its
                content would be lost.
            LakehouseError: The table is of an older version and holds files that have been removed.
        """
        self._catalog.ensure(table)
        state = self._catalog.state(table.name)
        base = None if anew else self._base(state.published)
        if state.published and LANDED_AT not in state.published.types and not anew:
            self._assert_all_there(source, table)
        self._landing.progress.begin(f"looking for {source} files")
        arrived = self._compare(source, self._landing.listing(source), base)
        ledger = self._ledger(base)
        changed = self._changed(arrived, ledger)
        if base and not arrived.changes_table:
            self._catalog.discard_candidate(table.name)
            return Ingested(None, tuple(ledger), (), changed, arrived.listing)
        limit = self._limits.get(source, 1.0)
        batch = _Batch(source, table, arrived, ledger, base, limit, source in self._ordered)
        candidate, waiting = state.candidate, dict[str, str]()
        if candidate is None or candidate.properties.get(_FINGERPRINT) != batch.fingerprint:
            candidate = self._read_readable(batch, state, run_id, waiting)
        if candidate is None:
            return Ingested(None, tuple(ledger), (), changed, arrived.listing, waiting)
        entries = tuple(self._ledger(candidate))
        new = tuple(entry for entry in entries if entry.path not in batch.unchanged)
        other_root = self._root_of(table.name)
        return Ingested(candidate, entries, new, changed, arrived.listing, waiting, other_root)

    def waiting(self, source: str, table: Table) -> Ingested:
        """What a landing table holds and waits to hold; nothing is taken in."""
        state = self._catalog.state(table.name)
        arrived = self._compare(source, self._listing(source), self._base(state.published))
        ledger, known = self._ledger(state.candidate or state.published), state.published
        held = {entry.path for entry in self._ledger(known)}
        new = tuple(entry for entry in ledger if entry.path not in held)
        changed = self._changed(arrived, ledger)
        return Ingested(state.candidate, tuple(ledger), new, changed, arrived.listing)

    def stage_quarantine(self, landing_tables: Collection[str], run_id: str) -> Snapshot | None:
        """Put the rejects of all files the landing tables hold, or wait to hold, on `audit`."""
        self._catalog.ensure(self._quarantine)
        name = self._quarantine.name
        rejects = self.rejects(landing_tables)
        state = self._catalog.state(name)
        published, candidate = state.published, state.candidate
        if published and set(published.files) == rejects.files and state.types == published.types:
            self._catalog.discard_candidate(name)
            return None
        if candidate and set(candidate.files) == rejects.files:
            return candidate
        inputs = {f"input.{table}": snapshot for table, snapshot in rejects.made_from.items()}
        return self._catalog.stage(name, rejects.files, {"run-id": run_id, **inputs})

    def rejects(self, landing_tables: Collection[str]) -> Rejects:
        """What could not be read of the files that landing tables hold, or wait to hold."""
        return find_rejects(self._catalog, landing_tables, self._quarantine.name)

    def _changed(self, arrived: Arrived, ledger: Iterable[Entry]) -> tuple[str, ...]:
        """Paths of known files with another content; those with another version are read to see."""
        digests = {entry.path: entry.digest for entry in ledger}
        touched = [file.path for file in arrived.replaced]
        contents = zip(touched, self._landing.examine(touched), strict=True)
        return tuple(
            path for path, file in contents if not file.fault and file.digest != digests[path]
        )

    def _assert_all_there(self, source: str, table: Table) -> None:
        """Refuse to rebuild a table of an older version if that would lose rows."""
        removed = [] if self._root_of(table.name) else self.removed(source, table)
        if removed:
            raise LakehouseError(
                f"{table.name} was made by an older version and has to be made anew, and "
                f"{len(removed)} of its landing files are not in {self._landing.folder(source)} "
                "any more. Bring them back and refresh, or do without them: stedi rebuild."
            )

    def _read_readable(
        self, batch: "_Batch", state: TableState, run_id: str, waiting: dict[str, str]
    ) -> Snapshot | None:
        """Read the files that can be read, and note the others; None if no file can be read."""
        while True:
            try:
                return self._read(batch, state, run_id)
            except LandingFileError as error:
                if state.published and not batch.base:
                    raise
                waiting |= error.faults
                batch = batch.without(error.faults)
                if batch.base and not batch.arrived.changes_table:
                    self._catalog.discard_candidate(batch.table.name)
                    return None

    def _read(self, batch: "_Batch", state: TableState, run_id: str) -> Snapshot:
        contents = self._examine(batch)
        if faults := {path: file.fault for path, file in contents.items() if file.fault}:
            raise LandingFileError(faults)
        entries = batch.entries(contents, self._landed_before(batch), self.began)
        results = _Results()
        for parsed in self._parse(batch, entries, state):
            reasons = self._reasons_to_hold_back(batch, parsed)
            taken = self._sift(batch.table, self._without(parsed, reasons))
            results.add(taken, reasons, batch.limit)
        self._assert_unchanged(batch)
        entries = [results.complete(entry) for entry in entries]
        base = batch.base.properties[LEDGER] if batch.base else None
        ledger = write_ledger(
            f"{state.location}/{LEDGER}",
            entries,
            self._catalog.io,
            before=list(self._ledger_reader.segments(base)) if base else [],
            gone=[entry.path for entry in batch.arrived.held_back_gone],
        )
        properties = {
            "run-id": run_id,
            LEDGER: ledger,
            LANDING_ROOT: self._landing.root,
            _FINGERPRINT: batch.fingerprint,
            LANDED: str(max((entry.landed_at for entry in entries), default=self.began)),
        }
        files = [*(batch.base.files if batch.base else ()), *results.rows]
        return self._catalog.stage(batch.table.name, files, properties)

    def _examine(self, batch: "_Batch") -> dict[str, Content]:
        self._begin("checking", batch, batch.sizes)
        shares = self._engine.spread(
            partial(examine, landing=self._landing), list(batch.sizes), list(batch.sizes.values())
        )
        return {path: content for share in shares for path, content in share.items()}

    def _begin(self, work: str, batch: "_Batch", paths: Iterable[str]) -> None:
        sizes = [batch.sizes[path] for path in paths]
        self._landing.progress.begin(f"{work} {batch.source} files", len(sizes), sum(sizes))

    def _landed_before(self, batch: "_Batch") -> dict[tuple[str, str], int]:
        """When files landed before, by path and content, if the table is made anew."""
        if batch.base:
            return {}
        entries = self._newest_ledger(batch.table)
        return {(e.path, e.digest): e.landed_at for e in entries if e.landed_at}

    def _parse(self, batch: "_Batch", entries: list[Entry], state: TableState) -> Iterator[Parsed]:
        """Read the files that are not duplicates, those that landed together in one go."""
        by_time = defaultdict(list)
        for entry in entries:
            if entry.duplicate_of is None:
                by_time[entry.landed_at].append(entry.path)
        self._begin("reading", batch, chain.from_iterable(by_time.values()))
        for landed_at, paths in by_time.items():
            work = partial(
                parse,
                landing=self._landing,
                source=batch.source,
                table=batch.table.numbered(state.field_ids),
                quarantine=self._quarantine.numbered(self._ids_of_quarantine()),
                folder=f"{state.location}/data",
                rejects=f"{self._quarantine.location(self._root)}/data",
                landed_at=landed_at,
            )
            yield from self._engine.spread(work, paths, [batch.sizes[path] for path in paths])

    def _ids_of_quarantine(self) -> Mapping[str, int]:
        """Field ids of quarantine; none if it is damaged, for that holds no source up."""
        try:
            return self._catalog.state(self._quarantine.name).field_ids
        except Exception:  # whatever is wrong with it is reported elsewhere
            return {}

    def _reasons_to_hold_back(self, batch: "_Batch", parsed: Parsed) -> dict[str, str]:
        """Files to hold back, with the reason for each."""
        return self._columns_now_empty(batch, parsed) | {
            path: counts.reason or ""
            for path, counts in parsed.counts.items()
            if counts.quarantined > batch.limit * counts.objects
        }

    def _without(self, parsed: Parsed, paths: Collection[str]) -> Parsed:
        """What was read, without the content of some files."""
        if not paths:
            return parsed
        rows = [without(list(paths), file, self._catalog.io) for file in parsed.rows]
        rejects = parsed.rejects and without(list(paths), parsed.rejects, self._catalog.io)
        return replace(parsed, rows=[file for file in rows if file], rejects=rejects)

    def _columns_now_empty(self, batch: "_Batch", parsed: Parsed) -> dict[str, str]:
        """Files with many objects that all lack a column that earlier objects had."""
        columns = sorted(batch.optional)
        if batch.limit >= 1 or not columns or not batch.base or not parsed.rows:
            return {}
        rows = self._engine.open(f"fresh_{batch.table.name}", parsed.rows, batch.table.types)
        values = {name: rows[name].count() for name in columns}
        counted = rows.group_by(SOURCE_FILE).agg(objects=rows.count(), **values)
        suspects = counted.filter(
            counted.objects >= MANY, ibis.or_(*(counted[name] == 0 for name in columns))
        )
        empty = {
            row[SOURCE_FILE]: {name for name in columns if not row[name]}
            for row in suspects.to_pyarrow().to_pylist()
        }
        known = self._columns_with_values(batch.base, set().union(*empty.values()))
        return {
            path: f"no object has a value for {', '.join(sorted(names & known))}: renamed upstream?"
            for path, names in empty.items()
            if names & known
        }

    def _columns_with_values(self, published: Snapshot, columns: set[str]) -> set[str]:
        if not columns:
            return set()
        table = self._engine.open(published.name, published.files, published.types)
        [counts] = table.agg(**{c: table[c].count() for c in columns}).to_pyarrow().to_pylist()
        return {column for column in columns if counts[column]}

    def _assert_unchanged(self, batch: "_Batch") -> None:
        now = {file.path: file for file in self._landing.listing(batch.source).files}
        faults = {}
        for file in batch.arrived.new:
            if file.path not in now:
                faults[file.path] = deleted(f"{self._landing.root}/{file.path}")
            elif now[file.path] != file:
                faults[file.path] = (
                    f"{display_name(file.path)} changed while it was read (write a file under a "
                    "temporary name, then rename it)."
                )
        if faults:
            raise LandingFileError(faults)


@dataclass(frozen=True)
class _Batch:
    """New files of a source, on top of its landing table.

    Attributes:
        ledger: Its ledger.
        base: Its snapshot; None if it is made anew.
        limit: Share of a file's objects that may be unreadable before the file is held back.
        order_counts: Whether the order in which files landed decides which record holds.
    """

    source: str
    table: Table
    arrived: Arrived
    ledger: list[Entry]
    base: Snapshot | None
    limit: float
    order_counts: bool

    def without(self, paths: Collection[str]) -> "_Batch":
        """The same without these files."""
        rest = tuple(file for file in self.arrived.new if file.path not in paths)
        return replace(self, arrived=replace(self.arrived, new=rest))

    @cached_property
    def unchanged(self) -> dict[str, Entry]:
        """Entries that stay as they are, by path."""
        replaced = {file.path for file in self.arrived.new} | {
            e.path for e in self.arrived.held_back_gone
        }
        return {entry.path: entry for entry in self.ledger if entry.path not in replaced}

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Bytes of each new file, by path."""
        return {file.path: file.size for file in self.arrived.new}

    @property
    def optional(self) -> set[str]:
        """Columns that an object may lack, except those that say whose it is."""
        of_person = {*self.table.one_of, PERSON}
        return {c.name for c in self.table.columns if c.nullable} - of_person

    @property
    def fingerprint(self) -> str:
        """The same for candidates with the same content."""
        files = [asdict(file) for file in self.arrived.new]
        made_from = files, self.base.id if self.base else None, self.table.fingerprint, self.limit
        return hashlib.sha256(json.dumps(made_from).encode()).hexdigest()

    def entries(
        self,
        contents: Mapping[str, Content],
        landed_before: Mapping[tuple[str, str], int],
        now: int,
    ) -> list[Entry]:
        """Ledger entries of the files; those with content of another file are marked.

        Args:
            contents: What is in each file.
            landed_before: When files landed before that are read again, by path and content.
            now: When the refresh began, in epoch milliseconds.
        """
        # A clock may have been set back, but files that land later need a later time.
        now = max(now, *(entry.landed_at + 1 for entry in self.unchanged.values()), 0)
        entries = [
            Entry(
                **asdict(file),
                digest=(digest := contents[file.path].digest),
                landed_at=landed_before.get((file.path, digest), now),
                modified=int(self.arrived.listing.modified[file.path].timestamp() * 1000),
            )
            for file in self.arrived.new
        ]
        # A file that was written anew may be delivered again as it was at first.
        originals = {
            digest: entry
            for entry in self.unchanged.values()
            if entry.size and not entry.duplicate_of and entry.held_back is None
            for digest in filter(None, (entry.first_digest, entry.digest))
        }
        entries.sort(key=lambda entry: entry.landed_at)
        landed = [*originals.values(), *entries] if self.order_counts else []
        return [_marked(entry, originals, landed) for entry in entries]


def _marked(entry: Entry, originals: dict[str, Entry], landed: Iterable[Entry]) -> Entry:
    """The entry, marked as a duplicate if another file has its content.

    Args:
        entry: A new file.
        originals: The file with each content, by digest.
        landed: Files; if one landed in between, the same content counts again.
    """
    if not entry.size:
        return entry
    original = originals.setdefault(entry.digest, entry)
    if original is entry:
        return entry
    if any(
        original.landed_at < other.landed_at <= entry.landed_at and other.digest != entry.digest
        for other in landed
    ):
        originals[entry.digest] = entry
        return entry
    return replace(entry, duplicate_of=original.path)


@dataclass
class _Results:
    """What was read: Parquet files with rows, and what to note of each landing file."""

    rows: list[str] = field(default_factory=list)
    notes: dict[str, dict[str, Any]] = field(default_factory=dict)

    def add(self, parsed: Parsed, held_back: Mapping[str, str], limit: float) -> None:
        """Note what was read in one share, and which of its files are held back and why."""
        self.rows += parsed.rows
        for path, counts in parsed.counts.items():
            note = asdict(counts)
            if path in held_back:
                note |= {"held_back": limit, "rows": 0, "reason": held_back[path]}
            elif counts.quarantined:
                note["rejects"] = parsed.rejects
            self.notes[path] = note

    def complete(self, entry: Entry) -> Entry:
        """The entry, with the counts of its file."""
        return replace(entry, **self.notes.get(entry.path, {}))
