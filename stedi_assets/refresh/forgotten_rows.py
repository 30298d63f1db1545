"""Which rows of what landed are of forgotten people, by the list of them.

- A customer record counts again if it was registered after the request. From then on later
  versions of it count, too, and what cannot be read of the person, which may be a withdrawal.
- A phone's reading counts again from the time of that registration on. It has to land with it or
  after it.
- A device's readings of after the request count: somebody else may have it now. Those of before
  do not. Where other people used the device, too, each reading that was theirs is on the list.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.person import SEPARATOR
from stedi_assets.lakehouse.query import Query
from stedi_assets.refresh.forgotten import Forgotten

Row = Mapping[str, Any]

_CUSTOMERS = "customer_landing"
TIMES = {"accelerometer_landing": "timestamp", "step_trainer_landing": "sensorreadingtime"}
"""When the readings of a landing table were measured."""

KINDS = {"accelerometer_landing": "claim", "step_trainer_landing": "device"}
"""As what the serial number of a reading is on the list."""


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
        serial: forgotten.digest(KINDS[table], serial)
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

    kind = KINDS.get(table, "")
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
