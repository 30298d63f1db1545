"""The tables in the Iceberg catalog: what is published, what waits on the branch `audit`."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

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
from pyiceberg.table.update.snapshot import ExpireSnapshots, ManageSnapshots

from stedi_assets.lakehouse.faults import (
    DamagedError,
    LakehouseError,
    damaged,
    named_in,
)
from stedi_assets.lakehouse.manifests import (
    METRICS,
    Changes,
    ExactSnapshot,
    files_of,
    published_ids,
    reduce,
)
from stedi_assets.lakehouse.state import (
    ACCOUNT,
    AUDIT,
    CONTRACT,
    HELD_BACK,
    HELD_BACK_BY,
    PREFIX,
    ROWS_SINCE,
    ZONE,
    Snapshot,
    TableState,
    naming_damage,
)
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.lakehouse.table import OWNER, PERSONAL, REQUIRED, Table


class PublishConflictError(LakehouseError):
    """Another refresh published meanwhile; nothing is lost, refresh again."""


class MovedError(LakehouseError):
    """The catalog says that the tables are in another place."""


class Catalog:
    """Iceberg tables of the lakehouse, wherever it is stored.

    Attributes:
        storage: Where that is.
    """

    def __init__(self, storage: Storage) -> None:
        """Use the lakehouse stored there; nothing is written before the first table."""
        self.storage = storage
        self._snapshots: dict[tuple[str, int], Snapshot] = {}
        self._seen: dict[str, IcebergTable] | None = None

    @contextmanager
    def steady(self) -> Iterator[None]:
        """Meanwhile look each table up once, until this catalog writes to it.

        A step of a refresh asks for the state of each table tens of times, and has the tables to
        itself. What is written goes by what the catalog says then.
        """
        seen, self._seen = self._seen, {}
        try:
            yield
        finally:
            self._seen = seen

    @property
    def warehouse(self) -> str:
        """Where the tables' files are: `<zone>/<table>/` each."""
        return f"{self.storage.root}/warehouse"

    @property
    def io(self) -> FileIO:
        """Reads, writes and deletes single files of the warehouse."""
        return self.storage.io

    def names(self) -> list[str]:
        """The names of the tables that exist."""
        if not self.storage.exists():
            return []
        try:
            identifiers = self.storage.iceberg.list_tables(self.storage.namespace)
        except NoSuchNamespaceError:  # nobody has written to this catalog yet
            return []
        return [name for _, name in identifiers]

    def tables(self) -> dict[str, TableState]:
        """The tables that exist, by name."""
        return {name: self.state(name) for name in self.names()}

    def assert_usable(self) -> None:
        """Refuse a catalog that cannot be read, or whose tables are elsewhere.

        Raises:
            LakehouseError: It cannot be read, or says that its tables are in another place.
        """
        faults = []
        for name in self.names():
            try:
                self.load(name)
            except MovedError:
                raise
            except Exception as error:  # this table's alone if another one can be read
                faults.append(error)
            else:
                return
        if faults and not all(isinstance(fault, DamagedError) for fault in faults):
            raise faults[0]

    def is_whole(self, table: str) -> bool:
        """Whether the metadata of what is published, and of what waits on `audit`, can be read."""
        try:
            state = self.state(table)
            _ = state.published, state.candidate  # reads their manifests
        except Exception:  # whatever is wrong with it
            return False
        return True

    def drop(self, table: str) -> None:
        """Take a table out of the catalog; its files stay."""
        with self._writing(table):
            self.storage.iceberg.drop_table((self.storage.namespace, table))

    def state(self, table: str) -> TableState:
        """The table as it is now."""
        if self._seen is None:
            return self._state(table, self.load(table))
        if table not in self._seen:
            self._seen[table] = self.load(table)
        return self._state(table, self._seen[table])

    def find(self, table: str) -> TableState | None:
        """The table as it is now, if it exists."""
        try:
            return self.state(table)
        except NoSuchTableError:
            return None

    def _state(self, table: str, iceberg: IcebergTable) -> TableState:
        return TableState(table, iceberg, self._snapshots)

    def metadata_location(self, table: str) -> str:
        """The Iceberg metadata file, for readers that take one."""
        return self.load(table).metadata_location

    def ensure(self, table: Table) -> None:
        """Make the table if it is missing, and give it the columns of its contract."""
        try:
            iceberg = self.load(table.name)
        except NoSuchTableError:
            self._create(table)
            return
        properties = _properties(table)
        if properties.items() <= iceberg.properties.items():
            return
        with self._writing(table.name):
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
        """Commit a state of the table that consists of exactly `files` to `audit`.

        Files that `main` has already keep their entries; the others are read for their statistics.
        `main` does not move.

        Raises:
            PublishConflictError: Another refresh wrote to the table at the same time.
        """
        iceberg = self.load(table)
        main = iceberg.current_snapshot()
        assert main is not None
        summary = {PREFIX + key: value for key, value in properties.items()}
        summary[PERSONAL] = iceberg.properties[PERSONAL]
        with (
            self._writing(table),
            naming_damage(iceberg, main),
            Changes(iceberg) as transaction,
            ExactSnapshot(transaction, iceberg.io, files, summary, base=main, branch=AUDIT),
        ):
            pass
        staged = self._state(table, iceberg).candidate
        assert staged is not None
        return staged

    def discard_candidate(self, table: str) -> None:
        """Move `audit` to where `main` is."""
        iceberg = self.load(table)
        refs, main = iceberg.metadata.refs, iceberg.metadata.current_snapshot_id
        if main is not None and (AUDIT not in refs or refs[AUDIT].snapshot_id != main):
            with self._writing(table), iceberg.manage_snapshots() as manage:
                manage.create_branch(main, AUDIT)

    def hold_back(self, candidate: Snapshot, reasons: Mapping[str, str]) -> None:
        """Note that checks hold the candidate back; it stays on `audit` for inspection.

        Args:
            candidate: What waits on `audit`.
            reasons: What each of these checks found.
        """
        with (
            self._writing(candidate.table),
            self.load(candidate.table).transaction() as transaction,
        ):
            transaction.set_properties(
                {HELD_BACK: str(candidate.id), HELD_BACK_BY: json.dumps(reasons)}
            )

    def drop_candidate(self, candidate: Snapshot) -> None:
        """Remove a candidate and the files that it alone refers to.

        If this is interrupted, a vacuum removes the files that remain.
        """
        iceberg = self.load(candidate.table)
        snapshot = iceberg.snapshot_by_id(candidate.id)
        if snapshot is None or snapshot.snapshot_id in published_ids(iceberg.metadata):
            return
        own = set(files_of([snapshot], iceberg.io))
        with self._writing(candidate.table), iceberg.transaction() as transaction:
            _release(transaction, snapshot.snapshot_id)
            with ExpireSnapshots(transaction) as expire:
                expire.by_id(snapshot.snapshot_id)
        for file in own.difference(files_of(iceberg.metadata.snapshots, iceberg.io)):
            self.io.delete(file)

    def publish(self, candidate: Snapshot, account: Mapping[str, int] | None = None) -> None:
        """Let readers see the candidate: `main` moves to it.

        Its columns become required where the contract says so, and only if each row has a value:
        readers refuse a table with a null in a required column.

        Args:
            candidate: What waits on `audit`.
            account: Where the rows of its inputs went, by outcome.

        Raises:
            PublishConflictError: `main` moved since the candidate was made, or `audit` did.
        """
        iceberg = self.load(candidate.table)
        refs = iceberg.metadata.refs
        snapshot = iceberg.snapshot_by_id(candidate.id)
        if (
            snapshot is None
            or refs[AUDIT].snapshot_id != candidate.id
            or snapshot.parent_snapshot_id != iceberg.metadata.current_snapshot_id
        ):
            raise PublishConflictError(_conflict(candidate.table))
        try:
            with self._writing(candidate.table), Changes(iceberg) as transaction:
                with ManageSnapshots(transaction) as manage:
                    manage.set_current_snapshot(candidate.id)
                _require(transaction, iceberg.schema(), candidate)
                if account:
                    noted = {"rows-id": candidate.rows_id, "outcomes": dict(account)}
                    transaction.set_properties({ACCOUNT: json.dumps(noted)})
        except PublishConflictError:
            # If the catalog's answer was lost, the client asked again and met its own change.
            if self.load(candidate.table).metadata.current_snapshot_id != candidate.id:
                raise
        self.storage.point_readers()

    def tag(self, snapshot: Snapshot, name: str) -> None:
        """Give a snapshot a name, which keeps it from expiring.

        Raises:
            LakehouseError: The name exists already, or somebody else wrote to the table meanwhile.
        """
        iceberg = self.load(snapshot.table)
        if name in iceberg.metadata.refs:  # PyIceberg would move it
            raise LakehouseError(f"{snapshot.table} has a tag or branch {name} already.")
        with self._writing(snapshot.table), iceberg.manage_snapshots() as manage:
            manage.create_tag(snapshot.id, name)

    def replace_tagged(self, snapshot: Snapshot, files: Collection[str]) -> None:
        """Let the tags of a snapshot name one of these files instead, with fewer of its rows."""
        iceberg = self.load(snapshot.table)
        base = iceberg.snapshot_by_id(snapshot.id)
        assert base is not None
        since = str(round(snapshot.committed_at.timestamp() * 1000))
        with self._writing(snapshot.table):
            reduce(iceberg, base, files, {f"{PREFIX}{ROWS_SINCE}": since})

    def untag(self, table: str, names: Collection[str]) -> None:
        """Remove tags, so that their snapshots can expire."""
        if names:
            with self._writing(table), self.load(table).manage_snapshots() as manage:
                for name in names:
                    manage.remove_tag(name)

    def load(self, table: str) -> IcebergTable:
        """The table as the catalog has it.

        Raises:
            NoSuchTableError: There is none.
            DamagedError: Its metadata file cannot be read.
            LakehouseError: Its files are not below this lakehouse's folder.
        """
        catalog, root = self.storage.iceberg, self.storage.root
        try:
            with damaged(f"The newest metadata file of {table}", unless=(NoSuchTableError,)):
                iceberg = catalog.load_table((self.storage.namespace, table))
        except DamagedError as error:
            cause = error.__cause__
            missing = named_in(cause) if isinstance(cause, FileNotFoundError) else None
            if missing and missing.startswith("/") and not missing.startswith(f"{root}/"):
                raise _moved(table, root, missing) from None
            raise
        if not iceberg.location().startswith(f"{root}/"):
            raise _moved(table, root, iceberg.location())
        return iceberg

    @contextmanager
    def _writing(self, table: str) -> Iterator[None]:
        """Have a table looked up anew, and say in a sentence that somebody else wrote to it."""
        try:
            with conflicts(table):
                yield
        finally:
            if self._seen is not None:
                self._seen.pop(table, None)

    def _create(self, table: Table) -> None:
        self.storage.claim()
        catalog, namespace = self.storage.iceberg, self.storage.namespace
        if not catalog.namespace_exists(namespace):
            catalog.create_namespace_if_not_exists(namespace)
        # A table without snapshots takes writes to `main` only, so it starts with an empty one.
        with (
            self._writing(table.name),
            catalog.create_table_transaction(
                (namespace, table.name),
                schema=table.arrow_schema,
                location=table.location(self.storage.root),
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


def _moved(table: str, root: str, location: str) -> MovedError:
    return MovedError(
        f"The catalog in {root} says that the files of {table} are elsewhere ({location}): a "
        "lakehouse cannot be moved or copied; move it back, or make all tables anew from the "
        "landing files: stedi rebuild."
    )


@contextmanager
def conflicts(table: str) -> Iterator[None]:
    """Say in a sentence that somebody else wrote to the table meanwhile."""
    try:
        yield
    except (CommitFailedException, TableAlreadyExistsError, ValidationException) as error:
        raise PublishConflictError(_conflict(table)) from error


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


def _require(transaction: Transaction, schema: Schema, candidate: Snapshot) -> None:
    """Let exactly those columns be required that are filled in the candidate.

    Args:
        transaction: Takes the change.
        schema: The table's; that of the transaction takes a copy of all snapshots.
        candidate: What is published.
    """
    if candidate.required is None:
        return
    changed = {
        field.name: not field.required
        for field in schema.fields
        if field.required != (field.name in candidate.required)
    }
    if not changed:
        return
    with transaction.update_schema(allow_incompatible_changes=True) as update:
        for name, required in changed.items():
            update.update_column(name, required=required)


def _properties(table: Table) -> dict[str, str]:
    return {
        "comment": table.description,
        OWNER: table.owner,
        ZONE: table.zone,
        PERSONAL: ",".join(table.personal_columns),
        REQUIRED: ",".join(table.required_columns),
        CONTRACT: table.fingerprint,
        **METRICS,
    }


def _name_mapping(schema: Schema) -> dict[str, str]:
    # Older versions wrote Parquet without Iceberg's field ids: readers find columns by name there.
    return {TableProperties.DEFAULT_NAME_MAPPING: schema.name_mapping.model_dump_json()}


def _conflict(table: str) -> str:
    return (
        f"Another refresh wrote to {table} at the same time, so this one did not publish it; "
        "nothing is lost: refresh again."
    )
