"""What a webhook is told of runs: the table, the rule and a link, and nothing that is secret."""

import json
import logging
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stedi_assets.defs.sensors import alerts
from stedi_assets.settings import Settings
from stedi_assets_tests.support import ANN, customer, deliver, refresh, under, write

SECRET = "T0123-secret"


class Webhook:
    """A server that keeps what it is told.

    Attributes:
        answers: Statuses to answer with, before it answers 200.
        told: Bodies of the requests that were answered with 200.
    """

    def __init__(self) -> None:
        self.answers: list[int] = []
        self.told: list[dict[str, Any]] = []
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status = webhook.answers.pop(0) if webhook.answers else 200
                if status == 200:
                    webhook.told.append(body)
                self.send_response(status)
                self.send_header("Retry-After", "3600")
                self.send_header("Location", "/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/services/{SECRET}"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def webhook(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    monkeypatch.setattr(alerts, "TRIES", alerts.TRIES.new(backoff_factor=0))
    webhook = Webhook()
    yield webhook
    webhook.stop()


class Desk:
    """A Dagster instance whose runs are watched."""

    def __init__(self, settings: Settings) -> None:
        self.instance = dg.DagsterInstance.ephemeral()
        self._sensors = alerts.alert_sensors(settings)
        self._cursors: dict[str, str | None] = {}
        self.tick()  # which says from where on

    def tick(self) -> list[str]:
        """Evaluate the sensors as the daemon does; gives what made a tick fail."""
        faults: list[str] = []
        for sensor in self._sensors:
            cursor = self._cursors.get(sensor.name)
            context = dg.build_sensor_context(instance=self.instance, cursor=cursor)
            result = sensor.evaluate_tick(context)
            self._cursors[sensor.name] = result.cursor
            reactions = result.dagster_run_reactions or []
            faults += [reaction.error.to_string() for reaction in reactions if reaction.error]
        return faults

    def run(self, asset: dg.AssetsDefinition) -> str:
        """Materialize an asset ad hoc; gives the run's id."""
        done = dg.materialize([asset], instance=self.instance, raise_on_error=False)
        return done.run_id


@pytest.fixture
def desk(webhook: Webhook, tmp_path: Path) -> Desk:
    return Desk(Settings.load(lakehouse=tmp_path, webhook=webhook.address))


@dg.asset(
    check_specs=[
        dg.AssetCheckSpec("consent", asset="checked", blocking=True),
        dg.AssetCheckSpec("files", asset="checked"),
    ]
)
def checked() -> Iterator[Any]:
    yield dg.Output(None)
    yield dg.AssetCheckResult(
        passed=False, check_name="consent", description="checked: 2 violations."
    )
    yield dg.AssetCheckResult(
        passed=False, check_name="files", severity=dg.AssetCheckSeverity.WARN, description="x"
    )


@dg.asset
def refused() -> None:
    raise dg.Failure("The disk is full.")


@dg.asset
def crashed() -> None:
    raise ValueError(f"no number: {ANN}")


@dg.asset
def fine() -> None:
    pass


def test_no_webhook_no_sensors(tmp_path: Path) -> None:
    assert alerts.alert_sensors(Settings.load(lakehouse=tmp_path)) == []


@pytest.mark.parametrize(
    ("asset", "rule", "sentence"),
    [
        (checked, "consent", "checked: 2 violations."),
        (refused, "step", "The disk is full."),
        (crashed, "step", "It stopped with ValueError; the run's log says more."),
    ],
)
def test_failed_run_tells_table_rule_and_reason_with_a_link(
    webhook: Webhook, desk: Desk, asset: dg.AssetsDefinition, rule: str, sentence: str
) -> None:
    run_id, table = desk.run(asset), asset.key.path[-1]
    assert desk.tick() == []
    link = f"http://127.0.0.1:3000/runs/{run_id}"
    assert webhook.told == [
        {
            "text": f"STEDI lakehouse: {rule} of {table} failed. {sentence} {link}",
            "run": link,
            "job": "__ephemeral_asset_job__",
            "failures": [{"table": table, "rule": rule, "sentence": sentence}],
        }
    ]
    assert ANN not in json.dumps(webhook.told)
    assert desk.tick() == []
    assert len(webhook.told) == 1


def test_run_that_failed_outside_of_its_steps_is_told(webhook: Webhook, desk: Desk) -> None:
    run = dg.DagsterRun(job_name="refresh_lakehouse", status=dg.DagsterRunStatus.STARTED)
    desk.instance.add_run(run)
    desk.instance.report_run_failed(run, "The worker is gone.")
    assert desk.tick() == []
    [told] = webhook.told
    assert told["text"].startswith("STEDI lakehouse: run of refresh_lakehouse failed. It failed")


def test_unreadable_customers_in_a_run_that_succeeded_are_told(
    webhook: Webhook, tmp_path: Path
) -> None:
    deliver(tmp_path / "landing", "first.json", customer=[customer(ANN)])
    write(tmp_path / "landing", "customer", "second.json", f"{ANN}\n")
    address = "https://dagster.example.com"
    settings = under(tmp_path, webhook=webhook.address, webserver=address)
    desk = Desk(settings)
    result = refresh(settings, desk.instance, only=["customer_landing"])
    assert result.success
    assert desk.tick() == []
    [told] = webhook.told
    link = f"{address}/runs/{result.run_id}"
    assert told["text"].startswith("STEDI lakehouse: readable of customer_landing failed. ")
    assert told["text"].endswith(f"Deliver these objects anew, readable. {link}")
    assert (told["run"], told["job"]) == (link, "refresh_lakehouse")
    [failure] = told["failures"]
    assert (failure["table"], failure["rule"]) == ("customer_landing", "readable")
    assert "1 of 2 new objects are unreadable" in failure["sentence"]
    assert ANN not in json.dumps(told)


def test_run_without_failures_is_not_told(webhook: Webhook, desk: Desk) -> None:
    desk.run(fine)
    assert (desk.tick(), webhook.told) == ([], [])


def test_busy_webhook_is_told_again(webhook: Webhook, desk: Desk) -> None:
    webhook.answers = [503, 500]
    desk.run(refused)
    assert desk.tick() == []
    assert len(webhook.told) == 1


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ([503] * 4, "status 503"),
        ([404], "status 404"),
        ([302], "status 302"),
        (None, "ConnectionError"),  # nobody listens
    ],
)
def test_alert_that_does_not_arrive_fails_the_tick_and_nothing_tells_the_address(
    webhook: Webhook,
    desk: Desk,
    answers: list[int] | None,
    reason: str,
    request: pytest.FixtureRequest,
) -> None:
    caplog: pytest.LogCaptureFixture = request.getfixturevalue("caplog")
    caplog.set_level(logging.DEBUG)
    secrets = SECRET, webhook.address.split("/")[2]
    if answers is None:
        webhook.stop()
    else:
        webhook.answers = answers
    run_id = desk.run(refused)
    [fault] = desk.tick()
    assert (
        f"AlertError: The alert of http://127.0.0.1:3000/runs/{run_id} did not arrive at "
        f"STEDI_WEBHOOK over several tries: {reason}." in fault
    )
    assert caplog.text
    assert not [secret for secret in secrets if secret in fault + caplog.text]
