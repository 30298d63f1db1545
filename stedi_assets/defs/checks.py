"""Checks as Dagster declares and records them."""

from collections.abc import Iterable, Iterator

import dagster as dg

from stedi_assets.refresh.findings import DESCRIPTIONS, WARNINGS, Finding, Verdict
from stedi_assets.refresh.gate import NEVER_HOLD_BACK, effect_of
from stedi_assets.tables import SOURCES
from stedi_assets.tables.landing.quarantine import QUARANTINE

FROM_FILES = {*SOURCES, QUARANTINE.name}
"""The tables that hold what is in landing files."""

UNCHANGED = "unchanged"
"""Metadata of a result that is that of an earlier run, as nothing changed since."""

_REMEMBERED = 2, 8
"""Evaluations that are looked through for the last one of what is published: two, then eight more.

Mostly it is one of the first two. To unpack all of them would take a tenth of a small refresh.
"""


def check_specs(table: str, checks: Iterable[str]) -> list[dg.AssetCheckSpec]:
    """Checks of a table as Dagster wants them declared.

    A failed check of a landing table does not stop the tables after it: they are made from what is
    published, as a withdrawal must not wait until another source's files are mended.

    Args:
        table: The table.
        checks: Names of its checks.
    """
    return [
        dg.AssetCheckSpec(
            check,
            asset=table,
            blocking=table not in FROM_FILES and check not in NEVER_HOLD_BACK,
            description=f"{DESCRIPTIONS[check]}. {effect_of(check, table)}",
        )
        for check in checks
    ]


def check_results(verdict: Verdict, instance: dg.DagsterInstance) -> Iterator[dg.AssetCheckResult]:
    """The findings as Dagster records them; what did not change is said as it was said last."""
    for finding in verdict.findings:
        key = dg.AssetCheckKey(dg.AssetKey(verdict.table), finding.check)
        last = _last_result(key, verdict, instance) if finding.repeats else None
        yield last or _result(verdict.table, finding)


def _result(table: str, finding: Finding) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=table,
        check_name=finding.check,
        passed=finding.passed,
        severity=_severity(finding.check),
        description=finding.sentence,
        metadata=finding.metadata,
    )


def _severity(check: str) -> dg.AssetCheckSeverity:
    return dg.AssetCheckSeverity.WARN if check in WARNINGS else dg.AssetCheckSeverity.ERROR


def _last_result(
    key: dg.AssetCheckKey, verdict: Verdict, instance: dg.DagsterInstance
) -> dg.AssetCheckResult | None:
    """What Dagster recorded of the check when it last looked at what is published now."""
    if verdict.published is None:
        return None
    snapshot = {"snapshot": dg.MetadataValue.text(str(verdict.published.id))}
    for evaluation in evaluations(key, instance):
        if snapshot.items() <= evaluation.metadata.items():
            return dg.AssetCheckResult(
                asset_key=key.asset_key,
                check_name=key.name,
                passed=evaluation.passed,
                severity=evaluation.severity,
                description=evaluation.description,
                metadata={**evaluation.metadata, UNCHANGED: True},
            )
    return None


def evaluations(
    key: dg.AssetCheckKey, instance: dg.DagsterInstance
) -> Iterator[dg.AssetCheckEvaluation]:
    """The last evaluations of a check, the newest first."""
    history, before = instance.event_log_storage.get_asset_check_execution_history, None
    for number in _REMEMBERED:
        for record in history(key, number, before):
            before = record.id
            # Where it is only planned, the record has something else in the evaluation's place.
            if isinstance(record.evaluation, dg.AssetCheckEvaluation):
                yield record.evaluation
