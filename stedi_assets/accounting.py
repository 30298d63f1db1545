"""Where the rows of a table's input went: rows in = rows kept + rows withheld, by reason.

Each function gives (outcome, rows) of the input; the outcome of rows that are kept is `KEPT`.
But for device_ownership, none looks at the table it accounts for.
"""

import ibis
import ibis.expr.types as ir

from stedi_assets.assets.trusted import owned_readings
from stedi_assets.checks import consenting, unreadable_people
from stedi_assets.settings import Settings

KEPT = "kept"


def customer_trusted(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """Customer records: one of each consenting customer is kept."""
    people = customer_landing.group_by(email="person").agg(records=ibis._.count())
    people = _marked(people, consenting(customer_landing, quarantine), "email", "consents")
    unread = unreadable_people(customer_landing, quarantine)
    people = _marked(people, unread, "email", "suspended")
    outcome = ibis.cases(
        (people.consents, KEPT),
        (people.suspended, "suspended: their newest record could not be read"),
        else_="no research consent",
    )
    latest = people.select(outcome=outcome, rows=ibis.literal(1, "int64"))
    older = people.select(
        outcome=ibis.literal("older record of the same person"), rows=people.records - 1
    )
    return _outcomes(latest.union(older))


def accelerometer_trusted(
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
    settings: Settings,
) -> ir.Table:
    """Accelerometer readings: those of consenting customers are kept."""
    dates = customer_trusted.select(customer="email", since="sharewithresearchasofdate")
    readings = accelerometer_landing.select("person", "serialnumber", "timestamp")
    readings = readings.rename(user="person")
    identities = readings.group_by("user", "serialnumber").agg(rows=readings.count())
    people = _resolved(identities, customer_landing).left_join(dates, [("person", "customer")])
    known = customer_landing.select("person").distinct()
    people = _marked(people, known, "person", "known")
    outcome = ibis.cases(
        (people.claimants > 1, "serial number claimed by several e-mails"),
        (people.person.isnull(), "serial number claimed by nobody"),
        (~people.known, "user is no customer"),
        (people.customer.isnull(), "no research consent"),
        else_=KEPT,
    )
    outcomes = people.select("rows", outcome=outcome)
    if settings.consent_scope == "from_consent_date":
        early = _resolved(readings, customer_landing).join(dates, [("person", "customer")])
        early = early.filter(early.timestamp < early.since)
        outcomes = _moved(outcomes, early, "before the consent date")
    return _outcomes(outcomes)


def customers_curated(customer_trusted: ir.Table, accelerometer_trusted: ir.Table) -> ir.Table:
    """Consenting customers: those with readings are kept."""
    users = accelerometer_trusted.select(email="user").distinct()
    people = _marked(customer_trusted, users, "email", "reads")
    outcome = ibis.ifelse(people.reads, KEPT, "no accelerometer reading")
    return _outcomes(people.select(outcome=outcome, rows=ibis.literal(1, "int64")))


def device_ownership(
    step_trainer_landing: ir.Table, device_ownership: ir.Table, customer_landing: ir.Table
) -> ir.Table:
    """Devices: those with a proven owner are kept, the others withheld by who claims them."""
    devices = step_trainer_landing.select("serialnumber").distinct()
    owned = device_ownership.select("serialnumber").distinct()
    devices = _marked(devices, owned, "serialnumber", "owned")
    claimed = _claims(customer_landing)
    devices = devices.left_join(claimed, [("serialnumber", "claimed")])
    outcome = ibis.cases(
        (devices.owned, KEPT),
        (devices.claimants.isnull(), "claimed by nobody, readings prove no owner"),
        (devices.claimants > 1, "claimed by several e-mails, readings prove no owner"),
        else_="readings speak against the only claim",
    )
    return _outcomes(devices.select(outcome=outcome, rows=ibis.literal(1, "int64")))


def step_trainer_trusted(  # noqa: PLR0913  (the tables it is made from)
    *,
    step_trainer_landing: ir.Table,
    device_ownership: ir.Table,
    customers_curated: ir.Table,
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    settings: Settings,
) -> ir.Table:
    """Sensor readings: those of devices owned by a customer of customers_curated are kept."""
    readings = step_trainer_landing.group_by("serialnumber").agg(rows=ibis._.count())
    owners = device_ownership.select("serialnumber", "email")
    devices = readings.left_join(owners, "serialnumber")
    devices = _marked(devices, customers_curated.select("email"), "email", "curated")
    outcome = ibis.cases(
        (devices.email.isnull(), "nobody is proven to own the device"),
        (~devices.curated, "owner does not consent or has no readings"),
        else_=KEPT,
    )
    outcomes = devices.select("rows", outcome=outcome)
    customers = customers_curated.select("email", since="sharewithresearchasofdate")
    theirs = step_trainer_landing.join(owners.join(customers, "email"), "serialnumber")
    if settings.consent_scope == "from_consent_date":
        early = theirs.filter(theirs.sensorreadingtime < theirs.since)
        outcomes = _moved(outcomes, early, "before the consent date")
        theirs = theirs.filter(theirs.sensorreadingtime >= theirs.since)
    phones = owned_readings(accelerometer_landing, customer_landing)
    others = _of_others(theirs.select("email", time="sensorreadingtime"), phones)
    return _outcomes(_moved(outcomes, others, "somebody else's phone alone was there"))


def _of_others(readings: ir.Table, phones: ir.Table) -> ir.Table:
    """Readings (email, time) at whose time there are phone readings, and none of that e-mail."""
    present = phones.group_by(at="timestamp", user="user").agg(n=ibis._.count()).drop("n")
    mine = present.select("at", "user", there=ibis.literal(True))
    known = readings.left_join(mine, [("time", "at"), ("email", "user")])
    alone = known.filter(known.there.isnull()).select("email", "time")
    anybody = present.select("at").distinct()
    return alone.inner_join(anybody, [("time", "at")])


def _moved(outcomes: ir.Table, rows: ir.Table, outcome: str) -> ir.Table:
    """The outcomes, with these rows counted under another one than kept."""
    counted = rows.agg(rows=rows.count())
    there = counted.mutate(outcome=ibis.literal(outcome))
    not_kept = counted.select(rows=-counted.rows, outcome=ibis.literal(KEPT))
    return outcomes.union(there).union(not_kept)


def machine_learning_curated(
    step_trainer_trusted: ir.Table, device_ownership: ir.Table, accelerometer_trusted: ir.Table
) -> ir.Table:
    """Pairs: a sensor reading gives one row for each phone reading of its owner at its time."""
    owners = device_ownership.select("serialnumber", "email")
    sensor = step_trainer_trusted.select("serialnumber", "sensorreadingtime").join(
        owners, "serialnumber"
    )
    phone = accelerometer_trusted.select("user", "timestamp")
    met = sensor.left_join(phone, [("email", "user"), ("sensorreadingtime", "timestamp")])
    counted = met.agg(pairs=met.user.count(), alone=met.user.isnull().sum())
    kept = counted.select(outcome=ibis.literal(KEPT), rows="pairs")
    unmet = counted.select(outcome=ibis.literal("no phone reading at that time"), rows="alone")
    return _outcomes(kept.union(unmet))


def _resolved(readings: ir.Table, customer_landing: ir.Table) -> ir.Table:
    """Readings with the `person` they belong to, and how many e-mails claim their device."""
    claims = _claims(customer_landing)
    by_device = readings.left_join(claims, [("serialnumber", "claimed")])
    alone = ibis.ifelse(by_device.claimants == 1, by_device.claimant, ibis.null("string"))
    person = ibis.coalesce(by_device.user, alone)
    claimants = ibis.ifelse(by_device.user.isnull(), by_device.claimants, 0)
    return by_device.mutate(person=person, claimants=claimants)


def _claims(customer_landing: ir.Table) -> ir.Table:
    """Serial numbers on customer records, how many e-mails claim them, and one of these."""
    claims = customer_landing.select(claimed="serialnumber", claimant="person")
    return (
        claims.filter(claims.claimed.notnull())
        .group_by("claimed")
        .agg(claimants=claims.claimant.nunique(), claimant=claims.claimant.min())
    )


def _marked(table: ir.Table, those: ir.Table, key: str, mark: str) -> ir.Table:
    """The table, each row marked with whether `those` (distinct keys) has its key."""
    those = those.select(**{f"{key}_of_those": key})
    joined = table.left_join(those, [(key, f"{key}_of_those")])
    return joined.mutate(**{mark: joined[f"{key}_of_those"].notnull()}).drop(f"{key}_of_those")


def _outcomes(rows: ir.Table) -> ir.Table:
    return rows.group_by("outcome").agg(rows=ibis._.rows.sum().fill_null(0).cast("int64"))


ACCOUNTS = {
    account.__name__: account
    for account in (
        customer_trusted,
        accelerometer_trusted,
        customers_curated,
        device_ownership,
        step_trainer_trusted,
        machine_learning_curated,
    )
}
