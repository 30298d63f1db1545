"""A table of the catalog at one moment: what is published, what waits on `audit`, its tags."""

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

from stedi_assets.lakehouse.faults import explain
from stedi_assets.lakehouse.manifests import SAME_AS, live_entries, original_of, published_ids
from stedi_assets.lakehouse.table import PERSONAL

AUDIT = "audit"
"""The branch on which a candidate waits."""

PREFIX = "stedi."
"""What the names of our properties begin with."""

ZONE, CONTRACT, HELD_BACK = "stedi.zone", "stedi.contract", "stedi.held-back"
"""Properties of a table: its zone, the fingerprint of its contract, the candidate held back."""

_IBIS_TYPES = {"string": "string", "long": "int64", "double": "float64"}
_ROWS = "total-records"


@dataclass(frozen=True)
class Snapshot:
    """One state of a table.

    Attributes:
        types: Its columns, with the type of each as ibis names it.
        files: The Parquet files that hold its rows.
        properties: What the refresh that made it wrote down, such as its run id and inputs.
    """

    table: str
    id: int
    committed_at: datetime
    rows: int
    size: int
    types: Mapping[str, str]
    files: tuple[str, ...]
    properties: Mapping[str, str]

    @property
    def personal_columns(self) -> set[str]:
        """Names of its columns with personal data."""
        return set(self.properties[PERSONAL.removeprefix(PREFIX)].split(",")) - {""}

    @property
    def state(self) -> str:
        """Id of the rows: a vacuum may have rewritten the metadata under another snapshot id."""
        return self.properties.get(SAME_AS.removeprefix(PREFIX), str(self.id))

    @property
    def name(self) -> str:
        """Name under which an engine opens it; says in an expression what it was made from."""
        return f"{self.table}__{self.state}"


@dataclass(frozen=True)
class Tag:
    """A name that keeps a snapshot from expiring."""

    name: str
    snapshot_id: int
    made_at: datetime
    rows: int


class TableState:
    """A table at one moment: all of it from one look into the catalog."""

    def __init__(
        self, name: str, iceberg: IcebergTable, known: dict[tuple[str, int], Snapshot]
    ) -> None:
        """Take the table as loaded; `known` are snapshots of which the files were read before."""
        self._name = name
        self._iceberg = iceberg
        self._known = known

    @property
    def location(self) -> str:
        """Where its files are."""
        return self._iceberg.location()

    @property
    def types(self) -> dict[str, str]:
        """Its columns, with the type of each as ibis names it."""
        return _types(self._iceberg.schema())

    @property
    def contract(self) -> str:
        """Fingerprint of its contract."""
        return self._iceberg.properties[CONTRACT]

    @property
    def zone(self) -> str:
        """Its zone."""
        return self._iceberg.properties[ZONE]

    @property
    def published(self) -> Snapshot | None:
        """What readers see, or nothing before the first publication."""
        found = self._iceberg.snapshot_by_name("main")
        return None if found is None or _is_start(found) else self._snapshot(found)

    @property
    def history(self) -> list[tuple[datetime, int]]:
        """When it was published, as far as its snapshots still exist, and the rows it had then."""
        return [
            (at, int(found.summary.additional_properties[_ROWS]))
            for at, found in self._history
            if found.summary
        ]

    def published_since(self, snapshot_id: int | None) -> list[Snapshot]:
        """What was published after a snapshot, oldest first; everything left if it is gone."""
        found = [found for _, found in self._history]
        known = [known.snapshot_id for known in found]
        start = known.index(snapshot_id) + 1 if snapshot_id in known else 0
        return [self._snapshot(published) for published in found[start:]]

    @property
    def candidate(self) -> Snapshot | None:
        """What waits on `audit`: written, not published. None if `audit` is published."""
        found = self._iceberg.snapshot_by_name(AUDIT)
        if found is None or found == self._iceberg.current_snapshot():
            return None
        return self._snapshot(found)

    @property
    def is_held_back(self) -> bool:
        """Whether a check held back what waits on `audit`; else its refresh ended too early."""
        candidate = self.candidate
        return candidate is not None and self._iceberg.properties.get(HELD_BACK) == str(
            candidate.id
        )

    def snapshot(self, snapshot_id: int) -> Snapshot | None:
        """A published snapshot, by its id or the id it had before its metadata was rewritten."""
        published = published_ids(self._iceberg.metadata)
        for found in self._iceberg.metadata.snapshots:
            ids = {found.snapshot_id, int(original_of(found) or 0)}
            if snapshot_id in ids and found.snapshot_id in published and not _is_start(found):
                return self._snapshot(found)
        return None

    def is_unpublished(self, name: str) -> bool:
        """Whether a snapshot has this id or tag that was never published."""
        metadata = self._iceberg.metadata
        ids = {str(made.snapshot_id): made.snapshot_id for made in metadata.snapshots}
        ids |= {
            tag: ref.snapshot_id
            for tag, ref in metadata.refs.items()
            if ref.snapshot_ref_type == SnapshotRefType.TAG
        }
        return name in ids and ids[name] not in published_ids(metadata)

    @property
    def tags(self) -> tuple[Tag, ...]:
        """Tags of what was published, the oldest snapshot's first; no other file is read."""
        published = published_ids(self._iceberg.metadata)
        found = [
            _tag(name, made)
            for name, ref in self._iceberg.metadata.refs.items()
            if ref.snapshot_ref_type == SnapshotRefType.TAG
            and ref.snapshot_id in published
            and (made := self._iceberg.snapshot_by_id(ref.snapshot_id))
        ]
        return tuple(sorted(found, key=lambda tag: (tag.made_at, len(tag.name), tag.name)))

    def tagged(self, tag: str) -> Snapshot | None:
        """The snapshot that has this tag."""
        ids = {found.name: found.snapshot_id for found in self.tags}
        return self.snapshot(ids[tag]) if tag in ids else None

    def as_of(self, moment: datetime) -> Snapshot | None:
        """What was published at that time; None if it expired or there was nothing yet."""
        following: IcebergSnapshot | None = None
        for published_at, found in reversed(self._history):
            if published_at <= moment:
                # The next one was made from another: what was between them expired.
                gap = following and following.parent_snapshot_id != found.snapshot_id
                return None if gap else self._snapshot(found)
            following = found
        return None

    @property
    def earliest(self) -> datetime | None:
        """When the oldest state that is left was published."""
        return self._history[0][0] if self._history else None

    @property
    def _history(self) -> list[tuple[datetime, IcebergSnapshot]]:
        """What was published when, oldest first, as far as it has not expired."""
        log = self._iceberg.metadata.snapshot_log
        made = [(_time(e.timestamp_ms), self._iceberg.snapshot_by_id(e.snapshot_id)) for e in log]
        return [(at, found) for at, found in made if found and not _is_start(found)]

    def _snapshot(self, found: IcebergSnapshot) -> Snapshot:
        # A snapshot never changes, and to learn its files takes reading some others.
        key = self._name, found.snapshot_id
        if key not in self._known:
            self._known[key] = _snapshot(self._name, self._iceberg, found)
        return self._known[key]


@contextmanager
def intact(iceberg: IcebergTable, snapshot: IcebergSnapshot | None) -> Iterator[None]:
    """If a manifest of a snapshot cannot be read, name the file."""
    try:
        yield
    except Exception as error:
        if snapshot and explain(error) is None:
            deque(live_entries(snapshot, iceberg.io), maxlen=0)  # which says which one it is
        raise


def _snapshot(table: str, iceberg: IcebergTable, found: IcebergSnapshot) -> Snapshot:
    with intact(iceberg, found):
        tasks = list(iceberg.scan(snapshot_id=found.snapshot_id).plan_files())
    summary = found.summary.additional_properties if found.summary else {}
    return Snapshot(
        table=table,
        id=found.snapshot_id,
        committed_at=_time(found.timestamp_ms),
        rows=sum(task.file.record_count for task in tasks),
        size=sum(task.file.file_size_in_bytes for task in tasks),
        types=_types(iceberg.schemas()[found.schema_id or 0]),
        files=tuple(task.file.file_path for task in tasks),
        properties={
            key.removeprefix(PREFIX): value
            for key, value in summary.items()
            if key.startswith(PREFIX)
        },
    )


def _tag(name: str, found: IcebergSnapshot) -> Tag:
    summary = found.summary.additional_properties if found.summary else {}
    rows = int(summary.get(_ROWS, "0"))
    return Tag(name, found.snapshot_id, _time(found.timestamp_ms), rows)


def _is_start(found: IcebergSnapshot) -> bool:
    """Whether it is the empty snapshot that a table begins with."""
    return not found.summary or PERSONAL not in found.summary.additional_properties


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _types(schema: Schema) -> dict[str, str]:
    return {field.name: _IBIS_TYPES[str(field.field_type)] for field in schema.fields}
