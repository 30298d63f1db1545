"""accelerometer_landing: the readings of the mobile app."""

from typing import Any

import pandera.ibis as pa

from stedi_assets.tables import columns
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.sources import PhoneReading


class AccelerometerLanding(PhoneReading):
    """Accelerometer readings of the mobile app, as landed: one row a JSON object."""

    user: str = columns.field("e-mail of the app's user", personal=True, nullable=True)
    serialnumber: str = columns.field(
        "serial number, of feeds that send it instead of the user", personal=True, nullable=True
    )
    person: str = columns.person("the user's e-mail in its one spelling", nullable=True)
    source_file: str = columns.source_file()
    landed_at: int = columns.landed_at()

    @pa.dataframe_check(name="user or serialnumber is there, never both")
    @classmethod
    def one_identity(cls, readings: Any) -> Any:
        """A reading says whose it is in one way."""
        table = readings.table
        return table.user.isnull() != table.serialnumber.isnull()

    class Config:
        name = "accelerometer_landing"
        metadata = {
            "zone": "landing",
            "one_of": ("user", "serialnumber"),
            "person_of": "user",
        }


ACCELEROMETER_LANDING = TableDefinition(AccelerometerLanding, source="accelerometer")
