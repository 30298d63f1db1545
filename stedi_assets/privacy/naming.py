"""All that names people who are to be forgotten, kept until they are.

Once their rows are gone nobody could tell which words to look for, so these are kept in the landing
zone while people are being forgotten. A command that was killed finds them there.
"""

import json
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import ibis.expr.types as ir

from stedi_assets.lakehouse.faults import damaged
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.privacy.person import Person, find_people, landed
from stedi_assets.refresh.forgotten import folder_of, until
from stedi_assets.refresh.forgotten_rows import any_of, measured_until
from stedi_assets.settings import Settings
from stedi_assets.tables.identity import owned_readings
from stedi_assets.tables.landing.device_ownership import MIN_MATCHES


@dataclass(frozen=True)
class Naming:
    """What names people, all of them together. Personal data: never to be logged.

    Attributes:
        people: The people, each in the one spelling of the e-mail, with the time when it was asked
            to forget them, in epoch milliseconds.
        subject_ids: Their pseudonyms under the present key, in sets of each release.
        emails: Their e-mails as delivered.
        words: Names, phones and serial numbers that nobody else has.
        devices: Serial numbers of devices of which all readings are theirs, with the time of the
            request: what is measured later may be of somebody else who has the device then.
        claims: Serial numbers that nobody else claims, with that time: readings that a phone sent
            with one instead of an e-mail are theirs.
        readings: Times of the readings that are theirs of devices that others used, too, by serial
            number.
        shared: Names, phones and serial numbers of theirs that other people have, too.
        taken_over: Those of the devices that somebody else has now.
    """

    people: Mapping[str, int] = field(default_factory=dict)
    subject_ids: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    devices: Mapping[str, int] = field(default_factory=dict)
    claims: Mapping[str, int] = field(default_factory=dict)
    readings: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    shared: tuple[str, ...] = ()
    taken_over: tuple[str, ...] = ()


def name_all(emails: Iterable[str], settings: Settings, at: int | None = None) -> dict[str, Naming]:
    """What names people in the landing zone as it is published, by person.

    All readings of a device are its owner's if no other phone has 5 or more readings at its times.
    They are a sole claimant's, too. If others used it, a reading is its owner's unless a phone of
    these has one in that millisecond and the owner's has none. Of a device that somebody used and
    does not own, those readings are theirs at whose millisecond their phone has one, and no other
    of its users'.

    Args:
        emails: Their addresses, in any spelling.
        settings: Which lakehouse.
        at: When it is asked for, in epoch milliseconds; now where absent.
    """
    at = time.time_ns() // 1_000_000 if at is None else at
    people = find_people(emails, settings)
    asked = [each.person for each in people]
    serials = {serial for each in people for serial in each.serial_numbers}
    matches = landed("device_matches", settings)
    matches = matches.filter(matches.matched >= MIN_MATCHES)
    own = matches.filter(matches.user.isin(asked))
    serials |= set(own.serialnumber.to_pyarrow().to_pylist())
    users: dict[str, set[str]] = {}
    for row in matches.filter(matches.serialnumber.isin(sorted(serials))).to_pyarrow().to_pylist():
        users.setdefault(row["serialnumber"], set()).add(row["user"])
    shared = {serial for serial, all_ in users.items() if not all_ <= set(asked)}
    times = _times_of(shared, {user for all_ in users.values() for user in all_}, settings)

    def named(each: Person) -> Naming:
        numbers = each.serial_numbers
        claims = each.sole_claims
        devices = [s for s in numbers if s not in shared and (s in claims or s in each.devices)]
        used = {s for s in shared if each.person in users[s] or s in each.devices}
        others = {
            **each.names,
            **each.phones,
            **{s: 0 if s in devices and not n.other_claimants else 1 for s, n in numbers.items()},
            **dict.fromkeys(used, 1),
        }
        return Naming(
            people={each.person: at},
            subject_ids=each.subject_ids,
            emails=each.emails,
            words=tuple(word for word, n in others.items() if not n and word.strip()),
            devices=dict.fromkeys(devices, at),
            claims=dict.fromkeys(claims, at),
            readings={
                serial: _theirs(each, serial, users[serial] - set(asked), times)
                for serial in sorted(used)
            },
            shared=tuple(word for word, n in others.items() if n),
        )

    return {each.person: named(each) for each in people}


Times = Mapping[str, Mapping[int, Collection[str]]]
"""Of each device, each time of a reading with those of its users whose phones have one, too."""


def _times_of(serials: Collection[str], users: Collection[str], settings: Settings) -> Times:
    if not serials:
        return {}
    sensors = landed("step_trainer_landing", settings)
    devices = sensors.filter(sensors.serialnumber.isin(sorted(serials)))
    devices = devices.select("serialnumber", time="sensorreadingtime").distinct()
    phones = owned_readings(
        landed("accelerometer_landing", settings), landed("customer_landing", settings)
    )
    there = phones.filter(phones.user.isin(sorted(users))).select("user", time="timestamp")
    found: dict[str, dict[int, set[str]]] = {}
    joined = devices.left_join(there.distinct(), "time").select("serialnumber", "time", "user")
    for row in joined.to_pyarrow().to_pylist():
        at = found.setdefault(row["serialnumber"], {}).setdefault(row["time"], set())
        if row["user"] is not None:
            at.add(row["user"])
    return found


def _theirs(person: Person, serial: str, others: Collection[str], times: Times) -> tuple[int, ...]:
    """Times of the readings of a device that are a person's, of those that others used, too."""
    owns = serial in person.devices

    def is_theirs(there: Collection[str]) -> bool:
        own, other = person.person in there, bool(set(there) & set(others))
        return own or not other if owns else own and not other

    return tuple(sorted(t for t, there in times.get(serial, {}).items() if is_theirs(there)))


def together(naming: Iterable[Naming]) -> Naming:
    """All that names these people."""
    all_ = list(naming)
    readings: dict[str, set[int]] = {}
    for each in all_:
        for serial, times in each.readings.items():
            readings.setdefault(serial, set()).update(times)

    def union(name: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(value for each in all_ for value in getattr(each, name)))

    def latest(name: str) -> dict[str, int]:
        found: dict[str, int] = {}
        for each in all_:
            for value, at in getattr(each, name).items():
                found[value] = max(at, found.get(value, at))
        return found

    words = union("words")
    return Naming(
        people=latest("people"),
        subject_ids=union("subject_ids"),
        emails=union("emails"),
        words=words,
        devices=latest("devices"),
        claims=latest("claims"),
        readings={serial: tuple(sorted(times)) for serial, times in readings.items()},
        shared=tuple(word for word in union("shared") if word not in {*words}),
    )


def being_forgotten(storage: Storage) -> dict[str, Naming]:
    """What names the people that a command began to forget, and did not finish with, by person."""
    file = storage.io.new_input(place_of(storage))
    if not file.exists():
        return {}
    with damaged(file.location), file.open() as opened:
        said = json.loads(opened.read())
    return {person: Naming(**_as_tuples(values)) for person, values in said.items()}


def _as_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    plain = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return {**plain, "readings": {s: tuple(times) for s, times in values["readings"].items()}}


def place_of(storage: Storage) -> str:
    """The file in which that is kept."""
    return f"{folder_of(storage)}/being-forgotten.json"


def keep(naming: Mapping[str, Naming], storage: Storage) -> None:
    """Keep what names people who are being forgotten; nothing where there is nobody."""
    if not naming:
        storage.erase(place_of(storage))
        return
    with storage.replacing(place_of(storage)) as file:
        file.write(json.dumps({person: asdict(each) for person, each in naming.items()}).encode())


_OTHERS = {"customername", "timestamp", "subject_id"}
"""Columns of tables in which a serial number of theirs may be on a row of somebody else."""


def held_in(rows: ir.Table, naming: Naming) -> ir.BooleanValue:
    """Which rows of any table of the lakehouse hold these people."""
    conditions: list[ir.BooleanValue] = [
        rows[name].isin([*naming.people, *naming.emails])
        for name in ("person", "email", "user")
        if name in rows.columns
    ]
    if "subject_id" in rows.columns:
        conditions.append(rows.subject_id.isin(list(naming.subject_ids)))
    if "serialnumber" in rows.columns and not _OTHERS & {*rows.columns}:
        if "sensorreadingtime" in rows.columns:
            conditions += measured_until(rows, rows.sensorreadingtime, until(naming.devices))
        else:
            devices = naming.devices.keys() - {*naming.taken_over}
            conditions.append(rows.serialnumber.isin(sorted(devices)))
    if "timestamp" in rows.columns and "person" in rows.columns:
        nobody = rows.person.isnull()
        conditions += measured_until(rows, rows.timestamp, until(naming.claims), nobody)
    # Times of a training set may be shifted; its rows say whose they are.
    if {"sensorreadingtime", "serialnumber"} <= {*rows.columns} and "user" not in rows.columns:
        conditions += [
            (rows.serialnumber == serial) & rows.sensorreadingtime.isin(list(times))
            for serial, times in naming.readings.items()
        ]
    return any_of(conditions)
