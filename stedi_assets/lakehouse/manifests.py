"""Iceberg snapshots whose metadata holds no value of a row.

PyIceberg alone would write the bounds of each column, such as an e-mail, and would keep those of
deleted files in all later snapshots.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise

from pyiceberg.exceptions import ValidationException
from pyiceberg.io import FileIO
from pyiceberg.manifest import (
    DATA_FILE_TYPE,
    DataFile,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
)
from pyiceberg.schema import Schema
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.table.snapshots import Operation, Snapshot, Summary
from pyiceberg.table.update import AddSnapshotUpdate, TableUpdate, UpdatesAndRequirements
from pyiceberg.table.update.snapshot import ManageSnapshots, _SnapshotProducer
from pyiceberg.typedef import EMPTY_DICT

from stedi_assets.lakehouse.faults import damaged
from stedi_assets.lakehouse.table import REQUIRED

METRICS = {"write.metadata.metrics.default": "counts"}
"""Properties of a table that keep PyIceberg and other writers from writing bounds."""

_BOUNDS = ("lower_bounds", "upper_bounds")


class Changes(Transaction):
    """A transaction that works out what it makes of a table's metadata once for each change.

    PyIceberg copies all snapshots of the table each time that it looks at one of them. A table that
    is refreshed each minute has ten thousand in a week.
    """

    _worked_out: tuple[tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        """The metadata with the changes so far."""
        if not self._updates:
            return self._table.metadata
        if self._worked_out is None or self._worked_out[0] is not self._updates:
            self._worked_out = self._updates, super().table_metadata
        return self._worked_out[1]

    def commit_transaction(self) -> Table:
        """Commit the changes. That looks at the table's id alone, which none of them changes."""
        self._worked_out = self._updates, self._table.metadata
        return super().commit_transaction()


class ExactSnapshot(_SnapshotProducer["ExactSnapshot"]):
    """A snapshot of exactly these files, in one manifest of its own."""

    def __init__(  # noqa: PLR0913
        self,
        transaction: Transaction,
        io: FileIO,
        files: Collection[str],
        properties: Mapping[str, str],
        *,
        base: Snapshot,
        branch: str | None,
    ) -> None:
        """Keep the entries of files that `base` has, and read the other files for their counts.

        Args:
            transaction: The transaction that commits it.
            io: Reads and writes files.
            files: Paths of its data files.
            properties: Properties for its summary.
            base: Its parent.
            branch: The branch that will point to it, if any.
        """
        # It imports pandas; whoever only reads what is published needs neither.
        from pyiceberg.io.pyarrow import parquet_file_to_data_file  # noqa: PLC0415

        super().__init__(
            Operation.OVERWRITE,
            transaction,
            io,
            snapshot_properties=dict(properties),
            branch=branch,
        )
        self._parent_snapshot_id = self._starting_snapshot_id = base.snapshot_id
        self._existing: list[ManifestEntry] = []
        for entry in live_entries(base, io):
            if entry.data_file.file_path in files:
                self._existing.append(_existing_entry(entry))
            else:
                self.delete_data_file(entry.data_file)  # for the summary alone
        existing = {entry.data_file.file_path for entry in self._existing}
        added = [file for file in files if file not in existing]
        read = partial(parquet_file_to_data_file, io, _lenient(transaction.table_metadata))
        with ThreadPoolExecutor() as pool:
            for file in pool.map(read, added):
                self.append_data_file(_without_bounds(file))
        self.snapshot_properties[REQUIRED] = ",".join(self._required())

    def _required(self) -> Iterator[str]:
        """Columns that the contract wants filled and that are: no file has a null or lacks them."""
        metadata = self._transaction.table_metadata
        wanted = metadata.properties.get(REQUIRED, "").split(",")
        files = [*(entry.data_file for entry in self._existing), *self._added_data_files]
        for field in metadata.schema().fields:
            if field.name in wanted and all(
                (file.null_value_counts or {}).get(field.field_id) == 0 for file in files
            ):
                yield field.name

    def _manifests(self) -> list[ManifestFile]:
        entries = [*self._existing, *map(self._added_entry, self._added_data_files)]
        if not entries:
            return []
        with self.new_manifest_writer(self._transaction.table_metadata.spec()) as writer:
            for entry in entries:
                writer.add_entry(entry)
        return [writer.to_manifest_file()]

    def _added_entry(self, file: DataFile) -> ManifestEntry:
        return ManifestEntry.from_args(
            status=ManifestEntryStatus.ADDED,
            snapshot_id=self._snapshot_id,
            sequence_number=None,
            file_sequence_number=None,
            data_file=file,
        )

    def _refresh_for_retry(self) -> None:
        # PyIceberg would put it on top of whatever the other writer made, instead of `base`.
        raise ValidationException("Somebody else wrote to the table meanwhile.")

    def _deleted_entries(self) -> list[ManifestEntry]:
        return []

    def _existing_manifests(self) -> list[ManifestFile]:
        return []


class _Rewritten(ExactSnapshot):
    """The same columns as its base, and the same files unless others are given."""

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        transaction: Transaction,
        io: FileIO,
        base: Snapshot,
        branch: str | None,
        says: Mapping[str, str],
        files: Collection[str] | None = None,
    ) -> None:
        if files is None:
            files = {entry.data_file.file_path for entry in live_entries(base, io)}
        summary = base.summary.additional_properties if base.summary else {}
        properties = {name: value for name, value in summary.items() if name.startswith("stedi.")}
        properties.pop(SAME_AS, None)
        properties |= says
        super().__init__(transaction, io, files, properties, base=base, branch=branch)
        self._schema_id = base.schema_id

    def schema(self) -> Schema:
        schemas = self._transaction.table_metadata.schemas
        return next(schema for schema in schemas if schema.schema_id == (self._schema_id or 0))

    def _commit(self) -> UpdatesAndRequirements:
        updates, requirements = super()._commit()
        return tuple(map(self._with_schema, updates)), requirements

    def _with_schema(self, update: TableUpdate) -> TableUpdate:
        if not isinstance(update, AddSnapshotUpdate):
            return update
        schema = {"schema_id": self._schema_id}
        return AddSnapshotUpdate(snapshot=update.snapshot.model_copy(update=schema))

    def _summary(self, snapshot_properties: Mapping[str, str] = EMPTY_DICT) -> Summary:
        summary = super()._summary(dict(snapshot_properties))
        return Summary(operation=Operation.REPLACE, **summary.additional_properties)


def rewrite(table: Table, snapshot: Snapshot) -> None:
    """Replace a snapshot by one with the same rows and no values in its metadata."""
    refs = table.metadata.refs
    names = {name for name, ref in refs.items() if ref.snapshot_id == snapshot.snapshot_id}
    branch = MAIN_BRANCH if MAIN_BRANCH in names else None
    tags = {name for name in names if refs[name].snapshot_ref_type == SnapshotRefType.TAG}
    same = {SAME_AS: original_of(snapshot) or str(snapshot.snapshot_id)}
    with table.transaction() as transaction:
        with _Rewritten(transaction, table.io, snapshot, branch, same) as rewritten:
            pass
        with ManageSnapshots(transaction) as manage:
            for name in names - tags - {MAIN_BRANCH}:
                manage.create_branch(rewritten.snapshot_id, name)
            for tag in tags:
                manage.create_tag(rewritten.snapshot_id, tag)


def reduce(
    table: Table, snapshot: Snapshot, files: Collection[str], says: Mapping[str, str]
) -> None:
    """Let the tags of a published snapshot name one of other files, which has fewer of its rows.

    Args:
        table: The table.
        snapshot: What they name now; it stays.
        files: The files.
        says: Further properties of the new snapshot.
    """
    refs = table.metadata.refs.items()
    tags = [
        name
        for name, ref in refs
        if ref.snapshot_id == snapshot.snapshot_id and ref.snapshot_ref_type == SnapshotRefType.TAG
    ]
    fewer = {**says, REDUCED: str(snapshot.snapshot_id)}
    replaced = replaced_at(table.metadata).get(snapshot.snapshot_id)
    if replaced is not None:
        fewer[REPLACED] = str(replaced)
    with table.transaction() as transaction:
        with _Rewritten(transaction, table.io, snapshot, None, fewer, files) as reduced:
            pass
        with ManageSnapshots(transaction) as manage:
            for tag in tags:
                manage.create_tag(reduced.snapshot_id, tag)


def _lenient(metadata: TableMetadata) -> TableMetadata:
    """The metadata with optional columns: no engine writes others, whatever the rows hold."""
    fields = (field.model_copy(update={"required": False}) for field in metadata.schema().fields)
    schema = Schema(*fields, schema_id=metadata.current_schema_id)
    return metadata.model_copy(update={"schemas": [schema]})


def live_entries(snapshot: Snapshot, io: FileIO) -> Iterator[ManifestEntry]:
    """The data files of a snapshot, as its manifests list them."""
    for manifest in _manifests(snapshot, io):
        yield from _entries(manifest, io, discard_deleted=True)


def holds_values(snapshot: Snapshot, io: FileIO) -> bool:
    """Whether the manifests of a snapshot hold bounds of columns, or deleted files."""
    return any(
        entry.status == ManifestEntryStatus.DELETED
        or any(getattr(entry.data_file, bounds) for bounds in _BOUNDS)
        for manifest in _manifests(snapshot, io)
        for entry in _entries(manifest, io, discard_deleted=False)
    )


def files_of(snapshots: Iterable[Snapshot], io: FileIO) -> Iterator[str]:
    """All files that snapshots consist of: manifest lists, manifests, and data files."""
    seen: set[str] = set()
    for snapshot in snapshots:
        yield snapshot.manifest_list
        for manifest in _manifests(snapshot, io):
            if manifest.manifest_path not in seen:
                seen.add(manifest.manifest_path)
                yield manifest.manifest_path
                for entry in _entries(manifest, io, discard_deleted=True):
                    yield entry.data_file.file_path


def _manifests(snapshot: Snapshot, io: FileIO) -> list[ManifestFile]:
    with damaged(snapshot.manifest_list):
        return snapshot.manifests(io)


def _entries(manifest: ManifestFile, io: FileIO, *, discard_deleted: bool) -> list[ManifestEntry]:
    with damaged(manifest.manifest_path):
        return manifest.fetch_manifest_entry(io, discard_deleted)


def published_ids(metadata: TableMetadata) -> set[int]:
    """Snapshots that readers have seen: those that `main` pointed to, and their rewritten copies.

    Copies without some of their rows are among them, a candidate is not.
    """
    parents = {snapshot.snapshot_id: snapshot.parent_snapshot_id for snapshot in metadata.snapshots}
    ids = {entry.snapshot_id for entry in metadata.snapshot_log}
    # Other writers may cut the log short, but all ancestors of `main` were published.
    last = metadata.current_snapshot_id
    while last is not None and last in parents:
        ids.add(last)
        last = parents[last]
    ids |= {
        snapshot.snapshot_id
        for snapshot in metadata.snapshots
        if snapshot.summary
        and (original_of(snapshot) or snapshot.summary[REDUCED])
        and snapshot.summary.operation is Operation.REPLACE  # otherwise it may be a candidate
    }
    return ids & parents.keys()


def replaced_at(metadata: TableMetadata) -> dict[int, int]:
    """When snapshots that readers have seen were replaced by the next one, in epoch milliseconds.

    One with fewer rows was replaced when the one was that it came from.
    """
    log = pairwise(metadata.snapshot_log)
    return {
        **{old.snapshot_id: new.timestamp_ms for old, new in log},
        **{
            snapshot.snapshot_id: int(replaced)
            for snapshot in metadata.snapshots
            if snapshot.summary and (replaced := snapshot.summary[REPLACED])
        },
    }


SAME_AS = "stedi.same-as"
"""Property of a snapshot: id of the published snapshot whose rows it has."""

REPLACED = "stedi.replaced-at"
"""Property of a snapshot with fewer rows: when the one was replaced that it came from."""

REDUCED = "stedi.reduced-from"
"""Property of a snapshot: id of the published snapshot that it was, before rows were taken out."""


def original_of(snapshot: Snapshot) -> str | None:
    """Id of the first published snapshot that has the rows of this one, if it is another one."""
    return snapshot.summary[SAME_AS] if snapshot.summary else None


def _existing_entry(entry: ManifestEntry) -> ManifestEntry:
    return ManifestEntry.from_args(
        status=ManifestEntryStatus.EXISTING,
        snapshot_id=entry.snapshot_id,
        sequence_number=entry.sequence_number,
        file_sequence_number=entry.file_sequence_number,
        data_file=_without_bounds(entry.data_file),
    )


def _without_bounds(file: DataFile) -> DataFile:
    for position, field in enumerate(DATA_FILE_TYPE[2].fields):
        if field.name in _BOUNDS:
            file[position] = None
    return file
