"""What the three sources send: columns that landing and trusted tables share."""

from stedi_assets.tables import columns
from stedi_assets.tables.contract import Contract


class CustomerRecord(Contract):
    """A record of website and fulfilment."""

    serialnumber: str = columns.field(
        "serial number the record claims; proves no ownership", personal=True, nullable=True
    )
    sharewithpublicasofdate: int = columns.share_date("with the public since")
    birthday: str = columns.field(
        "birthday, text as landed (years such as 967 occur)", personal=True, nullable=True
    )
    registrationdate: int = columns.time("registered at", nullable=True)
    sharewithresearchasofdate: int = columns.share_date("for research since")
    customername: str = columns.field("full name", personal=True, nullable=True)
    email: str = columns.field("e-mail", personal=True, str_length={"min_value": 1})
    lastupdatedate: int = columns.time("record updated at", nullable=True)
    phone: str = columns.field("phone, text as landed", personal=True, nullable=True)
    sharewithfriendsasofdate: int = columns.share_date("with friends since")


class PhoneReading(Contract):
    """A reading of the phone's accelerometer."""

    timestamp: int = columns.time("time of the reading")
    x: float = columns.acceleration("x")
    y: float = columns.acceleration("y")
    z: float = columns.acceleration("z")


class SensorReading(Contract):
    """A reading of a Step Trainer."""

    sensorreadingtime: int = columns.time("time of the reading")
    serialnumber: str = columns.field(
        "serial number of the device that sent it", personal=True, str_length={"min_value": 1}
    )
    distancefromobject: float = columns.distance()


def files_of(source: str) -> str:
    """Name under which the landing files of a source appear beside the tables."""
    return f"{source}_files"
