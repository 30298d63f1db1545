"""All that is held about a person, to answer who asks for it.

It is personal data: it goes to whoever asked and to no log.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine, shared_engine
from stedi_assets.lakehouse.names import FILE, display_name, end_of, view_name
from stedi_assets.lakehouse.state import Snapshot, TableState
from stedi_assets.lakehouse.table import Zone
from stedi_assets.privacy.explained import explained
from stedi_assets.privacy.naming import held_in, name_all, together
from stedi_assets.privacy.person import (
    Person,
    find_people,
    is_theirs,
    landed,
    landing_zone,
    naming_column,
)
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.privacy.withdrawal_ledger import as_plain_data, id_of, withdrawals
from stedi_assets.refresh.forgotten import Forgotten
from stedi_assets.refresh.forgotten_rows import TIMES
from stedi_assets.refresh.release import RELEASE
from stedi_assets.resources import open_lakehouse, open_storage
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES
from stedi_assets.tables.consent import HOLD, held_people
from stedi_assets.tables.identity import key_id
from stedi_assets.tables.trusted.customer_trusted import ranked, suspended

Held = dict[str, Any]


def what_is_held(email: str, settings: Settings) -> Held:
    """Tell what is held about a person; nothing is written.

    Args:
        email: Their address, in any spelling.
        settings: Which lakehouse.

    Returns:
        Plain data, ready for JSON; times are ISO 8601 in UTC.

    Raises:
        ValueError: The address has no letter.
        LandingZoneError: The landing zone cannot be read.
    """
    with landing_zone("What is held about a person"):
        [person] = find_people([email], settings)
        records, rejects = _records(person, settings), _rejects(person, settings)
        readings = list(_readings(person, settings))
        files = {row["source_file"] for row in (*records, *rejects, *readings)}
        tables = list(_tables(person, settings))
        return {
            "person": person.person,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "lakehouse": settings.lakehouse,
            "subject_id": _published_name(person, settings),
            "emails": list(person.emails),
            "names": list(person.names),
            "phones": list(person.phones),
            **_standing(person, records, rejects, settings, _is_published(tables)),
            "forgotten_at": _iso(_forgotten_at(person, settings)),
            "withdrawals": _withdrawals(person, settings),
            "records": records,
            "devices": _devices(person),
            "readings": readings,
            "quarantine": rejects,
            "landing_files": len(files),
            "tables": tables,
        }


def _forgotten_at(person: Person, settings: Settings) -> int | None:
    """When it was asked to forget the person, in epoch milliseconds."""
    forgotten = Forgotten.read(open_storage(settings))
    return forgotten.asked_at(person.person)


def _published_name(person: Person, settings: Settings) -> str:
    """Their pseudonym in the training set that is published."""
    published = Catalog(open_storage(settings)).published(TRAINING_SET)
    return _name_in(published, person) if published else person.subject_id


def _name_in(training_set: Snapshot, person: Person) -> str:
    return person.releases.get(training_set.properties.get(RELEASE, ""), person.subject_id)


def is_nothing(held: Held) -> bool:
    """Whether nothing is held about the person."""
    return not any(
        held[part] for part in ("records", "devices", "readings", "quarantine", "tables")
    )


def copy_of_data(email: str, settings: Settings) -> Held:
    """What is held about a person with a copy of all their readings, to be handed to them.

    A text at its head, and one before each part, says what it is.

    What may be another person's is left out: addresses and phone numbers in the names of files,
    the text of an object in quarantine that has another address in it, and of a device that others
    used, too, all readings but those that are theirs as `name_all` says.

    Raises:
        ValueError: The address has no letter.
        LandingZoneError: The landing zone cannot be read.
    """
    held = what_is_held(email, settings)
    del held["lakehouse"]
    for row in (*held["records"], *held["readings"], *held["quarantine"]):
        row["source_file"] = display_name(row["source_file"])
    for row in held["quarantine"]:
        if _has_other_addresses(row["raw"], (held["person"], *held["emails"])):
            row["raw"] = None
    with landing_zone("What is held about a person"):
        [person] = find_people([email], settings)
        for table, time in TIMES.items():
            rows = _theirs(table, person, settings).drop("source_file")
            held[table] = rows.order_by(time).to_pyarrow().to_pylist()
    return explained(held)


def _has_other_addresses(raw: str, own: Iterable[str]) -> bool:
    text = raw.lower()
    for address in own:
        text = text.replace(address.lower(), "")
    return "@" in text or "\\u0040" in text


def _theirs(table: str, person: Person, settings: Settings) -> ir.Table:
    rows = landed(table, settings)
    if table == "step_trainer_landing":  # others may have used their device, too
        return rows.filter(held_in(rows, together(name_all([person.person], settings).values())))
    return rows.filter(is_theirs(rows, [person]))


def _records(person: Person, settings: Settings) -> list[Held]:
    """Their customer records, the latest one last: what each says, and when it landed."""
    rows = ranked(_theirs("customer_landing", person, settings)).order_by(ibis._["rank"].desc())
    return [
        {
            "landed_at": _iso(row.pop("landed_at")),
            "source_file": row.pop("source_file"),
            "is_latest": row.pop("rank") == 0,
            "research": _iso(row["sharewithresearchasofdate"]),
            "public": _iso(row["sharewithpublicasofdate"]),
            "friends": _iso(row["sharewithfriendsasofdate"]),
            "updated": _iso(row["lastupdatedate"]),
            "registered": _iso(row["registrationdate"]),
            "record": row,
        }
        for row in rows.to_pyarrow().to_pylist()
    ]


def _is_published(tables: Iterable[Held]) -> bool:
    """Whether readers of the trusted or the curated zone see something of theirs."""
    used = {table.name for table in TABLES if table.consent}
    return any(
        each["table"] in used and each["state"] == "published" and each["rows"] for each in tables
    )


def _withdrawals(person: Person, settings: Settings) -> list[Held]:
    """Each time they were taken out of what is used, as far as the present key tells."""
    lakehouse = open_lakehouse(settings.model_copy(update={"engine": "duckdb"}))
    own = id_of(person.subject_id, policy_of(settings))
    found = [each for each in withdrawals(lakehouse, settings) if each.id == own]
    return [
        {name: value for name, value in as_plain_data(each).items() if name not in _OF_LEDGER}
        for each in found
    ]


_OF_LEDGER = {"id", "key_id"}
"""What an entry of the ledger says for the ledger alone."""


def _standing(
    person: Person,
    records: list[Held],
    rejects: list[Held],
    settings: Settings,
    is_used: bool,
) -> Held:
    """Whether their data is used, will be after the next refresh, and why."""
    tables = (_theirs(name, person, settings) for name in ("customer_landing", "quarantine"))
    is_suspended = person.person in suspended(*tables).person.to_pyarrow().to_pylist()
    is_held = _is_held(person, settings)
    latest = records[-1] if records else None
    if is_held:
        why = "held: their data is kept and used nowhere" + (
            " from the next refresh on; what is published has it still"
            if is_used
            else " until they are released"
        )
    elif is_suspended:
        *_, last = (row for row in rejects if row["source"] == "customer")
        place = f"{display_name(last['source_file'])}, byte {last['position']:,}"
        why = f"suspended: the newest that landed about them could not be read ({place})"
    elif latest is None:
        why = "no customer record of theirs landed"
    elif latest["research"] is None:
        why = "their latest record has no research consent"
    else:
        why = f"their latest record consents to research since {latest['research']}"
    will_be_used = bool(latest and latest["research"] and not (is_suspended or is_held))
    return {
        "is_used": is_used,
        "will_be_used": will_be_used,
        "suspended": is_suspended,
        "held": is_held,
        "why": why,
    }


def _is_held(person: Person, settings: Settings) -> bool:
    people = held_people(_theirs("quarantine", person, settings))
    return bool(people.count().to_pyarrow().as_py())


def _devices(person: Person) -> list[Held]:
    return [
        {
            "serialnumber": number,
            "is_on_their_records": each.is_claimed,
            "proof": each.basis,
            "others_with_it_on_records": each.other_claimants,
            "others_with_readings_at_its_times": each.other_users,
        }
        for number, each in person.serial_numbers.items()
    ]


def _readings(person: Person, settings: Settings) -> Iterator[Held]:
    """Their readings by landing table and file."""
    for table, time in TIMES.items():
        rows = _theirs(table, person, settings)
        files = rows.group_by("source_file", "landed_at").agg(
            readings=rows.count(), earliest=rows[time].min(), latest=rows[time].max()
        )
        for row in files.order_by("landed_at", "source_file").to_pyarrow().to_pylist():
            times = {name: _iso(row[name]) for name in ("landed_at", "earliest", "latest")}
            yield {"table": table, **row, **times}


def _rejects(person: Person, settings: Settings) -> list[Held]:
    rows = _theirs("quarantine", person, settings)
    rows = rows.filter(rows.source != HOLD).order_by("landed_at", "source_file", "position")
    return [
        {**row, "landed_at": _iso(row["landed_at"])}
        for row in rows.drop("person").to_pyarrow().to_pylist()
    ]


def _tables(person: Person, settings: Settings) -> Iterator[Held]:
    """Every state of every table that has rows of theirs, or of which nobody can tell."""
    storage = open_storage(settings)
    engine = shared_engine(storage, settings.memory_limit, settings.threads)
    states = Catalog(storage).tables()
    zones = list(Zone)
    for name, state in sorted(states.items(), key=lambda each: zones.index(Zone(each[1].zone))):
        snapshots = state.all_snapshots
        unknown = [each for each in snapshots if _is_under_another_key(each, settings)]
        rows = _rows_by_file([each for each in snapshots if each not in unknown], person, engine)
        for snapshot in snapshots:
            number = sum(rows[end_of(file)] for file in snapshot.files)
            if number or (snapshot in unknown and snapshot.rows):
                yield {
                    "table": name,
                    "snapshot": snapshot.id,
                    "at": snapshot.committed_at.isoformat(timespec="seconds"),
                    "state": _role(snapshot, state),
                    "tags": [tag.name for tag in state.tags if tag.snapshot_id == snapshot.id],
                    "rows": None if snapshot in unknown else number,
                    **(
                        {"subject_id": _name_in(snapshot, person)}
                        if snapshot.properties.get(RELEASE) and snapshot not in unknown
                        else {}
                    ),
                }


def _is_under_another_key(snapshot: Snapshot, settings: Settings) -> bool:
    """Whether its rows name people by a pseudonym that the present key does not give."""
    key = snapshot.properties.get("key-id")
    is_pseudonymous = naming_column(snapshot.types) == "subject_id"
    return is_pseudonymous and key is not None and key != key_id(policy_of(settings))


def _role(snapshot: Snapshot, state: TableState) -> str:
    published, candidate = state.published, state.candidate
    if published and snapshot.id == published.id:
        return "published"
    return "waits on audit" if candidate and snapshot.id == candidate.id else "older"


def _rows_by_file(
    snapshots: list[Snapshot], person: Person, engine: DuckDBEngine
) -> Counter[tuple[str, ...]]:
    """Rows of theirs in each file of a table's states; each file is read once."""
    found: Counter[tuple[str, ...]] = Counter()
    groups: dict[tuple[tuple[str, str], ...], set[str]] = {}
    for snapshot in snapshots:  # a table may have named people by another column before
        groups.setdefault(tuple(sorted(snapshot.types.items())), set()).update(snapshot.files)
    seen: set[str] = set()
    for number, (types, files) in enumerate(groups.items()):
        if not files - seen:
            continue
        name = view_name(f"{snapshots[0].table}_held", str(number))
        rows = engine.open_located(name, sorted(files - seen), dict(types))
        seen |= files
        counts = rows.filter(is_theirs(rows, [person])).group_by(FILE).agg(rows=ibis._.count())
        for row in counts.to_pyarrow().to_pylist():
            found[end_of(row[FILE])] += row["rows"]
    return found


def _iso(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
