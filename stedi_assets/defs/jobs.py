"""Jobs, named by what a person wants, and the schedules that start them at night."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import Field

from stedi_assets.defs.failures import as_dagster_failure
from stedi_assets.defs.landing import FULL
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.table import Zone
from stedi_assets.privacy import retention
from stedi_assets.settings import Settings

REFRESH, RECOMPUTE, VACUUM = "refresh_lakehouse", "recompute_lakehouse", "vacuum_lakehouse"
FORGET = "forget_people"
WRITING_TABLES = REFRESH, RECOMPUTE
"""The jobs that take in landing files and make tables."""

SAFETY_AGE = timedelta(days=1)
"""Unreferenced files younger than this may belong to a running refresh."""


def refresh_lakehouse() -> Any:  # Dagster exports no name for its type
    """The job that brings every table up to date."""
    return dg.define_asset_job(
        REFRESH,
        selection=dg.AssetSelection.groups(*Zone),
        description="Take in new landing files and bring every table up to date with them.",
    )


def recompute_lakehouse() -> Any:
    """The refresh that compares each table with a full computation."""
    return dg.define_asset_job(
        RECOMPUTE,
        selection=dg.AssetSelection.groups(*Zone),
        tags={FULL: "true"},
        description="Refresh, and compute every table in full besides: where rows differ from what "
        "was derived from changes, the full result is published and a check fails.",
    )


def vacuum_lakehouse(settings: Settings) -> dg.JobDefinition:
    """The job that lets older snapshots go, under these settings."""

    @dg.op(out=dg.Out(dg.Nothing))
    def vacuum(context: dg.OpExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]) -> None:
        """Let landing data and snapshots go that are too old, and files; merge small ones."""
        with as_dagster_failure():
            if lakehouse.storage.exists():
                removed = retention.vacuum(lakehouse, settings, SAFETY_AGE)
                context.log.info(f"Removed {removed}. Merged {removed.merged}.")
                context.add_output_metadata(
                    {f"landing data of {source}": str(e) for source, e in removed.expired.items()}
                )
            else:
                context.log.info("No tables yet: there is nothing to remove.")

    @dg.job(
        name=VACUUM,
        description="Delete landing data older than STEDI_LANDING_RETENTION, snapshots replaced "
        "longer than STEDI_RETENTION ago, and files that none refers to; merge small files.",
    )
    def job() -> None:
        vacuum()

    return job


class Requests(dg.Config):
    """Who is to be forgotten, without naming them: Dagster keeps the config of a run."""

    requests: str = Field(
        description="Path of a file on the machine of the run, with an e-mail address on each "
        "line; nobody but its owner may read it."
    )
    landing_files: bool = Field(
        default=False, description="Whether to take them out of the landing files, too."
    )


def forget_people(settings: Settings) -> dg.JobDefinition:
    """The job that forgets people, under these settings."""

    @dg.op(out=dg.Out(dg.Nothing))
    def forget(
        context: dg.OpExecutionContext, config: Requests, lakehouse: dg.ResourceParam[Lakehouse]
    ) -> None:
        """Take people out of the lakehouse for good, keep them out, and certify it."""
        # What searches files is needed by nothing else here.
        from stedi_assets.privacy.forget import forget as forget_in  # noqa: PLC0415
        from stedi_assets.privacy.requests import read_requests  # noqa: PLC0415

        with as_dagster_failure():
            certificate = forget_in(
                read_requests(Path(config.requests)),
                lakehouse,
                settings,
                landing_files=config.landing_files,
            )
            context.log.info(f"Certificate {certificate.number}: {certificate.text()}")
            if not certificate.is_complete:
                raise LakehouseError(
                    "Not all of it could be done, or be searched: certificate "
                    f"{certificate.number} in {lakehouse.storage.root}/certificates says what. "
                    "stedi forget with the same addresses names the files."
                )

    @dg.job(
        name=FORGET,
        description="Forget the people whose addresses are in a file: takes them out of all "
        "tables, states and training sets, searches all files for them, and writes a certificate. "
        "If it is interrupted, start it again with the same file, and then delete that.",
    )
    def job() -> None:
        forget()

    return job


NIGHTLY = {
    "nightly_refresh": (REFRESH, "0 2 * * *"),
    "nightly_vacuum": (VACUUM, "0 3 * * *"),
    "nightly_recomputation": (RECOMPUTE, "0 4 * * *"),
}
"""Schedules with the job of each and when it starts (UTC).

The refresh takes in files that no sensor saw. Whether files came or not, the tables' freshness
shows that it ran.
"""

FRESHNESS = dg.FreshnessPolicy.time_window(
    warn_window=timedelta(hours=26), fail_window=timedelta(hours=50)
)
"""A table may miss one night's refresh; after two it is late."""


def schedules() -> list[dg.ScheduleDefinition]:
    """The nightly schedules."""
    return [_schedule(name, job, cron) for name, (job, cron) in NIGHTLY.items()]


def _schedule(name: str, job: str, cron: str) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=name,
        job_name=job,
        cron_schedule=cron,
        default_status=dg.DefaultScheduleStatus.RUNNING,
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        # After a pause Dagster makes up for several nights; the last one is enough.
        if datetime.now(UTC) - context.scheduled_execution_time >= timedelta(days=1):
            return dg.SkipReason("A later night is due already.")
        return dg.RunRequest()

    return schedule
