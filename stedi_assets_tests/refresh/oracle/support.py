"""Landing objects for the oracle."""

from collections.abc import Sequence
from typing import Any

from stedi_assets_tests.oracle import COLUMNS, compute
from stedi_assets_tests.support import SHARED

DATA = SHARED


LATER = 2_000_000_000_000
"""A time in milliseconds after all times of landing data."""


SENSOR_READINGS_FROM_CONSENT_DATE = 11_297
"""Rows of step_trainer_trusted for stedi-2023 in the scope of that name."""


ANN, BOB, CY = "ann@x.io", "bob@x.io", "cy@x.io"


FIRST, SECOND = 100, 200
"""When the deliveries landed; the oracle takes any number for a time, so small ones will do."""


def customer(email: str | None, **fields: Any) -> dict[str, Any]:
    """A customer record of the first delivery, consenting since 1 unless told otherwise."""
    return {"email": email, "sharewithresearchasofdate": 1, "landed_at": FIRST, **fields}


def unreadable(person: str | None, landed_at: int, source: str = "customer") -> dict[str, Any]:
    return {"source": source, "person": person, "landed_at": landed_at}


def phone(user: str | None, *times: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"user": user, "timestamp": time, "x": 0.0, **fields} for time in times]


def device(serialnumber: str, *times: int, **fields: Any) -> list[dict[str, Any]]:
    return [{"serialnumber": serialnumber, "sensorreadingtime": time, **fields} for time in times]


def deciding(*records: dict[str, Any], column: str = "phone") -> list[Any]:
    """One column of customer_trusted."""
    rows = compute(list(records), [], [], [])["customer_trusted"]
    return [row[COLUMNS["customer_trusted"].index(column)] for row in rows]


def consenting(records: list[dict[str, Any]], quarantine: list[dict[str, Any]]) -> list[Any]:
    """E-mails in customer_trusted."""
    rows = compute(records, [], [], quarantine)["customer_trusted"]
    return [row[COLUMNS["customer_trusted"].index("email")] for row in rows]


def ownership(
    readings: list[dict[str, Any]],
    step_trainer: list[dict[str, Any]],
    claims: Sequence[tuple[str, str]] = (),
) -> list[tuple[Any, ...]]:
    """device_ownership, given (e-mail, serial number) claims."""
    customers = [customer(email, serialnumber=serialnumber) for email, serialnumber in claims]
    return compute(customers, readings, step_trainer, [])["device_ownership"]
