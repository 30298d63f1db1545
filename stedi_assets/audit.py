"""The gate: a candidate is audited on the branch `audit`, and published when nothing blocks it."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any

import dagster as dg
import ibis
import ibis.expr.types as ir

from stedi_assets.accounting import ACCOUNTS, KEPT
from stedi_assets.checks import (
    CONSENT,
    SERIAL_NUMBERS,
    suspending_records,
    unreadable_people,
)
from stedi_assets.lakehouse.catalog import Snapshot
from stedi_assets.lakehouse.landing.names import shown_name
from stedi_assets.lakehouse.resource import Lakehouse
from stedi_assets.schemas import SOURCES, Contract, breaches, contracts, table_of
from stedi_assets.settings import Settings


@dataclass(frozen=True)
class Verdict:
    """What the gate decided on a table.

    Attributes:
        findings: What the audit found.
        published: What readers see from now on; nothing where the candidate is held back.
        audit_seconds: How long the audit took; nothing where there was none, as nothing changed.
        publish_seconds: How long it took to publish.
    """

    table: str
    findings: list["Finding"]
    published: Snapshot | None = None
    audit_seconds: float | None = None
    publish_seconds: float | None = None

    def results(self) -> Iterator[dg.AssetCheckResult]:
        """The findings as Dagster records them."""
        return (finding.result(self.table) for finding in self.findings)

    @property
    def seconds(self) -> dict[str, float]:
        """What took how long, as far as it took place."""
        known = {"audit_seconds": self.audit_seconds, "publish_seconds": self.publish_seconds}
        return {name: round(taken, 3) for name, taken in known.items() if taken is not None}

    @property
    def account(self) -> Mapping[str, Any]:
        """Rows in, kept and withheld, as the check `completeness` found them; empty without it."""
        found = (f.metadata for f in self.findings if "rows_in" in f.metadata)
        return next(found, {})


@dataclass(frozen=True)
class Finding:
    """What a check found: counts and a sentence, never a value of the data."""

    check: str
    passed: bool
    sentence: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def result(self, table: str) -> dg.AssetCheckResult:
        """The finding as Dagster records it."""
        return dg.AssetCheckResult(
            asset_key=table,
            check_name=self.check,
            passed=self.passed,
            severity=dg.AssetCheckSeverity.WARN
            if self.check in _WARNINGS
            else dg.AssetCheckSeverity.ERROR,
            description=self.sentence,
            metadata=self.metadata,
        )


_DESCRIPTIONS = {
    "contract": "Columns, types, nulls, ranges and uniqueness as the contract says",
    "consent": "Nobody without a research consent in their latest record",
    "serial_numbers": "Devices have one proven owner, and nobody is paired with another's device",
    "completeness": "Rows in are rows kept plus rows withheld with a reason",
    "readable": "Few of the new objects are unreadable",
    "files": "No landing file changed after it was taken in; no column is empty in all new ones",
    "suspended": "Nobody's newest record could not be read, which suspends them",
    "consent_share": "The share of consenting people has not fallen by STEDI_MAX_CONSENT_FALL",
}
_WARNINGS = {"files", "suspended", "consent_share"}
"""Checks that say something about the sources, and hold nothing back."""

_HOLDS_NOTHING_BACK = _WARNINGS | {"readable"}
"""Checks that say nothing against the candidate: what could not be read is not in it."""

ALERTING_WARNINGS = {"consent_share"}
"""Warnings that the webhook is told of, too."""

_CUSTOMERS = "customer_trusted"

MOST_NAMED = 10
"""Places that a sentence names at most."""

UNSTOPPABLE = {"customer_landing", "quarantine"}
"""Tables that no check holds back: they say who withdrew, and who is suspended."""

_QUARANTINE = table_of(contracts()["quarantine"])

_OF_PEOPLE = {"consent", "serial_numbers"}
"""Checks that find rows which nobody may have."""


def check_specs(
    table: str, checks: list[str], *, stops_run: bool = True
) -> list[dg.AssetCheckSpec]:
    """Checks of a table as Dagster wants them declared.

    Args:
        table: The table.
        checks: Names of its checks.
        stops_run: Whether a check that holds the table back keeps the tables after it from being
            made, too. They are made from what is published in any case.
    """
    return [
        dg.AssetCheckSpec(
            check,
            asset=table,
            blocking=stops_run and check not in _WARNINGS,
            description=_DESCRIPTIONS[check],
        )
        for check in checks
    ]


def checks_of(table: str) -> list[str]:
    """Names of the checks of a trusted or curated table."""
    tables = {
        "consent": CONSENT,
        "serial_numbers": SERIAL_NUMBERS,
        "completeness": ACCOUNTS,
        "suspended": {_CUSTOMERS},
        "consent_share": {_CUSTOMERS},
    }
    return ["contract", *(check for check, named in tables.items() if table in set(named))]


def audit(
    table: str, contract: type[Contract], lakehouse: Lakehouse, settings: Settings
) -> Verdict:
    """Check the table's candidate, and publish it when no blocking check fails."""
    candidate = lakehouse.catalog.candidate(table)
    if candidate is None:
        return _left_alone(table, lakehouse, settings)
    started = time.perf_counter()
    findings = list(_findings(candidate, contract, Tables(lakehouse, settings, candidate)))
    return conclude(candidate, findings, lakehouse, started)


def _findings(candidate: Snapshot, contract: type[Contract], tables: "Tables") -> Iterator[Finding]:
    table = candidate.table
    yield (fulfilled := check_contract(contract, tables[table]))
    if not fulfilled.passed:  # the other rules rely on the columns
        yield from (_not_tried(check) for check in checks_of(table)[1:])
        return
    if table == _CUSTOMERS:
        yield check_suspended(tables)
        yield check_consent_share(candidate, tables)
    for check, rules in (("consent", CONSENT), ("serial_numbers", SERIAL_NUMBERS)):
        if table in rules:
            yield _check_rule(check, table, rules[table], tables)
    if table in ACCOUNTS:
        yield _check_account(candidate, ACCOUNTS[table], tables)


def _left_alone(table: str, lakehouse: Lakehouse, settings: Settings) -> Verdict:
    """The verdict on a table that was made from the same before; who is suspended stays said."""
    verdict = unchanged(table, checks_of(table), lakehouse)
    if table != _CUSTOMERS or verdict.published is None:
        return verdict
    suspended = check_suspended(Tables(lakehouse, settings, verdict.published))
    findings = [suspended if f.check == suspended.check else f for f in verdict.findings]
    return replace(verdict, findings=findings)


def unchanged(table: str, checks: list[str], lakehouse: Lakehouse) -> Verdict:
    """The verdict on a table that is left alone: it passed when it was published."""
    published = lakehouse.catalog.published(table)
    known = {"snapshot": str(published.id), "rows": published.rows} if published else {}
    sentence = "Unchanged since it was audited."
    return Verdict(table, [Finding(check, True, sentence, known) for check in checks], published)


def conclude(
    candidate: Snapshot, findings: list[Finding], lakehouse: Lakehouse, started: float
) -> Verdict:
    """Publish the candidate unless a blocking check failed.

    Nothing holds up the tables that say who withdrew. A candidate that holds rows of people who do
    not consent, or of the wrong people, is removed at once; any other waits on `audit`.

    Args:
        candidate: What was audited.
        findings: What the audit found.
        lakehouse: Where the candidate waits.
        started: When the audit began, by the performance counter.
    """
    audited = time.perf_counter()
    failed = [f for f in findings if not f.passed and f.check not in _HOLDS_NOTHING_BACK]
    held_back = bool(failed) and candidate.table not in UNSTOPPABLE
    known = {
        "snapshot": str(candidate.id),
        "audit_seconds": round(audited - started, 3),
        "held_back": held_back,
    }
    verdict = Verdict(
        candidate.table,
        [replace(finding, metadata={**finding.metadata, **known}) for finding in findings],
        audit_seconds=audited - started,
    )
    if any(_concerns_people(finding) for finding in findings):
        lakehouse.catalog.drop_candidate(candidate)
    elif held_back:
        lakehouse.catalog.hold_back(candidate)
    if held_back:
        return verdict
    lakehouse.catalog.publish(candidate)
    taken = time.perf_counter() - audited
    return replace(verdict, published=candidate, publish_seconds=taken)


def _concerns_people(finding: Finding) -> bool:
    return finding.check in _OF_PEOPLE and bool(finding.metadata.get("violations"))


def check_contract(contract: type[Contract], candidate: ir.Table) -> Finding:
    """Whether the candidate fulfils its contract."""
    return _contract_finding(contract, breaches(contract, candidate))


def refuse(contract: type[Contract], broken: dict[str, int]) -> Iterator[dg.AssetCheckResult]:
    """Results for a table that cannot be written: columns are missing or of another type."""
    table = str(contract.to_schema().name)
    yield _contract_finding(contract, broken).result(table)
    for check in checks_of(table)[1:]:
        yield _not_tried(check).result(table)


def _contract_finding(contract: type[Contract], broken: dict[str, int]) -> Finding:
    name = contract.to_schema().name
    sentence = "; ".join(f"{rule} ({rows} rows)" for rule, rows in broken.items())
    return Finding(
        "contract",
        not broken,
        f"{name} breaks its contract: {sentence}." if broken else "Fulfilled.",
        {"violations": broken},
    )


def _check_rule(
    check: str, table: str, rule: Callable[..., ir.IntegerScalar], tables: "Tables"
) -> Finding:
    violations = int(tables.call(rule).to_pyarrow().as_py())
    sentence = f"{table}: {violations} violations. {rule.__doc__}" if violations else "None found."
    return Finding(check, violations == 0, sentence, {"violations": violations})


def _check_account(
    candidate: Snapshot, account: Callable[..., ir.Table], tables: "Tables"
) -> Finding:
    outcomes = {
        row["outcome"]: row["rows"] for row in tables.call(account).to_pyarrow().to_pylist()
    }
    rows_in, kept = sum(outcomes.values()), outcomes.pop(KEPT, 0)
    balanced = kept == candidate.rows
    withheld = {reason: rows for reason, rows in outcomes.items() if rows}
    sentence = (
        f"{rows_in} in = {kept} kept + {sum(withheld.values())} withheld."
        if balanced
        else f"{candidate.table} has {candidate.rows} rows where its inputs give {kept}."
    )
    return Finding(
        "completeness",
        balanced,
        sentence,
        {"rows_in": rows_in, "kept": candidate.rows, "withheld": withheld},
    )


def check_suspended(tables: "Tables") -> Finding:
    """Who is suspended, by number and by the places of the records that could not be read."""
    places = tables.call(suspending_records).order_by("source_file", "position")
    people = tables.call(unreadable_people).count().to_pyarrow().as_py()
    named = [
        f"{shown_name(row['source_file'])} at byte {row['position']}"
        for row in places.limit(MOST_NAMED).to_pyarrow().to_pylist()
    ]
    if not people:
        return Finding("suspended", True, "Nobody is suspended.", {"suspended": 0})
    return Finding(
        "suspended",
        False,
        f"{people} people count as not consenting, for their newest record could not be read "
        f"({'; '.join(named)}; quarantine has the reasons). Deliver these records anew, readable.",
        {"suspended": people},
    )


def check_consent_share(candidate: Snapshot, tables: "Tables") -> Finding:
    """Whether far fewer people consent than before: it takes effect, and somebody should look."""
    published = tables.published(candidate.table)
    people = tables["customer_landing"].group_by("person").agg(since=ibis._.landed_at.min())
    before_that = int(published.committed_at.timestamp() * 1000) if published else 0
    counts = people.agg(now=people.count(), before=(people.since <= before_that).sum())
    [found] = counts.to_pyarrow().to_pylist()
    now = 100 * candidate.rows / found["now"] if found["now"] else 100.0
    if published is None or not found["before"]:
        return Finding("consent_share", True, f"{now:.1f} % consent.", {"consent_share": now})
    before = 100 * published.rows / found["before"]
    return Finding(
        "consent_share",
        before - now <= tables.settings.max_consent_fall,
        f"{now:.1f} % of people consent, {before:.1f} % did before. It took effect. Where nobody "
        "knows of so many withdrawals: was a column renamed upstream?"
        if before - now > tables.settings.max_consent_fall
        else f"{now:.1f} % of people consent, {before:.1f} % did before.",
        {"consent_share": now, "consent_share_before": before},
    )


def _not_tried(check: str) -> Finding:
    return Finding(check, False, "Not tried: the contract is broken.")


class Tables:
    """Tables by name, as rules see them: a candidate in its own place, others as published.

    `quarantine` is what it has to hold, which may not be published yet.
    """

    def __init__(
        self, lakehouse: Lakehouse, settings: Settings, candidate: Snapshot | None = None
    ) -> None:
        """Look at the tables there; each is looked for once."""
        self._lakehouse = lakehouse
        self.settings = settings
        self._snapshots = {candidate.table: candidate} if candidate else {}

    def __getitem__(self, name: str) -> ir.Table:
        """A table, ready to be asked."""
        if name not in self._snapshots:
            self._snapshots[name] = (
                self._lakehouse.rejects(SOURCES, _QUARANTINE)
                if name == _QUARANTINE.name
                else self._lakehouse.published(name)
            )
        # Opened each time: an audit may outlast the credentials that a table was opened with.
        return self._lakehouse.open(self._snapshots[name])

    def published(self, name: str) -> Snapshot | None:
        """What readers see of a table now, if anything."""
        return self._lakehouse.catalog.published(name)

    def call(self, rule: Callable[..., Any]) -> Any:
        """Call a rule with the tables that its parameters name."""
        return rule(
            **{
                name: self.settings if name == "settings" else self[name]
                for name in signature(rule).parameters
            }
        )
