"""The tables in the Iceberg catalog: what is published, what waits on the branch `audit`."""

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchNamespaceError,
    NoSuchTableError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.io import FileIO
from pyiceberg.schema import Schema
from pyiceberg.table import Table as IcebergTable
from pyiceberg.table import TableProperties, Transaction
from pyiceberg.table.refs import SnapshotRefType
from pyiceberg.table.snapshots import Snapshot as IcebergSnapshot
from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots

from stedi_assets.lakehouse.faults import (
    DamagedError,
    LakehouseError,
    damaged,
    explain,
    named_in,
)
from stedi_assets.lakehouse.manifests import (
    METRICS,
    SAME_AS,
    ExactSnapshot,
    files_of,
    live_entries,
    original_of,
    published_ids,
)
from stedi_assets.lakehouse.storage import Storage
from stedi_assets.lakehouse.table import OWNER, PERSONAL, Table

AUDIT = "audit"
_ZONE, _CONTRACT = "stedi.zone", "stedi.contract"
_IBIS_TYPES = {"string": "string", "long": "int64", "double": "float64"}
_HELD_BACK = "stedi.held-back"
_PREFIX = "stedi."
_ROWS = "total-records"


class PublishConflict(LakehouseError):
    """Another refresh published meanwhile; nothing is lost, refresh again."""


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
        return set(self.properties[PERSONAL.removeprefix(_PREFIX)].split(",")) - {""}

    @property
    def state(self) -> str:
        """Id that says which rows it has: upkeep may have written its metadata anew since."""
        return self.properties.get(SAME_AS.removeprefix(_PREFIX), str(self.id))

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
        return self._iceberg.properties[_CONTRACT]

    @property
    def zone(self) -> str:
        """Its zone."""
        return self._iceberg.properties[_ZONE]

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
        """What was published after a snapshot, oldest first; all that is left where it is gone."""
        found = [found for _, found in self._history]
        known = [known.snapshot_id for known in found]
        start = known.index(snapshot_id) + 1 if snapshot_id in known else 0
        return [self._snapshot(published) for published in found[start:]]

    @property
    def candidate(self) -> Snapshot | None:
        """What waits on `audit`: written, not published. Nothing where `audit` is published."""
        found = self._iceberg.snapshot_by_name(AUDIT)
        if found is None or found == self._iceberg.current_snapshot():
            return None
        return self._snapshot(found)

    @property
    def is_held_back(self) -> bool:
        """Whether a check held back what waits on `audit`; else its refresh ended too early."""
        candidate = self.candidate
        return candidate is not None and self._iceberg.properties.get(_HELD_BACK) == str(
            candidate.id
        )

    def snapshot(self, snapshot_id: int) -> Snapshot | None:
        """One of its snapshots that were published, by its id, or by the one it had before."""
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
        """What was published at that time; nothing where it expired or nothing was there yet."""
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


class Catalog:
    """Iceberg tables of the lakehouse, wherever it is stored."""

    def __init__(self, storage: Storage) -> None:
        """Use the lakehouse stored there; nothing is written before the first table."""
        self._storage = storage
        self._snapshots: dict[tuple[str, int], Snapshot] = {}

    @property
    def warehouse(self) -> str:
        """Where the tables' files are: `<zone>/<table>/` each."""
        return f"{self._storage.root}/warehouse"

    @property
    def io(self) -> FileIO:
        """Reads, writes and deletes single files of the warehouse."""
        return self._storage.io

    def names(self) -> list[str]:
        """The names of the tables that exist."""
        if not self._storage.exists():
            return []
        try:
            found = self._storage.iceberg.list_tables(self._storage.namespace)
        except NoSuchNamespaceError:  # a catalog that was looked into and never written to
            return []
        return [name for _, name in found]

    def tables(self) -> dict[str, TableState]:
        """The tables that exist, by name."""
        return {name: self.state(name) for name in self.names()}

    def assert_usable(self) -> None:
        """Refuse a catalog with which no table can be told from another's or a lost one.

        Raises:
            LakehouseError: It cannot be read, or says that its tables are in another place.
        """
        faults = []
        for name in self.names():
            try:
                self.load(name)
            except Moved:
                raise
            except Exception as error:  # that table's own trouble, where another one can be read
                faults.append(error)
            else:
                return
        if faults and not all(isinstance(fault, DamagedError) for fault in faults):
            raise faults[0]

    def is_whole(self, table: str) -> bool:
        """Whether the metadata of a table can be read, of what is published and what waits."""
        try:
            state = self.state(table)
            return bool([state.published, state.candidate])
        except Exception:  # whatever is wrong with it
            return False

    def drop(self, table: str) -> None:
        """Take a table out of the catalog; its files stay."""
        self._storage.iceberg.drop_table((self._storage.namespace, table))

    def state(self, table: str) -> TableState:
        """The table as it is now."""
        return self._state(table, self.load(table))

    def find(self, table: str) -> TableState | None:
        """The table as it is now, if it exists."""
        try:
            return self.state(table)
        except NoSuchTableError:
            return None

    def _state(self, table: str, iceberg: IcebergTable) -> TableState:
        return TableState(table, iceberg, self._snapshots)

    def location(self, table: str) -> str:
        """Where the table's files are."""
        return self.state(table).location

    def metadata_location(self, table: str) -> str:
        """The Iceberg metadata file, for readers that take one."""
        return self.load(table).metadata_location

    def ensure(self, table: Table) -> None:
        """Make the table where it is missing, and give it the columns of its contract."""
        try:
            iceberg = self.load(table.name)
        except NoSuchTableError:
            self._create(table)
            return
        properties = _properties(table)
        if properties.items() <= iceberg.properties.items():
            return
        with conflicts(table.name):
            with iceberg.update_schema(allow_incompatible_changes=True) as update:
                for column in set(iceberg.schema().column_names) - set(table.types):
                    update.delete_column(column)
                update.union_by_name(table.arrow_schema)
            with iceberg.transaction() as transaction:
                transaction.set_properties({**properties, **_name_mapping(iceberg.schema())})

    def published(self, table: str) -> Snapshot | None:
        """What readers see, or nothing before the table's first publication."""
        state = self.find(table)
        return state.published if state else None

    def candidate(self, table: str) -> Snapshot | None:
        """What waits on `audit`, if anything does."""
        state = self.find(table)
        return state.candidate if state else None

    def added(self, candidate: Snapshot) -> Snapshot:
        """The candidate reduced to the files that `main` does not have."""
        published = self.published(candidate.table)
        present = set(published.files) if published else set()
        return replace(candidate, files=tuple(f for f in candidate.files if f not in present))

    def stage(self, table: str, files: Collection[str], properties: Mapping[str, str]) -> Snapshot:
        """Put a state of the table that consists of exactly `files` on `audit`.

        Files that `main` has already are kept as they are there, the others are read for their
        statistics. `main` does not move.

        Raises:
            PublishConflict: Another refresh wrote to the table at the same time.
        """
        iceberg = self.load(table)
        main = iceberg.current_snapshot()
        assert main is not None
        summary = {_PREFIX + key: value for key, value in properties.items()}
        summary[PERSONAL] = iceberg.properties[PERSONAL]
        with (
            conflicts(table),
            intact(iceberg, main),
            iceberg.transaction() as transaction,
            ExactSnapshot(transaction, iceberg.io, files, summary, base=main, branch=AUDIT),
        ):
            pass
        staged = self._state(table, iceberg).candidate
        assert staged is not None
        return staged

    def discard_candidate(self, table: str) -> None:
        """Let `audit` stand where `main` stands."""
        with conflicts(table):
            _discard(self.load(table))

    def hold_back(self, candidate: Snapshot) -> None:
        """Note that a check holds the candidate back, which stays on `audit` to be looked at."""
        with (
            conflicts(candidate.table),
            self.load(candidate.table).transaction() as transaction,
        ):
            transaction.set_properties({_HELD_BACK: str(candidate.id)})

    def drop_candidate(self, candidate: Snapshot) -> None:
        """Remove a candidate and the files that it alone refers to.

        Cut short, it leaves files that no snapshot refers to, which a vacuum removes.
        """
        iceberg = self.load(candidate.table)
        made = iceberg.snapshot_by_id(candidate.id)
        if made is None or made.snapshot_id in published_ids(iceberg.metadata):
            return
        own = set(files_of([made], iceberg.io))
        with conflicts(candidate.table), iceberg.transaction() as transaction:
            _release(transaction, made.snapshot_id)
            with ExpireSnapshots(transaction) as expire:
                expire.by_id(made.snapshot_id)
        for file in own.difference(files_of(iceberg.metadata.snapshots, iceberg.io)):
            self.io.delete(file)

    def publish(self, candidate: Snapshot) -> None:
        """Let readers see the candidate: `main` moves to it.

        Raises:
            PublishConflict: `main` moved since the candidate was made, or `audit` did.
        """
        iceberg = self.load(candidate.table)
        refs = iceberg.metadata.refs
        made = iceberg.snapshot_by_id(candidate.id)
        if (
            made is None
            or refs[AUDIT].snapshot_id != candidate.id
            or made.parent_snapshot_id != iceberg.metadata.current_snapshot_id
        ):
            raise PublishConflict(_conflict(candidate.table))
        try:
            with conflicts(candidate.table), iceberg.manage_snapshots() as manage:
                manage.set_current_snapshot(candidate.id)
        except PublishConflict:
            # Where the catalog's answer was lost, the client asked again, and met its own change.
            if self.load(candidate.table).metadata.current_snapshot_id != candidate.id:
                raise

    def tag(self, snapshot: Snapshot, name: str) -> None:
        """Give a snapshot a name, which keeps it from expiring.

        Raises:
            LakehouseError: The name is taken, or somebody else wrote to the table meanwhile.
        """
        iceberg = self.load(snapshot.table)
        if name in iceberg.metadata.refs:  # PyIceberg would move it
            raise LakehouseError(f"{snapshot.table} has a tag or branch {name} already.")
        with conflicts(snapshot.table), iceberg.manage_snapshots() as manage:
            manage.create_tag(snapshot.id, name)

    def untag(self, table: str, names: Collection[str]) -> None:
        """Let tags go, so that their snapshots can expire."""
        if names:
            with conflicts(table), self.load(table).manage_snapshots() as manage:
                for name in names:
                    manage.remove_tag(name)

    def load(self, table: str) -> IcebergTable:
        """The table as the catalog has it.

        Raises:
            NoSuchTableError: There is none.
            DamagedError: Its metadata file cannot be read.
            LakehouseError: Its files are not below this lakehouse's folder.
        """
        catalog, root = self._storage.iceberg, self._storage.root
        try:
            with damaged(f"The newest metadata file of {table}", unless=(NoSuchTableError,)):
                iceberg = catalog.load_table((self._storage.namespace, table))
        except DamagedError as error:
            cause = error.__cause__
            lost = named_in(cause) if isinstance(cause, FileNotFoundError) else None
            if lost and lost.startswith("/") and not lost.startswith(f"{root}/"):
                raise _moved(table, root, lost) from None
            raise
        if not iceberg.location().startswith(f"{root}/"):
            raise _moved(table, root, iceberg.location())
        return iceberg

    def _create(self, table: Table) -> None:
        self._storage.claim()
        catalog, namespace = self._storage.iceberg, self._storage.namespace
        if not catalog.namespace_exists(namespace):
            catalog.create_namespace_if_not_exists(namespace)
        # A table without snapshots takes writes to `main` only, so it starts with an empty one.
        with (
            conflicts(table.name),
            catalog.create_table_transaction(
                (namespace, table.name),
                schema=table.arrow_schema,
                location=table.location(self._storage.root),
                properties=_properties(table),
            ) as transaction,
        ):
            transaction.set_properties(_name_mapping(transaction.table_metadata.schema()))
            with transaction.update_snapshot().fast_append():
                pass
            empty = transaction.table_metadata.current_snapshot_id
            assert empty is not None
            with ManageSnapshots(transaction) as manage:
                manage.create_branch(empty, AUDIT)


class Moved(LakehouseError):
    """The catalog says that the tables are in another place."""


def _moved(table: str, root: str, location: str) -> Moved:
    return Moved(
        f"The catalog in {root} says that the files of {table} are elsewhere ({location}): a "
        "lakehouse cannot be moved or copied; move it back, or make all tables anew from the "
        "landing files: stedi rebuild."
    )


@contextmanager
def intact(iceberg: IcebergTable, snapshot: IcebergSnapshot | None) -> Iterator[None]:
    """Name the file, where one of those that list the files of a snapshot cannot be read."""
    try:
        yield
    except Exception as error:
        if snapshot and explain(error) is None:
            deque(live_entries(snapshot, iceberg.io), maxlen=0)  # which says which one it is
        raise


@contextmanager
def conflicts(table: str) -> Iterator[None]:
    """Say in a sentence that somebody else wrote to the table meanwhile."""
    try:
        yield
    except (CommitFailedException, TableAlreadyExistsError, ValidationException) as error:
        raise PublishConflict(_conflict(table)) from error


def _release(transaction: Transaction, snapshot_id: int) -> None:
    """Let neither `audit` nor a tag point to a snapshot."""
    metadata = transaction.table_metadata
    names = [name for name, ref in metadata.refs.items() if ref.snapshot_id == snapshot_id]
    main = metadata.current_snapshot_id
    assert main is not None
    with ManageSnapshots(transaction) as manage:
        for name in names:
            if name == AUDIT:
                manage.create_branch(main, AUDIT)
            else:
                manage.remove_tag(name)


def _discard(iceberg: IcebergTable) -> None:
    refs, main = iceberg.metadata.refs, iceberg.metadata.current_snapshot_id
    if main is not None and (AUDIT not in refs or refs[AUDIT].snapshot_id != main):
        with iceberg.manage_snapshots() as manage:
            manage.create_branch(main, AUDIT)


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
            key.removeprefix(_PREFIX): value
            for key, value in summary.items()
            if key.startswith(_PREFIX)
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


def _properties(table: Table) -> dict[str, str]:
    return {
        "comment": table.description,
        OWNER: table.owner,
        _ZONE: table.zone,
        PERSONAL: ",".join(table.personal_columns),
        _CONTRACT: table.fingerprint,
        **METRICS,
    }


def _name_mapping(schema: Schema) -> dict[str, str]:
    # The engines write Parquet without Iceberg's field ids; readers find columns by name.
    return {TableProperties.DEFAULT_NAME_MAPPING: schema.name_mapping.model_dump_json()}


def _conflict(table: str) -> str:
    return (
        f"Another refresh wrote to {table} at the same time, so this one did not publish it; "
        "nothing is lost: refresh again."
    )
