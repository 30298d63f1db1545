"""Checks of customer_trusted alone: who is suspended, and whether far fewer people consent."""

import ibis

from stedi_assets.lakehouse.names import display_name
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.refresh.findings import MOST_NAMED, Finding
from stedi_assets.refresh.view import View
from stedi_assets.tables.consent import suspending_records, unreadable_people


def check_suspended(view: View) -> Finding:
    """How many people are suspended, and where their unreadable records are."""
    people = view.call(unreadable_people).count().to_pyarrow().as_py()
    if not people:
        return Finding("suspended", True, "Nobody is suspended.", {"suspended": 0})
    places = view.call(suspending_records).order_by("source_file", "position")
    examples = [
        f"{display_name(row['source_file'])} at byte {row['position']}"
        for row in places.limit(MOST_NAMED).to_pyarrow().to_pylist()
    ]
    return Finding(
        "suspended",
        False,
        f"{people} people count as not consenting, because their newest record could not be read "
        f"({'; '.join(examples)}; quarantine has the reasons). Deliver these records anew, "
        "readable.",
        {"suspended": people},
    )


def check_consent_share(candidate: Snapshot, view: View, max_fall: float) -> Finding:
    """Whether far fewer people consent than before. It takes effect, but somebody should look."""
    published = view.published(candidate.table)
    people = view["customer_landing"].group_by("person").agg(since=ibis._.landed_at.min())
    before_that = int(published.committed_at.timestamp() * 1000) if published else 0
    counts = people.agg(now=people.count(), before=(people.since <= before_that).sum())
    [row] = counts.to_pyarrow().to_pylist()
    now = 100 * candidate.rows / row["now"] if row["now"] else 100.0
    if published is None or not row["before"]:
        return Finding("consent_share", True, f"{now:.1f} % consent.", {"consent_share": now})
    before = 100 * published.rows / row["before"]
    return Finding(
        "consent_share",
        before - now <= max_fall,
        f"{now:.1f} % of people consent, {before:.1f} % did before. This takes effect all the "
        "same. If nobody knows of so many withdrawals: was a column renamed upstream?"
        if before - now > max_fall
        else f"{now:.1f} % of people consent, {before:.1f} % did before.",
        {"consent_share": now, "consent_share_before": before},
    )
