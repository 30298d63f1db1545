"""Faults to be made, and what has to hold after them."""

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from typing import Any

import dagster as dg
import pytest

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.fault_proxy import (
    Action,
    FaultProxy,
    Match,
    respond,
)
from stedi_assets_tests.support import (
    catalog_of,
    counts,
    deliver,
    under,
)

LANDING = ("customer_landing", "accelerometer_landing", "step_trainer_landing", "quarantine")


US, DUCKDB = "Boto3/", "duckdb/"


SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


Rule = tuple[Match, Action, dict[str, int]]


def s3(method: str, part: str = "", by: str = "") -> Match:
    """Requests to S3 by method, by a part of path and query, and by who asks."""

    def match(asked: str, path: str, headers: Message) -> bool:
        return asked == method and part in path and headers.get("User-Agent", "").startswith(by)

    return match


def glue(*operations: str) -> Match:
    """Requests to Glue by operation; all where none is given."""

    def match(method: str, path: str, headers: Message) -> bool:
        return not operations or headers["x-amz-target"].removeprefix("AWSGlue.") in operations

    return match


def everything(method: str, path: str, headers: Message) -> bool:
    return True


def s3_error(status: int, code: str) -> Action:
    """An answer of S3 that tells an access key, as real ones do."""
    key = os.environ.get("AWS_ACCESS_KEY_ID", "")
    body = f"<Error><Code>{code}</Code><AWSAccessKeyId>{key}</AWSAccessKeyId></Error>"
    return respond(status, body.encode())


def glue_error(code: str) -> Action:
    """An answer of Glue that tells an access key, as real ones do."""
    said = f"User {os.environ.get('AWS_ACCESS_KEY_ID', '')} is not authorized"
    body = json.dumps({"__type": code, "message": said})
    return respond(400, body.encode(), "application/x-amz-json-1.1")


@dataclass
class Site:
    """A lakehouse whose requests pass proxies, and what a person sees of it.

    Attributes:
        settings: Through the proxies.
        direct: The same lakehouse, past them.
    """

    folder: Any
    s3: FaultProxy
    glue: FaultProxy
    settings: Settings = field(init=False)
    direct: Settings = field(init=False)

    def __post_init__(self) -> None:
        endpoints = {"s3_endpoint": self.s3.endpoint, "glue_endpoint": self.glue.endpoint}
        self.settings, self.direct = under(self.folder, **endpoints), under(self.folder)

    def deliver(self, name: str, objects: Mapping[str, Any]) -> None:
        deliver(self.folder / "landing", name, **objects)


def land(settings: Settings, *others: str) -> dg.ExecuteInProcessResult:
    """Refresh the landing tables, and these, alone."""
    job = lakehouse_definitions(settings).resolve_job_def("refresh_lakehouse")
    return job.execute_in_process(
        asset_selection=[dg.AssetKey(table) for table in (*LANDING, *others)], raise_on_error=False
    )


def failed_by_a_check(event: dg.DagsterEvent) -> bool:
    error = event.step_failure_data.error
    return error is not None and error.cls_name == "DagsterAssetCheckFailedError"


def said(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """What a run says of each step that failed and each table that was held back."""
    found = {
        event.step_key or "": event.step_failure_data.user_failure_data
        for event in result.all_events
        if event.is_step_failure and not failed_by_a_check(event)  # its sentence is below
    }
    assert all(found.values()), "a step failed with a stack trace"
    return {step: failure.description or "" for step, failure in found.items() if failure} | {
        evaluation.asset_key.to_user_string(): evaluation.description or ""
        for evaluation in result.get_asset_check_evaluations()
        if not evaluation.passed
    }


def assert_whole(
    settings: Settings, read_iceberg: IcebergReader, *states: Mapping[str, int]
) -> None:
    """Every table is as one of the states has it; DuckDB's Iceberg reader sees the same rows."""
    catalog, found = catalog_of(settings), counts(settings)
    for table in found:
        assert found[table] in {state[table] for state in states}, table
        rows = read_iceberg(catalog.metadata_location(table))
        assert len(rows) == found[table], table


def around_publications(
    patch: pytest.MonkeyPatch,
    before: Callable[[Snapshot], object],
    after: Callable[[Snapshot], object] = bool,
) -> None:
    """Do something before and after each publication."""
    publish = Catalog.publish

    def published(catalog: Catalog, candidate: Snapshot, *account: Any) -> None:
        before(candidate)
        publish(catalog, candidate, *account)
        after(candidate)

    patch.setattr(Catalog, "publish", published)


Person = Callable[..., tuple[int, str]]


SILENT = (
    "{} did not answer over several tries; nothing is lost: check the network, and "
    "AWS_DEFAULT_REGION or the endpoint in the settings, and refresh again."
)
