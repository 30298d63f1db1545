"""machine_learning_curated: the training set."""

import ibis
import ibis.expr.types as ir

from stedi_assets.tables import columns
from stedi_assets.tables.accounts import KEPT, outcomes
from stedi_assets.tables.consent import (
    rows_of_owners,
    still_consenting_since,
    total,
    without_consent,
)
from stedi_assets.tables.contract import Contract, columns_of
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.identity import pseudonym, time_shift
from stedi_assets.tables.policy import Policy

IDENTIFYING = ("user", "serialnumber")
"""Columns that training rows have only with STEDI_PSEUDONYMIZE=false."""


class MachineLearningCurated(Contract):
    """Training set: sensor readings with the phone readings of the same person and time.

    Same person is the proven owner of the device, same time the same millisecond. Joined on the
    time alone, it would pair one person's device with another person's phone.
    """

    subject_id: str = columns.field(
        "pseudonym of the person: keyed hash of the e-mail, the same in every refresh",
        str_length={"min_value": 32, "max_value": 32},
    )
    sensorreadingtime: int = columns.time(
        "time of both readings; with STEDI_TIMES=shifted, later by a secret span of each person"
    )
    distancefromobject: float = columns.distance()
    x: float = columns.acceleration("x")
    y: float = columns.acceleration("y")
    z: float = columns.acceleration("z")

    class Config:
        name = "machine_learning_curated"
        metadata = {"zone": "curated"}


class MachineLearningCuratedIdentified(MachineLearningCurated):
    """Training set with the person's e-mail and device (STEDI_PSEUDONYMIZE=false)."""

    user: str = columns.field("e-mail of the person", personal=True)
    serialnumber: str = columns.field("serial number of the device", personal=True)

    class Config:
        name = "machine_learning_curated"
        metadata = {"zone": "curated"}


# The rule


def machine_learning_curated(
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    accelerometer_trusted: ir.Table,
    policy: Policy,
) -> ir.Table:
    """Sensor readings with the accelerometer readings of the same person and millisecond."""
    owners = device_ownership.select(
        "serialnumber", "email", **_published_name(device_ownership.email, policy)
    )
    sensor = step_trainer_trusted.join(owners, "serialnumber")
    phone = accelerometer_trusted.drop("serialnumber")
    pairs = sensor.join(
        phone, [sensor.email == phone.user, sensor.sensorreadingtime == phone.timestamp]
    )
    if policy.shifts_times:
        pairs = pairs.mutate(sensorreadingtime=pairs.sensorreadingtime + pairs.shift)
    columns_of_all = columns_of(MachineLearningCurated)
    return pairs.select(*columns_of_all, *(() if policy.pseudonymize else IDENTIFYING))


def _published_name(email: ir.StringValue, policy: Policy) -> dict[str, ir.Value]:
    """What is published instead of an e-mail and, if it is shifted, of the time (shift)."""
    shift = {"shift": time_shift(email, policy)} if policy.shifts_times else {}
    return {"subject_id": pseudonym(email, policy), **shift}


# What must hold


def consent(
    machine_learning_curated: ir.Table,
    consenting_people: ir.Table,
    customer_trusted: ir.Table,
    policy: Policy,
) -> ir.IntegerScalar:
    """Training rows without consent or, under `from_consent_date`, from before its date."""
    rows = machine_learning_curated.select(person="subject_id", time="sensorreadingtime")
    people = consenting_people.select(person=pseudonym(consenting_people.email, policy))
    return without_consent(rows, people, pseudonymous(customer_trusted, policy), policy)


def pseudonymous(customer_trusted: ir.Table, policy: Policy) -> ir.Table:
    """Customers by subject_id (person), since when they consent in times of the training set."""
    email, since = customer_trusted.email, customer_trusted.sharewithresearchasofdate
    if policy.shifts_times:
        since += time_shift(email, policy)
    return customer_trusted.select(person=pseudonym(email, policy), since=since)


def still_consenting(
    machine_learning_curated: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    customer_trusted: ir.Table,
    policy: Policy,
) -> ir.Table:
    """Training rows of people who still consent."""
    people = still_consenting_since(customer_landing, quarantine, customer_trusted)
    owners = people.mutate(**_published_name(people.email, policy))
    if policy.shifts_times:
        owners = owners.mutate(since=owners.since + owners.shift)
    return rows_of_owners(
        machine_learning_curated, owners, "subject_id", "sensorreadingtime", policy
    )


def one_person_a_row(
    machine_learning_curated: ir.Table,
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    accelerometer_trusted: ir.Table,
    policy: Policy,
) -> ir.IntegerScalar:
    """Training rows that are not a sensor and a phone reading of the same person."""
    people = device_ownership.select(person="email").distinct()
    people = people.mutate(**_published_name(people.person, policy))
    rows = machine_learning_curated.join(people, "subject_id")
    if policy.shifts_times:
        rows = rows.mutate(sensorreadingtime=rows.sensorreadingtime - rows.shift)
    sensor = step_trainer_trusted.join(
        device_ownership.select("serialnumber", "email"), "serialnumber"
    )
    with_sensor = rows.semi_join(
        sensor,
        [
            rows.person == sensor.email,
            rows.sensorreadingtime == sensor.sensorreadingtime,
            rows.distancefromobject.identical_to(sensor.distancefromobject),
        ],
    )
    phone = accelerometer_trusted
    matching = with_sensor.semi_join(
        phone,
        [
            with_sensor.person == phone.user,
            with_sensor.sensorreadingtime == phone.timestamp,
            *(with_sensor[axis].identical_to(phone[axis]) for axis in "xyz"),
        ],
    )
    ml = machine_learning_curated
    violations = ml.agg(rows=ml.count()).union(matching.agg(rows=-matching.count()))
    return total(violations.rows)


# Where the other readings went


def account(
    step_trainer_trusted: ir.Table, device_ownership: ir.Table, accelerometer_trusted: ir.Table
) -> ir.Table:
    """Pairs: a sensor reading gives one row for each phone reading of its owner at its time."""
    owners = device_ownership.select("serialnumber", "email")
    sensor = step_trainer_trusted.select("serialnumber", "sensorreadingtime").join(
        owners, "serialnumber"
    )
    phone = accelerometer_trusted.select("user", "timestamp")
    pairs = sensor.left_join(phone, [("email", "user"), ("sensorreadingtime", "timestamp")])
    counts = pairs.agg(pairs=pairs.user.count(), alone=pairs.user.isnull().sum())
    kept = counts.select(outcome=ibis.literal(KEPT), rows="pairs")
    withheld = counts.select(outcome=ibis.literal("no phone reading at that time"), rows="alone")
    return outcomes(kept.union(withheld))


MACHINE_LEARNING_CURATED = TableDefinition(
    MachineLearningCurated,
    MachineLearningCuratedIdentified,
    rule=machine_learning_curated,
    consent=consent,
    still_consenting=still_consenting,
    serial_numbers=one_person_a_row,
    account=account,
)
