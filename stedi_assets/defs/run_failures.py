"""What failed in a run, in sentences that a person can use."""

from collections.abc import Iterator
from dataclasses import dataclass

import dagster as dg

from stedi_assets.refresh.findings import ALERTING_WARNINGS


@dataclass(frozen=True)
class Failure:
    """What failed; the sentence has counts and reasons but no value of the data.

    Attributes:
        table: The table; where it is not known, the step or the job.
        rule: The check that failed, or `step` or `run`.
    """

    table: str
    rule: str
    sentence: str


def failures_of(instance: dg.DagsterInstance, run_id: str) -> list[Failure]:
    """The checks that failed in a run, and the steps that failed for another reason."""
    return [*failed_checks(instance, run_id), *failed_steps(instance, run_id)]


def failed_checks(instance: dg.DagsterInstance, run_id: str) -> list[Failure]:
    """The checks that failed with more than a warning, and warnings that somebody should see."""
    checks = [
        event.asset_check_evaluation_data
        for event in _events(instance, run_id, dg.DagsterEventType.ASSET_CHECK_EVALUATION)
    ]
    last = {check.asset_check_key: check for check in checks}  # a step may have been tried again
    return [
        Failure(check.asset_key.path[-1], check.check_name, check.description or "It failed.")
        for check in last.values()
        if not check.passed
        and (check.severity == dg.AssetCheckSeverity.ERROR or check.check_name in ALERTING_WARNINGS)
    ]


def failed_steps(instance: dg.DagsterInstance, run_id: str) -> list[Failure]:
    """The steps that failed for another reason than a check."""
    failures = []
    for event in _events(instance, run_id, dg.DagsterEventType.STEP_FAILURE):
        step = event.step_failure_data
        cause = step.error.cause or step.error if step.error else None
        kind = cause.cls_name if cause else None
        if kind == "DagsterAssetCheckFailedError":
            continue  # the check says it
        # The message of an unforeseen error may quote data.
        sentence = f"It stopped with {kind or 'an error'}; the run's log says more."
        if kind == "DagsterExecutionInterruptedError":
            sentence = "It was stopped from outside; the next refresh goes on from there."
        if step.user_failure_data and step.user_failure_data.description:
            sentence = step.user_failure_data.description
        failures.append(Failure(event.step_key or "", "step", sentence))
    return failures


def _events(
    instance: dg.DagsterInstance, run_id: str, kind: dg.DagsterEventType
) -> Iterator[dg.DagsterEvent]:
    for entry in instance.all_logs(run_id, of_type=kind):
        if entry.dagster_event:
            yield entry.dagster_event
