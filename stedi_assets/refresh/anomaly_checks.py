"""The check `anomalies`: what is unusual, by what ledgers and snapshots say of the time before."""

import contextlib
import datetime as dt
import json
import time
from collections.abc import Collection, Iterable, Sequence

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.arrivals import Ledgers
from stedi_assets.lakehouse.landing.ingest import LANDED
from stedi_assets.lakehouse.landing.ledger import Entry
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.refresh.anomalies import Anomaly, find_anomalies, find_shrinkage
from stedi_assets.refresh.deliveries import FIRST_DAYS, WINDOW, Days, deliveries_of
from stedi_assets.refresh.findings import Finding
from stedi_assets.refresh.view import View
from stedi_assets.tables import SOURCES

_ROWS_BY_DAY = "rows-by-day"
"""What a snapshot calls the rows that its table had on the days before."""

_BROUGHT = {"customer": "records"}
"""What a source brings, if not readings."""


def check_source(
    table: str, entries: Iterable[Entry], refreshed_at: Collection[int], now: int
) -> Finding:
    """Whether what a source brought is unusual, or that it brought nothing.

    Args:
        table: Its landing table.
        entries: The ledger of that, with what this refresh took in.
        refreshed_at: When refreshes began of which any source brought something.
        now: When this refresh began, in epoch milliseconds.
    """
    days = _days(entries, refreshed_at, now)
    found = find_anomalies(SOURCES[table], _BROUGHT.get(SOURCES[table], "readings"), days)
    if days.is_new:
        return _finding(found, f"Not judged yet: the first {FIRST_DAYS} days show what is usual.")
    return _finding(found, "Nothing unusual.")


def anomalies_since(ledgers: Ledgers) -> list[Anomaly]:
    """What is unusual, until now, about sources of which nothing new waits for a refresh.

    Args:
        ledgers: What has arrived, and what the landing tables hold.
    """
    now = time.time_ns() // 1_000_000
    refreshed_at = ledgers.refreshed_at(SOURCES)
    found = list[Anomaly]()
    for table, source in SOURCES.items():
        if not ledgers.arrived(source, table).new:
            days = _days(ledgers.entries(table), refreshed_at, now)
            found += find_anomalies(source, _BROUGHT.get(source, "readings"), days)
    return found


def _days(entries: Iterable[Entry], refreshed_at: Collection[int], now: int) -> Days:
    return Days(deliveries_of(entries, refreshed_at, now), refreshed_at, now)


def check_rows(candidate: Snapshot, view: View) -> Finding:
    """Whether a table has lost far more rows than usual."""
    published = view.published(candidate.table)
    if published is None:
        return _finding([], "There is nothing to compare it with yet.")
    rows_by_day = {
        dt.date.fromisoformat(day): rows
        for day, rows in json.loads(candidate.properties.get(_ROWS_BY_DAY, "{}")).items()
    }
    shrunk = find_shrinkage(candidate.table, rows_by_day, published.rows, candidate.rows)
    usual = f"{published.rows:,} rows before, {candidate.rows:,} now: nothing unusual."
    return _finding([shrunk] if shrunk else [], usual)


def row_history(published: Snapshot | None, lakehouse: Lakehouse) -> dict[str, str]:
    """What a candidate says of the time before, as snapshots of then may have expired.

    Args:
        published: What is published of its table.
        lakehouse: Where the landing tables are: their newest files say which day it is.
    """
    times = list[str]()
    for table in SOURCES:
        with contextlib.suppress(Exception):  # a damaged table is reported elsewhere
            landed = lakehouse.catalog.published(table)
            times += [landed.properties[LANDED]] if landed and LANDED in landed.properties else []
    history = {LANDED: max(times, key=int)} if times else {}
    if published:
        rows = json.loads(published.properties.get(_ROWS_BY_DAY, "{}"))
        rows[_day(published).isoformat()] = published.rows
        last = dict(sorted(rows.items())[-WINDOW:])
        history[_ROWS_BY_DAY] = json.dumps(last, separators=(",", ":"))
    return history


def _day(snapshot: Snapshot) -> dt.date:
    """The day of the newest landing files in a snapshot."""
    landed = snapshot.properties.get(LANDED)
    if landed is None:
        return snapshot.committed_at.date()
    return dt.datetime.fromtimestamp(int(landed) / 1000, dt.UTC).date()


def _finding(found: Sequence[Anomaly], usual: str) -> Finding:
    sentence = " ".join(anomaly.sentence for anomaly in found) or usual
    return Finding("anomalies", not found, sentence, {"anomalies": [each.kind for each in found]})
