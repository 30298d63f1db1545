"""What the tables are: each file in the zones' folders is a table.

It holds the table's contract, its rule, what must hold before anyone sees it, and where the other
rows of its inputs went. Nothing here reads or writes, or knows of Dagster or settings.
"""

from stedi_assets.tables.curated.customers_curated import CUSTOMERS_CURATED
from stedi_assets.tables.curated.machine_learning_curated import MACHINE_LEARNING_CURATED
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.landing.accelerometer_landing import ACCELEROMETER_LANDING
from stedi_assets.tables.landing.customer_landing import CUSTOMER_LANDING
from stedi_assets.tables.landing.device_ownership import DEVICE_OWNERSHIP
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.landing.step_trainer_landing import STEP_TRAINER_LANDING
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
    DEVICE_OWNERSHIP,
    STEP_TRAINER_TRUSTED,
    MACHINE_LEARNING_CURATED,
)
"""All tables, in the order data flows."""

SOURCES = {table.name: table.source for table in TABLES if table.source}
"""The landing tables, each with the source whose files it holds."""


def definition(name: str) -> TableDefinition:
    """The table of that name."""
    return next(table for table in TABLES if table.name == name)
