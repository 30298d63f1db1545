"""quarantine: what could not be read of the landing files, and who is held."""

from stedi_assets.tables import columns
from stedi_assets.tables.consent import HOLD
from stedi_assets.tables.contract import Contract
from stedi_assets.tables.definition import TableDefinition


class Quarantine(Contract):
    """What could not be read: one row an object or a fragment of a landing file; and who is held.

    A row of the source `hold` says that a person's data is kept and used nowhere (`stedi hold`).
    """

    source: str = columns.field(
        "landing source, or hold", isin=("customer", "accelerometer", "step_trainer", HOLD)
    )
    source_file: str = columns.source_file()
    position: int = columns.field("where it begins in the file (uncompressed)", unit="bytes", ge=0)
    raw: str = columns.field("the text as it stands in the file", personal=True)
    reason: str = columns.field("why it could not be read", str_length={"min_value": 1})
    landed_at: int = columns.landed_at()
    person: str = columns.person(
        "whose it is in one spelling, as far as readable; several are separated by U+001F",
        nullable=True,
    )

    class Config:
        name = "quarantine"
        metadata = {"zone": "landing"}


QUARANTINE = TableDefinition(Quarantine)
