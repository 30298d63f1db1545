"""Tells a webhook, such as one of Slack, what failed in a run."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

import dagster as dg
import requests
from pydantic import SecretStr
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from stedi_assets.defs.run_failures import Failure, failed_checks, failures_of
from stedi_assets.settings import Settings

TRIES = Retry(
    total=3,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=("POST",),
    raise_on_status=False,
    respect_retry_after_header=False,  # a tick has a minute
)
_TIMEOUT = 10  # seconds, for each try
_LOGGERS = "urllib3.connectionpool", "urllib3.util.retry"


class AlertError(RuntimeError):
    """An alert did not arrive; the message does not say where, as the address is a secret."""


def alert_sensors(settings: Settings) -> list[dg.SensorDefinition]:
    """The sensors that tell STEDI_WEBHOOK what failed; none where it is not set."""
    webhook = settings.webhook
    if webhook is None:
        return []

    @dg.run_failure_sensor(
        name="alert_of_failed_run",
        monitor_all_code_locations=True,  # a refresh in a terminal belongs to no code location
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells STEDI_WEBHOOK which tables and rules failed in a failed run.",
    )
    def alert_of_failed_run(context: dg.RunFailureSensorContext) -> None:
        failures = failures_of(context.instance, context.dagster_run.run_id)
        other = Failure(
            context.dagster_run.job_name, "run", "It failed outside of its steps; its log says why."
        )
        _post(webhook, message(context.dagster_run, failures or [other], settings))

    # A landing table that is held back fails no run: the others go on from what is published.
    @dg.run_status_sensor(
        run_status=dg.DagsterRunStatus.SUCCESS,
        name="alert_of_failed_checks",
        monitor_all_code_locations=True,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells STEDI_WEBHOOK which tables a check held back in a run that went on.",
    )
    def alert_of_failed_checks(context: dg.RunStatusSensorContext) -> None:
        if failures := failed_checks(context.instance, context.dagster_run.run_id):
            _post(webhook, message(context.dagster_run, failures, settings))

    return [alert_of_failed_run, alert_of_failed_checks]


def message(run: dg.DagsterRun, failures: list[Failure], settings: Settings) -> dict[str, object]:
    """What is sent to the webhook: a text for people, and the same for programs."""
    link = f"{settings.webserver}/runs/{run.run_id}"
    failed = ", ".join(f"{failure.rule} of {failure.table}" for failure in failures)
    sentences = " ".join(failure.sentence for failure in failures)
    return {
        "text": f"STEDI lakehouse: {failed} failed. {sentences} {link}",
        "run": link,
        "job": run.job_name,
        "failures": [asdict(failure) for failure in failures],
    }


def _post(webhook: SecretStr, alert: dict[str, object]) -> None:
    with requests.Session() as session, _without_logging():
        for scheme in ("http://", "https://"):
            session.mount(scheme, HTTPAdapter(max_retries=TRIES))
        try:
            answer = session.post(
                webhook.get_secret_value(), json=alert, timeout=_TIMEOUT, allow_redirects=False
            )
        except requests.RequestException as error:
            raise AlertError(_undelivered(alert, type(error).__name__)) from None
    if not answer.ok or answer.is_redirect:
        raise AlertError(_undelivered(alert, f"status {answer.status_code}"))


def _undelivered(alert: dict[str, object], reason: str) -> str:
    return (
        f"The alert of {alert['run']} did not arrive at STEDI_WEBHOOK over several tries: {reason}."
    )


@contextmanager
def _without_logging() -> Iterator[None]:
    """Keep urllib3 from logging the address with each try."""
    here = threading.get_ident()

    def is_of_other_thread(record: logging.LogRecord) -> bool:
        return record.thread != here

    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(is_of_other_thread)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_of_other_thread)
