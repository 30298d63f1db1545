"""customer_landing: the records of website and fulfilment."""

from stedi_assets.tables import columns
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.sources import CustomerRecord


class CustomerLanding(CustomerRecord):
    """Customer records of website and fulfilment, as landed: one row a JSON object."""

    person: str = columns.person(str_length={"min_value": 1})
    source_file: str = columns.source_file()
    landed_at: int = columns.landed_at()

    class Config:
        name = "customer_landing"
        metadata = {"zone": "landing", "person_of": "email"}


CUSTOMER_LANDING = TableDefinition(CustomerLanding, source="customer")
