"""Who a person is to the lakehouse: every value that names them, in the landing zone."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.faults import LakehouseError, explain
from stedi_assets.lakehouse.landing.person import SEPARATOR
from stedi_assets.lakehouse.landing.person import person as spelled
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.read import UnknownTableError, read_table
from stedi_assets.refresh.release import policies_of_sets
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings
from stedi_assets.tables import definition
from stedi_assets.tables.identity import subject_id
from stedi_assets.tables.policy import Policy

_NAME, _PHONE, _SERIAL = "customername", "phone", "serialnumber"


class LandingZoneError(LakehouseError):
    """The landing zone cannot be read."""


@dataclass(frozen=True)
class SerialNumber:
    """A serial number on a person's records, or of a device that is theirs.

    Attributes:
        is_claimed: Whether a record of theirs has it.
        basis: What proves that the device is theirs; None if it is not theirs.
        other_claimants: How many other people have a record with it.
        other_users: How many other people's phones have readings at times of the device's; some
            of them move in the same millisecond by chance.
    """

    is_claimed: bool
    basis: str | None
    other_claimants: int
    other_users: int


@dataclass(frozen=True)
class Person:
    """A person, by all that names them. Personal data: never to be logged.

    Other people are those who were not asked for together with this one.

    Attributes:
        person: Their e-mail in its one spelling, as in the column `person`.
        subject_id: Their pseudonym in training sets that were made under the present key, but for
            releases with pseudonyms of their own.
        emails: Their e-mail as it was delivered, in each spelling.
        names: Their names, each with the number of other people who have it, too.
        phones: Their phones, likewise.
        serial_numbers: Those on their records, and those of devices that are theirs.
        releases: Their pseudonym in each release that has pseudonyms of its own.
    """

    person: str
    subject_id: str
    emails: tuple[str, ...] = ()
    names: Mapping[str, int] = field(default_factory=dict)
    phones: Mapping[str, int] = field(default_factory=dict)
    serial_numbers: Mapping[str, SerialNumber] = field(default_factory=dict)
    releases: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject_ids(self) -> tuple[str, ...]:
        """Their pseudonyms in all training sets that were made under the present key."""
        return (self.subject_id, *self.releases.values())

    @property
    def devices(self) -> dict[str, str]:
        """Serial numbers of the devices that are theirs, with what proves it."""
        return {number: each.basis for number, each in self.serial_numbers.items() if each.basis}

    @property
    def sole_claims(self) -> list[str]:
        """Serial numbers that no record of other people has.

        A phone reading that carries one of them instead of a user is theirs.
        """
        return [
            number
            for number, each in self.serial_numbers.items()
            if each.is_claimed and not each.other_claimants
        ]


def find_people(emails: Iterable[str], settings: Settings) -> list[Person]:
    """Find all that names people, in the published tables of the landing zone.

    It takes the same few queries however many people there are.

    Args:
        emails: Addresses in any spelling; several spellings of one person are one person.
        settings: Which lakehouse.

    Returns:
        The people in the order of their addresses, also those of whom nothing is held.

    Raises:
        ValueError: An address has no letter; it is not quoted.
        SettingsError: There is no key of `subject_id`.
    """
    people = list(dict.fromkeys(map(one_spelling, emails)))
    if not people:
        return []
    asked = ibis.memtable({"person": people})
    records = rows_of(landed("customer_landing", settings), asked)
    readings = rows_of(landed("accelerometer_landing", settings), asked)
    owned = rows_of(landed("device_ownership", settings), asked, "email")
    spellings = _values(records, "email"), _values(readings, "user")
    claimed = _values(records, _SERIAL)
    bases = _by_person(owned.select("serialnumber", "basis", person="email"))
    devices = {row["serialnumber"] for rows in bases.values() for row in rows}
    shared = _shared(records, devices, asked, settings)
    users = _other_users({*devices, *_all(claimed)}, asked, settings)
    names, phones = _values(records, _NAME), _values(records, _PHONE)
    policy = policy_of(settings)
    sets = Catalog(open_storage(settings)).find(TRAINING_SET)
    own = [each for each in policies_of_sets(sets, policy) if each.release]

    def found(person: str) -> Person:
        basis = {row["serialnumber"]: row["basis"] for row in bases[person]}
        return Person(
            person,
            subject_id(person, policy),
            emails=tuple(sorted({each for values in spellings for each in values[person]})),
            names={name: shared[_NAME, name] for name in sorted(names[person])},
            phones={phone: shared[_PHONE, phone] for phone in sorted(phones[person])},
            serial_numbers={
                number: SerialNumber(
                    is_claimed=number in claimed[person],
                    basis=basis.get(number),
                    other_claimants=shared[_SERIAL, number],
                    other_users=users[number],
                )
                for number in sorted({*claimed[person], *basis})
            },
            releases={str(each.release): subject_id(person, each) for each in own},
        )

    return list(map(found, people))


def one_spelling(email: str) -> str:
    """The one spelling of an address that somebody gave.

    Raises:
        ValueError: No letter is left of it, or it is no text.
    """
    person = spelled(email)
    if person is None:
        raise ValueError("An e-mail address is empty.")
    if not _is_text(person):
        raise ValueError("An e-mail address has bytes that are no text.")
    return person


def _is_text(address: str) -> bool:
    try:
        address.encode()
    except UnicodeEncodeError:  # a shell gave bytes that are not UTF-8
        return False
    return True


def landed(name: str, settings: Settings) -> ir.Table:
    """A table of the landing zone as published; without rows where it never was."""
    try:
        return read_table(name, settings=settings)
    except UnknownTableError:
        return ibis.memtable([], schema=definition(name).table(Policy()).types)


def rows_of(rows: ir.Table, asked: ir.Table, column: str = "person") -> ir.Table:
    """Rows of the people asked for (person), by a column with the one spelling."""
    return rows.semi_join(asked, rows[column] == asked.person)


def naming_column(columns: Collection[str]) -> str | None:
    """The column that says whose the rows of a table are, in any zone and as of any time."""
    names = ("person", "email", "user", "subject_id", "serialnumber")
    return next((name for name in names if name in columns), None)


def is_theirs(rows: ir.Table, people: Collection[Person]) -> ir.BooleanValue:
    """Whether a row of a table is one of these people's, never null.

    It serves every table and every state of it. Sensor readings are theirs whose device is theirs,
    also where somebody else was on it; phone readings without a user where they alone claim the
    serial number; objects in quarantine that name one of them, or such a device. Rows of a training
    set are looked up by the present key.
    """
    column = naming_column(rows.columns)
    persons = [each.person for each in people]
    match column:
        case "person" if "raw" in rows.columns:
            found = _is_about(rows, people)
        case "person" if "user" in rows.columns:
            sole = [number for each in people for number in each.sole_claims]
            nameless = rows.person.isnull() & rows.serialnumber.isin(sole)
            found = rows.person.isin(persons) | nameless
        case "person":
            found = rows.person.isin(persons)
        case "email" | "user":  # an older landing table has it as it was delivered
            spellings = {spelling for each in people for spelling in (each.person, *each.emails)}
            found = rows[column].isin(sorted(spellings))
        case "subject_id":
            found = rows.subject_id.isin([one for each in people for one in each.subject_ids])
        case "serialnumber":
            found = rows.serialnumber.isin([number for each in people for number in each.devices])
        case _:
            return ibis.literal(False)
    return found.fill_null(False)


def _is_about(rejects: ir.Table, people: Collection[Person]) -> ir.BooleanValue:
    """Whether an object in quarantine names one of these people, or a device of theirs."""
    persons = ibis.literal([each.person for each in people], "array<string>")
    found = rejects.person.split(SEPARATOR).intersect(persons).length() > 0
    devices = "|".join(re.escape(number) for each in people for number in each.devices)
    if not devices:
        return found
    named = rejects.raw.re_search(f'"({devices})"')
    return found.fill_null(False) | ((rejects.source == "step_trainer") & named)


@contextmanager
def landing_zone(purpose: str) -> Iterator[None]:
    """Say in a sentence that the landing zone is needed, where it cannot be read.

    Raises:
        LandingZoneError: It cannot be read.
    """
    try:
        yield
    except Exception as error:
        message = explain(error)
        if message is None and not isinstance(error, OSError | UnknownTableError):
            raise
        raise LandingZoneError(
            f"{purpose} needs the landing zone, which cannot be read here: ask somebody who "
            f"may read it. {message or ''}".strip()
        ) from None


Values = Mapping[str, Collection[str]]


def _values(rows: ir.Table, column: str) -> Values:
    """The values of a column, by person."""
    pairs = rows.filter(rows[column].notnull()).select("person", value=column).distinct()
    return defaultdict(
        set,
        {person: {row["value"] for row in values} for person, values in _by_person(pairs).items()},
    )


def _all(values: Values) -> set[str]:
    return {each for some in values.values() for each in some}


def _by_person(rows: ir.Table) -> defaultdict[str, list[dict[str, str]]]:
    grouped: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows.to_pyarrow().to_pylist():
        grouped[row["person"]].append(row)
    return grouped


def _shared(
    records: ir.Table, devices: Collection[str], asked: ir.Table, settings: Settings
) -> defaultdict[tuple[str, str], int]:
    """How many other people have a record with a name, phone or serial number: (kind, value)."""
    kinds = (_NAME, _PHONE, _SERIAL)
    theirs = _melted(records, kinds).drop("person").distinct()
    if devices:
        also = ibis.memtable({"value": sorted(devices)})
        theirs = theirs.union(also.select("value", kind=ibis.literal(_SERIAL))).distinct()
    others = _melted(landed("customer_landing", settings), kinds).anti_join(asked, "person")
    counts = others.semi_join(theirs, ["value", "kind"]).group_by("kind", "value")
    found = counts.agg(people=ibis._.person.nunique()).to_pyarrow().to_pylist()
    return defaultdict(int, {(row["kind"], row["value"]): row["people"] for row in found})


def _melted(records: ir.Table, kinds: Iterable[str]) -> ir.Table:
    """Each person's value of each kind: (person, value, kind)."""
    columns = [
        records.filter(records[kind].notnull()).select(
            "person", value=kind, kind=ibis.literal(kind)
        )
        for kind in kinds
    ]
    return ibis.union(*columns)


def _other_users(
    serial_numbers: Collection[str], asked: ir.Table, settings: Settings
) -> defaultdict[str, int]:
    """How many other people's phones have readings at a device's times."""
    if not serial_numbers:
        return defaultdict(int)
    wanted = ibis.memtable({"serialnumber": sorted(serial_numbers)})
    matches = landed("device_matches", settings).semi_join(wanted, "serialnumber")
    others = matches.anti_join(asked, matches.user == asked.person)
    counts = others.group_by("serialnumber").agg(users=others.user.nunique())
    found = counts.to_pyarrow().to_pylist()
    return defaultdict(int, {row["serialnumber"]: row["users"] for row in found})
