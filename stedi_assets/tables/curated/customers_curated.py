"""customers_curated: consenting customers who have readings."""

import ibis
import ibis.expr.types as ir

from stedi_assets.tables.accounts import KEPT, marked, outcomes
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.trusted import customer_trusted as trusted


class CustomersCurated(trusted.CustomerTrusted):
    """Customers of customer_trusted with rows in accelerometer_trusted."""

    class Config:
        name = "customers_curated"
        metadata = {"zone": "curated"}


# The rule


def customers_curated(customer_trusted: ir.Table, accelerometer_trusted: ir.Table) -> ir.Table:
    """Customers of customer_trusted with rows in accelerometer_trusted."""
    return customer_trusted.semi_join(
        accelerometer_trusted, customer_trusted.email == accelerometer_trusted.user
    )


# What must hold


def consent(customers_curated: ir.Table, consenting_people: ir.Table) -> ir.IntegerScalar:
    """Customers without a research consent in their latest record, or who are suspended."""
    return trusted.consent(customers_curated, consenting_people)


def still_consenting(
    customers_curated: ir.Table, customer_landing: ir.Table, quarantine: ir.Table
) -> ir.Table:
    """Customers who consent in their latest record."""
    return trusted.still_consenting(customers_curated, customer_landing, quarantine)


# Where the other customers went


def account(customer_trusted: ir.Table, accelerometer_trusted: ir.Table) -> ir.Table:
    """Consenting customers: those with readings are kept."""
    users = accelerometer_trusted.select(email="user").distinct()
    people = marked(customer_trusted, users, "email", "has_readings")
    outcome = ibis.ifelse(people.has_readings, KEPT, "no accelerometer reading")
    return outcomes(people.select(outcome=outcome, rows=ibis.literal(1, "int64")))


CUSTOMERS_CURATED = TableDefinition(
    CustomersCurated,
    rule=customers_curated,
    consent=consent,
    still_consenting=still_consenting,
    account=account,
)
