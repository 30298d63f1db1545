"""What the lakehouse holds right now, as plain data."""

import json
from dataclasses import asdict
from typing import Any

import ibis.expr.types as ir

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.landing.holds import held_files
from stedi_assets.lakehouse.landing.ledger import Entry
from stedi_assets.lakehouse.names import display_name
from stedi_assets.lakehouse.state import Snapshot, TableState, Tag
from stedi_assets.lakehouse.table import PERSON, Zone
from stedi_assets.privacy.retention import superseded_tags
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.read import read_table
from stedi_assets.refresh.anomaly_checks import anomalies_since
from stedi_assets.refresh.plan import ledgers_of
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES
from stedi_assets.tables.trusted.customer_trusted import suspended


def status(settings: Settings) -> dict[str, Any]:
    """Tables, what waits on audit, training sets, quarantine by reason, devices by basis."""
    catalog = Catalog(open_storage(settings))
    zones = list(Zone)
    states = catalog.tables()
    if not states:  # looking for more would make a catalog
        return {
            "lakehouse": settings.lakehouse,
            "landing": None,
            "consent_scope": None,
            "tables": [],
            "training_sets": [],
            "repeats": None,
            "held_back": [],
            "ignored": [],
            "anomalies": [],
            "suspended": 0,
            "held": 0,
            "quarantine": [],
            "devices": {},
        }
    tables = sorted((zones.index(Zone(state.zone)), name) for name, state in states.items())
    return {
        "lakehouse": settings.lakehouse,
        "landing": _property(catalog, "customer_landing", "landing-root"),
        "consent_scope": _property(catalog, "accelerometer_trusted", "consent-scope"),
        "tables": [
            {
                "table": name,
                "zone": str(zones[zone]),
                "published": _state(states[name].published),
                "candidate": _state(states[name].candidate),
                "held_back_by": states[name].held_back_by,
            }
            for zone, name in tables
        ],
        "training_sets": _training_sets(states.get(TRAINING_SET), settings),
        "repeats": _repeats(catalog, settings),
        **_landing_files(catalog, settings),
        "suspended": _suspended(catalog, settings),
        "held": len(held_files(catalog.storage)),
        "quarantine": _quarantine(catalog, settings),
        "devices": _devices(catalog, settings),
    }


def _property(catalog: Catalog, table: str, name: str) -> str | None:
    """What the refresh that made a table wrote down; the settings may have changed since."""
    published = catalog.published(table)
    return published.properties.get(name) if published else None


def _state(snapshot: Snapshot | None) -> dict[str, Any] | None:
    if snapshot is None:
        return None
    return {
        "snapshot": snapshot.id,
        "at": snapshot.committed_at.isoformat(timespec="seconds"),
        "rows": snapshot.rows,
        "bytes": snapshot.size,
        "run": snapshot.properties.get("run-id"),
    }


def _training_sets(state: TableState | None, settings: Settings) -> list[dict[str, Any]]:
    """The tagged training sets; `due` is from when on a vacuum lets one go, null if not by age."""
    if state is None:
        return []
    superseded = superseded_tags([tag.name for tag in state.tags], settings.training_sets)
    return [
        {
            "tag": tag.name,
            "at": tag.made_at.isoformat(timespec="seconds"),
            "rows": tag.rows,
            "snapshot": tag.snapshot_id,
            "due": _due(state, tag, settings) if tag.name in superseded else None,
        }
        for tag in state.tags
    ]


def _due(state: TableState, tag: Tag, settings: Settings) -> str | None:
    replaced_at = state.replaced_at(tag.snapshot_id)
    return (replaced_at + settings.retention).isoformat(timespec="seconds") if replaced_at else None


def _repeats(catalog: Catalog, settings: Settings) -> int | None:
    """Training rows that repeat another one exactly, because a reading was delivered again.

    Counted when asked, and not in each refresh: that takes half a second for a million rows.
    """
    published = catalog.published(TRAINING_SET)
    if published is None:
        return None
    rows = read_table(TRAINING_SET, settings=settings)
    return published.rows - int(rows.distinct().count().to_pyarrow().as_py())


def _landing_files(catalog: Catalog, settings: Settings) -> dict[str, Any]:
    """Landing files held back, files that are not landing files, what is unusual of sources."""
    ledgers = ledgers_of(catalog, open_storage(settings), settings)
    arrived = [ledgers.arrived(source, table) for table, source in SOURCES.items()]
    return {
        "held_back": [
            {
                "file": display_name(entry.path),
                "reason": entry.reason,
                "objects": entry.objects,
                "unreadable": entry.quarantined,
                "reasons": _reasons(entry),
            }
            for source in arrived
            for entry in source.held_back
        ],
        "ignored": [display_name(path) for source in arrived for path in source.listing.ignored],
        "anomalies": [asdict(anomaly) for anomaly in anomalies_since(ledgers)],
    }


def _reasons(entry: Entry) -> list[dict[str, Any]]:
    """What was wrong with the objects of a file; `first` is the byte at which the first begins."""
    names = ("reason", "objects", "first")
    return [dict(zip(names, each, strict=True)) for each in json.loads(entry.reasons or "[]")]


def _suspended(catalog: Catalog, settings: Settings) -> int:
    """Number of people whose newest landed record cannot be read."""
    names = ("customer_landing", "quarantine")
    published = [catalog.published(name) for name in names]
    # Tables that an older version made do not say whose; the next refresh makes them anew.
    if not all(snapshot and PERSON in snapshot.types for snapshot in published):
        return 0
    tables = (read_table(name, settings=settings) for name in names)
    return int(suspended(*tables).count().to_pyarrow().as_py())


def _quarantine(catalog: Catalog, settings: Settings) -> list[dict[str, Any]]:
    published = catalog.published("quarantine")
    if not published or not published.rows:
        return []
    return quarantine_by_reason(read_table("quarantine", settings=settings))


def quarantine_by_reason(quarantine: ir.Table) -> list[dict[str, Any]]:
    """Rows of quarantine by source and reason."""
    counts = quarantine.group_by("source", "reason").agg(rows=quarantine.count())
    rows: list[dict[str, Any]] = counts.order_by("source", "reason").to_pyarrow().to_pylist()
    return rows


def _devices(catalog: Catalog, settings: Settings) -> dict[str, int]:
    names = ("device_ownership", "step_trainer_landing")
    if not all(catalog.published(name) for name in names):
        return {}
    return devices_by_proof(*(read_table(name, settings=settings) for name in names))


def devices_by_proof(device_ownership: ir.Table, step_trainer_landing: ir.Table) -> dict[str, int]:
    """Devices that sent readings, by what proves whose they are; others are withheld."""
    counts = device_ownership.group_by("basis").agg(devices=device_ownership.count())
    devices = {
        row["basis"]: row["devices"] for row in counts.order_by("basis").to_pyarrow().to_pylist()
    }
    total = step_trainer_landing.serialnumber.nunique().to_pyarrow().as_py()
    return {**devices, "withheld": total - sum(devices.values())}
