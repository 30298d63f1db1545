"""Whose a reading is, and how people are named where nobody may know them."""

import hashlib
import hmac

import ibis
import ibis.expr.types as ir

from stedi_assets.tables.policy import Policy

PSEUDONYM_KEYS = "[0-9a-f]{64}"
"""Pattern of the two keys of `pseudonym`, which are in the SQL that an engine gets."""


def sole_claims(customer_landing: ir.Table) -> ir.Table:
    """Serial numbers that exactly one e-mail ever claimed, with that e-mail."""
    claims = customer_landing.filter(customer_landing.serialnumber.notnull())
    claims = claims.select("serialnumber", email="person")
    emails = claims.group_by("serialnumber").agg(email=claims.email.min(), other=claims.email.max())
    return emails.filter(emails.email == emails.other).drop("other")


def claims_by_device(customer_landing: ir.Table) -> ir.Table:
    """Serial numbers on customer records, how many e-mails claim them, and one of these."""
    claims = customer_landing.select(claimed="serialnumber", claimant="person")
    return (
        claims.filter(claims.claimed.notnull())
        .group_by("claimed")
        .agg(claimants=claims.claimant.nunique(), claimant=claims.claimant.min())
    )


def owned_readings(
    accelerometer_landing: ir.Table, customer_landing: ir.Table, *also: str
) -> ir.Table:
    """Accelerometer readings under their owner's e-mail, as far as they have one.

    A reading that carries a serial number instead of a user belongs to the one person who ever
    claimed it, and to nobody if several people did. `also` names further columns to keep.
    """
    claims = sole_claims(customer_landing).rename(claimed="serialnumber", claimant="email")
    columns = ("timestamp", "x", "y", "z", "serialnumber", *also)
    named = accelerometer_landing.filter(accelerometer_landing.person.notnull())
    nameless = accelerometer_landing.filter(accelerometer_landing.person.isnull())
    claimed = nameless.join(claims, [("serialnumber", "claimed")])
    return named.select(*columns, user=named.person).union(
        claimed.select(*columns, user="claimant")
    )


def key_id(policy: Policy) -> str:
    """Identifies the key of the pseudonyms; the key cannot be worked out from it.

    It is the same for all releases: the key of each is derived from the one.
    """
    key = policy.subject_key().encode()
    return hmac.digest(key, b"id of this key", hashlib.sha256).hex()[:16]


def pseudonym(email: ir.StringValue, policy: Policy) -> ir.StringValue:
    """Keyed hash of an e-mail, 128 bits as 32 hexadecimal digits.

    Nested as in HMAC, with two keys derived from the one: without the key nobody can tell whose
    pseudonym it is by hashing e-mails, or link it to one made under another key.
    """
    return _keyed_hash(email, policy)[:32]


def subject_id(person: str, policy: Policy) -> str:
    """The pseudonym of one person, as `pseudonym` gives it for a column."""
    inner, outer = _hash_keys(policy)
    nested = hashlib.sha256((inner + person).encode()).hexdigest()
    return hashlib.sha256((outer + nested).encode()).hexdigest()[:32]


_SHIFT_DIGITS = 9
"""Hexadecimal digits of a shift: up to 2^36 ms, 795 days."""


def time_shift(email: ir.StringValue, policy: Policy) -> ir.IntegerValue:
    """By how much the times of a person are moved under STEDI_TIMES=shifted, in milliseconds.

    From 0 to 795 days, and later only, as contracts refuse times before the year 2000. It is a
    keyed hash like the pseudonym, with keys of its own: neither tells anything of the other.
    """
    digits = _keyed_hash(email, policy, b" of times")
    shift: ir.FloatingValue = ibis.literal(0.0)
    for place in range(_SHIFT_DIGITS):
        # As doubles, which are exact here: Spark's positions in a text have 32 bits only.
        shift += ibis.literal("0123456789abcdef").find(digits[place]) * 16.0**place
    return shift.cast("int64")


def _keyed_hash(email: ir.StringValue, policy: Policy, use: bytes = b"") -> ir.StringValue:
    inner, outer = _hash_keys(policy, use)
    return (outer + (inner + email).hexdigest("sha256")).hexdigest("sha256")


def _hash_keys(policy: Policy, use: bytes = b"") -> tuple[str, str]:
    key = policy.subject_key().encode()
    if policy.release:
        key = hmac.digest(key, b"release " + policy.release.encode(), hashlib.sha256)
    inner, outer = (
        hmac.digest(key, part + use, hashlib.sha256).hex() for part in (b"inner", b"outer")
    )
    return inner, outer
