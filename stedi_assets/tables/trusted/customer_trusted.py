"""customer_trusted: who consents to research."""

import ibis
import ibis.expr.types as ir
from ibis.selectors import cols

from stedi_assets.tables import columns
from stedi_assets.tables.accounts import KEPT, marked, outcomes
from stedi_assets.tables.consent import (
    consenting,
    held_people,
    unreadable_people,
    unreadable_records,
)
from stedi_assets.tables.contract import columns_of
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.sources import CustomerRecord

# Any of the records that still tie would do, but it must be the same one each time.
_TIE_BREAKERS = [
    column for column in columns_of(CustomerRecord) if column not in {"email", "registrationdate"}
]


class CustomerTrusted(CustomerRecord):
    """Consenting customers: the latest record of each person, where it consents to research.

    Latest is by lastupdatedate (where absent registrationdate, where absent landed_at), then
    registrationdate; of records that still tie one without consent wins, then the smallest serial
    number. A person of whom something landed since that could not be read is suspended. Who is held
    is left out, whatever they say.
    """

    email: str = columns.person(unique=True, str_length={"min_value": 1})
    sharewithresearchasofdate: int = columns.time("consent to share for research since")

    class Config:
        name = "customer_trusted"
        metadata = {"zone": "trusted"}


# The rule


def customer_trusted(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """The latest record of each person, neither suspended nor held, if it consents to research."""
    latest = ranked(customer_landing)
    trusted = latest.filter(latest["rank"] == 0, consents(latest))
    trusted = trusted.anti_join(suspended(customer_landing, quarantine), "person")
    trusted = trusted.anti_join(held_people(quarantine), "person")
    # `drop` of several columns leaves the others in another order in each process, and the table's
    # fingerprint is made of this SQL.
    not_kept = cols("rank", "person", "source_file", "landed_at")
    return trusted.mutate(email="person").select(~not_kept)


def ranked(records: ir.Table) -> ir.Table:
    """Customer records with their rank among those of the same person; that of the latest is 0."""
    place = ibis.row_number().over(group_by=records.person, order_by=latest_first(records))
    return records.mutate(rank=place)


def latest_first(records: ir.Table) -> list[ir.Value]:
    """What customer records of a person are ordered by, the one that decides first."""
    updated = ibis.coalesce(records.lastupdatedate, records.registrationdate, records.landed_at)
    return [
        updated.desc(),
        records.registrationdate.desc(nulls_first=False),
        consents(records),  # of records that still tie, one without consent wins
        *(records[column].asc(nulls_first=False) for column in _TIE_BREAKERS),
    ]


def consents(records: ir.Table) -> ir.BooleanValue:
    """Whether a customer record consents to research."""
    return records.sharewithresearchasofdate.notnull()


def suspended(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """People whose newest landed record could not be read.

    They count as not consenting until a readable record of theirs lands later.
    """
    unreadable = unreadable_records(quarantine)
    unreadable = unreadable.group_by("person").agg(unreadable_at=unreadable.landed_at.max())
    readable = customer_landing.group_by("person").agg(readable_at=customer_landing.landed_at.max())
    newer = [unreadable.person == readable.person, unreadable.unreadable_at < readable.readable_at]
    return unreadable.anti_join(readable, newer).select("person")


# What must hold


def consent(customer_trusted: ir.Table, consenting_people: ir.Table) -> ir.IntegerScalar:
    """Customers without a research consent in their latest record, or suspended, or held."""
    return customer_trusted.anti_join(consenting_people, "email").count()


def still_consenting(
    customer_trusted: ir.Table, customer_landing: ir.Table, quarantine: ir.Table
) -> ir.Table:
    """Customers who consent in their latest record."""
    return customer_trusted.semi_join(consenting(customer_landing, quarantine), "email")


# Where the other records went


def account(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """Customer records: one of each consenting customer is kept."""
    people = customer_landing.group_by(email="person").agg(records=ibis._.count())
    people = marked(people, consenting(customer_landing, quarantine), "email", "consents")
    unreadable = unreadable_people(customer_landing, quarantine)
    people = marked(people, unreadable, "email", "suspended")
    held = held_people(quarantine).select(email="person")
    people = marked(people, held, "email", "held")
    outcome = ibis.cases(
        (people.consents, KEPT),
        (people.held, "held: their data is kept and used nowhere"),
        (people.suspended, "suspended: their newest record could not be read"),
        else_="no research consent",
    )
    latest = people.select(outcome=outcome, rows=ibis.literal(1, "int64"))
    older = people.select(
        outcome=ibis.literal("older record of the same person"), rows=people.records - 1
    )
    return outcomes(latest.union(older))


CUSTOMER_TRUSTED = TableDefinition(
    CustomerTrusted,
    rule=customer_trusted,
    consent=consent,
    still_consenting=still_consenting,
    account=account,
)
