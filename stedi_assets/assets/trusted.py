"""Trusted zone: what comes from customers who consent to research."""

import ibis
import ibis.expr.types as ir
from ibis.selectors import cols

from stedi_assets.lakehouse.landing.person import SEPARATOR
from stedi_assets.settings import Settings

# Of records that tie in all that the rule names, any would do; it must be the same one each time.
_TIES = (
    "serialnumber",
    "sharewithpublicasofdate",
    "birthday",
    "sharewithresearchasofdate",
    "customername",
    "lastupdatedate",
    "phone",
    "sharewithfriendsasofdate",
)


def customer_trusted(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """The latest record of each person, where it consents to research and nobody is suspended."""
    records = customer_landing
    updated = ibis.coalesce(records.lastupdatedate, records.registrationdate, records.landed_at)
    latest = records.mutate(
        rank=ibis.row_number().over(
            group_by=records.person,
            order_by=[
                updated.desc(),
                records.registrationdate.desc(nulls_first=False),
                consents(records),  # of records that still tie, one without consent wins
                *(records[column].asc(nulls_first=False) for column in _TIES),
            ],
        )
    )
    consenting = latest.filter(latest["rank"] == 0, consents(latest))
    trusted = consenting.anti_join(suspended(customer_landing, quarantine), "person")
    # Not `drop`, which names columns in another order in each process: the SQL is a fingerprint.
    of_landing = cols("rank", "person", "source_file", "landed_at")
    return trusted.mutate(email="person").select(~of_landing)


def accelerometer_trusted(
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.Table:
    """Readings of the customers in customer_trusted, each under its owner's e-mail."""
    readings = owned_readings(accelerometer_landing, customer_landing)
    of_customer = [readings.user == customer_trusted.email]
    if settings.consent_scope == "from_consent_date":
        of_customer.append(readings.timestamp >= customer_trusted.sharewithresearchasofdate)
    return readings.semi_join(customer_trusted, of_customer)


def step_trainer_trusted(  # noqa: PLR0913  (the tables it is made from)
    *,
    step_trainer_landing: ir.Table,
    device_ownership: ir.Table,
    customers_curated: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    settings: Settings,
) -> ir.Table:
    """Sensor readings of devices owned by a customer in customers_curated.

    But for those at whose millisecond the owner's phone has no reading and somebody else's has
    one: somebody else was on the device.
    """
    customers = customers_curated.select("email", since="sharewithresearchasofdate")
    owners = device_ownership.select("serialnumber", "email").join(customers, "email")
    readings = step_trainer_landing.select(~cols("source_file", "landed_at"))
    of_owner = [readings.serialnumber == owners.serialnumber]
    if settings.consent_scope == "from_consent_date":
        of_owner.append(readings.sensorreadingtime >= owners.since)
    readings = readings.semi_join(owners, of_owner)
    phones = owned_readings(accelerometer_landing, customer_landing)
    phones = phones.select(email="user", sensorreadingtime="timestamp")
    times = readings.join(owners, "serialnumber").drop("since")
    without_owner = times.anti_join(phones, ["email", "sensorreadingtime"])
    of_others = without_owner.semi_join(phones, "sensorreadingtime")
    return readings.anti_join(of_others, ["serialnumber", "sensorreadingtime"])


def consents(records: ir.Table) -> ir.BooleanValue:
    """Whether a customer record consents to research."""
    return records.sharewithresearchasofdate.notnull()


def suspended(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """People of whom the newest thing that landed is a record that could not be read.

    They count as not consenting until a readable record of theirs lands later.
    """
    unreadable = unreadable_records(quarantine)
    unreadable = unreadable.group_by("person").agg(unreadable_at=unreadable.landed_at.max())
    readable = customer_landing.group_by("person").agg(readable_at=customer_landing.landed_at.max())
    newer = [unreadable.person == readable.person, unreadable.unreadable_at < readable.readable_at]
    return unreadable.anti_join(readable, newer).select("person")


def unreadable_records(quarantine: ir.Table) -> ir.Table:
    """Customer records that could not be read, one row for each person that one names."""
    records = quarantine.filter(quarantine.source == "customer", quarantine.person.notnull())
    return records.mutate(person=records.person.split(SEPARATOR).unnest())


def sole_claims(customer_landing: ir.Table) -> ir.Table:
    """Serial numbers that exactly one e-mail ever claimed, with that e-mail."""
    claims = customer_landing.filter(customer_landing.serialnumber.notnull())
    claims = claims.select("serialnumber", email="person")
    emails = claims.group_by("serialnumber").agg(email=claims.email.min(), other=claims.email.max())
    return emails.filter(emails.email == emails.other).drop("other")


def owned_readings(
    accelerometer_landing: ir.Table, customer_landing: ir.Table, *also: str
) -> ir.Table:
    """Accelerometer readings under their owner's e-mail, as far as they have one.

    A reading that carries a serial number instead of a user belongs to the one person who ever
    claimed it, and to nobody where there are several. `also` names further columns to keep.
    """
    claims = sole_claims(customer_landing).rename(claimed="serialnumber", claimant="email")
    columns = ("timestamp", "x", "y", "z", "serialnumber", *also)
    named = accelerometer_landing.filter(accelerometer_landing.person.notnull())
    nameless = accelerometer_landing.filter(accelerometer_landing.person.isnull())
    claimed = nameless.join(claims, [("serialnumber", "claimed")])
    return named.select(*columns, user=named.person).union(
        claimed.select(*columns, user="claimant")
    )
