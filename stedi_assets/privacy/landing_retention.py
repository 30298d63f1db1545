"""How long landing data stay: rows, what could not be read, and landing files.

`tables/retention.py` says which rows go. Readings of devices go before those of phones: whenever
this is killed, what is left of a device's readings has all readings of phones at their times.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from functools import cached_property
from uuid import uuid4

import ibis.expr.types as ir

from stedi_assets.lakehouse.faults import LakehouseError, explain, is_transient, sentence
from stedi_assets.lakehouse.lakehouse import Lakehouse, NotPublishedError
from stedi_assets.lakehouse.landing.arrivals import LANDING_ROOT
from stedi_assets.lakehouse.landing.holds import read_holds
from stedi_assets.lakehouse.landing.ledger import Entry, LandingFile, LandingFolder
from stedi_assets.lakehouse.landing.person import SEPARATOR
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.removal import Expired, Goes, Instead, Reject, Removal
from stedi_assets.lakehouse.storage.storage import StoredFile
from stedi_assets.lakehouse.table import LANDED_AT
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.remake import remake
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES
from stedi_assets.tables.consent import suspending_records
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.retention import (
    Limits,
    devices_kept,
    owners,
    phone_reading_goes,
    record_goes,
    sensor_reading_goes,
    with_place,
)

_SENSORS, _PHONES, _CUSTOMERS = "step_trainer_landing", "accelerometer_landing", "customer_landing"


def limits_of(settings: Settings, now: int) -> Limits:
    """Before when what goes now has landed."""

    def limit(age: timedelta) -> int:
        return now - round(age.total_seconds() * 1000)

    ages = settings.landing_ages
    tables = {table: limit(ages[source]) for table, source in SOURCES.items() if source in ages}
    refused = settings.refused_retention
    return Limits(tables, None if refused is None else limit(refused))


def expire_landing_data(
    lakehouse: Lakehouse, settings: Settings, *, dry_run: bool = False
) -> tuple[dict[str, Expired], list[str]]:
    """Let landing data go that are older than their retention, and tables follow.

    Args:
        lakehouse: Which lakehouse; no refresh of this machine may run meanwhile.
        settings: Give the retention.
        dry_run: Only count what would go.

    Returns:
        What went, by source; and what is wrong with tables that were left alone.
    """
    limits = limits_of(settings, time.time_ns() // 1_000_000)
    run = _Expiring(lakehouse, settings, limits, dry_run=dry_run)
    if any(limits.of(table) is not None for table in SOURCES):
        run.take_out()
    return run.expired, list(dict.fromkeys(run.faults))


class _Expiring:
    """The steps.

    Attributes:
        expired: What went, by source.
        faults: What is wrong, a sentence each.
    """

    def __init__(
        self, lakehouse: Lakehouse, settings: Settings, limits: Limits, *, dry_run: bool
    ) -> None:
        self._lakehouse = lakehouse
        self._settings = settings
        self._limits = limits
        self._dry_run = dry_run
        self._run_id = str(uuid4())
        self._removal = Removal(lakehouse, self._run_id)
        self._landing = LandingFolder(settings.landing_root, lakehouse.storage)
        self.expired: dict[str, Expired] = {}
        self.faults: list[str] = []

    def take_out(self) -> None:
        """Take out what is old, let the tables after it follow, and delete landing files."""
        with self._noting_faults():
            left = self._take_sensor_readings()
            self._take_phone_readings(left)
        with self._noting_faults():
            self._take_records()
        if not self._dry_run:
            with self._noting_faults():
                self._removal.fill_quarantine(QUARANTINE.landing_table, SOURCES)
                if any(each.rows or each.unreadable for each in self.expired.values()):
                    self._follow()

    @contextmanager
    def _noting_faults(self) -> Iterator[None]:
        """Leave alone what cannot be judged, or is written to by others: older states go anyhow."""
        try:
            yield
        except NotPublishedError:
            pass
        except Exception as error:
            if explain(error) is None or is_transient(error):
                raise
            self.faults.append(sentence(error) or str(error))

    def _table(self, name: str) -> ir.Table:
        published = self._lakehouse.published(name)
        if LANDED_AT not in published.types:
            raise LakehouseError(f"{name} was made by an older version: refresh, and vacuum again.")
        return self._lakehouse.open(published)

    @property
    def _quarantine(self) -> ir.Table:
        return self._lakehouse.open(self._lakehouse.rejects(SOURCES, QUARANTINE.landing_table))

    def _take_sensor_readings(self) -> ir.Table:
        """Take out sensor readings; gives those that are left."""
        self._lakehouse.progress.begin(f"looking for old rows of {_SENSORS}")
        tables = {name: self._table(name) for name in (_SENSORS, _PHONES, _CUSTOMERS)}
        rows, limit = tables[_SENSORS], self._limits.of(_SENSORS)
        if limit is None:
            return rows
        concerned = rows.filter(rows.landed_at < limit).select("serialnumber").distinct()
        tables[_SENSORS] = rows.semi_join(self._held(concerned), "serialnumber")
        owned = self._held(owners(**tables))
        kept = self._held(
            devices_kept(owned=owned, quarantine=self._quarantine, limits=self._limits, **tables)
        )

        def goes(some: ir.Table) -> ir.BooleanValue:
            return sensor_reading_goes(some, kept, owned, tables[_CUSTOMERS], self._limits)

        self._take(_SENSORS, goes)
        return rows.filter(~goes(rows)) if self._dry_run else self._table(_SENSORS)

    def _take_phone_readings(self, left: ir.Table) -> None:
        customers, quarantine = self._table(_CUSTOMERS), self._quarantine

        def goes(some: ir.Table) -> ir.BooleanValue:
            return phone_reading_goes(some, left, customers, quarantine, self._limits)

        self._take(_PHONES, goes)

    def _take_records(self) -> None:
        quarantine = self._quarantine
        self._take(
            _CUSTOMERS,
            lambda rows: record_goes(rows, self._limits),
            mark=lambda rows: with_place(rows, quarantine),
        )

    def _held(self, rows: ir.Table) -> ir.Table:
        """Rows, computed once."""
        held = self._lakehouse.engine.immediate.hold(Query.of(rows))
        return rows.limit(0) if held is None else held

    def _take(self, name: str, goes: Goes, **how: Callable[[ir.Table], ir.Table]) -> None:
        if self._limits.of(name) is None:
            return
        self._lakehouse.progress.begin(f"taking old rows out of {name}")
        taken = self._removal.take_out(
            name, goes, self._instead(name), "expired", dry_run=self._dry_run, **how
        )
        if taken:
            counted = Expired(taken.rows, taken.unreadable)
            self.expired[SOURCES[name]] = self._delete_files(name, taken.entries, counted)

    def _instead(self, name: str) -> Instead:
        """What could not be read goes, too; not what suspends somebody now, or is of the held."""
        limit = self._limits.tables.get(name)
        suspending = self._suspending if name == _CUSTOMERS and limit is not None else set()
        held = {each.person for each in read_holds(self._lakehouse.storage)}

        def instead(row: Reject) -> Reject | None:
            is_old = limit is not None and row["landed_at"] < limit
            is_held = not held.isdisjoint((row["person"] or "").split(SEPARATOR))
            return row if is_held or not is_old or _place(row) in suspending else None

        return instead

    @cached_property
    def _suspending(self) -> set[tuple[str, int]]:
        records = suspending_records(self._table(_CUSTOMERS), self._quarantine)
        found = self._lakehouse.engine.immediate.fetch(Query.of(records)).to_pylist()
        return set(map(_place, found))

    def _follow(self) -> None:
        """Make the tables after them from what is left."""
        policy, fall = policy_of(self._settings), self._settings.max_consent_fall
        for verdict in remake(self._lakehouse, policy, self._run_id, fall):
            if verdict.held_back:
                self.faults.append(
                    f"A check keeps {verdict.table} from being made without what went: see stedi "
                    "status."
                )

    def _delete_files(self, name: str, entries: list[Entry], counted: Expired) -> Expired:
        """Delete landing files of which nothing is left, as far as that is permitted."""
        published = self._lakehouse.published(name)
        if published.properties.get(LANDING_ROOT) != self._landing.root:
            return counted  # files of these names may be other ones
        files = list(self._old_files(name, entries))
        deleted = len(files) if self._dry_run else self._erase(files)
        return replace(counted, files=deleted, files_left=len(files) - deleted)

    def _erase(self, files: Sequence[LandingFile]) -> int:
        """Delete landing files with all their versions; gives how many are gone."""
        storage = self._lakehouse.storage
        deleted = 0
        for file in files:
            location = self._landing.location(file.path)
            try:
                if _is(file, storage.stored(location)):
                    storage.erase(location)
                    deleted += 1
            except Exception as error:
                if explain(error) is None or is_transient(error):
                    raise
        return deleted

    def _old_files(self, name: str, entries: list[Entry]) -> Iterator[LandingFile]:
        """Landing files of which nothing is left, and that are still what was taken in."""
        limit, known = self._limits.of(name), {entry.path: entry for entry in entries}
        for file in self._landing.listing(SOURCES[name]).files:
            entry = known.get(file.path)
            if entry is None or limit is None or entry.landed_at >= limit:
                continue
            first = known.get(entry.duplicate_of or file.path, entry)
            is_held_back = entry.held_back is not None or first.held_back is not None
            if is_held_back or first.objects > first.expired + first.forgotten:
                continue
            is_same = file == LandingFile(file.path, entry.size, entry.version)
            if is_same or self._landing.examine([file.path])[0].digest == entry.digest:
                yield file


def _is(file: LandingFile, stored: StoredFile | None) -> bool:
    """Whether nothing else was delivered under its name meanwhile."""
    return stored is not None and (stored.size, stored.version) == (file.size, file.version)


def _place(row: Mapping[str, object]) -> tuple[str, int]:
    return str(row["source_file"]), int(str(row["position"]))
