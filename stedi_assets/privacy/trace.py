"""Tells which landing files a training row came from, without telling whose it is."""

from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from stedi_assets.privacy.person import landing_zone
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET, has_shifted_times
from stedi_assets.read import find_snapshot, read_table
from stedi_assets.refresh.release import policy_of_set
from stedi_assets.settings import Settings
from stedi_assets.tables.identity import owned_readings, pseudonym, time_shift
from stedi_assets.tables.policy import Policy

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
    subject_id: str,
    sensorreadingtime: int,
    settings: Settings | None = None,
    snapshot: int | str | None = None,
) -> "pd.DataFrame":
    """Tell which landing files the readings of a training row came from.

    It reads the landing zone. The answer has no e-mails and no serial numbers, but real file names,
    and a source may have named a file after a person: keep it where the landing zone may be read.

    Args:
        subject_id: Whose row of the training set.
        sensorreadingtime: Its time, in epoch milliseconds.
        settings: Which lakehouse; the one of the environment where absent.
        snapshot: Id or tag of the training set; what is published now where absent.

    Returns:
        A row for each landing file: `source` (step_trainer or accelerometer), `source_file`
        (relative to the landing root), `readings` (how many of that person and time are in it).

    Raises:
        UnknownRowError: The training set has no such row, or not under this key.
        UnknownSnapshotError: There is no such training set.
        LandingZoneError: The landing zone cannot be read.
    """
    settings = settings or Settings.load()
    training_set = find_snapshot(TRAINING_SET, settings, snapshot)
    row = read_table(TRAINING_SET, training_set.id, settings=settings).filter(
        ibis._.subject_id == str(subject_id), ibis._.sensorreadingtime == int(sensorreadingtime)
    )
    if not row.count().to_pyarrow().as_py():
        raise UnknownRowError(
            f"{TRAINING_SET} has no row of that subject_id at {sensorreadingtime}; take both from "
            f"one of its rows {'as it is published now' if snapshot is None else f'in {snapshot}'}."
        )
    with landing_zone("Tracing a row"):
        landing = {name: read_table(name, settings=settings) for name in _LANDING}
        policy = policy_of_set(training_set, policy_of(settings))
        time = int(sensorreadingtime)
        if has_shifted_times(training_set):
            time -= _shift(str(subject_id), policy, landing["device_ownership"])
        files = landing_files(str(subject_id), time, policy, **landing)
        origins: pd.DataFrame = files.to_pandas()
    if origins.empty:
        raise UnknownRowError(
            "The landing zone has no readings of that row under this key of subject_id: set "
            "STEDI_PSEUDONYM_KEY to the key it was made with, unless they went by age "
            "(STEDI_LANDING_RETENTION)."
        )
    return origins


def _shift(subject_id: str, policy: Policy, device_ownership: ir.Table) -> int:
    """By how much the times of a person are later than they were measured."""
    email = device_ownership.email
    owned = device_ownership.filter(pseudonym(email, policy) == subject_id)
    shifts = owned.select(shift=time_shift(email, policy)).limit(1).to_pyarrow().to_pylist()
    return sum(row["shift"] for row in shifts)


def landing_files(  # noqa: PLR0913  (the tables it is made from)
    subject_id: str,
    time: int,
    policy: Policy,
    *,
    device_ownership: ir.Table,
    step_trainer_landing: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
) -> ir.Table:
    """Landing files with readings of a person at a time, by source, with their number."""
    owned = device_ownership.filter(pseudonym(device_ownership.email, policy) == subject_id)
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
