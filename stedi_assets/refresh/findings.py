"""What an audit found, and what became of the table."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from stedi_assets.lakehouse.state import Snapshot

MOST_NAMED = 10
"""Places that a sentence names at most."""

DESCRIPTIONS = {
    "contract": "Columns, types, nulls, ranges and uniqueness as the contract says",
    "consent": "Nobody without a research consent in their latest record, nobody suspended or "
    "held, and no reading that the consent scope leaves out",
    "serial_numbers": "Matches are counted once, devices have one proven owner, and nobody is "
    "paired with another's device",
    "completeness": "Rows in are rows kept plus rows withheld with a reason",
    "readable": "Few of the new objects are unreadable",
    "files": "No landing file changed after it was taken in; no column is empty in all new objects",
    "recomputed": "A full computation (every night, or `stedi refresh --full`) gives the same rows",
    "suspended": "Everybody's newest record can be read; otherwise they are suspended",
    "consent_share": "The share of consenting people has not fallen by STEDI_MAX_CONSENT_FALL",
    "anomalies": "Nothing unusual by its own history: what came, how late, with which keys and "
    "values; a table has not lost far more rows than usual",
}
"""What each check looks for."""

RECOMPUTED = "recomputed"
"""The check that compares a table with a full computation."""

WARNINGS = {"files", "suspended", "consent_share", "anomalies"}
"""Checks that warn, and hold nothing back."""

ALERTING_WARNINGS = {"consent_share"}
"""Warnings that are sent to the webhook, too."""


def files_are(count: int) -> str:
    """How a sentence about files begins."""
    return "1 file is" if count == 1 else f"{count:,} files are"


@dataclass(frozen=True)
class Finding:
    """What a check found: counts and a sentence, never a value of the data.

    Attributes:
        repeats: Whether nothing changed since the check last looked, and so it did not look again.
    """

    check: str
    passed: bool
    sentence: str
    metadata: Mapping[str, Any] = field(default_factory=dict)
    repeats: bool = False


@dataclass(frozen=True)
class Verdict:
    """What the gate decided on a table.

    Attributes:
        findings: What the audit found.
        published: What readers see from now on; None if nothing ever was published.
        held_back: The candidate, if it was not published.
        audit_seconds: How long the audit took; None if nothing changed and there was no audit.
        publish_seconds: How long it took to publish.
    """

    table: str
    findings: list[Finding]
    published: Snapshot | None = None
    held_back: Snapshot | None = None
    audit_seconds: float | None = None
    publish_seconds: float | None = None

    @property
    def seconds(self) -> dict[str, float]:
        """How long audit and publication took, if they took place."""
        durations = {"audit_seconds": self.audit_seconds, "publish_seconds": self.publish_seconds}
        return {
            name: round(duration, 3) for name, duration in durations.items() if duration is not None
        }

    @property
    def account(self) -> Mapping[str, Any]:
        """Rows in, kept and withheld, as the check `completeness` found them; empty without it."""
        accounts = (f.metadata for f in self.findings if "rows_in" in f.metadata)
        return next(accounts, {})
