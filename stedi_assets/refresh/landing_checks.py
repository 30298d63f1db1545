"""Checks of the landing tables: is every object accounted for, and can it be read?"""

from collections.abc import Sequence
from typing import Any

import ibis.expr.types as ir

from stedi_assets.lakehouse.landing.ingest import MANY, Ingested
from stedi_assets.lakehouse.landing.ledger import Entry
from stedi_assets.lakehouse.names import display_name
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.table import PERSON, Table
from stedi_assets.refresh.findings import MOST_NAMED, Finding, files_are
from stedi_assets.refresh.gate import UNSTOPPABLE, unchanged_finding
from stedi_assets.tables import SOURCES

CHECKS_OF_ROWS = ["contract", "completeness"]
"""Checks of a landing table's rows: one that fails holds the table back."""

CHECKS = [*CHECKS_OF_ROWS, "readable", "files", "anomalies"]
"""Checks of a landing table, those of its files among them."""

QUARANTINE_CHECKS = ["contract", "completeness"]

FORGOTTEN = "of forgotten people"
"""Outcome of objects that went to no table, see `sieve.py`."""

EXPIRED = "older than the retention"
"""Outcome of objects that are in no table any more, see `tables/retention.py`."""


def check_rejects(expected: int | None, candidate: Snapshot) -> Finding:
    """Whether quarantine has a row for each unreadable object of the files taken in."""
    if expected is None:
        sentence = "Not known: a landing table cannot be read. What was in quarantine stays."
        return Finding("completeness", False, sentence)
    return Finding(
        "completeness",
        expected == candidate.rows,
        f"{expected} quarantined, {candidate.rows} rows.",
        {"rows_in": expected, "kept": candidate.rows},
    )


def check_readable(name: str, ingested: Ingested, allowed: float) -> Finding:
    """Whether the new objects can be read: a rename upstream must not publish an empty lake.

    A file of readings with more than the allowed share of unreadable objects is held back and named
    until it is mended, removed or allowed. Readable customer records are always published; a
    customer file that is lost as a whole, or from some place on, fails the check however small it
    is. Files that cannot be read now wait for the next refresh.
    """
    held_back, waiting = ingested.held_back, ingested.waiting
    faults = []
    if waiting:
        faults.append(
            f"{files_are(len(waiting))} not readable now, and not taken in. "
            f"{' '.join(list(waiting.values())[:MOST_NAMED])} Refresh again when they can be read."
        )
    if held_back:
        faults.append(
            f"{files_are(len(held_back))} held back: {allowed:.1%} of a file's objects may be "
            f"unreadable (STEDI_MAX_QUARANTINE_SHARE). {_worst(held_back)}. Mend or remove what is "
            "held back, or allow more, and refresh again."
        )
    lost = [e for e in ingested.taken if e.lost and name in UNSTOPPABLE]
    if lost:
        faults.append(
            f"{files_are(len(lost))} not readable, as a whole or from some place on, and who "
            f"withdrew there is not known. {_worst(lost)}. Deliver this anew under another name."
        )
    if faults:
        counts = {
            "held_back_files": len(held_back),
            "waiting_files": len(waiting),
            "lost_files": len(lost),
        }
        return Finding("readable", False, " ".join(faults), counts)
    objects = sum(entry.objects for entry in ingested.taken)
    if not objects:
        return unchanged_finding("readable", {})
    quarantined = sum(entry.quarantined for entry in ingested.taken)
    share = quarantined / objects
    sentence = f"{quarantined} of {objects} new objects are unreadable ({share:.1%})"
    if share <= allowed:
        return Finding("readable", True, f"{sentence}.", {"share": share})
    return Finding(
        "readable",
        False,
        f"{sentence}, {allowed:.1%} are allowed (STEDI_MAX_QUARANTINE_SHARE). The readable "
        f"ones are published. {_worst(ingested.taken)}. Deliver these objects anew, readable.",
        {"share": share},
    )


def _worst(entries: Sequence[Entry]) -> str:
    """The files with the most unreadable objects, and what is wrong with them."""
    worst = sorted(entries, key=lambda entry: entry.quarantined, reverse=True)
    return "; ".join(_unreadable(entry) for entry in worst[:MOST_NAMED] if entry.reason)


def _unreadable(entry: Entry) -> str:
    if not entry.quarantined:
        return f"{display_name(entry.path)}: {entry.reason}"
    counts = f"{entry.quarantined} of {entry.objects} unreadable, mostly “{entry.reason}”"
    return f"{display_name(entry.path)}: {counts}"


def account(ingested: Ingested, snapshot: Snapshot) -> dict[str, Any]:
    """Objects of all files taken in: rows of the landing table, quarantined, or gone since."""
    entries = [entry for entry in ingested.entries if entry.held_back is None]
    gone = {
        FORGOTTEN: sum(entry.forgotten for entry in entries),
        EXPIRED: sum(entry.expired for entry in entries),
    }
    return {
        "rows_in": sum(entry.objects for entry in entries),
        "kept": snapshot.rows,
        "withheld": {
            "quarantined": sum(entry.quarantined for entry in entries),
            **{outcome: number for outcome, number in gone.items() if number},
        },
    }


def check_objects(name: str, ingested: Ingested, candidate: Snapshot) -> Finding:
    """Whether every object of every file is a row of the table or in quarantine.

    Those of forgotten people, and those that were too old, are neither.
    """
    counts = account(ingested, candidate)
    objects, withheld = counts["rows_in"], counts["withheld"]
    said = ", ".join(f"{number} {outcome}" for outcome, number in withheld.items())
    return Finding(
        "completeness",
        objects == candidate.rows + sum(withheld.values()),
        f"{name}: {objects} objects in files, {candidate.rows} rows, {said}.",
        counts,
    )


def empty_columns(table: Table, fresh: ir.Table) -> list[str]:
    """Optional columns without a value in any of many new objects: renamed upstream?"""
    of_person = {*table.one_of, PERSON}
    optional = [c.name for c in table.columns if c.nullable and c.name not in of_person]
    [counts] = (
        fresh.agg(objects=fresh.count(), **{name: fresh[name].count() for name in optional})
        .to_pyarrow()
        .to_pylist()
    )
    return [name for name in optional if not counts[name]] if counts["objects"] >= MANY else []


def check_files(name: str, ingested: Ingested, empty: list[str]) -> Finding:
    """Whether landing files changed after they were taken in, or lost a column."""
    warnings = [
        f"{display_name(path)} changed after it was taken in; its first content stays in {name}. "
        "Deliver only the new objects, under a new name, or take the files of this source in anew: "
        f"stedi rebuild --source {SOURCES[name]}."
        for path in ingested.changed
    ]
    if empty:
        warnings.append(f"No new object has a value for {', '.join(empty)}: renamed upstream?")
    files = f"{len(ingested.entries) - len(ingested.held_back)} files taken in, none changed since."
    return Finding(
        "files",
        not warnings,
        " ".join(warnings) or files,
        {
            "files": len(ingested.entries),
            "changed": list(map(display_name, ingested.changed)),
            "duplicates": sum(1 for entry in ingested.entries if entry.duplicate_of),
        },
    )
