"""Trusted zone: what comes from customers who consent to research."""

import ibis
import ibis.expr.types as ir

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


def customer_trusted(customer_landing: ir.Table) -> ir.Table:
    """The latest record of each e-mail, where it has a research consent date."""
    records = customer_landing.drop("source_file").mutate(email=customer_landing.person)
    updated = ibis.coalesce(
        records.lastupdatedate, records.registrationdate, records.landed_at
    )
    latest = records.mutate(
        rank=ibis.row_number().over(
            group_by=records.email,
            order_by=[
                updated.desc(nulls_first=False),
                records.registrationdate.desc(nulls_first=False),
                consents(records),  # of records that still tie, one without consent wins
                *(records[column].asc(nulls_first=False) for column in _TIES),
            ],
        )
    )
    return latest.filter(latest["rank"] == 0, consents(latest)).drop("rank", "person", "landed_at")


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


def step_trainer_trusted(
    step_trainer_landing: ir.Table, device_ownership: ir.Table, customers_curated: ir.Table
) -> ir.Table:
    """Sensor readings of devices owned by a customer in customers_curated."""
    devices = device_ownership.semi_join(customers_curated, "email")
    return step_trainer_landing.drop("source_file", "landed_at").semi_join(devices, "serialnumber")


def consents(records: ir.Table) -> ir.BooleanValue:
    """Whether a customer record consents to research: a consent date counts when positive."""
    return (records.sharewithresearchasofdate > 0).fill_null(False)


def sole_claims(customer_landing: ir.Table) -> ir.Table:
    """Serial numbers that exactly one e-mail ever claimed, with that e-mail."""
    claims = customer_landing.select("serialnumber", email="person").filter(
        ibis._.serialnumber.notnull()
    )
    emails = claims.group_by("serialnumber").agg(email=claims.email.min(), other=claims.email.max())
    return emails.filter(emails.email == emails.other).drop("other")


def owned_readings(
    accelerometer_landing: ir.Table, customer_landing: ir.Table, *also: str
) -> ir.Table:
    """Accelerometer readings under their owner's e-mail, as far as they have one.

    A reading that carries a serial number instead of a user belongs to the one e-mail that ever
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
