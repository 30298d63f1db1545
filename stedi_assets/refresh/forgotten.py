"""Forgotten people: what lands of them again is taken into no table.

Nobody who was forgotten can be named, so a list keeps keyed hashes: of people, each with the time
of the request, and of devices that were theirs. It lies in the landing zone with its key, which is
its own: the key of `subject_id` may be replaced, and then nobody on the list could be recognised.
Whoever may read the landing zone can tell of a given address whether it is on the list.

- A customer record counts again if it was registered after the request. From then on later
  versions of it count, too, and what cannot be read of the person, which may be a withdrawal.
- A phone's reading counts again from the time of that registration on. It has to land with it or
  after it.
- A device's readings of after the request count: somebody else may have it now. Those of before
  do not. Where other people used the device, too, each reading that was theirs is on the list.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any
from uuid import uuid4

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.faults import damaged
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.person import SEPARATOR
from stedi_assets.lakehouse.landing.reader import Parsed
from stedi_assets.lakehouse.landing.values import DAY
from stedi_assets.lakehouse.names import view_name
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.removal import (
    Instead,
    Reject,
    count_by_file,
    read_rejects,
    rewrite_rejects,
)
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.lakehouse.table import Table

Row = Mapping[str, Any]

_CUSTOMERS = "customer_landing"
TIMES = {"accelerometer_landing": "timestamp", "step_trainer_landing": "sensorreadingtime"}
"""When the readings of a landing table were measured."""

_KINDS = {"accelerometer_landing": "claim", "step_trainer_landing": "device"}
"""As what the serial number of a reading is on the list."""


def folder_of(storage: Storage) -> str:
    """Where the list is: in the landing zone."""
    return f"{storage.root}/warehouse/landing/forgotten"


def _place(storage: Storage) -> str:
    return f"{folder_of(storage)}/people.json"


@dataclass(frozen=True)
class Forgotten:
    """The list.

    Attributes:
        key: What its hashes are made with.
        people: When it was asked to forget each, in epoch milliseconds, by hash.
        devices: Until when readings are theirs, by hash: of a device that was somebody's alone,
            and of a serial number that somebody alone claimed.
        readings: Of devices that others used, too: by the hash of the device, hashes of the times
            of readings that were theirs.
    """

    key: str = field(repr=False)
    people: Mapping[str, int] = field(default_factory=dict)
    devices: Mapping[str, int] = field(default_factory=dict)
    readings: Mapping[str, frozenset[str]] = field(default_factory=dict)

    @classmethod
    def read(cls, storage: Storage) -> "Forgotten":
        """The list as it is; an empty one, with a new key, where there is none."""
        file = storage.io.new_input(_place(storage))
        if not file.exists():
            return cls(secrets.token_hex(32))
        with damaged(file.location), file.open() as opened:
            said = json.loads(opened.read())
            readings = {device: frozenset(times) for device, times in said["readings"].items()}
            return cls(said["key"], said["people"], said["devices"], readings)

    def write(self, storage: Storage) -> None:
        """Let this be the list."""
        readings = {device: sorted(times) for device, times in self.readings.items()}
        said = {
            "key": self.key,
            "people": self.people,
            "devices": self.devices,
            "readings": readings,
        }
        with storage.replacing(_place(storage)) as file:
            file.write(json.dumps(said, indent=1).encode())

    def digest(self, kind: str, value: object) -> str:
        """Keyed hash of a `person`, `device`, `claim` or the `time` of a reading, 128 bits."""
        said = f"{kind}\x1f{value}".encode()
        return hmac.digest(bytes.fromhex(self.key), said, hashlib.sha256).hex()[:32]

    def with_(
        self,
        people: Mapping[str, int],
        devices: Mapping[str, int],
        claims: Mapping[str, int],
        readings: Mapping[str, Iterable[int]],
    ) -> "Forgotten":
        """The list with these people, and with devices and single readings that were theirs.

        A clock may be a day ahead, so readings of up to a day after the request count as theirs.

        Args:
            people: Each in the one spelling of the e-mail, with the time when it was asked for, in
                epoch milliseconds.
            devices: Serial numbers of devices that were theirs alone, with that time.
            claims: Serial numbers that they alone claimed, with that time.
            readings: Times of readings of other devices, by serial number.
        """
        times = {
            self.digest("device", serial): {self.digest("time", time) for time in times}
            for serial, times in readings.items()
        }
        return replace(
            self,
            people={**self.people, **{self.digest("person", p): at for p, at in people.items()}},
            devices={
                **self.devices,
                **{self.digest("device", one): at for one, at in until(devices).items()},
                **{self.digest("claim", one): at for one, at in until(claims).items()},
            },
            readings={
                device: self.readings.get(device, frozenset()) | times.get(device, set())
                for device in {*self.readings, *times}
            },
        )

    def asked_at(self, person: str | None) -> int | None:
        """When it was asked to forget a person; None if it was not."""
        return None if person is None else self.people.get(self.digest("person", person))


def until(asked: Mapping[str, int]) -> dict[str, int]:
    """Up to when readings with each serial number are theirs: a clock may be a day ahead."""
    return {serial: at + DAY for serial, at in asked.items()}


@dataclass(frozen=True)
class Rule:
    """Which rows of a landing table are of forgotten people, in plain values.

    Attributes:
        people: When it was asked to forget each.
        devices: Until when readings with each serial number are theirs. Where phones send readings
            of a person's own, of those without a person.
        readings: Times of single readings, by device.
        again: When each who registered again did so first.
    """

    people: Mapping[str, int]
    devices: Mapping[str, int] = field(default_factory=dict)
    readings: Mapping[str, Collection[int]] = field(default_factory=dict)
    again: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_empty(self) -> bool:
        """Whether no row can be theirs."""
        return not (self.people or self.devices or self.readings)

    def theirs(self, table: str, rows: ir.Table) -> ir.BooleanValue:
        """Which rows of a landing table are theirs."""
        return any_of(list(self._conditions(table, rows)))

    def _conditions(self, table: str, rows: ir.Table) -> Iterator[ir.BooleanValue]:
        if table == _CUSTOMERS:
            yield from self._records(rows)
            return
        time = rows[TIMES[table]]
        if table == "accelerometer_landing":
            yield rows.person.isin(self._gone_for_good)
            yield from ((rows.person == one) & (time < since) for one, since in self.again.items())
        nobody = rows.person.isnull() if "person" in rows.columns else ibis.literal(True)
        yield from measured_until(rows, time, self.devices, nobody)
        if "person" not in rows.columns:
            for serial, times in self.readings.items():
                yield (rows.serialnumber == serial) & time.isin(list(times))

    def _records(self, rows: ir.Table) -> Iterator[ir.BooleanValue]:
        yield rows.person.isin(self._gone_for_good)
        for one in self.again:
            asked = self.people[one]
            updated = rows.lastupdatedate.coalesce(rows.registrationdate)
            is_new = (rows.registrationdate > asked).fill_null(False)
            yield (rows.person == one) & ~is_new & (updated <= asked).fill_null(False)

    @property
    def _gone_for_good(self) -> list[str]:
        return [one for one in self.people if one not in self.again]

    def is_theirs(self, table: str, row: Row) -> bool:
        """Whether a single row of a landing table, or object of its files, is theirs."""
        person = row.get("person")
        if table == _CUSTOMERS:
            until, since = self.people.get(str(person)), self.again.get(str(person))
            updated = row["lastupdatedate"] or row["registrationdate"]
            is_new = row["registrationdate"] is not None and row["registrationdate"] > (until or 0)
            if until is None or is_new:
                return False
            return since is None or (updated is not None and updated <= until)
        time = row[TIMES[table]]
        if person is not None:
            return person in self.people and time < self.again.get(person, time + 1)
        serial = row["serialnumber"]
        single = "person" not in row and time in self.readings.get(serial, ())
        return single or (serial in self.devices and time <= self.devices[serial])

    def without(self, persons: str | None) -> tuple[bool, str | None]:
        """Of the persons that something unreadable names: is one forgotten, and who is left."""
        named = (persons or "").split(SEPARATOR)
        left = [one for one in named if one not in self.people or one in self.again]
        return len(left) < len(named), SEPARATOR.join(filter(None, left)) or None


_ALWAYS, _NEVER = ibis.literal(True), ibis.literal(False)


def measured_until(
    rows: ir.Table,
    time: ir.Value,
    devices: Mapping[str, int],
    also: ir.BooleanValue = _ALWAYS,
) -> Iterator[ir.BooleanValue]:
    """Conditions for readings of devices up to a time of each."""
    for last in set(devices.values()):
        alike = [one for one, at in devices.items() if at == last]
        yield also & rows.serialnumber.isin(alike) & (time <= last)


def any_of(conditions: list[ir.BooleanValue]) -> ir.BooleanValue:
    """Whether one of the conditions is met, never null.

    Each half is put together by itself: nested one in the other, a thousand are too deep.
    """

    def either(some: list[ir.BooleanValue]) -> ir.BooleanValue:
        if len(some) == 1:
            return some[0]
        half = len(some) // 2
        return either(some[:half]) | either(some[half:])

    return either(conditions).fill_null(False) if conditions else _NEVER


class Sieve:
    """Leaves out what is of forgotten people of what landed."""

    def __init__(self, lakehouse: Lakehouse, quarantine: Table) -> None:
        """Look at the list of a lakehouse when something landed."""
        self._lakehouse = lakehouse
        self._engine = lakehouse.engine.immediate
        self._quarantine = quarantine

    @cached_property
    def _forgotten(self) -> Forgotten:
        return Forgotten.read(self._lakehouse.storage)

    def __call__(self, table: Table, parsed: Parsed) -> Parsed:
        """What was read of new files of a landing table, without what is theirs."""
        if not self._forgotten.people:
            return parsed
        rows = self._open(table, parsed.rows)
        rejects = read_rejects(parsed.rejects, self._lakehouse)
        persons = {one for row in rejects for one in (row["person"] or "").split(SEPARATOR)}
        rule = rule_for(self._forgotten, self._lakehouse, table.name, rows, persons)
        if rule.is_empty and not rejects:
            return parsed
        gone = Counter(count_by_file(rows.filter(rule.theirs(table.name, rows)), self._lakehouse))
        if gone:
            kept = rows.filter(~rule.theirs(table.name, rows)).select(*table.types)
            state = self._lakehouse.catalog.state(table.name)
            folder = f"{state.location}/data"
            files = self._engine.write(Query.of(kept), folder, state.field_ids)
            for file in parsed.rows:
                self._lakehouse.storage.erase(file)
            parsed = replace(parsed, rows=files)
        instead = rejects_without(rule.without, self._has_device)
        written, lost = rewrite_rejects(parsed.rejects, rejects, instead, self._lakehouse)
        if parsed.rejects and written != parsed.rejects:
            self._lakehouse.storage.erase(parsed.rejects)
        counts = {
            path: replace(
                each,
                rows=each.rows - gone[path],
                quarantined=each.quarantined - lost[path],
                forgotten=gone[path] + lost[path],
            )
            for path, each in parsed.counts.items()
        }
        return replace(parsed, rejects=written, counts=counts)

    def _has_device(self, raw: str) -> bool:
        """Whether something unreadable has the serial number of a device on the list."""
        return any(
            self._forgotten.digest(kind, text) in self._forgotten.devices
            for text in strings_in(raw)
            for kind in _KINDS.values()
        )

    def _open(self, table: Table, files: list[str]) -> ir.Table:
        return self._engine.open(view_name(f"{table.name}_landed", uuid4().hex), files, table.types)


def rule_for(
    forgotten: Forgotten,
    lakehouse: Lakehouse,
    table: str,
    rows: ir.Table,
    persons: Iterable[str] = (),
) -> Rule:
    """The rule for rows of a landing table, some of which may be of forgotten people.

    Args:
        forgotten: The list.
        lakehouse: Tells who registered again.
        table: The landing table.
        rows: Rows of it, which need not be published.
        persons: Whom else something may be of.
    """

    def values(column: str) -> list[str]:
        if column not in rows.columns:
            return []
        found = rows.filter(rows[column].notnull()).select(column).distinct()
        return list(lakehouse.engine.immediate.fetch(Query.of(found))[column].to_pylist())

    everybody = {*values("person"), *persons}
    people = {one: at for one in everybody if (at := forgotten.asked_at(one)) is not None}
    serials = {
        serial: forgotten.digest(_KINDS[table], serial)
        for serial in (values("serialnumber") if table in TIMES else [])
    }
    devices = {
        serial: forgotten.devices[digest]
        for serial, digest in serials.items()
        if digest in forgotten.devices
    }
    readings = {
        serial: _single(forgotten, table, rows.filter(rows.serialnumber == serial), lakehouse)
        for serial, digest in serials.items()
        if digest in forgotten.readings
    }
    fresh = rows if table == _CUSTOMERS else None
    return Rule(people, devices, readings, registered_again(people, lakehouse, fresh))


def rule_for_objects(forgotten: Forgotten, lakehouse: Lakehouse, table: str) -> Rule:
    """The rule for objects of landing files, which looks values up as they come."""
    again: dict[str, int] = {}
    if published := lakehouse.catalog.published(_CUSTOMERS):
        # Who is on the list and in the table has registered again.
        again = dict(rule_for(forgotten, lakehouse, _CUSTOMERS, lakehouse.open(published)).again)

    def times_of(serial: str) -> "_Times | None":
        times = forgotten.readings.get(forgotten.digest("device", serial))
        return _Times(forgotten, times) if times and table == "step_trainer_landing" else None

    kind = _KINDS.get(table, "")
    return Rule(
        people=_Looked(forgotten.asked_at),
        devices=_Looked(lambda serial: forgotten.devices.get(forgotten.digest(kind, serial))),
        readings=_Looked(times_of),
        again=again,
    )


class _Looked(dict[str, Any]):
    """Looks up what a key has, if anything, when it is first asked for."""

    def __init__(self, look: Callable[[str], Any]) -> None:
        super().__init__()
        self._look = look

    def __missing__(self, key: str) -> Any:
        self[key] = self._look(key)
        return self[key]

    def get(self, key: str, default: Any = None) -> Any:
        found = self[key]
        return default if found is None else found

    def __contains__(self, key: object) -> bool:
        return self[str(key)] is not None


class _Times(frozenset[str]):
    """Times that are on the list one by one, as hashes."""

    def __new__(cls, forgotten: Forgotten, digests: Iterable[str]) -> "_Times":
        return super().__new__(cls, digests)

    def __init__(self, forgotten: Forgotten, digests: Iterable[str]) -> None:
        self._forgotten = forgotten

    def __contains__(self, time: object) -> bool:
        return super().__contains__(self._forgotten.digest("time", time))


def _single(
    forgotten: Forgotten, table: str, rows: ir.Table, lakehouse: Lakehouse
) -> tuple[int, ...]:
    """Times of a device's readings that are on the list one by one."""
    column = TIMES[table]
    found = lakehouse.engine.immediate.fetch(
        Query.of(rows.select("serialnumber", column).distinct())
    ).to_pylist()
    return tuple(
        row[column]
        for row in found
        if forgotten.digest("time", row[column])
        in forgotten.readings[forgotten.digest("device", row["serialnumber"])]
    )


def registered_again(
    people: Mapping[str, int], lakehouse: Lakehouse, fresh: ir.Table | None = None
) -> dict[str, int]:
    """When each who registered after the request did so first."""
    published = lakehouse.catalog.published(_CUSTOMERS) if people else None
    tables = [lakehouse.open(published)] if published else []
    if people and fresh is not None:
        tables.append(fresh)
    again: dict[str, int] = {}
    for rows in tables:
        known = rows.filter(rows.person.isin(list(people)) & rows.registrationdate.notnull())
        found = lakehouse.engine.immediate.fetch(
            Query.of(known.select("person", "registrationdate").distinct())
        )
        for row in found.to_pylist():
            person, time = row["person"], row["registrationdate"]
            if time > people[person]:
                again[person] = min(time, again.get(person, time))
    return again


_STRING = re.compile(r'"([^"\\\n]+)"')


def strings_in(raw: str) -> list[str]:
    """Texts in quotes in something unreadable."""
    return _STRING.findall(raw)


Without = Callable[[str | None], tuple[bool, str | None]]


def rejects_without(without: Without, holds: Callable[[str], bool]) -> Instead:
    """What takes the place of a row of `quarantine` that may be of forgotten people.

    What names others, too, is kept for the sake of these, without its text: it may suspend them.

    Args:
        without: As `Rule.without`.
        holds: Whether a text has something of theirs in it, though it names nobody.
    """

    def instead(row: Reject) -> Reject | None:
        theirs, left = without(row["person"])
        if not theirs and not holds(row["raw"]):
            return row
        return None if left is None else {**row, "raw": "", "person": left}

    return instead
