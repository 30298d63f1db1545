"""The trusted and curated tables computed a second time, as plainly as possible.

The property tests compare the pipeline with this module, so it shares nothing with it: no SQL, no
data frames, no import of the package. It is written for reading and makes no attempt at speed.

Where the rules leave room:

* An e-mail or user that is absent, null or of which nothing visible is left names nobody. Such a
  customer record is nobody's and claims nothing; such a reading has no user.
* A person's spelling is worked out in this order: format characters (Unicode category Cf) out,
  NFC, lower-case, NFC, white space off both ends. Lower-case is Unicode's own, whatever the
  language: a Greek sigma that ends a word becomes the final one, the capital dotted I two code
  points. White space and format characters inside an e-mail: the former stay, the latter go.
* A quarantined object suspends whom it names if it came from the source `customer` and nothing
  readable of theirs landed after it. It claims no serial number, and makes nobody a customer.
* A row of quarantine from the source `hold` takes out whom it names, whatever landed after it.
* A reading of a phone that came without a user is its sole claimant's in every question: who
  consents, whose device it is, whose phone was there. A reading that several people or nobody
  claims is nobody's phone.
* "Somebody else's phone" is any other user's, consenting or not. The owner's phone is there at a
  millisecond if it has a reading in accelerometer_landing, usable in the consent scope or not.
* The scope `from_consent_date` changes neither who consents nor who owns a device. Who has no
  reading left from that date on is not in customers_curated, and their devices are withheld.
* A step trainer reading without a serial number comes from no device.
* Serial numbers compare exactly as landed, case and blanks included.
* Records of one customer that tie even on the serial number are ordered by their remaining fields,
  in the order of `COLUMNS`: the smallest value wins, a missing one counts as the largest.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Literal, NamedTuple, TypeAlias

Landed: TypeAlias = Mapping[str, Any]
Row: TypeAlias = tuple[Any, ...]

CUSTOMER_FIELDS = (
    "serialnumber",
    "sharewithpublicasofdate",
    "birthday",
    "registrationdate",
    "sharewithresearchasofdate",
    "customername",
    "email",
    "lastupdatedate",
    "phone",
    "sharewithfriendsasofdate",
)

COLUMNS = {
    "customer_trusted": CUSTOMER_FIELDS,
    "accelerometer_trusted": ("user", "serialnumber", "timestamp", "x", "y", "z"),
    "customers_curated": CUSTOMER_FIELDS,
    "device_matches": ("serialnumber", "user", "matched"),
    "device_ownership": (
        "serialnumber",
        "email",
        "basis",
        "readings",
        "matched",
        "runner_up_matched",
    ),
    "step_trainer_trusted": ("sensorreadingtime", "serialnumber", "distancefromobject"),
    "machine_learning_curated": ("user", "sensorreadingtime", "distancefromobject", "x", "y", "z"),
}
"""Columns of each table, in the order of the values in a row."""

MIN_MATCHES = 5
BETWEEN_PERSONS = "\x1f"


class _Reading(NamedTuple):
    """An accelerometer reading whose user is known, in the columns of accelerometer_trusted."""

    user: str
    serialnumber: str | None
    timestamp: int
    x: float | None
    y: float | None
    z: float | None


class _Ownership(NamedTuple):
    """A row of device_ownership."""

    serialnumber: str
    email: str
    basis: Literal["shared_readings", "sole_claim"]
    readings: int
    matched: int
    runner_up_matched: int


def compute(
    customers: list[dict[str, Any]],
    accelerometer: list[dict[str, Any]],
    step_trainer: list[dict[str, Any]],
    quarantine: list[dict[str, Any]],
    scope: str = "any",
) -> dict[str, list[Row]]:
    """Compute every trusted and curated table from what landed.

    Args:
        customers: Readable objects of the customer source; keys lower-case, missing ones absent or
            None; times in epoch milliseconds; `landed_at` besides.
        accelerometer: Readable objects of the accelerometer source, likewise.
        step_trainer: Readable objects of the step trainer source, likewise.
        quarantine: What could not be read: `source`, `landed_at`, and as `person` the e-mails that
            an object names, if any, with U+001F between them.
        scope: Consent scope, `any` or `from_consent_date`.

    Returns:
        The rows of each table of `COLUMNS`, repeated rows included, in the order of `sort_rows`.
        The owner of a row of machine_learning_curated is given by e-mail, not by subject_id.

    Raises:
        ValueError: If the scope is neither of the two.
    """
    if scope not in {"any", "from_consent_date"}:
        msg = f"unknown consent scope {scope!r}"
        raise ValueError(msg)

    claimants = _claimants(customers)
    phone_readings = _readings_of_known_users(accelerometer, claimants)

    suspended = _suspended(customers, quarantine)
    customer_trusted = {
        person: record
        for person, record in _latest_records(customers).items()
        if _consents(record) and person not in suspended
    }

    def may_use(person: str, time: int) -> bool:
        """Tell whether the consent of a customer of customer_trusted covers a reading then."""
        return scope == "any" or time >= customer_trusted[person]["sharewithresearchasofdate"]

    accelerometer_trusted = [
        reading
        for reading in phone_readings
        if reading.user in customer_trusted and may_use(reading.user, reading.timestamp)
    ]

    users_with_readings = {reading.user for reading in accelerometer_trusted}
    customers_curated = {
        person: record
        for person, record in customer_trusted.items()
        if person in users_with_readings
    }

    times_of_device = _times_of_devices(step_trainer)
    times_of_user = _times_of_users(phone_readings)
    device_ownership = _device_ownership(times_of_device, times_of_user, claimants)
    owner_of = {device.serialnumber: device.email for device in device_ownership}

    people_at: dict[int, set[str]] = {}
    for reading in phone_readings:
        people_at.setdefault(reading.timestamp, set()).add(reading.user)

    def somebody_else_was_on_it(owner: str, time: int) -> bool:
        people = people_at.get(time, set())
        return bool(people) and owner not in people

    step_trainer_trusted = []
    for landed in step_trainer:
        owner, time = owner_of.get(landed.get("serialnumber") or ""), landed["sensorreadingtime"]
        if (
            owner is not None
            and owner in customers_curated
            and may_use(owner, time)
            and not somebody_else_was_on_it(owner, time)
        ):
            step_trainer_trusted.append(landed)

    return {
        "customer_trusted": sort_rows(_customer_rows(customer_trusted)),
        "accelerometer_trusted": sort_rows(accelerometer_trusted),
        "customers_curated": sort_rows(_customer_rows(customers_curated)),
        "device_matches": sort_rows(_device_matches(times_of_device, people_at)),
        "device_ownership": sort_rows(device_ownership),
        "step_trainer_trusted": sort_rows(
            tuple(reading.get(column) for column in COLUMNS["step_trainer_trusted"])
            for reading in step_trainer_trusted
        ),
        "machine_learning_curated": sort_rows(
            _machine_learning_rows(step_trainer_trusted, owner_of, accelerometer_trusted)
        ),
    }


def sort_rows(rows: Iterable[Row]) -> list[Row]:
    """Return plain tuples in ascending order, None after every other value."""
    return sorted((tuple(row) for row in rows), key=_none_last)


def normalise(email: str | None) -> str | None:
    """Return the one spelling of an e-mail, None if nothing is left of it."""
    visible = "".join(sign for sign in email or "" if unicodedata.category(sign) != "Cf")
    composed = unicodedata.normalize("NFC", visible)
    signs = list(unicodedata.normalize("NFC", composed.lower()))
    while signs and signs[0].isspace():
        del signs[0]
    while signs and signs[-1].isspace():
        del signs[-1]
    return "".join(signs) or None


def _claimants(customers: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Return the e-mails that ever claimed each serial number."""
    claimants: dict[str, set[str]] = {}
    for record in customers:
        email, serialnumber = normalise(record.get("email")), record.get("serialnumber")
        if email is not None and serialnumber is not None:
            claimants.setdefault(serialnumber, set()).add(email)
    return claimants


def _readings_of_known_users(
    accelerometer: list[dict[str, Any]], claimants: Mapping[str, set[str]]
) -> list[_Reading]:
    """Return the readings that have a user, or a serial number only one e-mail ever claimed."""
    readings = []
    for landed in accelerometer:
        user, serialnumber = normalise(landed.get("user")), None
        if user is None:
            serialnumber = landed.get("serialnumber")
            user = _only(claimants.get(serialnumber, set())) if serialnumber is not None else None
        if user is not None:
            x, y, z = landed.get("x"), landed.get("y"), landed.get("z")
            readings.append(_Reading(user, serialnumber, landed["timestamp"], x, y, z))
    return readings


def _suspended(
    customers: list[dict[str, Any]], quarantine: list[dict[str, Any]]
) -> set[str | None]:
    """Return the people of whom the newest that landed could not be read, and those held."""
    readable: dict[str | None, int] = {}
    for record in customers:
        person = normalise(record.get("email"))
        readable[person] = max(record["landed_at"], readable.get(person, record["landed_at"]))

    suspended: set[str | None] = set()
    for fragment in quarantine:
        if fragment["source"] == "customer":
            for email in (fragment.get("person") or "").split(BETWEEN_PERSONS):
                person = normalise(email)
                if person not in readable or fragment["landed_at"] >= readable[person]:
                    suspended.add(person)
        if fragment["source"] == "hold":
            suspended.add(normalise(fragment["person"]))
    return suspended


def _latest_records(customers: list[dict[str, Any]]) -> dict[str, Landed]:
    """Return the record that decides for each e-mail."""
    records: dict[str, list[Landed]] = {}
    for record in customers:
        email = normalise(record.get("email"))
        if email is not None:
            records.setdefault(email, []).append({**record, "email": email})
    return {email: _latest(candidates) for email, candidates in records.items()}


def _latest(records: list[Landed]) -> Landed:
    """Return the deciding record, applying one criterion after the other to those still tied."""

    def updated(record: Landed) -> int:
        dates = record.get("lastupdatedate"), record.get("registrationdate"), record["landed_at"]
        return next(int(date) for date in dates if date is not None)

    def registered(record: Landed) -> float:
        registrationdate = record.get("registrationdate")
        return float("-inf") if registrationdate is None else registrationdate

    last_update = max(updated(record) for record in records)
    records = [record for record in records if updated(record) == last_update]

    last_registration = max(registered(record) for record in records)
    records = [record for record in records if registered(record) == last_registration]

    records = [record for record in records if not _consents(record)] or records

    # serialnumber is the first of the fields.
    return min(
        records, key=lambda record: _none_last([record.get(field) for field in CUSTOMER_FIELDS])
    )


def _consents(record: Landed) -> bool:
    """Tell whether the record gives a research consent date."""
    return record.get("sharewithresearchasofdate") is not None


def _times_of_devices(step_trainer: list[dict[str, Any]]) -> dict[str, set[int]]:
    """Return the distinct times at which each device has a reading."""
    times: dict[str, set[int]] = {}
    for landed in step_trainer:
        serialnumber = landed.get("serialnumber")
        if serialnumber is not None:
            times.setdefault(serialnumber, set()).add(landed["sensorreadingtime"])
    return times


def _times_of_users(phone_readings: list[_Reading]) -> dict[str, set[int]]:
    """Return the distinct times at which each user has a reading."""
    times: dict[str, set[int]] = {}
    for reading in phone_readings:
        times.setdefault(reading.user, set()).add(reading.timestamp)
    return times


def _device_matches(
    times_of_device: Mapping[str, set[int]], people_at: Mapping[int, set[str]]
) -> list[Row]:
    """Return each device with each user of its times, and how many times both have."""
    matched = Counter(
        (serialnumber, user)
        for serialnumber, times in times_of_device.items()
        for time in times
        for user in people_at.get(time, set())
    )
    return [(*pair, number) for pair, number in matched.items()]


def _device_ownership(
    times_of_device: Mapping[str, set[int]],
    times_of_user: Mapping[str, set[int]],
    claimants: Mapping[str, set[str]],
) -> list[_Ownership]:
    """Return the devices that have a proven owner."""
    owned = []
    for serialnumber, times in times_of_device.items():
        matches = {user: len(times & of_user) for user, of_user in times_of_user.items()}
        ownership = _owner(serialnumber, len(times), matches, claimants.get(serialnumber, set()))
        if ownership is not None:
            owned.append(ownership)
    return owned


def _owner(
    serialnumber: str, readings: int, matches: Mapping[str, int], claimants: set[str]
) -> _Ownership | None:
    """Return who owns a device, or None where nobody is proven to.

    Args:
        serialnumber: The device.
        readings: Its distinct reading times.
        matches: For every user, the distinct times at which both have a reading.
        claimants: The e-mails that ever claimed the serial number.
    """

    def most_of_others(owner: str) -> int:
        return max((matched for user, matched in matches.items() if user != owner), default=0)

    most = max(matches.values(), default=0)
    leader = _only({user for user, matched in matches.items() if matched == most})
    if leader is not None and most >= MIN_MATCHES and 10 * most >= 9 * readings:
        return _Ownership(
            serialnumber, leader, "shared_readings", readings, most, most_of_others(leader)
        )

    claimant = _only(claimants)
    if claimant is not None and most_of_others(claimant) < MIN_MATCHES:
        matched = matches.get(claimant, 0)
        return _Ownership(
            serialnumber, claimant, "sole_claim", readings, matched, most_of_others(claimant)
        )

    return None


def _machine_learning_rows(
    step_trainer_trusted: list[dict[str, Any]],
    owner_of: Mapping[str, str],
    accelerometer_trusted: list[_Reading],
) -> list[Row]:
    """Pair each sensor reading with each phone reading of its owner at the same millisecond."""
    phone_readings_at: dict[tuple[str, int], list[_Reading]] = {}
    for phone in accelerometer_trusted:
        phone_readings_at.setdefault((phone.user, phone.timestamp), []).append(phone)

    rows: list[Row] = []
    for step in step_trainer_trusted:
        owner, time = owner_of[step["serialnumber"]], step["sensorreadingtime"]
        rows.extend(
            (owner, time, step.get("distancefromobject"), phone.x, phone.y, phone.z)
            for phone in phone_readings_at.get((owner, time), [])
        )
    return rows


def _customer_rows(records: Mapping[str, Landed]) -> list[Row]:
    return [tuple(record.get(field) for field in CUSTOMER_FIELDS) for record in records.values()]


def _only(emails: set[str]) -> str | None:
    """Return the one member of a set, None if it has several or none."""
    return next(iter(emails)) if len(emails) == 1 else None


def _none_last(values: Iterable[Any]) -> list[tuple[bool, Any]]:
    """Return a sort key in which None comes after every other value."""
    return [(value is None, 0 if value is None else value) for value in values]
