"""Who consents, for the checks: worked out another way than the rules do.

Of all this, rules use `unreadable_records` and `held_people` alone, which only name people.
"""

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.landing.person import SEPARATOR
from stedi_assets.tables.policy import Policy

HOLD = "hold"
"""Source of the rows of quarantine that say who is held: their data is kept and used nowhere."""

_NEVER = -(2**63)
"""Sorts an absent time before every other."""


def consenting(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """People who are not held, and consent in every record tied for latest.

    The newest that landed about them could be read.
    """
    c = customer_landing
    records = c.select(
        "person",
        updated=ibis.coalesce(c.lastupdatedate, c.registrationdate, c.landed_at),
        registered=c.registrationdate.fill_null(_NEVER),
        refuses=(c.sharewithresearchasofdate <= 0).fill_null(True),
    )
    for time in ("updated", "registered"):
        # Not the greatest of structs, which takes Sail several times as long; nor a join, as the
        # rows of a person are together already for the next step.
        newest = records.mutate(newest=records[time].max().over(group_by=records.person))
        records = newest.filter(newest[time] == newest.newest).drop("newest")
    answers = records.group_by("person").agg(refuses=records.refuses.max())
    agreed = answers.filter(~answers.refuses).select(email="person")
    agreed = agreed.anti_join(unreadable_people(customer_landing, quarantine), "email")
    return agreed.anti_join(held_people(quarantine), agreed.email == held_people(quarantine).person)


def held_people(quarantine: ir.Table) -> ir.Table:
    """People who are held (person): they count as not consenting, whatever they say."""
    return (
        quarantine.filter(quarantine.source == HOLD, quarantine.person.notnull())
        .select("person")
        .distinct()
    )


def unreadable_people(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """People whose last record to land, or one that landed with it, could not be read."""
    none = ibis.null("int64")
    readable = customer_landing.select(email="person", readable="landed_at", unreadable=none)
    unreadable = unreadable_records(quarantine)
    unreadable = unreadable.select(email="person", readable=none, unreadable="landed_at")
    newest = (
        readable.union(unreadable)
        .group_by("email")
        .agg(readable=ibis._.readable.max(), unreadable=ibis._.unreadable.max())
    )
    return newest.filter(
        newest.unreadable.notnull(), (newest.unreadable >= newest.readable).fill_null(True)
    ).select("email")


def unreadable_records(quarantine: ir.Table) -> ir.Table:
    """Customer records that could not be read, one row for each person that one names."""
    records = quarantine.filter(quarantine.source == "customer", quarantine.person.notnull())
    return records.mutate(person=records.person.split(SEPARATOR).unnest())


def suspending_records(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """Places of the records that suspend somebody: unreadable, and no readable one landed later."""
    people = unreadable_people(customer_landing, quarantine)
    records = unreadable_records(quarantine).rename(email="person")
    newest = records.group_by("email").agg(landed_at=records.landed_at.max())
    suspending = records.semi_join(newest, ["email", "landed_at"]).semi_join(people, "email")
    return suspending.select("source_file", "position").distinct()


def without_consent(
    rows: ir.Table, people: ir.Table, since: ir.Table, policy: Policy
) -> ir.IntegerScalar:
    """Rows (person, time) not of these people or, under `from_consent_date`, before `since`."""
    persons = rows.group_by("person").agg(rows=rows.count(), earliest=rows.time.min())
    violations = persons.anti_join(people, "person").select("rows")
    if policy.from_consent_date:
        # Few people, if any, so the join with all their rows is cheap.
        early = since.join(persons, "person").filter(ibis._.earliest < ibis._.since)
        their_rows = rows.join(early.select("person", "since"), "person")
        before = their_rows.filter(their_rows.time < their_rows.since)
        violations = violations.union(before.agg(rows=before.count()))
    return total(violations.rows)


def total(rows: ir.IntegerColumn) -> ir.IntegerScalar:
    """The sum; 0 of no rows."""
    return rows.sum().fill_null(0)


# What may stay of a published table, for people who still consent.


def still_consenting_since(
    customer_landing: ir.Table, quarantine: ir.Table, customer_trusted: ir.Table
) -> ir.Table:
    """People who still consent (email), with the published date of their consent (since)."""
    dates = customer_trusted.select("email", since="sharewithresearchasofdate")
    return consenting(customer_landing, quarantine).join(dates, "email")


def rows_of_owners(
    rows: ir.Table, owners: ir.Table, key: str, time: str, policy: Policy
) -> ir.Table:
    """Rows of these owners or, under `from_consent_date`, those from their consent date on."""
    conditions = [rows[key] == owners[key]]
    if policy.from_consent_date:
        conditions.append(rows[time] >= owners.since)
    return rows.semi_join(owners, conditions)
