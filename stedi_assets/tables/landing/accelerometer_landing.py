"""accelerometer_landing: the readings of the mobile app."""

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

    class Config:
        name = "accelerometer_landing"
        metadata = {
            "zone": "landing",
            "one_of": ("user", "serialnumber"),
            "person_of": "user",
        }


ACCELEROMETER_LANDING = TableDefinition(AccelerometerLanding, source="accelerometer")
