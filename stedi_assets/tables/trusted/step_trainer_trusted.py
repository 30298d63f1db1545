"""step_trainer_trusted: the sensor readings of consenting customers' devices."""

import ibis
import ibis.expr.types as ir
from ibis.selectors import cols

from stedi_assets.tables.accounts import KEPT, marked, outcomes, reclassified
from stedi_assets.tables.consent import (
    rows_of_owners,
    still_consenting_since,
    total,
    without_consent,
)
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.identity import owned_readings
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.sources import SensorReading


class StepTrainerTrusted(SensorReading):
    """Sensor readings of devices owned by a customer in customers_curated."""

    class Config:
        name = "step_trainer_trusted"
        metadata = {"zone": "trusted"}


# The rule


def step_trainer_trusted(  # noqa: PLR0913  (the tables it is made from)
    *,
    step_trainer_landing: ir.Table,
    device_ownership: ir.Table,
    customers_curated: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    policy: Policy,
) -> ir.Table:
    """Sensor readings of devices owned by a customer in customers_curated.

    Except those at a millisecond at which other phones have a reading and the owner's has none:
    somebody else was on the device.
    """
    customers = customers_curated.select("email", since="sharewithresearchasofdate")
    owners = device_ownership.select("serialnumber", "email").join(customers, "email")
    readings = step_trainer_landing.select(~cols("source_file", "landed_at"))
    conditions = [readings.serialnumber == owners.serialnumber]
    if policy.from_consent_date:
        conditions.append(readings.sensorreadingtime >= owners.since)
    readings = readings.semi_join(owners, conditions)
    phones = owned_readings(accelerometer_landing, customer_landing)
    phones = phones.select(email="user", sensorreadingtime="timestamp")
    times = readings.join(owners, "serialnumber").drop("since")
    times = times.semi_join(_not_always_with_owner(device_ownership), "serialnumber")
    without_owner = times.anti_join(phones, ["email", "sensorreadingtime"])
    of_others = without_owner.semi_join(phones, "sensorreadingtime")
    return readings.anti_join(of_others, ["serialnumber", "sensorreadingtime"])


def _not_always_with_owner(device_ownership: ir.Table) -> ir.Table:
    """Devices that have a time at which their owner's phone has no reading.

    At all times of the others nobody else can have been alone with the device. They are nearly
    all devices, so that few readings are compared with those of phones.
    """
    devices = device_ownership.filter(device_ownership.matched < device_ownership.readings)
    return devices.select("serialnumber")


# What must hold


def consent(
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    consenting_people: ir.Table,
    customer_trusted: ir.Table,
    policy: Policy,
) -> ir.IntegerScalar:
    """Sensor readings of owners without consent or, under `from_consent_date`, before its date."""
    owners = device_ownership.select("serialnumber", "email")
    readings = step_trainer_trusted.select(person="serialnumber", time="sensorreadingtime")
    people = owners.semi_join(consenting_people, "email")
    since = owners.join(customer_trusted.select("email", "sharewithresearchasofdate"), "email")
    return without_consent(
        readings,
        people.select(person="serialnumber"),
        since.select(person="serialnumber", since="sharewithresearchasofdate"),
        policy,
    )


def still_consenting(  # noqa: PLR0913  (the tables it is made from)
    *,
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    customer_trusted: ir.Table,
    policy: Policy,
) -> ir.Table:
    """Sensor readings of owners who still consent."""
    people = still_consenting_since(customer_landing, quarantine, customer_trusted)
    owners = device_ownership.select("serialnumber", "email").join(people, "email")
    return rows_of_owners(step_trainer_trusted, owners, "serialnumber", "sensorreadingtime", policy)


def owned_devices(
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    customers_curated: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
) -> ir.IntegerScalar:
    """Readings of devices not owned by a customer of customers_curated, or of somebody else."""
    devices = step_trainer_trusted.group_by("serialnumber").agg(rows=ibis._.count())
    owners = device_ownership.select("serialnumber", "email")
    owned = owners.join(customers_curated.select("email"), "email")
    withheld = devices.anti_join(owned, "serialnumber").select("rows")
    # Of the readings at whose time any phone has one, those at which the owner's has none. Not
    # what device_ownership says of that: a check does not trust what the rule is made from.
    phones = owned_readings(accelerometer_landing, customer_landing).select("user", "timestamp")
    times = step_trainer_trusted.join(owners, "serialnumber").select("sensorreadingtime", "email")
    with_any = times.semi_join(phones, [("sensorreadingtime", "timestamp")])
    with_own = times.semi_join(phones, [("sensorreadingtime", "timestamp"), ("email", "user")])
    others = with_any.agg(rows=with_any.count()).union(with_own.agg(rows=-with_own.count()))
    return total(withheld.union(others).rows)


# Where the other readings went


def account(  # noqa: PLR0913  (the tables it is made from)
    *,
    step_trainer_landing: ir.Table,
    device_ownership: ir.Table,
    customers_curated: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    policy: Policy,
) -> ir.Table:
    """Sensor readings: those of devices owned by a customer of customers_curated are kept."""
    readings = step_trainer_landing.group_by("serialnumber").agg(rows=ibis._.count())
    owners = device_ownership.select("serialnumber", "email")
    devices = readings.left_join(owners, "serialnumber")
    devices = marked(devices, customers_curated.select("email"), "email", "curated")
    outcome = ibis.cases(
        (devices.email.isnull(), "nobody is proven to own the device"),
        (~devices.curated, "owner does not consent or has no readings"),
        else_=KEPT,
    )
    counts = devices.select("rows", outcome=outcome)
    customers = customers_curated.select("email", since="sharewithresearchasofdate")
    owned = step_trainer_landing.join(owners.join(customers, "email"), "serialnumber")
    if policy.from_consent_date:
        early = owned.filter(owned.sensorreadingtime < owned.since)
        counts = reclassified(counts, early, "before the consent date")
        owned = owned.filter(owned.sensorreadingtime >= owned.since)
    phones = owned_readings(accelerometer_landing, customer_landing)
    owned = owned.semi_join(_not_always_with_owner(device_ownership), "serialnumber")
    times = owned.select("email", time="sensorreadingtime")
    without_own = times.anti_join(phones, [("time", "timestamp"), ("email", "user")])
    others = without_own.semi_join(phones, [("time", "timestamp")])
    return outcomes(reclassified(counts, others, "somebody else's phone alone was there"))


STEP_TRAINER_TRUSTED = TableDefinition(
    StepTrainerTrusted,
    rule=step_trainer_trusted,
    consent=consent,
    still_consenting=still_consenting,
    serial_numbers=owned_devices,
    account=account,
)
