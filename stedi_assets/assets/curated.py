"""Curated zone: what data scientists train on, and the proof of who owns which device."""

import hashlib
import hmac

import ibis
import ibis.expr.types as ir

from stedi_assets.assets.trusted import owned_readings, sole_claims
from stedi_assets.settings import Settings

MIN_MATCHES = 5
"""Readings at the same time that make a user a candidate for a device's owner."""

NAMING = ("user", "serialnumber")
"""Columns that training rows have with STEDI_PSEUDONYMIZE=false alone."""

PSEUDONYM_KEYS = "[0-9a-f]{64}"
"""Pattern of the two keys of `pseudonym`, which are in the SQL that an engine gets."""


def customers_curated(customer_trusted: ir.Table, accelerometer_trusted: ir.Table) -> ir.Table:
    """Customers of customer_trusted with rows in accelerometer_trusted."""
    return customer_trusted.semi_join(
        accelerometer_trusted, customer_trusted.email == accelerometer_trusted.user
    )


def device_ownership(
    step_trainer_landing: ir.Table, accelerometer_landing: ir.Table, customer_landing: ir.Table
) -> ir.Table:
    """Devices with a proven owner: shared readings decide first, then a sole claim."""
    times = step_trainer_landing.select("serialnumber", time="sensorreadingtime").distinct()
    matches = user_matches(times, owned_readings(accelerometer_landing, customer_landing))
    d = (
        times.group_by("serialnumber")
        .agg(readings=ibis._.count())
        .left_join(_leaders(matches), "serialnumber")
        .drop("serialnumber_right")
        .left_join(_claimants(matches, customer_landing), "serialnumber")
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


def machine_learning_curated(
    step_trainer_trusted: ir.Table,
    device_ownership: ir.Table,
    accelerometer_trusted: ir.Table,
    settings: Settings,
) -> ir.Table:
    """Sensor readings with the accelerometer readings of the same person and millisecond."""
    owners = device_ownership.select(
        "serialnumber", "email", subject_id=pseudonym(device_ownership.email, settings)
    )
    sensor = step_trainer_trusted.join(owners, "serialnumber")
    phone = accelerometer_trusted.drop("serialnumber")
    pairs = sensor.join(
        phone, [sensor.email == phone.user, sensor.sensorreadingtime == phone.timestamp]
    )
    columns = ["subject_id", "sensorreadingtime", "distancefromobject", "x", "y", "z"]
    return pairs.select(*columns, *(() if settings.pseudonymize else NAMING))


def user_matches(times: ir.Table, readings: ir.Table) -> ir.Table:
    """Matches of each user with each device: the times at which both have a reading."""
    users = readings.select("user", time="timestamp").distinct()
    return times.join(users, "time").group_by("serialnumber", "user").agg(matched=ibis._.count())


def _leaders(matches: ir.Table) -> ir.Table:
    """Of each device, the user with the most matches, theirs, and the most of anybody else."""
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
    theirs = [claims.serialnumber == matches.serialnumber, claims.claimant == matches.user]
    return claims.left_join(matches, theirs).select(
        claims.serialnumber, claims.claimant, claimant_matched=matches.matched
    )


def key_id(settings: Settings) -> str:
    """Tells under which key pseudonyms were made; the key cannot be worked out from it."""
    key = settings.subject_key().encode()
    return hmac.digest(key, b"id of this key", hashlib.sha256).hex()[:16]


def pseudonym(email: ir.StringValue, settings: Settings) -> ir.StringValue:
    """Keyed hash of an e-mail, 128 bits as 32 hexadecimal digits.

    Nested as in HMAC, with two keys derived from the one: who has no key can neither tell whose
    pseudonym it is by hashing e-mails nor link it to one made under another key.
    """
    key = settings.subject_key().encode()
    inner, outer = (hmac.digest(key, use, hashlib.sha256).hex() for use in (b"inner", b"outer"))
    return (outer + (inner + email).hexdigest("sha256")).hexdigest("sha256")[:32]
