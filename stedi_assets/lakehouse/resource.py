"""The lakehouse as Dagster resources: the tables, and the IO manager that stages them."""

import contextlib
import hashlib
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import dagster as dg
import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
from filelock import FileLock, Timeout

from stedi_assets.lakehouse.catalog import Catalog, Snapshot
from stedi_assets.lakehouse.durable import FILE_MODE, OTHERS, make_folder
from stedi_assets.lakehouse.embedded import drop_leftovers, shared_engine
from stedi_assets.lakehouse.engine import Engine
from stedi_assets.lakehouse.faults import (
    LakehouseError,
    in_a_sentence,
    is_interrupted,
    passes,
    sentence,
    unforeseen,
)
from stedi_assets.lakehouse.landing.rejects import find_rejects
from stedi_assets.lakehouse.storage import LocalStorage, Storage
from stedi_assets.lakehouse.table import Table

RETRIES, PAUSE = 2, 20.0
"""How often a step is tried again after a fault that may pass, and seconds before each time."""


class NotPublishedError(LakehouseError):
    """A table has not been published yet."""


@contextmanager
def plainly() -> Iterator[None]:
    """Let a step fail with one sentence.

    What may pass by itself is tried again; the sentence is in the failure that causes the retry.
    Of what was not foreseen the sentence says where it came from: Dagster would keep its message,
    which may quote data. Python's development mode (`python -X dev`) shows all of it.
    """
    try:
        yield
    except (dg.Failure, dg.RetryRequested):
        raise
    except Exception as error:
        if is_interrupted(error):
            raise dg.DagsterExecutionInterruptedError from None
        if (said := sentence(error)) is None:
            if sys.flags.dev_mode:
                raise
            said = unforeseen(error)
        failure = dg.Failure(said, allow_retries=False)
        failure.__suppress_context__ = True
        if passes(error):
            raise dg.RetryRequested(RETRIES, PAUSE) from failure
        raise failure from None


class Compute(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Where the transformations are executed."""

    def engine(self, storage: Storage) -> Engine:
        """What executes them for the lakehouse that is stored there."""
        raise NotImplementedError


class Embedded(Compute):
    """In this process, by DuckDB."""

    memory_limit: str | None = None
    threads: int | None = None

    def engine(self, storage: Storage) -> Engine:
        """The engine of this process: one for a lakehouse, so that its limits hold for all."""
        return shared_engine(storage, self.memory_limit, self.threads)


class Lakehouse(dg.ConfigurableResource):  # type: ignore[type-arg]
    """The tables, wherever they are stored.

    A run has them to itself: a second run on this machine waits for the first.
    """

    compute: dg.ResourceDependency[Compute]

    @property
    def storage(self) -> Storage:
        """Where files and tables are."""
        raise NotImplementedError

    @cached_property
    def catalog(self) -> Catalog:
        """The tables in the Iceberg catalog."""
        return Catalog(self.storage)

    @cached_property
    def engine(self) -> Engine:
        """What executes the transformations."""
        return self.compute.engine(self.storage)

    @contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Iterator["Lakehouse"]:
        """Lock the lakehouse for the time of a run."""
        log = context.log or dg.get_dagster_logger()
        with contextlib.ExitStack() as stack:
            with in_a_sentence():
                stack.enter_context(self.locked(log.warning))
            yield self

    @contextmanager
    def locked(self, warn: Callable[[str], object]) -> Iterator[None]:
        """Keep other runs of this machine out; wait, with a warning, until there is none.

        Meanwhile, what this process writes is for its user alone, and so is what is there already.
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
        before = os.umask(OTHERS)
        try:
            self.storage.make_private()
            drop_leftovers(self.storage.scratch)
            yield
        finally:
            os.umask(before)
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

    def published(self, name: str) -> Snapshot:
        """What readers see of a table.

        Raises:
            NotPublishedError: It has not been published yet.
        """
        published = self.catalog.published(name)
        if published is None:
            raise NotPublishedError(f"{name} has not been published yet: materialize it first.")
        return published

    def table(self, name: str) -> ir.Table:
        """The table as published.

        Raises:
            NotPublishedError: It has not been published yet.
        """
        return self.open(self.published(name))

    def rejects(self, landing_tables: Collection[str], quarantine: Table) -> Snapshot:
        """What `quarantine` has to hold of the landing tables, whether it is published or not."""
        found = find_rejects(self.catalog, landing_tables, quarantine.name)
        files = tuple(sorted(found.files))
        digest = hashlib.sha256("\n".join(files).encode()).hexdigest()
        return Snapshot(
            table=quarantine.name,
            id=int(digest[:12], 16),
            committed_at=datetime.now(UTC),
            rows=found.rows or 0,
            size=0,
            types=quarantine.types,
            files=files,
            properties={},
        )

    def fingerprint(self, expression: ir.Table, contract: str) -> str:
        """What a table is made from: its rule, its contract, its inputs' snapshots."""
        # The names of the inputs in the SQL hold their snapshot ids. Which engine executes it makes
        # no difference to the rows, hence one dialect for all.
        sql = ibis.to_sql(expression, dialect="duckdb")
        return hashlib.sha256(f"{sql}\n{contract}".encode()).hexdigest()


class LocalLakehouse(Lakehouse):
    """The tables below one folder of this machine."""

    root: str

    @cached_property
    def storage(self) -> Storage:
        """Where files and tables are."""
        return LocalStorage(Path(self.root))


@dataclass(frozen=True)
class Made:
    """What an asset yields.

    Attributes:
        rule: Its rows, as an expression.
        properties: What its snapshot is to say besides its inputs.
    """

    rule: ir.Table
    properties: Mapping[str, str] = field(default_factory=dict)


class LakehouseIOManager(dg.ConfigurableIOManager):
    """Hands tables to assets as published, and puts what they return on the branch `audit`.

    An asset yields an expression, with what its snapshot is to say. Its fingerprint covers the
    inputs' snapshots, the rule and the contract; where the table was made from the same, nothing is
    computed.
    """

    lakehouse: dg.ResourceDependency[Lakehouse]

    def load_input(self, context: dg.InputContext) -> ir.Table:
        """The published table."""
        with plainly():
            return self.lakehouse.table(context.asset_key.path[-1])

    def handle_output(self, context: dg.OutputContext, obj: Made) -> None:
        """Execute the expression and put its rows on `audit`, unless they are there already."""
        started = time.perf_counter()
        with plainly():
            staged = self._stage(context, obj)
        context.add_output_metadata(snapshot_metadata(staged, time.perf_counter() - started))

    def _stage(self, context: dg.OutputContext, made: Made) -> Snapshot:
        rule, catalog, name = made.rule, self.lakehouse.catalog, context.asset_key.path[-1]
        state = catalog.state(name)
        expression = rule.select(*state.types)
        fingerprint = self.lakehouse.fingerprint(rule, state.contract)
        published, candidate = state.published, state.candidate
        if published is not None and published.properties["fingerprint"] == fingerprint:
            catalog.discard_candidate(name)
            return published
        if candidate is not None and candidate.properties.get("fingerprint") == fingerprint:
            return candidate
        inputs = {f"input.{table}": snapshot for table, snapshot in inputs_of(expression).items()}
        properties = {
            "run-id": context.run_id,
            "fingerprint": fingerprint,
            **inputs,
            **made.properties,
        }
        files = self.lakehouse.engine.write(expression, f"{state.location}/data")
        return catalog.stage(name, files, properties)


def snapshot_metadata(snapshot: Snapshot, seconds: float) -> dict[str, dg.MetadataValue]:
    """What the UI shows of a state of a table."""
    return {
        "dagster/row_count": dg.MetadataValue.int(snapshot.rows),
        "bytes": dg.MetadataValue.int(snapshot.size),
        "snapshot": dg.MetadataValue.text(str(snapshot.id)),
        "made_by_run": dg.MetadataValue.dagster_run(snapshot.properties["run-id"]),
        "seconds": dg.MetadataValue.float(round(seconds, 3)),
    }


def inputs_of(expression: ir.Table) -> dict[str, str]:
    """Snapshot id of each table that an expression is made from."""
    tables = expression.op().find(ops.DatabaseTable)
    return dict(table.name.rsplit("__", 1) for table in tables)
