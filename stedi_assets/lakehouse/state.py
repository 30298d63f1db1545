"""A table of the catalog at one moment: what is published, what waits on `audit`, its tags."""

import json
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise

from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot

from stedi_assets.lakehouse.faults import explain
from stedi_assets.lakehouse.manifests import SAME_AS, live_entries, original_of, published_ids
from stedi_assets.lakehouse.names import view_name
from stedi_assets.lakehouse.table import PERSONAL, REQUIRED

AUDIT = "audit"
"""The branch on which a candidate waits."""

PREFIX = "stedi."
"""What the names of our properties begin with."""

ZONE, CONTRACT, HELD_BACK = "stedi.zone", "stedi.contract", "stedi.held-back"
"""Properties of a table: its zone, the fingerprint of its contract, the candidate held back."""

HELD_BACK_BY = "stedi.held-back-by"
"""Property of a table: what the checks found that hold its candidate back, as JSON."""

SAME_ROWS = SAME_AS.removeprefix(PREFIX)
"""Property of a snapshot: id of a published one that has exactly its rows."""

ROWS_SINCE = "rows-since"
"""Property of a snapshot with the rows, or some rows, of an earlier one: when these were published,
in epoch milliseconds."""

ADDED, REMOVED = "added-rows", "removed-rows"
"""What a snapshot that was made from changes says of them."""

ACCOUNT = "stedi.account"
"""Property of a table: where the rows of its inputs went, and for which rows of it that holds."""

_IBIS_TYPES = {"string": "string", "long": "int64", "double": "float64"}
_ROWS = "total-records"


@dataclass(frozen=True)
class Snapshot:
    """One state of a table.

    Attributes:
        committed_at: When it was made; of a compacted one, when its rows were.
        types: Its columns, with the type of each as ibis names it.
        files: The Parquet files that hold its rows.
        rows_of_files: How many rows each of them holds.
        sizes_of_files: How many bytes each of them has.
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
    rows_of_files: tuple[int, ...] = ()
    sizes_of_files: tuple[int, ...] = ()

    @property
    def personal_columns(self) -> set[str]:
        """Names of its columns with personal data."""
        return set(self.properties[PERSONAL.removeprefix(PREFIX)].split(",")) - {""}

    @property
    def required(self) -> set[str] | None:
        """Columns that its contract wants filled and that are; None if an older version made it."""
        names = self.properties.get(REQUIRED.removeprefix(PREFIX))
        return None if names is None else set(names.split(",")) - {""}

    @property
    def rows_id(self) -> str:
        """Id of the rows: a vacuum may have rewritten their files under another snapshot id."""
        return self.properties.get(SAME_ROWS, str(self.id))

    @property
    def name(self) -> str:
        """Name under which an engine opens it, so that expressions say which rows they read."""
        return view_name(self.table, self.rows_id)


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
        self, name: str, iceberg: IcebergTable, cache: dict[tuple[str, int], Snapshot]
    ) -> None:
        """Take the table as loaded; `cache` has the snapshots whose files were read before."""
        self._name = name
        self._iceberg = iceberg
        self._cache = cache

    @property
    def location(self) -> str:
        """Where its files are."""
        return self._iceberg.location()

    @property
    def uuid(self) -> str:
        """What no other table is called, also none of the same name before or after it."""
        return str(self._iceberg.metadata.table_uuid)

    @property
    def types(self) -> dict[str, str]:
        """Its columns, with the type of each as ibis names it."""
        return _types(self._iceberg.schema())

    @property
    def field_ids(self) -> dict[str, int]:
        """Iceberg's id of each column."""
        return {field.name: field.field_id for field in self._iceberg.schema().fields}

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
        snapshot = self._iceberg.snapshot_by_name("main")
        return None if snapshot is None or _is_start(snapshot) else self._snapshot(snapshot)

    @property
    def history(self) -> list[tuple[datetime, int]]:
        """When other rows were published, and how many, as far as snapshots have not expired."""
        return [
            (at, int(snapshot.summary.additional_properties[_ROWS]))
            for at, snapshot in self._changes
            if snapshot.summary
        ]

    def published_since(self, snapshot_id: int | None) -> list[Snapshot]:
        """What was published after a snapshot, oldest first; the whole history if it expired.

        A snapshot with the rows of the one before, such as a compacted one, is left out.
        """
        ids = [snapshot.snapshot_id for _, snapshot in self._history]
        later = set(ids[ids.index(snapshot_id) + 1 if snapshot_id in ids else 0 :])
        changes = [snapshot for _, snapshot in self._changes]
        return [self._snapshot(each) for each in changes if each.snapshot_id in later]

    @property
    def changes(self) -> list[tuple[datetime, Snapshot]]:
        """What was published, and when, oldest first; without what has the rows of before."""
        return [(at, self._snapshot(snapshot)) for at, snapshot in self._changes]

    def published_by(self, run_id: str | None) -> list[datetime]:
        """When a run published other rows of it; no other file is read."""
        name = f"{PREFIX}run-id"
        return [
            at
            for at, snapshot in self._changes
            if snapshot.summary and snapshot.summary.additional_properties.get(name) == run_id
        ]

    @property
    def candidate(self) -> Snapshot | None:
        """What waits on `audit`: written, not published. None if `audit` is published."""
        snapshot = self._iceberg.snapshot_by_name(AUDIT)
        if snapshot is None or snapshot == self._iceberg.current_snapshot():
            return None
        return self._snapshot(snapshot)

    @property
    def is_held_back(self) -> bool:
        """Whether a check held back what waits on `audit`; if not, its refresh was cut short."""
        candidate = self.candidate
        return candidate is not None and self._iceberg.properties.get(HELD_BACK) == str(
            candidate.id
        )

    @property
    def held_back_by(self) -> dict[str, str]:
        """What each check found that holds back what waits on `audit`."""
        reasons = self._iceberg.properties.get(HELD_BACK_BY, "{}") if self.is_held_back else "{}"
        return {str(check): str(sentence) for check, sentence in json.loads(reasons).items()}

    @property
    def account(self) -> dict[str, int]:
        """Where the rows of the inputs of what is published went, by outcome; empty if unknown."""
        noted = json.loads(self._iceberg.properties.get(ACCOUNT, "{}"))
        published = self.published
        if published is None or noted.get("rows-id") != published.rows_id:
            return {}
        return {str(outcome): int(rows) for outcome, rows in noted["outcomes"].items()}

    def snapshot(self, snapshot_id: int) -> Snapshot | None:
        """A published snapshot, by its id; the last one with its rows where it has expired."""
        exact = [each for each in self._published if each.snapshot_id == snapshot_id]
        found = exact or self._with_rows(str(snapshot_id))
        return self._snapshot(found[-1]) if found else None

    def with_rows(self, rows_id: str) -> list[Snapshot]:
        """The first and the last published snapshot that has these rows."""
        same = self._with_rows(rows_id)
        return [self._snapshot(snapshot) for snapshot in same[:1] + same[1:][-1:]]

    def _with_rows(self, rows_id: str) -> list[IcebergSnapshot]:
        return [snapshot for snapshot in self._published if _rows_id(snapshot) == rows_id]

    @cached_property
    def _published(self) -> list[IcebergSnapshot]:
        """What was published and has not expired, oldest first."""
        metadata = self._iceberg.metadata
        ids = published_ids(metadata)
        return [
            snapshot
            for snapshot in metadata.snapshots
            if snapshot.snapshot_id in ids and not _is_start(snapshot)
        ]

    @property
    def all_snapshots(self) -> list[Snapshot]:
        """Every state whose files are still there, oldest first; also what nobody ever saw."""
        snapshots = self._iceberg.metadata.snapshots
        return [self._snapshot(each) for each in snapshots if not _is_start(each)]

    def values_of(self, property_: str) -> list[str]:
        """What the states that are still there say under a property; no other file is read."""
        found = (
            each.summary.additional_properties.get(f"{PREFIX}{property_}")
            for each in self._iceberg.metadata.snapshots
            if each.summary
        )
        return list(dict.fromkeys(value for value in found if value))

    def is_unpublished(self, name: str) -> bool:
        """Whether this is the id or tag of a snapshot that was never published."""
        metadata = self._iceberg.metadata
        ids = {str(snapshot.snapshot_id): snapshot.snapshot_id for snapshot in metadata.snapshots}
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
        tags = [
            _tag(name, snapshot)
            for name, ref in self._iceberg.metadata.refs.items()
            if ref.snapshot_ref_type == SnapshotRefType.TAG
            and ref.snapshot_id in published
            and (snapshot := self._iceberg.snapshot_by_id(ref.snapshot_id))
        ]
        return tuple(sorted(tags, key=lambda tag: (tag.made_at, len(tag.name), tag.name)))

    def tagged(self, tag: str) -> Snapshot | None:
        """The snapshot that has this tag."""
        ids = {each.name: each.snapshot_id for each in self.tags}
        return self.snapshot(ids[tag]) if tag in ids else None

    def as_of(self, moment: datetime) -> Snapshot | None:
        """What was published at that time; None if it expired or there was nothing yet."""
        following: IcebergSnapshot | None = None
        for published_at, snapshot in reversed(self._history):
            if published_at <= moment:
                # If the next one was not made from this one, what was between them expired.
                gap = following and following.parent_snapshot_id != snapshot.snapshot_id
                return None if gap else self._snapshot(snapshot)
            following = snapshot
        return None

    def replaced_at(self, snapshot_id: int) -> datetime | None:
        """When another state took the place of a published one; None if readers see it now."""
        log = self._iceberg.metadata.snapshot_log
        ends = [new.timestamp_ms for old, new in pairwise(log) if old.snapshot_id == snapshot_id]
        current = self._iceberg.metadata.current_snapshot_id
        return None if snapshot_id == current or not ends else _time(ends[-1])

    @property
    def earliest(self) -> datetime | None:
        """When the oldest state that has not expired was published."""
        return self._history[0][0] if self._history else None

    @property
    def _history(self) -> list[tuple[datetime, IcebergSnapshot]]:
        """What was published, and when, oldest first, as far as it has not expired."""
        log = self._iceberg.metadata.snapshot_log
        entries = [
            (_time(e.timestamp_ms), self._iceberg.snapshot_by_id(e.snapshot_id)) for e in log
        ]
        return [(at, snapshot) for at, snapshot in entries if snapshot and not _is_start(snapshot)]

    @property
    def _changes(self) -> list[tuple[datetime, IcebergSnapshot]]:
        """The same, without what has the rows of the one before it."""
        history = self._history
        before = [None, *(_rows_id(snapshot) for _, snapshot in history)]
        return [
            (at, snapshot)
            for (at, snapshot), rows_id in zip(history, before, strict=False)
            if _rows_id(snapshot) != rows_id
        ]

    def _snapshot(self, snapshot: IcebergSnapshot) -> Snapshot:
        # A snapshot never changes, and to list its files takes reading its manifests.
        key = self._name, snapshot.snapshot_id
        if key not in self._cache:
            self._cache[key] = _snapshot(self._name, self._iceberg, snapshot)
        return self._cache[key]


@contextmanager
def naming_damage(iceberg: IcebergTable, snapshot: IcebergSnapshot | None) -> Iterator[None]:
    """If a manifest of a snapshot cannot be read, name the file."""
    try:
        yield
    except Exception as error:
        if snapshot and explain(error) is None:
            deque(live_entries(snapshot, iceberg.io), maxlen=0)  # raises an error that names it
        raise


def _snapshot(table: str, iceberg: IcebergTable, snapshot: IcebergSnapshot) -> Snapshot:
    with naming_damage(iceberg, snapshot):
        tasks = list(iceberg.scan(snapshot_id=snapshot.snapshot_id).plan_files())
    summary = snapshot.summary.additional_properties if snapshot.summary else {}
    return Snapshot(
        table=table,
        id=snapshot.snapshot_id,
        committed_at=_time(int(summary.get(f"{PREFIX}{ROWS_SINCE}", snapshot.timestamp_ms))),
        rows=sum(task.file.record_count for task in tasks),
        size=sum(task.file.file_size_in_bytes for task in tasks),
        types=_types(iceberg.schemas()[snapshot.schema_id or 0]),
        files=tuple(task.file.file_path for task in tasks),
        rows_of_files=tuple(task.file.record_count for task in tasks),
        sizes_of_files=tuple(task.file.file_size_in_bytes for task in tasks),
        properties={
            key.removeprefix(PREFIX): value
            for key, value in summary.items()
            if key.startswith(PREFIX)
        },
    )


def _tag(name: str, snapshot: IcebergSnapshot) -> Tag:
    summary = snapshot.summary.additional_properties if snapshot.summary else {}
    rows = int(summary.get(_ROWS, "0"))
    made = int(summary.get(f"{PREFIX}{ROWS_SINCE}", snapshot.timestamp_ms))
    return Tag(name, snapshot.snapshot_id, _time(made), rows)


def _rows_id(snapshot: IcebergSnapshot) -> str:
    return original_of(snapshot) or str(snapshot.snapshot_id)


def _is_start(snapshot: IcebergSnapshot) -> bool:
    """Whether it is the empty snapshot that a table begins with."""
    return not snapshot.summary or PERSONAL not in snapshot.summary.additional_properties


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _types(schema: Schema) -> dict[str, str]:
    return {field.name: _IBIS_TYPES[str(field.field_type)] for field in schema.fields}
