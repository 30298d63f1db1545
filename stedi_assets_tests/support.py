"""What several test modules share: keys of pseudonyms, small deliveries, runs in this process."""

import hashlib
import hmac
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from stedi_assets.definitions import lakehouse_definitions
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.settings import Settings

KEY = "a key for tests, of 32 characters or more"
SOURCES = {
    "customer": "customer_landing",
    "accelerometer": "accelerometer_landing",
    "step_trainer": "step_trainer_landing",
}
TABLES = (
    *SOURCES.values(),
    "quarantine",
    "customer_trusted",
    "accelerometer_trusted",
    "customers_curated",
    "device_ownership",
    "step_trainer_trusted",
    "machine_learning_curated",
)

Objects = Iterable[Mapping[str, Any]]


def subject_id(email: str, key: str = KEY) -> str:
    """The pseudonym of a normalised e-mail, worked out without the package."""
    inner, outer = (
        hmac.new(key.encode(), use, hashlib.sha256).hexdigest() for use in (b"inner", b"outer")
    )
    nested = outer + hashlib.sha256((inner + email).encode()).hexdigest()
    return hashlib.sha256(nested.encode()).hexdigest()[:32]


def customer(email: str | None, serialnumber: str | None = None, **fields: Any) -> dict[str, Any]:
    """A customer record, consenting since millisecond 1 unless told otherwise."""
    return {
        "email": email,
        "serialnumber": serialnumber,
        "registrationdate": 1,
        "sharewithresearchasofdate": 1,
        **fields,
    }


def phone(user: str | None, *times: int, **fields: Any) -> list[dict[str, Any]]:
    """Accelerometer readings of a user."""
    return [{"user": user, "timestamp": time, "x": 0.0, "y": 0.0, "z": 0.0, **fields} for time in times]


def device(serialnumber: str, *times: int, **fields: Any) -> list[dict[str, Any]]:
    """Sensor readings of a device."""
    return [
        {"serialnumber": serialnumber, "sensorreadingtime": time, "distancefromobject": 1.0, **fields}
        for time in times
    ]


def deliver(landing: Path, name: str, **objects: Objects) -> None:
    """Write a file of JSON lines for each source given."""
    for source, lines in objects.items():
        write(landing, source, name, "".join(json.dumps(line) + "\n" for line in lines))


def write(landing: Path, source: str, name: str, text: str) -> Path:
    """Write a landing file."""
    path = landing / source / "landing" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refresh(
    settings: Settings, definitions: dg.Definitions | None = None
) -> dg.ExecuteInProcessResult:
    """Run the whole lakehouse in this process; a failure is in the result."""
    definitions = definitions or lakehouse_definitions(settings)
    return definitions.resolve_job_def("refresh_lakehouse").execute_in_process(
        instance=dg.DagsterInstance.ephemeral(), raise_on_error=False
    )


def counts(settings: Settings) -> dict[str, int]:
    """Rows of each published table."""
    published = {table: Catalog(settings.lakehouse).published(table) for table in TABLES}
    return {table: snapshot.rows for table, snapshot in published.items() if snapshot}


def snapshots(settings: Settings) -> dict[str, int]:
    """Id of each published snapshot."""
    published = {table: Catalog(settings.lakehouse).published(table) for table in TABLES}
    return {table: snapshot.id for table, snapshot in published.items() if snapshot}
