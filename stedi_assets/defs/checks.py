"""Checks as Dagster declares and records them."""

from collections.abc import Iterable, Iterator

import dagster as dg

from stedi_assets.refresh.findings import DESCRIPTIONS, WARNINGS, Verdict


def check_specs(
    table: str, checks: Iterable[str], *, stops_run: bool = True
) -> list[dg.AssetCheckSpec]:
    """Checks of a table as Dagster wants them declared.

    Args:
        table: The table.
        checks: Names of its checks.
        stops_run: Whether a failed check also stops the tables after it. Otherwise they are made
            from what is published.
    """
    return [
        dg.AssetCheckSpec(
            check,
            asset=table,
            blocking=stops_run and check not in WARNINGS,
            description=DESCRIPTIONS[check],
        )
        for check in checks
    ]


def check_results(verdict: Verdict) -> Iterator[dg.AssetCheckResult]:
    """The findings as Dagster records them."""
    severities = dg.AssetCheckSeverity
    for finding in verdict.findings:
        yield dg.AssetCheckResult(
            asset_key=verdict.table,
            check_name=finding.check,
            passed=finding.passed,
            severity=severities.WARN if finding.check in WARNINGS else severities.ERROR,
            description=finding.sentence,
            metadata=finding.metadata,
        )
