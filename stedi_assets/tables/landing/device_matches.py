"""device_matches: how often each user's phone was there when a device was.

It lies in the landing zone: matches are counted of all users, consenting or not.
"""

import ibis
import ibis.expr.types as ir

from stedi_assets.tables import columns
from stedi_assets.tables.consent import total
from stedi_assets.tables.contract import Contract
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.identity import owned_readings


class DeviceMatches(Contract):
    """Devices and users with readings at the same times: one row a pair that has such a time.

    Among the users are those who move in the same millisecond by chance.
    """

    serialnumber: str = columns.field("serial number of the device", personal=True)
    user: str = columns.person("the user's e-mail in its one spelling", str_length={"min_value": 1})
    matched: int = columns.field("distinct times at which both have a reading", ge=1)

    class Config:
        name = "device_matches"
        metadata = {"zone": "landing"}


# The rule


def device_matches(
    step_trainer_landing: ir.Table, accelerometer_landing: ir.Table, customer_landing: ir.Table
) -> ir.Table:
    """Distinct times that a device and a user share, counted.

    It counts the rows of a group and does nothing after that: such counts are sums, to which those
    of new readings can be added.
    """
    devices = step_trainer_landing.select("serialnumber", time="sensorreadingtime").distinct()
    readings = owned_readings(accelerometer_landing, customer_landing)
    users = readings.select("user", time="timestamp").distinct()
    return devices.join(users, "time").group_by("serialnumber", "user").agg(matched=ibis._.count())


# What must hold


def possible_matches(device_matches: ir.Table, step_trainer_landing: ir.Table) -> ir.IntegerScalar:
    """Pairs listed twice, or with more matches than the device has times."""
    # A match that is missing gives nobody a device: the check of device_ownership counts again.
    times = step_trainer_landing.select("serialnumber", "sensorreadingtime").distinct()
    devices = times.group_by("serialnumber").agg(times=times.count())
    d = device_matches.left_join(devices, "serialnumber").drop("serialnumber_right")
    possible = (d.matched <= d.times).fill_null(False)
    repeated = device_matches.group_by("serialnumber", "user").agg(rows=ibis._.count() - 1)
    violations = d.agg(rows=(~possible).sum()).union(repeated.agg(rows=repeated.rows.sum()))
    return total(violations.rows)


# No account: it keeps no rows of its inputs, and withholds none.
DEVICE_MATCHES = TableDefinition(
    DeviceMatches, rule=device_matches, serial_numbers=possible_matches
)
