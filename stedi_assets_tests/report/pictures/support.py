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


FRIENDS = {f"SN-{number}": f"friend-{number}@x.io" for number in range(4)}
"""People like Ann: fewer than five people are not shown."""


# Ann and her friends alone come all the way to the training set.
CUSTOMERS = [
    *(customer(email, serial) for serial, email in FRIENDS.items()),
    customer(ANN, "SN-ANN", customername="Ann Archer", phone="+1-555-0101"),
    customer(f" {ANN.upper()} ", "SN-ANN", customername="Ann Archer", phone="+1-555-0101"),
    customer(BOB, "SN-BOB", sharewithresearchasofdate=None, customername="Bob Baker"),
    customer(CY, customername="Cy Cooper"),  # without readings
    customer(DEE, customername="Dee Dyer"),  # without a device
    customer(EVE, "SN-EVE", customername="Eve Ellis"),  # with a device, without a phone
]


def _times(number: int) -> range:
    return range(NOON + 1000 * (number + 1), NOON + 1000 * (number + 1) + 10)


PHONES = [
    *phone(ANN, *ANNS, x=0.5),
    *phone(BOB, *BOBS),
    *phone(DEE, *DEES),
    *(
        row
        for number, email in enumerate(FRIENDS.values())
        for row in phone(email, *_times(number), x=0.5)
    ),
]


DEVICES = [
    *device("SN-ANN", *ANNS, distancefromobject=200.0),
    *device("SN-BOB", *BOBS),
    *(
        row
        for number, serial in enumerate(FRIENDS)
        for row in device(serial, *_times(number), distancefromobject=200.0)
    ),
    *device("SN-EVE", NOON + 2 * HOUR),
    *device("SN-NOBODY", NOON + 2 * HOUR),
]


LANDING = TABLES[:4]


SECRETS = [ANN, BOB, CY, DEE, EVE, FAY, "friend-", "Archer", "Baker", "555-0101", "SN-", "not read"]


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
