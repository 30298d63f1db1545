"""The gate: a candidate is audited on the branch `audit`, and published when nothing blocks it."""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from inspect import getdoc
from typing import Any

import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import UnderivableError
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.refresh.anomaly_checks import check_rows
from stedi_assets.refresh.audit_changes import outcomes_since, violations_since
from stedi_assets.refresh.customer_checks import check_consent_share, check_suspended
from stedi_assets.refresh.findings import RECOMPUTED, WARNINGS, Finding, Verdict
from stedi_assets.refresh.view import View
from stedi_assets.tables.accounts import KEPT
from stedi_assets.tables.breaches import breaches
from stedi_assets.tables.contract import Contract, unique_column
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.trusted.customer_trusted import CUSTOMER_TRUSTED

NEVER_HOLD_BACK = WARNINGS | {"readable", RECOMPUTED}
"""Checks not of the candidate: what could not be read is not in it, nor what was wrong before."""

UNSTOPPABLE = {"customer_landing", "quarantine"}
"""Tables that no check holds back: they say who withdrew, and who is suspended."""

_ABOUT_PEOPLE = {"consent", "serial_numbers"}
"""Checks that find rows which nobody may have."""


def effect_of(check: str, table: str) -> str:
    """What it means for a table when a check of it fails, in a sentence."""
    if check in WARNINGS:
        return "It only warns."
    if table in UNSTOPPABLE:
        return "If it fails, the table is published all the same: it says who withdrew."
    if check == RECOMPUTED:
        return "If it fails, what was computed in full is published."
    if check in NEVER_HOLD_BACK:
        return "A file with too many of them is held back alone."
    if check in _ABOUT_PEOPLE:
        return "If it fails, what was published stays, and the candidate is deleted."
    return "If it fails, this table is held back: what was published stays."


_COMPARES_WITH_BEFORE = {"consent_share", "anomalies"}
"""Checks that find nothing where nothing takes the place of what is published."""

_NOT_COMPARED = Finding(
    RECOMPUTED,
    True,
    "Not compared in this run: the nightly proof does, and `stedi refresh --full`.",
)

_Check = Callable[[Snapshot, View], Finding]


def checks_of(table: TableDefinition) -> list[str]:
    """Names of the checks of a trusted or curated table."""
    return ["contract", *_checks_beyond_contract(table), RECOMPUTED]


def _checks_beyond_contract(
    table: TableDefinition, max_consent_fall: float = 0.0
) -> dict[str, _Check]:
    """The checks that rely on the columns of the contract, by name."""
    checks: dict[str, _Check] = {}
    if table.consent:
        checks["consent"] = partial(_check_rule, "consent", table.consent, View.count)
    if table.serial_numbers:
        checks["serial_numbers"] = partial(
            _check_rule, "serial_numbers", table.serial_numbers, _count_changed
        )
    if table.account:
        checks["completeness"] = partial(_check_account, table.account)
    if table.name == CUSTOMER_TRUSTED.name:
        checks["suspended"] = lambda _, view: check_suspended(view)
        checks["consent_share"] = partial(check_consent_share, max_fall=max_consent_fall)
    checks["anomalies"] = check_rows
    return checks


def audit_and_publish(
    table: TableDefinition,
    lakehouse: Lakehouse,
    policy: Policy,
    max_consent_fall: float,
    recomputed: Finding | None = None,
) -> Verdict:
    """Check the table's candidate, and publish it when no blocking check fails.

    Args:
        table: The table.
        lakehouse: Where its candidate waits on the branch `audit`.
        policy: What the rules depend on.
        max_consent_fall: Percentage points by which the share of consenting people may fall
            without a warning.
        recomputed: What a comparison with a full computation found, if there was one. Then all of
            the table is audited, also where nothing changed.
    """
    candidate = lakehouse.catalog.candidate(table.name)
    if candidate is None and recomputed is None:
        return _audit_unchanged(table, lakehouse, policy)
    started = time.perf_counter()
    lakehouse.progress.begin(f"auditing {table.name}")
    audited = candidate or lakehouse.published(table.name)
    view = View(lakehouse, policy, audited, in_full=recomputed is not None)
    fulfilled = check_contract(
        table.contract_under(policy), audited, lakehouse, in_full=view.in_full
    )
    others = _checks_beyond_contract(table, max_consent_fall)
    if fulfilled.passed:
        view.fetch_ahead(_of_all_rows(table, view))
        found = [check(audited, view) for check in others.values()]
    else:
        found = [*map(_not_checked, others)]
    findings = [fulfilled, *found, recomputed or _NOT_COMPARED]
    if candidate is None:
        return _leave_published(audited, findings)
    return publish_or_hold_back(candidate, findings, lakehouse, started)


def _of_all_rows(table: TableDefinition, view: View) -> list[Callable[..., Any]]:
    """What looks at all rows of a candidate; of one made from what changed, consent alone."""
    others = () if view.is_from_changes else (table.serial_numbers, table.account)
    return [function for function in (table.consent, *others) if function]


def _audit_unchanged(table: TableDefinition, lakehouse: Lakehouse, policy: Policy) -> Verdict:
    """The verdict on an unchanged table; it still says who is suspended, and who consents now."""
    checks = checks_of(table)
    verdict = unchanged(table.name, checks, lakehouse)
    new, published = {RECOMPUTED: _NOT_COMPARED}, verdict.published
    if published is None:
        return verdict
    view = View(lakehouse, policy, published)
    if "suspended" in checks:
        new["suspended"] = check_suspended(view)
    if table.consent and view.changed_since(table.consent):
        consent = _check_rule("consent", table.consent, View.count, published, view)
        new["consent"] = consent
    findings = [new.get(f.check, f) for f in verdict.findings]
    if "consent" in new and not new["consent"].passed:
        return _leave_published(published, findings)
    return replace(verdict, findings=findings)


def _leave_published(published: Snapshot, findings: list[Finding]) -> Verdict:
    """The verdict on what is published already, and was audited in full once more.

    If a blocking check failed it counts as held back: nothing may be made of it, and people who
    withdrew are taken out of it.
    """
    failed = any(not f.passed and f.check not in NEVER_HOLD_BACK for f in findings)
    metadata = {
        "snapshot": str(published.id),
        "candidate_rows": published.rows,
        "held_back": failed,
    }
    findings = [
        unchanged_finding(f.check, metadata)
        if f.check in _COMPARES_WITH_BEFORE
        else replace(f, metadata={**f.metadata, **metadata})
        for f in findings
    ]
    return Verdict(published.table, findings, published, published if failed else None)


def unchanged(table: str, checks: list[str], lakehouse: Lakehouse) -> Verdict:
    """The verdict on an unchanged table: it passed when it was published."""
    published = lakehouse.catalog.published(table)
    metadata = {"snapshot": str(published.id), "rows": published.rows} if published else {}
    findings = [unchanged_finding(check, metadata) for check in checks]
    return Verdict(table, findings, published)


def unchanged_finding(check: str, metadata: Mapping[str, Any]) -> Finding:
    """What a check finds where nothing changed since it passed."""
    return Finding(check, True, "Unchanged since it was audited.", metadata, repeats=True)


def publish_or_hold_back(
    candidate: Snapshot, findings: list[Finding], lakehouse: Lakehouse, started: float
) -> Verdict:
    """Publish the candidate unless a blocking check failed.

    Nothing holds up the tables that say who withdrew. A candidate with rows of people who do not
    consent, or of the wrong people, is removed at once; any other waits on `audit`.

    Args:
        candidate: What was audited.
        findings: What the audit found.
        lakehouse: Where the candidate waits.
        started: When the audit began, by the performance counter.
    """
    audited = time.perf_counter()
    failed = [f for f in findings if not f.passed and f.check not in NEVER_HOLD_BACK]
    held_back = bool(failed) and candidate.table not in UNSTOPPABLE
    metadata = {
        "snapshot": str(candidate.id),
        "candidate_rows": candidate.rows,
        "audit_seconds": round(audited - started, 3),
        "held_back": held_back,
    }
    verdict = Verdict(
        candidate.table,
        [replace(finding, metadata={**finding.metadata, **metadata}) for finding in findings],
        audit_seconds=audited - started,
    )
    if any(_concerns_people(finding) for finding in findings):
        lakehouse.catalog.drop_candidate(candidate)
    elif held_back:
        lakehouse.catalog.hold_back(candidate, {f.check: f.sentence for f in failed})
    if held_back:
        published = lakehouse.catalog.published(candidate.table)
        return replace(verdict, published=published, held_back=candidate)
    lakehouse.catalog.publish(candidate, _account_in(findings))
    seconds = time.perf_counter() - audited
    return replace(verdict, published=candidate, publish_seconds=seconds)


def _account_in(findings: list[Finding]) -> dict[str, int]:
    """Where the rows went, if a check found that out."""
    found = next((f.metadata for f in findings if "withheld" in f.metadata), None)
    return {KEPT: found["kept"], **found["withheld"]} if found else {}


def _concerns_people(finding: Finding) -> bool:
    return finding.check in _ABOUT_PEOPLE and bool(finding.metadata.get("violations"))


def check_contract(
    contract: type[Contract], candidate: Snapshot, lakehouse: Lakehouse, *, in_full: bool = False
) -> Finding:
    """Whether the candidate fulfils its contract, or unless `in_full` the rows it has gained."""
    rows = lakehouse.open(candidate)
    published = lakehouse.catalog.published(candidate.table)
    if (
        not in_full
        and published is not None
        and lakehouse.is_known(published, candidate)
        and unique_column(contract) is None  # that compares rows with each other
    ):
        rows = lakehouse.change(published, candidate).rows.added
        if rows is None:
            return _contract_finding(contract, {})
    broken = breaches(contract, rows, lakehouse.engine.fetch)
    return _contract_finding(contract, broken)


def refuse(table: TableDefinition, policy: Policy, broken: dict[str, int]) -> Verdict:
    """The verdict on a table that cannot be written: columns are missing or of another type."""
    contract = table.contract_under(policy)
    not_checked = map(_not_checked, _checks_beyond_contract(table))
    finding = _contract_finding(contract, broken)
    advice = "Nothing was written: change the rule or the contract until they agree."
    finding = replace(finding, sentence=f"{finding.sentence} {advice}")
    return Verdict(table.name, [finding, *not_checked, _NOT_COMPARED])


def _contract_finding(contract: type[Contract], broken: dict[str, int]) -> Finding:
    name = contract.Config.name
    sentence = "; ".join(f"{requirement} ({rows} rows)" for requirement, rows in broken.items())
    return Finding(
        "contract",
        not broken,
        f"{name} breaks its contract: {sentence}." if broken else "Fulfilled.",
        {"violations": broken},
    )


def _count_changed(view: View, rule: Callable[..., ir.IntegerScalar]) -> int:
    """Violations of a rule: those that came with what changed, where that can be told."""
    try:
        return violations_since(rule, view)
    except UnderivableError:
        return view.count(rule)


def _check_rule(
    check: str,
    rule: Callable[..., ir.IntegerScalar],
    count: Callable[[View, Callable[..., ir.IntegerScalar]], int],
    candidate: Snapshot,
    view: View,
) -> Finding:
    violations = count(view, rule)
    fate = "They are in what is published." if view.is_published else "The candidate was deleted."
    sentence = (
        f"{candidate.table}: {violations} violations. {getdoc(rule)} {fate} "
        "The rule or the check is wrong: report it."
        if violations
        else "None found."
    )
    return Finding(check, violations == 0, sentence, {"violations": violations})


def _outcomes(account: Callable[..., ir.Table], view: View) -> dict[str, int]:
    """Where the rows went: what is known of the published state, and what changed since."""
    try:
        known = Counter(view.known_account())
        known.update(outcomes_since(account, view))
    except UnderivableError:
        return {row["outcome"]: row["rows"] for row in view.fetch(account)}
    return dict(known)


def _check_account(account: Callable[..., ir.Table], candidate: Snapshot, view: View) -> Finding:
    outcomes = _outcomes(account, view)
    rows_in, kept = sum(outcomes.values()), outcomes.pop(KEPT, 0)
    balanced = kept == candidate.rows
    withheld = {reason: rows for reason, rows in outcomes.items() if rows}
    sentence = (
        f"{rows_in} in = {kept} kept + {sum(withheld.values())} withheld."
        if balanced
        else f"{candidate.table} has {candidate.rows} rows, its inputs account for {kept}. The "
        "rule or its account is wrong: report it."
    )
    return Finding(
        "completeness",
        balanced,
        sentence,
        {"rows_in": rows_in, "kept": candidate.rows, "withheld": withheld},
    )


def _not_checked(check: str) -> Finding:
    return Finding(check, False, "Not checked: the contract is broken.")
