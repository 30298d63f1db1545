"""What the tables are: each file in the zones' folders is a table.

It holds the table's contract, its rule, what must hold before anyone sees it, and where the other
rows of its inputs went. Nothing here reads or writes, or knows of Dagster or settings.
"""

from dataclasses import replace

import ibis

from stedi_assets.lakehouse.names import view_name
from stedi_assets.tables.curated.customers_curated import CUSTOMERS_CURATED
from stedi_assets.tables.curated.machine_learning_curated import MACHINE_LEARNING_CURATED
from stedi_assets.tables.definition import TableDefinition, query_of
from stedi_assets.tables.landing.accelerometer_landing import ACCELEROMETER_LANDING
from stedi_assets.tables.landing.customer_landing import CUSTOMER_LANDING
from stedi_assets.tables.landing.device_matches import DEVICE_MATCHES
from stedi_assets.tables.landing.device_ownership import DEVICE_OWNERSHIP
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.landing.step_trainer_landing import STEP_TRAINER_LANDING
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.trusted.accelerometer_trusted import ACCELEROMETER_TRUSTED
from stedi_assets.tables.trusted.customer_trusted import CUSTOMER_TRUSTED
from stedi_assets.tables.trusted.step_trainer_trusted import STEP_TRAINER_TRUSTED

TABLES: tuple[TableDefinition, ...] = (
    CUSTOMER_LANDING,
    ACCELEROMETER_LANDING,
    STEP_TRAINER_LANDING,
    QUARANTINE,
    CUSTOMER_TRUSTED,
    ACCELEROMETER_TRUSTED,
    CUSTOMERS_CURATED,
    DEVICE_MATCHES,
    DEVICE_OWNERSHIP,
    STEP_TRAINER_TRUSTED,
    MACHINE_LEARNING_CURATED,
)
"""All tables, in the order data flows."""

SOURCES = {table.name: table.source for table in TABLES if table.source}
"""The landing tables, each with the source whose files it holds."""


def version_of(table: TableDefinition, policy: Policy) -> str:
    """Changes when the rule or the contract of a table does, whatever its inputs and the key.

    Args:
        table: The table.
        policy: What the rules depend on.
    """
    contract = table.table(policy).fingerprint
    if table.rule is None:
        return contract[:16]
    inputs = {name: definition(name).table(policy).types for name in table.inputs}
    tables = {
        name: ibis.table(types, name=view_name(name, "any")) for name, types in inputs.items()
    }
    rows = query_of(table.rule, tables, replace(policy, subject_key=any_key))
    return rows.fingerprint(contract)[:16]


def any_key() -> str:
    """Stands for the key where it makes no difference."""
    return "any key"


def definition(name: str) -> TableDefinition:
    """The table of that name."""
    return next(table for table in TABLES if table.name == name)
