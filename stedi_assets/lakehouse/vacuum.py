"""Expires older snapshots, and removes the files that no snapshot refers to any more."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from stedi_assets.lakehouse.catalog import Catalog, conflicts
from stedi_assets.lakehouse.compaction import Compacted
from stedi_assets.lakehouse.faults import LakehouseError, is_damage, sentence
from stedi_assets.lakehouse.landing.ledger import LEDGER, LedgerReader, Segment
from stedi_assets.lakehouse.manifests import (
    files_of,
    holds_values,
    published_ids,
    replaced_at,
    rewrite,
)
from stedi_assets.lakehouse.progress import SILENT, Progress
from stedi_assets.lakehouse.removal import Expired
from stedi_assets.lakehouse.state import AUDIT
from stedi_assets.lakehouse.storage.storage import HINT, Storage, StoredFile

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Vacuumed:
    """What a vacuum removed.

    Attributes:
        snapshots: Number of snapshots of each table that expired.
        tags: Names of the tags of each table that were removed.
        files: Files that no snapshot refers to.
        uploads: Number of uploads that were begun and never ended.
        rewritten: Tables whose metadata held values of rows, and was written anew.
        damaged: What is wrong with tables that were left alone, a sentence each.
        next_due: From when on another snapshot can go; None if there is none that will.
        merged: What became of small files; None if they were not looked at.
        expired: What went of landing data by age, by source.
    """

    snapshots: dict[str, int]
    tags: dict[str, list[str]]
    files: tuple[StoredFile, ...]
    uploads: int
    rewritten: tuple[str, ...]
    damaged: tuple[str, ...] = ()
    next_due: datetime | None = None
    merged: Compacted | None = None
    expired: Mapping[str, Expired] = field(default_factory=dict)

    def __str__(self) -> str:
        """What was removed, in words."""
        size = sum(file.size for file in self.files)
        tags = ", ".join(name for names in self.tags.values() for name in names)
        rewritten = ", ".join(self.rewritten)
        return (
            f"{sum(self.snapshots.values()):,} snapshots older than the retention, "
            f"{len(self.files):,} files ({size / 1e6:,.1f} MB) that no snapshot refers to, "
            f"{self.uploads:,} unfinished uploads"
            + (f", the tags {tags}" if tags else "")
            + (f", values of rows in the metadata of {rewritten}" if rewritten else "")
            + "".join(f"; of {source} {went}" for source, went in self.expired.items())
        )


def vacuum(  # noqa: PLR0913
    storage: Storage,
    retention: timedelta,
    safety_age: timedelta,
    *,
    released: Mapping[str, Collection[str]] | None = None,
    shared: Collection[str] = (),
    dry_run: bool = False,
    progress: Progress = SILENT,
) -> Vacuumed:
    """Expire the snapshots that were replaced long ago, and remove files that nothing refers to.

    What readers see, what waits on `audit` and what a tag names never expires. Released tags are
    removed when their snapshots expire. Candidates that were replaced or dropped expire at once.
    Where metadata of what stays holds values of rows, it is written anew; the next refresh then
    makes again what waits on `audit`. A damaged table is left alone.

    Args:
        storage: Where the lakehouse is; no refresh of this machine may run meanwhile.
        retention: How long a snapshot lives after it was replaced.
        safety_age: Unreferenced files younger than this may belong to a running refresh, and stay.
        released: Tags of each table that keep their snapshots no longer.
        shared: Tables whose files the ledgers of other tables name, too.
        dry_run: Remove nothing; only return what would be removed.
        progress: Is told what is being done.

    Raises:
        LakehouseError: A listing lacks a table's metadata, or another catalog's tables are
            there, too; nothing was removed.
    """
    storage.claim()
    progress.begin("looking through the tables' files")
    catalog = Catalog(storage)
    for_each = _EachTable(catalog.names())
    tables = for_each(catalog.load)
    listings = for_each(lambda name: list(storage.files(tables[name].location())))
    _assert_whole(tables, listings)
    released = {name: (released or {}).get(name, ()) for name in tables}
    with_values = for_each(lambda name: _with_values(tables[name], released[name]))
    with_values = {name: snapshots for name, snapshots in with_values.items() if snapshots}
    if not dry_run:
        for name, snapshots in with_values.items():
            _rewrite(catalog, name, tables[name], snapshots)
    now = datetime.now(UTC)
    replaced = for_each(lambda name: _replaced(tables[name], now - retention, released[name]))
    in_use = for_each(lambda name: set(_in_use(tables[name], storage, without=replaced[name])))
    tags = {name: _tags(tables[name], replaced[name]) for name in in_use}
    for name in in_use:
        if replaced[name] and not dry_run:
            _expire(name, tables[name], replaced[name], tags[name])
    # A damaged table may refer to files of these, too.
    to_sweep = in_use.keys() - (shared if for_each.damaged else ())
    referenced = set().union(*in_use.values())
    files = (file for name in sorted(to_sweep) for file in listings[name])
    unused = [
        file
        for file in files
        if file.location not in referenced
        and not file.location.endswith(f"/{HINT}")
        and file.modified < now - safety_age
    ]
    uploads = 0

    def delete(file: StoredFile) -> None:
        storage.io.delete(file.location)
        progress.advance(1, file.size)

    if not dry_run:
        storage.point_readers()  # away from metadata that goes now
        progress.begin("removing files", len(unused), sum(file.size for file in unused))
        with ThreadPoolExecutor() as pool:
            list(pool.map(delete, unused))
        uploads = storage.drop_uploads(now - safety_age)
    expired = {name: len(replaced[name]) for name in in_use if replaced[name]}
    removed = {name: names for name, names in tags.items() if names}
    damaged = tuple(for_each.damaged.values())
    due = [_next_due(tables[name], now - retention, released[name]) for name in in_use]
    next_due = min((replaced_at + retention for replaced_at in due if replaced_at), default=None)
    return Vacuumed(expired, removed, tuple(unused), uploads, tuple(with_values), damaged, next_due)


class _EachTable:
    """Works on each table by itself; a damaged table is left out from then on."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = list(names)
        self.damaged: dict[str, str] = {}

    def __call__(self, work: Callable[[str], _Result]) -> dict[str, _Result]:
        results = {}
        for name in self._names:
            try:
                if name not in self.damaged:
                    results[name] = work(name)
            except Exception as error:
                if not is_damage(error):
                    raise
                self.damaged[name] = sentence(error) or name
        return results


def _with_values(table: IcebergTable, released: Collection[str]) -> list[Snapshot]:
    """Snapshots that stay although their metadata holds values of rows."""
    protected = _protected(table.metadata, released)
    return [
        snapshot
        for snapshot in table.metadata.snapshots
        if snapshot.snapshot_id in protected and holds_values(snapshot, table.io)
    ]


def _rewrite(
    catalog: Catalog, name: str, table: IcebergTable, snapshots: Iterable[Snapshot]
) -> None:
    catalog.discard_candidate(name)  # it was made on top of a snapshot that is rewritten now
    table.refresh()
    published = published_ids(table.metadata)
    with conflicts(name):
        for snapshot in snapshots:
            if snapshot.snapshot_id in published:
                rewrite(table, snapshot)


def _expire(name: str, table: IcebergTable, expiring: list[int], tags: list[str]) -> None:
    with conflicts(name):
        if tags:
            with table.manage_snapshots() as manage:
                for tag in tags:
                    manage.remove_tag(tag)
        table.maintenance.expire_snapshots().by_ids(expiring).commit()


def _tags(table: IcebergTable, expiring: Collection[int]) -> list[str]:
    refs = table.metadata.refs.items()
    return sorted(name for name, ref in refs if ref.snapshot_id in expiring)


def _replaced(table: IcebergTable, before: datetime, released: Collection[str]) -> list[int]:
    """Snapshots that were replaced before that time, and candidates that wait no longer."""
    published = published_ids(table.metadata)
    limit = before.timestamp() * 1000
    return [
        id_
        for id_, ended in _ended(table.metadata, released).items()
        if id_ not in published or ended < limit
    ]


def _next_due(table: IcebergTable, before: datetime, released: Collection[str]) -> datetime | None:
    """When the oldest snapshot was replaced of those that were not replaced before that time."""
    published = published_ids(table.metadata)
    limit = before.timestamp() * 1000
    ended = _ended(table.metadata, released).items()
    waiting = [time for id_, time in ended if id_ in published and time >= limit]
    return datetime.fromtimestamp(min(waiting) / 1000, UTC) if waiting else None


def _ended(metadata: TableMetadata, released: Collection[str]) -> dict[int, int]:
    """When each snapshot that is not protected was replaced, in epoch milliseconds."""
    protected = _protected(metadata, released)
    ended = {snapshot.snapshot_id: snapshot.timestamp_ms for snapshot in metadata.snapshots}
    existing = set(ended)
    ended |= replaced_at(metadata)
    return {id_: ended[id_] for id_ in existing - protected}


def _protected(metadata: TableMetadata, released: Collection[str]) -> set[int]:
    """Snapshots that stay whatever their age. A tag keeps none that was never published."""
    published = published_ids(metadata)
    return {
        ref.snapshot_id
        for name, ref in metadata.refs.items()
        if name == AUDIT or (name not in released and ref.snapshot_id in published)
    }


def _in_use(table: IcebergTable, storage: Storage, without: Collection[int]) -> Iterator[str]:
    """All files that a table refers to, except by these snapshots."""
    metadata = table.metadata
    yield table.metadata_location
    yield from (logged.metadata_file for logged in metadata.metadata_log)
    yield from (file.statistics_path for file in metadata.statistics)
    yield from (file.statistics_path for file in metadata.partition_statistics)
    snapshots = [snapshot for snapshot in metadata.snapshots if snapshot.snapshot_id not in without]
    yield from files_of(snapshots, table.io)
    segments: dict[str, Segment] = {}
    reader = LedgerReader(storage.io)
    for snapshot in snapshots:
        properties = snapshot.summary.additional_properties if snapshot.summary else {}
        if ledger := properties.get(f"stedi.{LEDGER}"):
            segments |= reader.segments(ledger)
    for path, segment in segments.items():
        yield path
        # Quarantine may be about to take them in.
        yield from (entry.rejects for entry in segment.entries if entry.rejects)


def _assert_whole(
    tables: Mapping[str, IcebergTable], listings: Mapping[str, list[StoredFile]]
) -> None:
    locations = {file.location for files in listings.values() for file in files}
    for name, table in tables.items():
        if table.metadata_location not in locations:
            raise LakehouseError(
                f"The files of {name} are not where they should be ({table.location()}); nothing "
                "was removed."
            )


def expire_holding(
    catalog: Catalog, storage: Storage, name: str, holding: Collection[str]
) -> tuple[int, int]:
    """Expire the snapshots that consist of certain data files, however new, and delete these.

    What readers see, and what a tag names, stays with its files. A candidate is discarded.

    Args:
        catalog: The tables.
        storage: Where they are; no refresh may run meanwhile.
        name: The table.
        holding: The data files, some of which no snapshot may refer to.

    Returns:
        The number of snapshots that expired, and of data files that were deleted.
    """
    holding = set(holding)
    table = catalog.load(name)
    candidate = table.snapshot_by_name(AUDIT)
    if candidate and holding.intersection(files_of([candidate], table.io)):
        catalog.discard_candidate(name)
        table.refresh()
    kept = {ref.snapshot_id for ref in table.metadata.refs.values()}
    expiring = [
        snapshot
        for snapshot in table.metadata.snapshots
        if snapshot.snapshot_id not in kept and holding.intersection(files_of([snapshot], table.io))
    ]
    files = holding | set(files_of(expiring, table.io))
    if expiring:
        _expire(name, table, [snapshot.snapshot_id for snapshot in expiring], [])
        table.refresh()
        storage.point_readers()
    unused = files.difference(files_of(table.metadata.snapshots, table.io))
    with ThreadPoolExecutor() as pool:
        list(pool.map(storage.erase, unused))
    return len(expiring), len(unused & holding)
