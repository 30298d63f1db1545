"""accelerometer_trusted: the phone readings of consenting customers."""

import ibis
import ibis.expr.types as ir

from stedi_assets.tables import columns
from stedi_assets.tables.accounts import KEPT, marked, outcomes, reclassified
from stedi_assets.tables.consent import (
    rows_of_owners,
    still_consenting_since,
    without_consent,
)
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.identity import claims_by_device, owned_readings
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.sources import PhoneReading


class AccelerometerTrusted(PhoneReading):
    """Accelerometer readings of the customers in customer_trusted."""

    user: str = columns.person(
        "e-mail of the reading's owner in its one spelling", str_length={"min_value": 1}
    )
    serialnumber: str = columns.field(
        "serial number the owner was found by, where the feed sent no user",
        personal=True,
        nullable=True,
    )

    class Config:
        name = "accelerometer_trusted"
        metadata = {"zone": "trusted"}


# The rule


def accelerometer_trusted(
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
    policy: Policy,
) -> ir.Table:
    """Readings of the customers in customer_trusted, each under its owner's e-mail."""
    readings = owned_readings(accelerometer_landing, customer_landing)
    conditions = [readings.user == customer_trusted.email]
    if policy.from_consent_date:
        conditions.append(readings.timestamp >= customer_trusted.sharewithresearchasofdate)
    return readings.semi_join(customer_trusted, conditions)


# What must hold


def consent(
    accelerometer_trusted: ir.Table,
    consenting_people: ir.Table,
    customer_trusted: ir.Table,
    policy: Policy,
) -> ir.IntegerScalar:
    """Readings of people without consent or, under `from_consent_date`, from before its date."""
    readings = accelerometer_trusted.select(person="user", time="timestamp")
    since = customer_trusted.select(person="email", since="sharewithresearchasofdate")
    people = consenting_people.select(person="email")
    return without_consent(readings, people, since, policy)


def still_consenting(
    accelerometer_trusted: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    customer_trusted: ir.Table,
    policy: Policy,
) -> ir.Table:
    """Readings of people who still consent."""
    people = still_consenting_since(customer_landing, quarantine, customer_trusted)
    owners = people.rename(user="email")
    return rows_of_owners(accelerometer_trusted, owners, "user", "timestamp", policy)


# Where the other readings went


def account(
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
    policy: Policy,
) -> ir.Table:
    """Accelerometer readings: those of consenting customers are kept."""
    dates = customer_trusted.select(customer="email", since="sharewithresearchasofdate")
    readings = accelerometer_landing.select("person", "serialnumber", "timestamp")
    readings = readings.rename(user="person")
    identities = readings.group_by("user", "serialnumber").agg(rows=readings.count())
    people = _resolved(identities, customer_landing).left_join(dates, [("person", "customer")])
    customers = customer_landing.select("person").distinct()
    people = marked(people, customers, "person", "known")
    outcome = ibis.cases(
        (people.claimants > 1, "serial number claimed by several e-mails"),
        (people.person.isnull(), "serial number claimed by nobody"),
        (~people.known, "user is no customer"),
        (people.customer.isnull(), "no research consent"),
        else_=KEPT,
    )
    counts = people.select("rows", outcome=outcome)
    if policy.from_consent_date:
        early = _resolved(readings, customer_landing).join(dates, [("person", "customer")])
        early = early.filter(early.timestamp < early.since)
        counts = reclassified(counts, early, "before the consent date")
    return outcomes(counts)


def _resolved(readings: ir.Table, customer_landing: ir.Table) -> ir.Table:
    """Readings with the `person` they belong to, and how many e-mails claim their device."""
    claims = claims_by_device(customer_landing)
    named = readings.filter(readings.user.notnull())
    by_device = readings.filter(readings.user.isnull()).left_join(
        claims, [("serialnumber", "claimed")]
    )
    alone = ibis.ifelse(by_device.claimants == 1, by_device.claimant, ibis.null("string"))
    return named.select(*readings.columns, person="user", claimants=ibis.literal(0, "int64")).union(
        by_device.select(*readings.columns, person=alone, claimants="claimants")
    )


ACCELEROMETER_TRUSTED = TableDefinition(
    AccelerometerTrusted,
    rule=accelerometer_trusted,
    consent=consent,
    still_consenting=still_consenting,
    account=account,
)
