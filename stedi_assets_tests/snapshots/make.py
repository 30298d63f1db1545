"""What tables compile to and what Dagster is told, as text: `make snapshots` writes it anew."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import ibis

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES
from stedi_assets.tables.definition import query_of, takes_policy
from stedi_assets.tables.policy import ConsentScope, Policy

FOLDER = Path(__file__).parent
SCOPES: tuple[ConsentScope, ...] = ("any", "from_consent_date")


def snapshots() -> dict[str, str]:
    """Text of each snapshot, by its file's name."""
    return dict(_tables()) | {"dagster.json": json.dumps(_dagster(), indent=2) + "\n"}


def _tables() -> Iterator[tuple[str, str]]:
    """The SQL of each table that has a rule, in each consent scope where that matters.

    A table is made anew where its SQL changed: an upgrade of ibis that would do so shows here.
    """
    for scope in SCOPES:
        policy = Policy(scope, subject_key=lambda: "a key for tests, of 32 characters or more")
        tables = {t.name: ibis.table(t.table(policy).types, name=t.name) for t in TABLES}
        for table in TABLES:
            if table.rule and (scope == SCOPES[0] or takes_policy(table.rule)):
                sql = query_of(table.rule, tables, policy).sql()
                suffix = "" if scope == SCOPES[0] else f".{scope}"
                yield f"{table.name}{suffix}.sql", f"{sql}\n"


def _dagster() -> dict[str, Any]:
    """Assets with their dependencies and checks, jobs, schedules and sensors."""
    definitions = lakehouse_definitions(Settings.load(webhook="https://example.com/hook"))
    graph = definitions.resolve_asset_graph()
    specs = sorted(definitions.resolve_all_asset_specs(), key=lambda spec: spec.key)
    return {
        "assets": {
            spec.key.to_user_string(): {
                "group": spec.group_name,
                "kinds": sorted(spec.kinds),
                "tags": {k: v for k, v in sorted(spec.tags.items()) if "dagster/" not in k},
                "made from": sorted(dep.asset_key.to_user_string() for dep in spec.deps),
                "checks": {
                    key.name: "stops the run" if graph.get(key).blocking else "warns or waits"
                    for key in sorted(graph.asset_check_keys, key=str)
                    if key.asset_key == spec.key
                },
            }
            for spec in specs
        },
        "jobs": sorted(job.name for job in definitions.jobs or ()),
        "schedules": {
            schedule.name: [schedule.cron_schedule, schedule.job_name]
            for schedule in definitions.schedules or ()
            if isinstance(schedule, dg.ScheduleDefinition)
        },
        "sensors": sorted(sensor.name for sensor in definitions.sensors or ()),
    }


def main() -> None:
    """Write the snapshots, and remove those of tables that are no more."""
    written = snapshots()
    for path in (*FOLDER.glob("*.sql"), *FOLDER.glob("*.json")):
        if path.name not in written:
            path.unlink()
    for name, text in written.items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
