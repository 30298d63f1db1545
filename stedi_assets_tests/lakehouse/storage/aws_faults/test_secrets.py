"""No secret is in a log, an event or an error."""

import json
import logging
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.resources import open_storage
from stedi_assets_tests.aws_servers import Identity
from stedi_assets_tests.conftest import Aws
from stedi_assets_tests.lakehouse.storage.aws_faults.support import (
    DUCKDB,
    Person,
    Site,
    everything,
    glue_error,
    s3,
    s3_error,
    said,
)
from stedi_assets_tests.refresh.pipeline.support import SECOND
from stedi_assets_tests.support import (
    KEY,
    TABLES,
    catalog_of,
    refresh,
)

if TYPE_CHECKING:
    from stedi_assets_tests.fault_proxy import (
        Action,
        FaultProxy,
        Match,
    )


@pytest.mark.usefixtures("impatient")
def test_no_secret_is_in_any_log_event_or_error(  # noqa: PLR0913, PLR0917  (what it looks into)
    aws: Aws,
    site: Site,
    stedi: Person,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    person = aws.s3.allow(Identity("AKIARECOGNISABLE", "recognisable/secret'key"))
    token = "recognisable session token"
    secrets = [person.access_key, person.secret_key, token, KEY]
    secrets += [json.dumps(secret)[1:-1] for secret in secrets]
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", person.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", person.secret_key)
    for ours in ("stedi_assets", "dagster", "pyiceberg", "smart_open", "filelock"):
        caplog.set_level(logging.DEBUG, ours)
    instance = dg.DagsterInstance.ephemeral()
    printed: list[str] = []

    def refreshed(*commands: str) -> dg.ExecuteInProcessResult:
        result = refresh(site.settings, instance)
        printed.extend(capsys.readouterr())
        printed.extend(stedi(site.settings, command)[1] for command in commands)
        return result

    runs = [refreshed("status")]
    assert runs[0].success

    site.deliver("second.json", SECOND)
    spoilt: list[tuple[FaultProxy, Match, Action]] = [
        (site.s3, everything, s3_error(400, "ExpiredToken")),
        (site.s3, s3("PUT", "/data/", DUCKDB), s3_error(403, "InvalidAccessKeyId")),
        (site.glue, everything, glue_error("AccessDeniedException")),
    ]
    for proxy, match, action in spoilt:
        proxy.when(match, action)
        runs.append(refreshed("refresh", "status"))
        proxy.clear()
    with monkeypatch.context() as unknown:
        unknown.setenv("AWS_SESSION_TOKEN", token)
        runs.append(refreshed("refresh"))
    with monkeypatch.context() as broken:
        broken.setattr("stedi_assets.lakehouse.storage.s3.sql_text", lambda value: f"'{value}")
        runs.append(refreshed())  # DuckDB quotes what it cannot parse
    assert all(said(run) for run in runs[1:])

    catalog, where = catalog_of(site.direct), open_storage(site.settings)
    tables = [where.iceberg.load_table((where.namespace, table)) for table in TABLES]
    described = aws.glue.client().get_tables(DatabaseName=where.namespace)["TableList"]
    definitions = lakehouse_definitions(site.settings)
    records = instance.get_run_records()
    evidence = {
        "events": [entry for run in records for entry in log_of(instance, run)],
        "runs": [repr(run.dagster_run) for run in records],
        "printed": printed,
        "logs": [caplog.text],
        "objects": [
            *map(repr, (site.settings, where, catalog, definitions.resources)),
            *map(str, (site.settings, where, site.settings.model_dump())),
        ],
        "snapshots": [table.metadata.model_dump_json() for table in tables],
        "Glue": [repr(described)],
    }
    assert len(records) == len(runs)
    assert {kind: bool("".join(found)) for kind, found in evidence.items()} == dict.fromkeys(
        evidence, True
    )
    leaks = [
        (kind, secret, text[max(0, text.index(secret) - 100) :][:200])
        for kind, found in evidence.items()
        for text in found
        for secret in secrets
        if secret in text
    ]
    assert leaks == []


def log_of(instance: dg.DagsterInstance, record: dg.RunRecord) -> list[str]:
    """A run's events, each as it is stored: with its error and whatever caused that."""
    return [dg.serialize_value(entry) for entry in instance.all_logs(record.dagster_run.run_id)]
