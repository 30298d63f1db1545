"""device_ownership: which device belongs to whom, and what proves it.

It lies in the landing zone: owners are found among all users, consenting or not.
"""

import ibis
import ibis.expr.types as ir

from stedi_assets.tables import columns
from stedi_assets.tables.accounts import KEPT, marked, outcomes
from stedi_assets.tables.consent import total
from stedi_assets.tables.contract import Contract
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.identity import claims_by_device, owned_readings, sole_claims

MIN_MATCHES = 5
"""Readings at the same time that make a user a candidate for a device's owner."""


class DeviceOwnership(Contract):
    """Devices with a proven owner; a device nobody is proven to own has no row.

    `shared_readings`: one user alone has the most readings at the device's times, at least 5 and
    at 90 % of them or more. `sole_claim`: else, one e-mail alone ever claimed the serial number
    and no other user has 5 or more readings at the device's times.
    """

    serialnumber: str = columns.field("serial number of the device", personal=True, unique=True)
    email: str = columns.person(
        "e-mail of its owner in its one spelling", str_length={"min_value": 1}
    )
    basis: str = columns.field("what proves it", isin=("shared_readings", "sole_claim"))
    readings: int = columns.field("distinct times at which the device has a reading", ge=1)
    matched: int = columns.field("of them, those at which the owner's phone has one too", ge=0)
    runner_up_matched: int = columns.field("the most of them that any other user has", ge=0)

    class Config:
        name = "device_ownership"
        metadata = {"zone": "landing"}


# The rule


def device_ownership(
    step_trainer_landing: ir.Table, device_matches: ir.Table, customer_landing: ir.Table
) -> ir.Table:
    """Devices with a proven owner: shared readings decide first, then a sole claim."""
    times = step_trainer_landing.select("serialnumber", time="sensorreadingtime").distinct()
    # All is joined on the serial number alone: what is decided of a device needs no other's rows.
    d = (
        times.group_by("serialnumber")
        .agg(readings=ibis._.count())
        .left_join(_leaders(device_matches), "serialnumber")
        .drop("serialnumber_right")
        .left_join(_claimants(device_matches, customer_landing), "serialnumber")
        .drop("serialnumber_right")
        .fill_null({"leader_matched": 0, "second_matched": 0, "claimant_matched": 0})
    )
    shared = (
        (d.leader_matched >= MIN_MATCHES)
        & (d.leader_matched > d.second_matched)
        & (d.leader_matched * 10 >= d.readings * 9)
    )
    others_of_claimant = ibis.ifelse(
        (d.leader == d.claimant).fill_null(False), d.second_matched, d.leader_matched
    )
    sole = d.claimant.notnull() & (others_of_claimant < MIN_MATCHES)
    return d.filter(shared | sole).select(
        "serialnumber",
        email=ibis.ifelse(shared, d.leader, d.claimant),
        basis=ibis.ifelse(shared, "shared_readings", "sole_claim"),
        readings=d.readings,
        matched=ibis.ifelse(shared, d.leader_matched, d.claimant_matched),
        runner_up_matched=ibis.ifelse(shared, d.second_matched, others_of_claimant),
    )


def _leaders(matches: ir.Table) -> ir.Table:
    """Of each device, the user with the most matches, how many, and the most of any other user."""
    place = ibis.row_number().over(
        group_by=matches.serialnumber, order_by=[matches.matched.desc(), matches.user]
    )
    ranked = matches.mutate(place=place)
    return ranked.group_by("serialnumber").agg(
        leader=ranked.user.max(where=ranked.place == 0),
        leader_matched=ranked.matched.max(where=ranked.place == 0),
        second_matched=ranked.matched.max(where=ranked.place == 1),
    )


def _claimants(matches: ir.Table, customer_landing: ir.Table) -> ir.Table:
    """Devices that one e-mail alone ever claimed, with its matches."""
    claims = sole_claims(customer_landing).rename(claimant="email")
    own = matches.join(claims, "serialnumber").filter(ibis._.user == ibis._.claimant)
    own = own.select("serialnumber", claimant_matched="matched")
    return claims.left_join(own, "serialnumber").drop("serialnumber_right")


# What must hold


def proven_owners(
    device_ownership: ir.Table,
    step_trainer_landing: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
) -> ir.IntegerScalar:
    """Devices listed twice, or without the matches or the claim that proves their owner."""
    d = device_ownership.left_join(_claims(customer_landing), "serialnumber").drop(
        "serialnumber_right"
    )
    recounted = _recounted(
        device_ownership, step_trainer_landing, accelerometer_landing, customer_landing
    )
    d = d.left_join(recounted, "serialnumber").drop("serialnumber_right")
    shared = (
        (d.matched >= MIN_MATCHES)
        & (d.matched > d.runner_up_matched)
        & (d.matched * 10 >= d.readings * 9)
    )
    sole = (d.claimants == 1) & (d.claimant == d.email) & (d.runner_up_matched < MIN_MATCHES)
    proven = ibis.ifelse(d.basis == "shared_readings", shared, sole).fill_null(False)
    valid = (
        proven
        & (d.readings == d.times).fill_null(False)
        & (d.matched == d.of_owner.fill_null(0))
        & (d.runner_up_matched == d.of_others.fill_null(0))
    )
    repeated = device_ownership.group_by("serialnumber").agg(rows=ibis._.count() - 1)
    violations = d.agg(rows=(~valid).sum()).union(repeated.agg(rows=repeated.rows.sum()))
    return total(violations.rows)


def _claims(customer_landing: ir.Table) -> ir.Table:
    claims = customer_landing.select("serialnumber", claimant="person").distinct()
    return claims.group_by("serialnumber").agg(
        claimants=claims.count(), claimant=claims.claimant.max()
    )


def _recounted(
    device_ownership: ir.Table,
    step_trainer_landing: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
) -> ir.Table:
    """Of each device its times, its owner's matches and the most of any other user, recounted."""
    times = step_trainer_landing.select("serialnumber", time="sensorreadingtime").distinct()
    readings = owned_readings(accelerometer_landing, customer_landing)
    users = readings.select("user", time="timestamp").distinct()
    # Not `device_matches`: a check does not trust what the rule is made from.
    matches = times.join(users, "time").group_by("serialnumber", "user").agg(n=ibis._.count())
    owners = device_ownership.select("serialnumber", owner="email").distinct()
    matches = matches.join(owners, "serialnumber")
    most = matches.group_by("serialnumber").agg(
        of_owner=matches.n.max(where=matches.user == matches.owner),
        of_others=matches.n.max(where=matches.user != matches.owner),
    )
    devices = times.group_by("serialnumber").agg(times=times.count())
    return devices.left_join(most, "serialnumber").drop("serialnumber_right")


# Where the other devices went


def account(
    step_trainer_landing: ir.Table, device_ownership: ir.Table, customer_landing: ir.Table
) -> ir.Table:
    """Devices: those with a proven owner are kept, the others withheld by who claims them."""
    devices = step_trainer_landing.select("serialnumber").distinct()
    owned = device_ownership.select("serialnumber").distinct()
    devices = marked(devices, owned, "serialnumber", "owned")
    claims = claims_by_device(customer_landing)
    devices = devices.left_join(claims, [("serialnumber", "claimed")])
    outcome = ibis.cases(
        (devices.owned, KEPT),
        (devices.claimants.isnull(), "claimed by nobody, readings prove no owner"),
        (devices.claimants > 1, "claimed by several e-mails, readings prove no owner"),
        else_="readings speak against the only claim",
    )
    return outcomes(devices.select(outcome=outcome, rows=ibis.literal(1, "int64")))


DEVICE_OWNERSHIP = TableDefinition(
    DeviceOwnership, rule=device_ownership, serial_numbers=proven_owners, account=account
)
