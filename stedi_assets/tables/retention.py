"""What goes of the landing tables by age.

Because of it no row appears in a trusted or curated table, and no device gets an owner that it has
not now:

- A phone's reading stays where a sensor reading that stays has its millisecond. So of each sensor
  reading that stays, all is still known of who was there.
- All readings of a device stay where, without the old ones, somebody else would be its owner, or
  somebody where now nobody is.
- Of a person's customer records with the same serial number, the latest stays. So do who consents
  and who ever claimed a serial number.

What is of people who are held stays, too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir

from stedi_assets.tables.consent import held_people
from stedi_assets.tables.identity import sole_claims
from stedi_assets.tables.landing.device_matches import device_matches
from stedi_assets.tables.landing.device_ownership import device_ownership
from stedi_assets.tables.trusted.customer_trusted import latest_first


@dataclass(frozen=True)
class Limits:
    """Before when what goes has landed, in epoch milliseconds.

    Attributes:
        tables: Of landing tables; what others hold stays.
        refused: Of readings of people who never consented, if they go sooner.
    """

    tables: Mapping[str, int] = field(default_factory=dict)
    refused: int | None = None

    def of(self, table: str) -> int | None:
        """The latest limit of a landing table; None if nothing of it goes."""
        refused = None if table == "customer_landing" else self.refused
        limits = [each for each in (self.tables.get(table), refused) if each is not None]
        return max(limits, default=None)

    def are_passed(self, table: str, rows: ir.Table, refused: ir.BooleanValue) -> ir.BooleanValue:
        """Whether rows are old enough to go; `refused` are those of people who never consented."""
        limit, sooner = self.tables.get(table), self.refused
        passed: ir.BooleanValue = ibis.literal(False)
        if limit is not None:
            passed = rows.landed_at < limit
        if sooner is not None:
            passed |= (rows.landed_at < sooner) & refused
        return passed


def owners(
    step_trainer_landing: ir.Table, accelerometer_landing: ir.Table, customer_landing: ir.Table
) -> ir.Table:
    """Devices with their proven owner, by these readings and records."""
    matches = device_matches(step_trainer_landing, accelerometer_landing, customer_landing)
    return device_ownership(step_trainer_landing, matches, customer_landing).select(
        "serialnumber", "email"
    )


def devices_kept(  # noqa: PLR0913  (the tables it looks at)
    *,
    owned: ir.Table,
    step_trainer_landing: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    limits: Limits,
) -> ir.Table:
    """Devices of which all readings stay, by their owners as they are now (`owned`)."""
    old = _sensor_reading_is_old(step_trainer_landing, owned, customer_landing, limits)
    left = owners(step_trainer_landing.filter(~old), accelerometer_landing, customer_landing)
    others = left.anti_join(owned, ["serialnumber", "email"])
    held = owned.semi_join(held_people(quarantine), owned.email == held_people(quarantine).person)
    return others.select("serialnumber").union(held.select("serialnumber")).distinct()


def sensor_reading_goes(
    rows: ir.Table, kept: ir.Table, owned: ir.Table, customer_landing: ir.Table, limits: Limits
) -> ir.BooleanValue:
    """Whether rows of step_trainer_landing go: old ones, but of devices that are `kept`."""
    old = _sensor_reading_is_old(rows, owned, customer_landing, limits)
    return old & ~rows.serialnumber.isin(kept.serialnumber)


def _sensor_reading_is_old(
    rows: ir.Table, owned: ir.Table, customer_landing: ir.Table, limits: Limits
) -> ir.BooleanValue:
    people = _ever_consented(customer_landing)
    refused = owned.anti_join(people, owned.email == people.person)
    of_refused = rows.serialnumber.isin(refused.serialnumber)
    return limits.are_passed("step_trainer_landing", rows, of_refused)


def phone_reading_goes(
    rows: ir.Table,
    left: ir.Table,
    customer_landing: ir.Table,
    quarantine: ir.Table,
    limits: Limits,
) -> ir.BooleanValue:
    """Whether rows of accelerometer_landing go: old ones at times of no sensor reading `left`."""
    claims = sole_claims(customer_landing)

    def of(people: ir.Table) -> ir.BooleanValue:
        claimed = claims.semi_join(people, claims.email == people.person)
        by_claim = rows.person.isnull() & rows.serialnumber.isin(claimed.serialnumber)
        return (rows.person.isin(people.person) | by_claim).fill_null(False)

    has_owner = (rows.person.notnull() | rows.serialnumber.isin(claims.serialnumber)).fill_null(
        False
    )
    refused = has_owner & ~of(_ever_consented(customer_landing))
    old = limits.are_passed("accelerometer_landing", rows, refused)
    return old & ~of(held_people(quarantine)) & ~rows.timestamp.isin(left.sensorreadingtime)


def _ever_consented(customer_landing: ir.Table) -> ir.Table:
    """People with a record, of those that are left, that consents to research."""
    agreed = customer_landing.filter(customer_landing.sharewithresearchasofdate.notnull())
    return agreed.select("person").distinct()


def with_place(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """Customer records with their place among those of the same person and serial number.

    First is what decides of two records of a person; of the same one, what landed last. Beside it
    stands whether the person is held (`held`).
    """
    records = customer_landing
    place = ibis.rank().over(
        group_by=[records.person, records.serialnumber],
        order_by=[*latest_first(records), records.landed_at.desc()],
    )
    placed = records.mutate(place=place)
    held = held_people(quarantine).select(held="person")
    return placed.left_join(held, placed.person == held.held)


def record_goes(placed: ir.Table, limits: Limits) -> ir.BooleanValue:
    """Whether customer records that have a place go: old ones with another before them."""
    old = limits.are_passed("customer_landing", placed, ibis.literal(False))
    return old & (placed.place > 0) & placed.held.isnull()
