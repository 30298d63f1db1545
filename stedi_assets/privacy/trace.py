"""Tells which landing files a training row came from, without telling whose it is."""

from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from stedi_assets.privacy.person import landing_zone
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.read import read_table
from stedi_assets.settings import Settings
from stedi_assets.tables.identity import owned_readings, pseudonym, time_shift

if TYPE_CHECKING:
    import pandas as pd

_LANDING = (
    "device_ownership",
    "step_trainer_landing",
    "accelerometer_landing",
    "customer_landing",
)


class UnknownRowError(LookupError):
    """The training set has no such row."""


def trace(
    subject_id: str, sensorreadingtime: int, settings: Settings | None = None
) -> "pd.DataFrame":
    """Tell which landing files the readings of a training row came from.

    It reads the landing zone. The answer has no e-mails and no serial numbers, but real file names,
    and a source may have named a file after a person: keep it where the landing zone may be read.

    Args:
        subject_id: Whose row of the published training set.
        sensorreadingtime: Its time, in epoch milliseconds.
        settings: Which lakehouse; the one of the environment where absent.

    Returns:
        A row for each landing file: `source` (step_trainer or accelerometer), `source_file`
        (relative to the landing root), `readings` (how many of that person and time are in it).

    Raises:
        UnknownRowError: The published training set has no such row, or not under this key.
        LandingZoneError: The landing zone cannot be read.
    """
    settings = settings or Settings.load()
    row = read_table(TRAINING_SET, settings=settings).filter(
        ibis._.subject_id == str(subject_id), ibis._.sensorreadingtime == int(sensorreadingtime)
    )
    if not row.count().to_pyarrow().as_py():
        raise UnknownRowError(
            f"{TRAINING_SET} has no row of that subject_id at {sensorreadingtime}; take both from "
            "one of its rows as it is published now."
        )
    with landing_zone("Tracing a row"):
        landing = {name: read_table(name, settings=settings) for name in _LANDING}
        time = _measured_at(
            str(subject_id), int(sensorreadingtime), settings, landing["device_ownership"]
        )
        files = landing_files(str(subject_id), time, settings, **landing)
        origins: pd.DataFrame = files.to_pandas()
    if origins.empty:
        raise UnknownRowError(
            "The landing zone has no readings of that row under this key of subject_id: set "
            "STEDI_PSEUDONYM_KEY to the key it was made with."
        )
    return origins


def _measured_at(subject_id: str, time: int, settings: Settings, device_ownership: ir.Table) -> int:
    """When the readings of a training row were measured, whose time may be shifted."""
    policy = policy_of(settings)
    if policy.shifts_times:
        email = device_ownership.email
        owned = device_ownership.filter(pseudonym(email, policy) == subject_id)
        shifts = owned.select(shift=time_shift(email, policy)).limit(1).to_pyarrow().to_pylist()
        time -= sum(row["shift"] for row in shifts)
    return time


def landing_files(  # noqa: PLR0913  (the tables it is made from)
    subject_id: str,
    time: int,
    settings: Settings,
    *,
    device_ownership: ir.Table,
    step_trainer_landing: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
) -> ir.Table:
    """Landing files with readings of a person at a time, by source, with their number."""
    owned = device_ownership.filter(
        pseudonym(device_ownership.email, policy_of(settings)) == subject_id
    )
    sensor = step_trainer_landing.filter(step_trainer_landing.sensorreadingtime == time)
    at_time = accelerometer_landing.filter(accelerometer_landing.timestamp == time)
    phone = owned_readings(at_time, customer_landing, "source_file")
    by_source = {
        "step_trainer": sensor.semi_join(owned, "serialnumber"),
        "accelerometer": phone.semi_join(owned, phone.user == owned.email),
    }
    files = [
        readings.group_by("source_file")
        .agg(readings=readings.count())
        .select("source_file", "readings", source=ibis.literal(source))
        for source, readings in by_source.items()
    ]
    columns = ("source", "source_file", "readings")
    return ibis.union(*files).select(*columns).order_by(ibis.desc("source"), "source_file")
