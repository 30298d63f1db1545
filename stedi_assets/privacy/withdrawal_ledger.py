"""The ledger of withdrawals: when each landed, took effect, and was gone for good.

States of tables tell when people left customer_trusted, until a vacuum lets them go; so a vacuum
writes the ledger first. It names nobody: a withdrawal is told by a keyed hash, which is another one
than `subject_id`. It lies in the landing zone.
"""

import hashlib
import hmac
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.faults import damaged
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.state import Snapshot, TableState
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.refresh.release import policy_of_set
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES, TABLES
from stedi_assets.tables.consent import HOLD, consenting, unreadable_records
from stedi_assets.tables.identity import key_id, pseudonym, subject_id
from stedi_assets.tables.landing.customer_landing import CUSTOMER_LANDING
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.trusted.customer_trusted import ranked

_CUSTOMERS = "customer_trusted"
_SEEN = b"seen"
"""Metadata of the ledger's file: id of the rows of customer_trusted up to which it knows."""


@dataclass(frozen=True)
class Withdrawal:
    """That a person's data is used no longer. Times are epoch milliseconds.

    Attributes:
        id: Keyed hash of the person.
        why: `withdrew`, `suspended` (their newest record could not be read), `held`, or `gone`
            (none of their records is there any more).
        landed_at: When what says so landed; None where nothing says so any more.
        took_effect_at: When the refresh was through that took them out; None if none was yet.
        vacuumed_at: When no older state had them any more; None as long as one has.
        training_sets: Tags of the training sets that had them when it took effect.
        key_id: The key that `id` was made with: under another one nobody can tell who it is.
    """

    id: str
    why: str
    landed_at: int | None
    took_effect_at: int | None = None
    vacuumed_at: int | None = None
    training_sets: tuple[str, ...] = ()
    key_id: str | None = None


_TYPES: dict[Any, pa.DataType] = {
    str: pa.string(),
    int | None: pa.int64(),
    str | None: pa.string(),
    tuple[str, ...]: pa.list_(pa.string()),
}
_SCHEMA = pa.schema((each.name, _TYPES[each.type]) for each in fields(Withdrawal))


def withdrawals(lakehouse: Lakehouse, settings: Settings) -> list[Withdrawal]:
    """All withdrawals that the ledger or the tables know of, the oldest first; writes nothing.

    Those that landed and took no effect yet are among them.
    """
    known, seen = _read(lakehouse.storage)
    state = lakehouse.catalog.find(_CUSTOMERS)
    if state is None or state.published is None:
        return known
    policy = policy_of(settings)
    return [*known, *_since(seen, state, lakehouse, policy), *_waiting(lakehouse, policy)]


def note_withdrawals(
    lakehouse: Lakehouse, settings: Settings, *, without: Collection[str] = ()
) -> None:
    """Write down what states of tables tell of withdrawals, before some of these states go.

    Args:
        lakehouse: Which lakehouse.
        settings: Its settings.
        without: `subject_id` of people who are being forgotten: of them nothing is written down.
    """
    state = lakehouse.catalog.find(_CUSTOMERS)
    if state is None or state.published is None:
        return
    known, seen = _read(lakehouse.storage)
    policy = policy_of(settings)
    forgotten = {id_of(subject, policy) for subject in without}
    new = [w for w in _since(seen, state, lakehouse, policy) if w.id not in forgotten]
    # The state up to which it knows must not be one of those that go.
    if new or seen is None or (without and seen != state.published.rows_id):
        _write(lakehouse.storage, [*known, *new], state.published.rows_id)


def note_vacuumed(lakehouse: Lakehouse, settings: Settings) -> None:
    """Write down which withdrawals no older state of a table tells of any more, after a vacuum."""
    known, seen = _read(lakehouse.storage)
    due = time.time() * 1000 - settings.retention.total_seconds() * 1000
    policy = policy_of(settings)
    pending = {
        each.id
        for each in known
        if each.vacuumed_at is None
        and (each.took_effect_at or 0) <= due
        and each.key_id == key_id(policy)  # of others nobody can tell who they are
    }
    if not pending or seen is None:
        return
    gone = pending - set(_in_older_states(pending, lakehouse, policy))
    if gone:
        now = time.time_ns() // 1_000_000
        noted = [
            replace(each, vacuumed_at=now) if each.id in gone and not each.vacuumed_at else each
            for each in known
        ]
        _write(lakehouse.storage, noted, seen)


def id_of(subject: str, policy: Policy) -> str:
    """The keyed hash by which the ledger tells a person, made of their `subject_id`."""
    key = hmac.digest(policy.subject_key().encode(), b"withdrawals", hashlib.sha256)
    return hmac.digest(key, subject.encode(), hashlib.sha256).hex()[:32]


def as_plain_data(withdrawal: Withdrawal) -> dict[str, Any]:
    """A withdrawal, ready for JSON; times are ISO 8601 in UTC."""
    return {
        name: _iso(value) if name.endswith("_at") else value
        for name, value in asdict(withdrawal).items()
    }


def _iso(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


# What the tables tell


def _since(
    seen: str | None, state: TableState, lakehouse: Lakehouse, policy: Policy
) -> Iterator[Withdrawal]:
    """Withdrawals that took effect after a state of customer_trusted, or after the oldest one."""
    changes = state.changes
    ids = [snapshot.rows_id for _, snapshot in changes]
    first = ids.index(seen) if seen in ids else 0
    for (_, before), (at, after) in zip(changes[first:], changes[first + 1 :], strict=False):
        left = _emails(before, lakehouse).anti_join(_emails(after, lakehouse), "person")
        people = {
            row["person"]: row for row in _reasons(left, at, lakehouse).to_pyarrow().to_pylist()
        }
        if not people:
            continue
        tags = _tags_with(people, lakehouse, policy)
        effect = _through(after, at, lakehouse)
        for person, row in people.items():
            why, landed_at = _why(row)
            yield Withdrawal(
                id_of(subject_id(person, policy), policy),
                why,
                landed_at,
                effect,
                training_sets=tuple(tag for tag, inside in tags.items() if person in inside),
                key_id=key_id(policy),
            )


def _waiting(lakehouse: Lakehouse, policy: Policy) -> Iterator[Withdrawal]:
    """Withdrawals that landed, of people whom customer_trusted still has."""
    quarantine = lakehouse.rejects(SOURCES, QUARANTINE.landing_table)
    people = consenting(_landed(lakehouse), lakehouse.open(quarantine))
    left = lakehouse.table(_CUSTOMERS).select(person="email")
    left = left.anti_join(people, left.person == people.email)
    for row in _reasons(left, None, lakehouse).to_pyarrow().to_pylist():
        why, landed_at = _why(row)
        id_ = id_of(subject_id(row["person"], policy), policy)
        yield Withdrawal(id_, why, landed_at, key_id=key_id(policy))


def _emails(snapshot: Snapshot, lakehouse: Lakehouse) -> ir.Table:
    return lakehouse.open(snapshot).select(person="email").distinct()


def _reasons(people: ir.Table, at: datetime | None, lakehouse: Lakehouse) -> ir.Table:
    """What says of people that they may not be used, as of a time: when each of it landed."""
    records = _landed(lakehouse)
    quarantine = _quarantine(at, lakehouse)
    if at is not None:
        records = records.filter(records.landed_at <= int(at.timestamp() * 1000))
    latest = ranked(records.semi_join(people, "person"))
    latest = latest.filter(latest["rank"] == 0).select(
        "person",
        record_at="landed_at",
        refuses=latest.sharewithresearchasofdate.isnull(),
    )
    unreadable = unreadable_records(quarantine)
    unreadable = unreadable.group_by("person").agg(unreadable_at=unreadable.landed_at.max())
    newest = records.group_by("person").agg(newest_at=records.landed_at.max())
    held = quarantine.filter(quarantine.source == HOLD)
    held = held.group_by("person").agg(held_at=held.landed_at.max())
    for more in (latest, newest, unreadable, held):
        people = people.left_join(more, "person").drop("person_right")
    return people


def _landed(lakehouse: Lakehouse) -> ir.Table:
    published = lakehouse.catalog.published(CUSTOMER_LANDING.name)
    types = CUSTOMER_LANDING.landing_table.types
    return lakehouse.open(published) if published else ibis.memtable([], schema=types)


def _why(row: Mapping[str, Any]) -> tuple[str, int | None]:
    if row["held_at"] is not None:
        return "held", row["held_at"]
    if row["unreadable_at"] is not None and row["unreadable_at"] >= (row["newest_at"] or 0):
        return "suspended", row["unreadable_at"]
    return ("withdrew", row["record_at"]) if row["refuses"] else ("gone", None)


def _quarantine(at: datetime | None, lakehouse: Lakehouse) -> ir.Table:
    """The table quarantine as it was at a time, if that is still there; otherwise as it is."""
    if at is not None and (state := lakehouse.catalog.find(QUARANTINE.name)):
        before = [snapshot for when, snapshot in state.changes if when <= at]
        if before:
            return lakehouse.open(before[-1])
    return lakehouse.open(lakehouse.rejects(SOURCES, QUARANTINE.landing_table))


def _through(after: Snapshot, at: datetime, lakehouse: Lakehouse) -> int:
    """When the last of the tables was published by the run that published a state."""
    run_id = after.properties.get("run-id")
    times = [at]
    for table in TABLES:
        state = lakehouse.catalog.find(table.name) if table.consent else None
        times += state.published_by(run_id) if state else ()
    return int(max(times).timestamp() * 1000)


def _tags_with(people: Iterable[str], lakehouse: Lakehouse, policy: Policy) -> dict[str, set[str]]:
    """Of each tagged training set, which of these people are in it."""
    state = lakehouse.catalog.find(TRAINING_SET)
    found: dict[str, set[str]] = {}
    for tag in state.tags if state else ():
        snapshot = state.snapshot(tag.snapshot_id) if state else None
        if snapshot and "subject_id" in snapshot.types and _is_ours(snapshot, policy):
            own = policy_of_set(snapshot, policy)
            subjects = {subject_id(person, own): person for person in people}
            wanted = ibis.memtable({"subject_id": sorted(subjects)})
            rows = lakehouse.open(snapshot).select("subject_id").semi_join(wanted, "subject_id")
            inside = rows.distinct().to_pyarrow()["subject_id"].to_pylist()
            found[tag.name] = {subjects[subject] for subject in inside}
    return found


def _is_ours(snapshot: Snapshot, policy: Policy) -> bool:
    """Whether its people are named by the present key, as far as it says."""
    return snapshot.properties.get("key-id") in {None, key_id(policy)}


def _in_older_states(
    pending: Collection[str], lakehouse: Lakehouse, policy: Policy
) -> Iterator[str]:
    """Whom states of tables have that are not what readers see now, as the ledger tells them.

    Also those of the people asked for (pending) of whom nobody can tell.
    """
    columns = {_CUSTOMERS: "email", "accelerometer_trusted": "user", "customers_curated": "email"}
    for name, column in {**columns, TRAINING_SET: "subject_id"}.items():
        state = lakehouse.catalog.find(name)
        looked_at = set(state.published.files if state and state.published else ())
        for snapshot in state.all_snapshots if state else ():
            older = tuple(file for file in snapshot.files if file not in looked_at)
            if not older or column not in snapshot.types:
                continue
            looked_at.update(older)
            rows = lakehouse.open(replace(snapshot, id=-snapshot.id, properties={}, files=older))
            own = policy_of_set(snapshot, policy)
            if own.release:
                yield from _in_release(rows, own, pending, lakehouse)
                continue
            people = rows.select(rows[column]).distinct().to_pyarrow()[column].to_pylist()
            for person in filter(None, people):
                subject = person if column == "subject_id" else subject_id(person, policy)
                yield id_of(subject, policy)


def _in_release(
    rows: ir.Table, own: Policy, pending: Collection[str], lakehouse: Lakehouse
) -> Iterator[str]:
    """Whom a set has whose pseudonyms are of its release: people with records are looked up."""
    of_all = replace(own, release=None)
    people = _landed(lakehouse).select("person").distinct()
    people = people.select("person", subject_id=pseudonym(people.person, own))
    rows = rows.select("subject_id").distinct()
    for person in people.semi_join(rows, "subject_id").to_pyarrow()["person"].to_pylist():
        yield id_of(subject_id(person, of_all), of_all)
    if rows.anti_join(people, "subject_id").count().to_pyarrow().as_py():
        with_records = people.to_pyarrow()["person"].to_pylist()
        yield from set(pending) - {id_of(subject_id(p, of_all), of_all) for p in with_records}


# The file


def folder_of_ledger(root: str) -> str:
    """Where the ledger of a lakehouse is: in the landing zone."""
    return f"{root}/warehouse/landing/withdrawals"


def _files(storage: Storage) -> list[str]:
    """The ledger's files; the last one counts."""
    files = storage.files(folder_of_ledger(storage.root))
    return sorted(each.location for each in files if each.location.endswith(".parquet"))


def _read(storage: Storage) -> tuple[list[Withdrawal], str | None]:
    """The ledger, and up to which state of customer_trusted it knows."""
    files = _files(storage)
    if not files:
        return [], None
    with damaged("The ledger of withdrawals"), storage.io.new_input(files[-1]).open() as stream:
        table = pq.read_table(pa.BufferReader(stream.read()))
        seen = table.schema.metadata[_SEEN].decode()
    rows = table.to_pylist()
    return [
        Withdrawal(**{**row, "training_sets": tuple(row["training_sets"])}) for row in rows
    ], seen


def _write(storage: Storage, noted: Iterable[Withdrawal], seen: str) -> None:
    """Write the ledger anew; the one before goes only once this one is there."""
    before = _files(storage)
    rows = [asdict(each) for each in noted]
    table = pa.Table.from_pylist(rows, _SCHEMA.with_metadata({_SEEN: seen}))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    path = f"{folder_of_ledger(storage.root)}/{time.time_ns():020}.parquet"
    with storage.io.new_output(path).create() as file:
        file.write(bytes(sink.getvalue()))
    for older in before:
        storage.io.delete(older)
