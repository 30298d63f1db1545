"""The gate: a candidate is audited on the branch `audit`, and published when nothing blocks it."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.names import display_name
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.refresh.findings import MOST_NAMED, WARNINGS, Finding, Verdict
from stedi_assets.refresh.view import View
from stedi_assets.tables.accounts import KEPT
from stedi_assets.tables.consent import suspending_records, unreadable_people
from stedi_assets.tables.contract import Contract, breaches
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.trusted.customer_trusted import CUSTOMER_TRUSTED

_NOT_BLOCKING = WARNINGS | {"readable"}
"""Checks of the input, not of the candidate: what could not be read is not in it."""

UNSTOPPABLE = {"customer_landing", "quarantine"}
"""Tables that no check holds back: they say who withdrew, and who is suspended."""

_ABOUT_PEOPLE = {"consent", "serial_numbers"}
"""Checks that find rows which nobody may have."""


def checks_of(table: TableDefinition) -> list[str]:
    """Names of the checks of a trusted or curated table."""
    checks = {
        "contract": True,
        "consent": table.consent,
        "serial_numbers": table.serial_numbers,
        "completeness": table.account,
        "suspended": table.name == CUSTOMER_TRUSTED.name,
        "consent_share": table.name == CUSTOMER_TRUSTED.name,
    }
    return [check for check, applies in checks.items() if applies]


def audit(
    table: TableDefinition, lakehouse: Lakehouse, policy: Policy, max_consent_fall: float
) -> Verdict:
    """Check the table's candidate, and publish it when no blocking check fails.

    Args:
        table: The table.
        lakehouse: Where its candidate waits on the branch `audit`.
        policy: What the rules depend on.
        max_consent_fall: Percentage points by which the share of consenting people may fall
            without a warning.
    """
    candidate = lakehouse.catalog.candidate(table.name)
    if candidate is None:
        return _audit_unchanged(table, lakehouse, policy)
    started = time.perf_counter()
    view = View(lakehouse, policy, candidate)
    contract = table.contract_under(policy)
    findings = list(_findings(table, contract, candidate, view, max_consent_fall))
    return conclude(candidate, findings, lakehouse, started)


def _findings(
    table: TableDefinition,
    contract: type[Contract],
    candidate: Snapshot,
    view: View,
    max_consent_fall: float,
) -> Iterator[Finding]:
    yield (fulfilled := check_contract(contract, view[table.name]))
    if not fulfilled.passed:  # the other rules rely on the columns
        yield from (_not_tried(check) for check in checks_of(table)[1:])
        return
    if table.name == CUSTOMER_TRUSTED.name:
        yield check_suspended(view)
        yield check_consent_share(candidate, view, max_consent_fall)
    if table.consent:
        yield _check_rule("consent", table.name, table.consent, view)
    if table.serial_numbers:
        yield _check_rule("serial_numbers", table.name, table.serial_numbers, view)
    if table.account:
        yield _check_account(candidate, table.account, view)


def _audit_unchanged(table: TableDefinition, lakehouse: Lakehouse, policy: Policy) -> Verdict:
    """The verdict on an unchanged table; it still says who is suspended."""
    verdict = unchanged(table.name, checks_of(table), lakehouse)
    if table.name != CUSTOMER_TRUSTED.name or verdict.published is None:
        return verdict
    suspended = check_suspended(View(lakehouse, policy, verdict.published))
    findings = [suspended if f.check == suspended.check else f for f in verdict.findings]
    return replace(verdict, findings=findings)


def unchanged(table: str, checks: list[str], lakehouse: Lakehouse) -> Verdict:
    """The verdict on an unchanged table: it passed when it was published."""
    published = lakehouse.catalog.published(table)
    metadata = {"snapshot": str(published.id), "rows": published.rows} if published else {}
    sentence = "Unchanged since it was audited."
    return Verdict(table, [Finding(check, True, sentence, metadata) for check in checks], published)


def conclude(
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
    failed = [f for f in findings if not f.passed and f.check not in _NOT_BLOCKING]
    held_back = bool(failed) and candidate.table not in UNSTOPPABLE
    metadata = {
        "snapshot": str(candidate.id),
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
        lakehouse.catalog.hold_back(candidate)
    if held_back:
        return verdict
    lakehouse.catalog.publish(candidate)
    seconds = time.perf_counter() - audited
    return replace(verdict, published=candidate, publish_seconds=seconds)


def _concerns_people(finding: Finding) -> bool:
    return finding.check in _ABOUT_PEOPLE and bool(finding.metadata.get("violations"))


def check_contract(contract: type[Contract], candidate: ir.Table) -> Finding:
    """Whether the candidate fulfils its contract."""
    return _contract_finding(contract, breaches(contract, candidate))


def refuse(table: TableDefinition, policy: Policy, broken: dict[str, int]) -> Verdict:
    """The verdict on a table that cannot be written: columns are missing or of another type."""
    contract = table.contract_under(policy)
    not_tried = [_not_tried(check) for check in checks_of(table)[1:]]
    return Verdict(table.name, [_contract_finding(contract, broken), *not_tried])


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
    check: str, table: str, rule: Callable[..., ir.IntegerScalar], view: View
) -> Finding:
    violations = view.count(rule)
    sentence = f"{table}: {violations} violations. {rule.__doc__}" if violations else "None found."
    return Finding(check, violations == 0, sentence, {"violations": violations})


def _check_account(candidate: Snapshot, account: Callable[..., ir.Table], view: View) -> Finding:
    outcomes = {row["outcome"]: row["rows"] for row in view.fetch(account)}
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


def check_suspended(view: View) -> Finding:
    """How many people are suspended, and where their unreadable records are."""
    places = view.call(suspending_records).order_by("source_file", "position")
    people = view.call(unreadable_people).count().to_pyarrow().as_py()
    examples = [
        f"{display_name(row['source_file'])} at byte {row['position']}"
        for row in places.limit(MOST_NAMED).to_pyarrow().to_pylist()
    ]
    if not people:
        return Finding("suspended", True, "Nobody is suspended.", {"suspended": 0})
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
        f"{now:.1f} % of people consent, {before:.1f} % did before. It took effect. If nobody "
        "knows of so many withdrawals: was a column renamed upstream?"
        if before - now > max_fall
        else f"{now:.1f} % of people consent, {before:.1f} % did before.",
        {"consent_share": now, "consent_share_before": before},
    )


def _not_tried(check: str) -> Finding:
    return Finding(check, False, "Not tried: the contract is broken.")
