"""People of whom the report tells, and what it must not say of them."""

import base64
import re
from typing import Any

from stedi_assets.report.pictures import Picture
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    SHARED,
    TABLES,
    customer,
    device,
    phone,
)

DATA = SHARED


DEE, EVE, FAY = "dee@x.io", "eve@x.io", "fay@x.io"


HOUR = 3_600_000


NOON = 1_682_942_400_000  # 2023-05-01 12:00 UTC, a Monday


ANNS, BOBS, DEES = (range(NOON + start, NOON + start + 10) for start in (0, 100, HOUR))


# Ann alone comes all the way to the training set.
CUSTOMERS = [
    customer(ANN, "SN-ANN", customername="Ann Archer", phone="+1-555-0101"),
    customer(f" {ANN.upper()} ", "SN-ANN", customername="Ann Archer", phone="+1-555-0101"),
    customer(BOB, "SN-BOB", sharewithresearchasofdate=None, customername="Bob Baker"),
    customer(CY, customername="Cy Cooper"),  # without readings
    customer(DEE, customername="Dee Dyer"),  # without a device
    customer(EVE, "SN-EVE", customername="Eve Ellis"),  # with a device, without a phone
]


PHONES = [*phone(ANN, *ANNS, x=0.5), *phone(BOB, *BOBS), *phone(DEE, *DEES)]


DEVICES = [
    *device("SN-ANN", *ANNS, distancefromobject=200.0),
    *device("SN-BOB", *BOBS),
    *device("SN-EVE", NOON + 2 * HOUR),
    *device("SN-NOBODY", NOON + 2 * HOUR),
]


LANDING = TABLES[:4]


SECRETS = [ANN, BOB, CY, DEE, EVE, FAY, "Archer", "Baker", "555-0101", "SN-", "not read"]


def numbers(made: dict[str, Picture], title: str) -> Any:
    return made[title].numbers


def drawn(text: str) -> list[str]:
    """The pictures that a page or a note holds, as SVG."""
    found = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", text)
    return [base64.b64decode(picture).decode() for picture in found]


def assert_secret(text: str) -> None:
    """Nothing of a person is in the text or in its pictures."""
    for part in (text, *drawn(text)):
        assert [secret for secret in SECRETS if secret.lower() in part.lower()] == []
