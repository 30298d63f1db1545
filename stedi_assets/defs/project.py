"""The project as Dagster sees it: the tables, their checks, and the lakehouse they live in."""

import dagster as dg

from stedi_assets.defs.all_files import all_files_check
from stedi_assets.defs.io_manager import io_manager, lakehouse_resource
from stedi_assets.defs.jobs import (
    FRESHNESS,
    forget_people,
    recompute_lakehouse,
    refresh_lakehouse,
    schedules,
    vacuum_lakehouse,
)
from stedi_assets.defs.landing import landing_assets
from stedi_assets.defs.report import report_asset, report_automation
from stedi_assets.defs.sensors.alerts import alert_sensors
from stedi_assets.defs.sensors.landing import landing_sensor
from stedi_assets.defs.sensors.training import training_set_sensor
from stedi_assets.defs.sources import source_assets
from stedi_assets.defs.table_assets import table_asset
from stedi_assets.lakehouse.progress import SILENT, Progress
from stedi_assets.privacy.policy import policy_of
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES
from stedi_assets.tables.lineage import Lineage


def lakehouse_definitions(settings: Settings, progress: Progress = SILENT) -> dg.Definitions:
    """The project under these settings; `progress` is told what a run in this process does."""
    lineage = Lineage(TABLES, policy_of(settings))
    assets = [
        landing_assets(settings, lineage),
        *(table_asset(table, settings, lineage) for table in TABLES if table.rule),
    ]
    return dg.Definitions(
        assets=[
            *source_assets(settings),
            *dg.map_asset_specs(_with_freshness, assets),
            report_asset(settings),
        ],
        asset_checks=[all_files_check()],
        jobs=[
            refresh_lakehouse(),
            recompute_lakehouse(),
            vacuum_lakehouse(settings),
            forget_people(settings),
        ],
        schedules=schedules(),
        sensors=[
            landing_sensor(settings),
            training_set_sensor(settings),
            report_automation,
            *alert_sensors(settings),
        ],
        resources={"lakehouse": lakehouse_resource(settings, progress), "io_manager": io_manager},
        # The embedded engine uses all cores for one table at a time; a process for each step
        # would only pay for its start.
        executor=dg.in_process_executor,
    )


def _with_freshness(spec: dg.AssetSpec) -> dg.AssetSpec:
    return spec.replace_attributes(freshness_policy=FRESHNESS)
