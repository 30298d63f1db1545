"""Consent and serial-number rules: what must hold before anyone sees a table.

A rule is a function of tables, its own table among them: the candidate on the branch `audit`.
It gives the number of violations, worked out another way than the table itself was.
"""

from collections.abc import Callable

import ibis
import ibis.expr.types as ir

from stedi_assets.assets.curated import MIN_MATCHES, pseudonym
from stedi_assets.assets.trusted import consents, normalized
from stedi_assets.settings import Settings

_NEVER = -(2**63)
"""Sorts an absent time before every other."""


# Consent: nobody without a research consent in their latest record.


def consenting(customer_landing: ir.Table) -> ir.Table:
    """E-mails of which no record that ties for the latest lacks the research consent."""
    records = customer_landing.select(
        email=normalized(customer_landing.email),
        updated=ibis.coalesce(
            customer_landing.lastupdatedate, customer_landing.registrationdate, _NEVER
        ),
        registered=customer_landing.registrationdate.fill_null(_NEVER),
        consents=consents(customer_landing),
    )
    for column in ("updated", "registered"):
        newest = records[column].max().over(group_by=records.email)
        records = records.mutate(newest=newest).filter(ibis._.newest == ibis._[column])
    emails = records.group_by("email").agg(consents=records.consents.all())
    return emails.filter(emails.consents).select("email")


def customer_consent(customer_trusted: ir.Table, customer_landing: ir.Table) -> ir.IntegerScalar:
    """Customers without a research consent in their latest record."""
    return customer_trusted.anti_join(consenting(customer_landing), "email").count()


def curated_customer_consent(
    customers_curated: ir.Table, customer_landing: ir.Table
) -> ir.IntegerScalar:
    """Customers without a research consent in their latest record."""
    return customer_consent(customers_curated, customer_landing)


def accelerometer_consent(
    accelerometer_trusted: ir.Table,
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.IntegerScalar:
    """Readings of people without consent or, in that scope, from before their consent date."""
    users = accelerometer_trusted.group_by("user").agg(
        rows=ibis._.count(), earliest=ibis._.timestamp.min()
    )
    wrong = users.anti_join(consenting(customer_landing), [("user", "email")])
    if settings.consent_scope == "from_consent_date":
        dated = users.join(customer_trusted, [("user", "email")])
        early = dated.filter(dated.earliest < dated.sharewithresearchasofdate)
        wrong = wrong.union(early.select(*wrong.columns))
    return _sum(wrong.rows)


def sensor_consent(
    step_trainer_trusted: ir.Table, device_ownership: ir.Table, customer_landing: ir.Table
) -> ir.IntegerScalar:
    """Sensor readings of devices whose owner does not consent."""
    devices = step_trainer_trusted.group_by("serialnumber").agg(rows=ibis._.count())
    allowed = device_ownership.semi_join(consenting(customer_landing), "email")
    return _sum(devices.anti_join(allowed, "serialnumber").rows)


def subject_consent(
    machine_learning_curated: ir.Table,
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.IntegerScalar:
    """Training rows of people without consent or, in that scope, from before their consent date."""
    subjects = machine_learning_curated.group_by("subject_id").agg(
        rows=ibis._.count(), earliest=ibis._.sensorreadingtime.min()
    )
    people = consenting(customer_landing)
    allowed = people.select(subject_id=pseudonym(people.email, settings))
    wrong = subjects.anti_join(allowed, "subject_id")
    if settings.consent_scope == "from_consent_date":
        since = customer_trusted.select(
            since="sharewithresearchasofdate",
            subject_id=pseudonym(customer_trusted.email, settings),
        )
        dated = subjects.join(since, "subject_id")
        early = dated.filter(dated.earliest < dated.since)
        wrong = wrong.union(early.select(*wrong.columns))
    return _sum(wrong.rows)


# Serial numbers: who owns a device is proven, and nobody is paired with another's device.


def proven_owners(device_ownership: ir.Table, customer_landing: ir.Table) -> ir.IntegerScalar:
    """Devices listed twice, or whose numbers do not fulfil what their basis demands."""
    d = device_ownership
    claims = customer_landing.select(
        "serialnumber", claimant=normalized(customer_landing.email)
    ).distinct()
    claimants = claims.group_by("serialnumber").agg(
        claimants=ibis._.count(), claimant=ibis._.claimant.max()
    )
    d = d.left_join(claimants, "serialnumber").drop("serialnumber_right")
    shared = (
        (d.matched >= MIN_MATCHES)
        & (d.matched > d.runner_up_matched)
        & (d.matched * 10 >= d.readings * 9)
    )
    sole = (d.claimants == 1) & (d.claimant == d.email) & (d.runner_up_matched < MIN_MATCHES)
    proven = ibis.ifelse(d.basis == "shared_readings", shared, sole).fill_null(False)
    repeated = d.count() - d.serialnumber.nunique()
    return (~proven).sum().fill_null(0) + repeated


def owned_devices(
    step_trainer_trusted: ir.Table, device_ownership: ir.Table, customers_curated: ir.Table
) -> ir.IntegerScalar:
    """Readings of withheld devices, and of devices whose owner is not in customers_curated."""
    devices = step_trainer_trusted.group_by("serialnumber").agg(rows=ibis._.count())
    owners = device_ownership.select("serialnumber", "email")
    owned = owners.join(customers_curated.select("email"), "email")
    return _sum(devices.anti_join(owned, "serialnumber").rows)


def one_person_a_row(
    machine_learning_curated: ir.Table,
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    accelerometer_trusted: ir.Table,
    settings: Settings,
) -> ir.IntegerScalar:
    """Training rows that are not a sensor and a phone reading of the same person."""
    ml = machine_learning_curated
    people = device_ownership.select("email").distinct()
    people = people.mutate(subject_id=pseudonym(people.email, settings))
    phone = accelerometer_trusted.join(people, [("user", "email")])
    sensor = step_trainer_trusted.join(
        device_ownership.select("serialnumber", "email"), "serialnumber"
    ).join(people, "email")
    without_phone = ml.anti_join(
        phone,
        [
            ml.subject_id == phone.subject_id,
            ml.sensorreadingtime == phone.timestamp,
            *(ml[axis].identical_to(phone[axis]) for axis in "xyz"),
        ],
    )
    without_sensor = ml.anti_join(
        sensor,
        [
            ml.subject_id == sensor.subject_id,
            ml.sensorreadingtime == sensor.sensorreadingtime,
            ml.distancefromobject.identical_to(sensor.distancefromobject),
        ],
    )
    return without_phone.union(without_sensor).count()


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
