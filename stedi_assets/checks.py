"""Consent and serial-number rules: what must hold before anyone sees a table.

A rule is a function of tables, its own table among them: the candidate on the branch `audit`.
It gives the number of violations, worked out another way than the table itself was.
"""

from collections.abc import Callable

import ibis
import ibis.expr.types as ir

from stedi_assets.assets.curated import MIN_MATCHES, pseudonym
from stedi_assets.assets.trusted import owned_readings, unreadable_records
from stedi_assets.settings import Settings

_NEVER = -(2**63)
"""Sorts an absent time before every other."""


# Consent: nobody without a research consent in their latest record.


def consenting(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """People whose newest record could be read, and who consent in every record tied for latest."""
    c = customer_landing
    record = ibis.struct(
        {
            "updated": ibis.coalesce(c.lastupdatedate, c.registrationdate, c.landed_at),
            "registered": c.registrationdate.fill_null(_NEVER),
            "refuses": (c.sharewithresearchasofdate <= 0).fill_null(True),
        }
    )
    # Compared field by field: of records that tie in both times, one that refuses is the greatest.
    latest = c.group_by("person").agg(record=record.max())
    agreed = latest.filter(~latest.record["refuses"]).select(email="person")
    return agreed.anti_join(unreadable_people(customer_landing, quarantine), "email")


def unreadable_people(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """People of whom a record that could not be read landed last, or with the last readable one."""
    readable = customer_landing.select(
        email="person", landed=ibis.struct({"at": customer_landing.landed_at, "unreadable": False})
    )
    unread = unreadable_records(quarantine)
    unread = unread.select(
        email="person", landed=ibis.struct({"at": unread.landed_at, "unreadable": True})
    )
    newest = readable.union(unread).group_by("email").agg(landed=ibis._.landed.max())
    return newest.filter(newest.landed["unreadable"]).select("email")


def suspending_records(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """Where the records are that could not be read and suspend somebody: no later one could be."""
    people = unreadable_people(customer_landing, quarantine)
    records = unreadable_records(quarantine).rename(email="person")
    newest = records.group_by("email").agg(landed_at=records.landed_at.max())
    suspending = records.semi_join(newest, ["email", "landed_at"]).semi_join(people, "email")
    return suspending.select("source_file", "position").distinct()


def customer_consent(
    customer_trusted: ir.Table, customer_landing: ir.Table, quarantine: ir.Table
) -> ir.IntegerScalar:
    """Customers without a research consent in their latest record, or who are suspended."""
    people = consenting(customer_landing, quarantine)
    return customer_trusted.anti_join(people, "email").count()


def curated_customer_consent(
    customers_curated: ir.Table, customer_landing: ir.Table, quarantine: ir.Table
) -> ir.IntegerScalar:
    """Customers without a research consent in their latest record, or who are suspended."""
    return customer_consent(customers_curated, customer_landing, quarantine)


def accelerometer_consent(
    accelerometer_trusted: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.IntegerScalar:
    """Readings of people without consent or, in that scope, from before their consent date."""
    readings = accelerometer_trusted.select(person="user", time="timestamp")
    since = customer_trusted.select(person="email", since="sharewithresearchasofdate")
    people = consenting(customer_landing, quarantine).select(person="email")
    return without_consent(readings, people, since, settings)


def sensor_consent(  # noqa: PLR0913  (the tables it looks at)
    *,
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.IntegerScalar:
    """Sensor readings of owners without consent or, in that scope, before their consent date."""
    owners = device_ownership.select("serialnumber", "email")
    readings = step_trainer_trusted.select(person="serialnumber", time="sensorreadingtime")
    people = owners.semi_join(consenting(customer_landing, quarantine), "email")
    since = owners.join(customer_trusted.select("email", "sharewithresearchasofdate"), "email")
    return without_consent(
        readings,
        people.select(person="serialnumber"),
        since.select(person="serialnumber", since="sharewithresearchasofdate"),
        settings,
    )


def subject_consent(
    machine_learning_curated: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.IntegerScalar:
    """Training rows of people without consent or, in that scope, from before their consent date."""
    rows = machine_learning_curated.select(person="subject_id", time="sensorreadingtime")
    since = customer_trusted.select(
        person=pseudonym(customer_trusted.email, settings), since="sharewithresearchasofdate"
    )
    people = consenting(customer_landing, quarantine)
    people = people.select(person=pseudonym(people.email, settings))
    return without_consent(rows, people, since, settings)


def without_consent(
    rows: ir.Table, people: ir.Table, since: ir.Table, settings: Settings
) -> ir.IntegerScalar:
    """Rows (person, time) of nobody of `people` or, in that scope, from before `since`."""
    persons = rows.group_by("person").agg(rows=rows.count(), earliest=rows.time.min())
    wrong = persons.anti_join(people, "person").select("rows")
    if settings.consent_scope == "from_consent_date":
        # Few people, if any, so the join with all their rows is cheap.
        early = since.join(persons, "person").filter(ibis._.earliest < ibis._.since)
        theirs = rows.join(early.select("person", "since"), "person")
        before = theirs.filter(theirs.time < theirs.since)
        wrong = wrong.union(before.agg(rows=before.count()))
    return _sum(wrong.rows)


# Serial numbers: who owns a device is proven, and nobody is paired with another's device.


def proven_owners(
    device_ownership: ir.Table,
    step_trainer_landing: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
) -> ir.IntegerScalar:
    """Devices listed twice, or whose owner has not the matches, or the claim, that prove it."""
    d = device_ownership.left_join(_claims(customer_landing), "serialnumber").drop(
        "serialnumber_right"
    )
    counted = _recounted(
        device_ownership, step_trainer_landing, accelerometer_landing, customer_landing
    )
    d = d.left_join(counted, "serialnumber").drop("serialnumber_right")
    shared = (
        (d.matched >= MIN_MATCHES)
        & (d.matched > d.runner_up_matched)
        & (d.matched * 10 >= d.readings * 9)
    )
    sole = (d.claimants == 1) & (d.claimant == d.email) & (d.runner_up_matched < MIN_MATCHES)
    proven = ibis.ifelse(d.basis == "shared_readings", shared, sole).fill_null(False)
    right = (
        proven
        & (d.readings == d.times).fill_null(False)
        & (d.matched == d.of_owner.fill_null(0))
        & (d.runner_up_matched == d.of_others.fill_null(0))
    )
    repeated = device_ownership.group_by("serialnumber").agg(rows=ibis._.count() - 1)
    wrong = d.agg(rows=(~right).sum()).union(repeated.agg(rows=repeated.rows.sum()))
    return _sum(wrong.rows)


def _claims(customer_landing: ir.Table) -> ir.Table:
    claims = customer_landing.select("serialnumber", claimant="person").distinct()
    return claims.group_by("serialnumber").agg(
        claimants=claims.count(), claimant=claims.claimant.max()
    )


def _recounted(
    device_ownership: ir.Table,
    step_trainer_landing: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
) -> ir.Table:
    """Of each device its times, its owner's matches and the most of anybody else, from readings."""
    times = step_trainer_landing.select("serialnumber", time="sensorreadingtime").distinct()
    readings = owned_readings(accelerometer_landing, customer_landing)
    users = readings.select("user", time="timestamp").distinct()
    matches = times.join(users, "time").group_by("serialnumber", "user").agg(n=ibis._.count())
    owners = device_ownership.select("serialnumber", owner="email").distinct()
    matches = matches.join(owners, "serialnumber")
    counted = matches.group_by("serialnumber").agg(
        of_owner=matches.n.max(where=matches.user == matches.owner),
        of_others=matches.n.max(where=matches.user != matches.owner),
    )
    devices = times.group_by("serialnumber").agg(times=times.count())
    return devices.left_join(counted, "serialnumber").drop("serialnumber_right")


def owned_devices(
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    customers_curated: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
) -> ir.IntegerScalar:
    """Readings of devices not owned by a customer of customers_curated, or of somebody else."""
    devices = step_trainer_trusted.group_by("serialnumber").agg(rows=ibis._.count())
    owners = device_ownership.select("serialnumber", "email")
    owned = owners.join(customers_curated.select("email"), "email")
    withheld = devices.anti_join(owned, "serialnumber").select("rows")
    phones = owned_readings(accelerometer_landing, customer_landing)
    phones = phones.select("user", "timestamp").distinct()
    readings = step_trainer_trusted.join(owners, "serialnumber")
    together = readings.join(phones, [("sensorreadingtime", "timestamp")])
    times = together.group_by("serialnumber", "sensorreadingtime").agg(
        users=together.user.nunique(),
        rows=together.count(),
        of_owner=(together.user == together.email).sum(),
    )
    others = times.filter(times.of_owner == 0).select(rows=(times.rows / times.users).cast("int64"))
    return _sum(withheld.union(others).rows)


def one_person_a_row(
    machine_learning_curated: ir.Table,
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    accelerometer_trusted: ir.Table,
    settings: Settings,
) -> ir.IntegerScalar:
    """Training rows that are not a sensor and a phone reading of the same person."""
    people = device_ownership.select(person="email").distinct()
    people = people.mutate(subject_id=pseudonym(people.person, settings))
    rows = machine_learning_curated.join(people, "subject_id")
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
    right = with_sensor.semi_join(
        phone,
        [
            with_sensor.person == phone.user,
            with_sensor.sensorreadingtime == phone.timestamp,
            *(with_sensor[axis].identical_to(phone[axis]) for axis in "xyz"),
        ],
    )
    ml = machine_learning_curated
    wrong = ml.agg(rows=ml.count()).union(right.agg(rows=-right.count()))
    return _sum(wrong.rows)


def _sum(rows: ir.IntegerColumn) -> ir.IntegerScalar:
    return rows.sum().fill_null(0)


Rule = Callable[..., ir.IntegerScalar]

CONSENT: dict[str, Rule] = {
    "customer_trusted": customer_consent,
    "accelerometer_trusted": accelerometer_consent,
    "customers_curated": curated_customer_consent,
    "step_trainer_trusted": sensor_consent,
    "machine_learning_curated": subject_consent,
}
SERIAL_NUMBERS: dict[str, Rule] = {
    "device_ownership": proven_owners,
    "step_trainer_trusted": owned_devices,
    "machine_learning_curated": one_person_a_row,
}
