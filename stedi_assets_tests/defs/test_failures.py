"""A step is tried again after a fault that may pass by itself, and after no other."""

from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from rich.console import Console

from stedi_assets.cli.refresh import refresh as refresh_and_tell
from stedi_assets.defs.failures import RETRIES, as_dagster_failure
from stedi_assets.lakehouse.faults import LakehouseError, is_transient
from stedi_assets.lakehouse.landing.ingest import Ingest, Ingested
from stedi_assets.lakehouse.landing.ledger import LandingFolder, Listing
from stedi_assets.lakehouse.storage import aws_faults  # noqa: F401  (registers what errors mean)
from stedi_assets_tests.support import ANN, counts, customer, deliver, phone, refresh, under

OUT_OF_REACH = EndpointConnectionError(endpoint_url="https://s3.example.com/")


def answer(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "GetObject")


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stedi_assets.defs.failures.PAUSE", 0.0)


def tries(error: Exception, failing: int) -> tuple[int, bool]:
    """How often a step runs that fails so often, and whether it succeeds in the end."""
    tried = 0

    @dg.op
    def step() -> None:
        nonlocal tried
        tried += 1
        with as_dagster_failure():
            if tried <= failing:
                raise error

    @dg.job
    def job() -> None:
        step()

    result = job.execute_in_process(raise_on_error=False)
    return tried, result.success


@pytest.mark.parametrize(
    "error",
    [OUT_OF_REACH, ReadTimeoutError(endpoint_url=""), answer("SlowDown"), answer("503")],
    ids=repr,
)
def test_step_is_tried_again_while_aws_is_busy_or_out_of_reach(error: Exception) -> None:
    assert is_transient(error)
    assert tries(error, failing=RETRIES) == (RETRIES + 1, True)
    assert tries(error, failing=RETRIES + 1) == (RETRIES + 1, False)


@pytest.mark.parametrize(
    "error",
    [
        answer("AccessDenied"),
        answer("NoSuchBucket"),
        answer("ConcurrentModificationException"),
        NoCredentialsError(),
        LakehouseError("mend it"),
        duckdb.OutOfMemoryException("too much"),
        duckdb.IOException("no space left on device"),
        ValueError("a mistake in the program"),
    ],
    ids=repr,
)
def test_nothing_else_is_tried_again(error: Exception) -> None:
    assert not is_transient(error)
    assert tries(error, failing=1) == (1, False)


def test_cause_of_an_error_tells_whether_it_passes() -> None:
    wrapped = RuntimeError("the library's own")
    wrapped.__cause__ = OUT_OF_REACH
    assert is_transient(wrapped)


Failing = Callable[[int], None]


@pytest.fixture
def unlisted(monkeypatch: pytest.MonkeyPatch) -> Failing:
    """Lets the customers' files be out of reach while they are taken in for the first times."""
    listing, stage, left = LandingFolder.listing, Ingest.stage, 0

    def failing(self: LandingFolder, source: str) -> Listing:
        if source == "customer" and left > 0:
            raise OUT_OF_REACH
        return listing(self, source)

    def staged(self: Ingest, source: str, *given: Any, **named: Any) -> Ingested:
        nonlocal left
        try:
            return stage(self, source, *given, **named)
        finally:
            left -= source == "customer"

    def fail(times: int) -> None:
        nonlocal left
        left = times

    monkeypatch.setattr(LandingFolder, "listing", failing)
    monkeypatch.setattr(Ingest, "stage", staged)
    return fail


@pytest.fixture
def delivered(tmp_path: Path) -> Path:
    deliver(
        tmp_path / "landing", "first.json", customer=[customer(ANN)], accelerometer=phone(ANN, 1)
    )
    return tmp_path


def test_source_out_of_reach_for_a_moment_is_taken_in_all_the_same(
    delivered: Path, unlisted: Failing
) -> None:
    unlisted(1)
    result = refresh(under(delivered))
    assert result.success
    assert all(check.passed for check in result.get_asset_check_evaluations())
    assert counts(under(delivered))["customer_landing"] == 1


def test_source_out_of_reach_for_longer_is_told_and_stops_no_other(
    delivered: Path, unlisted: Failing
) -> None:
    unlisted(RETRIES + 1)
    result = refresh(under(delivered), only=["customer_landing", "accelerometer_landing"])
    assert result.success
    failed = [check for check in result.get_asset_check_evaluations() if not check.passed]
    assert {check.asset_key.to_user_string() for check in failed} == {"customer_landing"}
    assert "https://s3.example.com did not answer" in (failed[0].description or "")
    assert counts(under(delivered)) == {"accelerometer_landing": 1}


def test_refresh_says_that_it_tries_again(delivered: Path, unlisted: Failing) -> None:
    said = StringIO()
    unlisted(1)
    assert refresh_and_tell(under(delivered), Console(file=said, width=200))
    [line] = [line for line in said.getvalue().splitlines() if "Trying again" in line]
    assert line.startswith("landing: https://s3.example.com did not answer")
