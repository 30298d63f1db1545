"""The lakehouse: its tables, the engine that executes their rules, and the lock of a run."""

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from itertools import product
from pathlib import Path

import ibis.expr.types as ir
from filelock import FileLock, Timeout

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.changes.change import Change, Rows
from stedi_assets.lakehouse.changes.workspace import Workspace
from stedi_assets.lakehouse.engines.duckdb import drop_leftovers
from stedi_assets.lakehouse.engines.engine import Engine
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.rejects import find_rejects
from stedi_assets.lakehouse.names import view_name
from stedi_assets.lakehouse.progress import SILENT
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.storage.durable import FILE_MODE, OTHERS, make_folder
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.lakehouse.table import Table


def rows_apart(old: Snapshot, new: Snapshot) -> int:
    """Rows of the files that only one of two states has; one a file where they are unknown."""
    rows = {
        file: number
        for state in (old, new)
        for file, number in zip(state.files, state.rows_of_files, strict=False)
    }
    return sum(rows.get(file, 1) for file in set(old.files) ^ set(new.files))


@dataclass
class _Kept:
    """What a run has computed, for as long as the engine holds it.

    Attributes:
        holder: Where the rows are held.
        workspace: Rows that were computed on the way.
        changes: What a table has more and less, by its name and the ids of its two states' rows.
    """

    holder: object
    workspace: Workspace
    changes: dict[tuple[str, str, str], Rows[ir.Table]] = field(default_factory=dict)


class NotPublishedError(LakehouseError):
    """A table has not been published yet."""


class Lakehouse:
    """The tables, wherever they are stored.

    Attributes:
        storage: Where files and tables are.
        engine: What executes the transformations.
        progress: Is told what is being done.
    """

    def __init__(self, storage: Storage, engine: Engine) -> None:
        """Use what is stored there; nothing is written before the first table."""
        self.storage = storage
        self.engine = engine
        self.progress = SILENT
        self._kept: _Kept | None = None

    @property
    def workspace(self) -> Workspace:
        """Keeps what rules and checks compute on the way, for the rest of this run."""
        return self._kept_by_engine.workspace

    @property
    def _kept_by_engine(self) -> _Kept:
        """What the engine still holds: nothing of before if a server of its own has ended."""
        engine = self.engine.immediate
        holder = engine.holder
        if self._kept is None or self._kept.holder is not holder:
            self._kept = _Kept(holder, Workspace(engine))
        return self._kept

    @cached_property
    def catalog(self) -> Catalog:
        """The tables in the Iceberg catalog."""
        return Catalog(self.storage)

    @contextmanager
    def locked(self, warn: Callable[[str], object]) -> Iterator[None]:
        """Keep other runs of this machine out; wait, with a warning, until there is none.

        Meanwhile only this user may read what this process writes and what is there already.
        """
        make_folder(self._lock_file.parent)
        lock = FileLock(self._lock_file, mode=FILE_MODE, is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            warn(
                f"Another refresh of {self.storage.root} is running; this one waits until it is "
                "done."
            )
            lock.acquire()
        umask = os.umask(OTHERS)
        try:
            self.storage.make_private()
            drop_leftovers(self.storage.scratch)
            self.storage.point_readers()  # a refresh may have been killed before it could
            yield
        finally:
            self._forget()
            os.umask(umask)
            lock.release()

    def is_locked(self) -> bool:
        """Whether a run of this machine has the tables to itself right now."""
        if not self._lock_file.exists():
            return False
        try:
            with FileLock(self._lock_file, mode=FILE_MODE, timeout=0):
                return False
        except Timeout:
            return True

    @property
    def _lock_file(self) -> Path:
        return self.storage.scratch / "refresh.lock"

    def open(self, snapshot: Snapshot) -> ir.Table:
        """A state of a table."""
        return self.engine.open(snapshot.name, snapshot.files, snapshot.types)

    def change(self, old: Snapshot, new: Snapshot) -> Change:
        """What became of a table from one state to a later one."""
        if old.rows_id == new.rows_id:
            return Change(self.open(old), self.open(new), Rows())
        known = self._kept_by_engine.changes.get((old.table, old.rows_id, new.rows_id))
        old, new = self.nearest(old, new)
        kept, beside = self._files_apart(old, new)
        if known is None:
            # A file that was written anew has mostly the rows of the one whose place it took.
            known = beside if len(beside.both) < len(beside) else self._net(beside)
        return Change(self.open(old), self.open(new), known, kept, beside)

    def _net(self, rows: Rows[ir.Table]) -> Rows[ir.Table]:
        return self.workspace.net(self.workspace.selections(rows))

    def nearest(self, old: Snapshot, new: Snapshot) -> tuple[Snapshot, Snapshot]:
        """Snapshots with the rows of two states that have as many files in common as can be.

        A compaction gives rows other files: what changed since is told by states before it, or
        after it.
        """
        if set(old.files) <= set(new.files) or old.table not in self.catalog.names():
            return old, new
        state = self.catalog.state(old.table)
        pairs = product((old, *state.with_rows(old.rows_id)), (new, *state.with_rows(new.rows_id)))
        return min(pairs, key=lambda pair: rows_apart(*pair))

    def is_known(self, old: Snapshot, new: Snapshot) -> bool:
        """Whether this run made one state from the other, so that what changed is at hand."""
        key = (old.table, old.rows_id, new.rows_id)
        # An engine that holds nothing need not begin to work for this.
        return self._kept is not None and key in self._kept_by_engine.changes

    def remember(self, old: Snapshot, new: Snapshot, rows: Rows[ir.Table]) -> None:
        """Keep what a state has more and less than the one before, for the rest of this run."""
        kept = self._kept
        if self._kept_by_engine is kept or kept is None:  # otherwise the rows are lost
            self._kept_by_engine.changes[old.table, old.rows_id, new.rows_id] = rows

    def _files_apart(self, old: Snapshot, new: Snapshot) -> tuple[ir.Table | None, Rows[ir.Table]]:
        """The rows of the files that two states have in common, and of those that one has alone."""

        def rows_of(files: set[str], kind: str) -> ir.Table | None:
            name = view_name(f"{old.table}_{kind}", f"{old.rows_id}_{new.rows_id}")
            return self.engine.open(name, sorted(files), new.types) if files else None

        before, now = set(old.files), set(new.files)
        beside = Rows(rows_of(now - before, "came"), rows_of(before - now, "went"))
        return rows_of(before & now, "kept"), beside

    def _forget(self) -> None:
        kept, self._kept = self._kept, None
        # Also where nothing came of it: DuckDB gives the names of what is held again.
        if kept is not None:
            with suppress(Exception):  # they go with the process
                self.engine.let_go()

    def published(self, name: str) -> Snapshot:
        """What readers see of a table.

        Raises:
            NotPublishedError: It has not been published yet.
        """
        published = self.catalog.published(name)
        if published is None:
            raise NotPublishedError(
                f"{name} has not been published yet: refresh the lakehouse first (stedi refresh)."
            )
        return published

    def table(self, name: str) -> ir.Table:
        """The table as published.

        Raises:
            NotPublishedError: It has not been published yet.
        """
        return self.open(self.published(name))

    def rejects(self, landing_tables: Collection[str], quarantine: Table) -> Snapshot:
        """What `quarantine` has to hold for the landing tables, even if it is not published yet."""
        rejects = find_rejects(self.catalog, landing_tables, quarantine.name)
        files = tuple(sorted(rejects.files))
        digest = hashlib.sha256("\n".join(files).encode()).hexdigest()
        return Snapshot(
            table=quarantine.name,
            id=int(digest[:12], 16),
            committed_at=datetime.now(UTC),
            rows=rejects.rows or 0,
            size=0,
            types=quarantine.types,
            files=files,
            properties={},
        )
