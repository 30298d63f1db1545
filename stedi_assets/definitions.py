"""What Dagster loads: the tables, their checks, and the lakehouse they live in."""

import dagster as dg

from stedi_assets.assets import RULES
from stedi_assets.assets.landing import landing_assets
from stedi_assets.assets.sources import source_assets
from stedi_assets.build import table_asset
from stedi_assets.deployments import lakehouse
from stedi_assets.jobs import FRESHNESS, refresh_lakehouse, schedules, vacuum_lakehouse
from stedi_assets.lakehouse.resource import LakehouseIOManager
from stedi_assets.lineage import Lineage
from stedi_assets.report.asset import report_asset, report_automation
from stedi_assets.schemas import contracts
from stedi_assets.sensors.alerts import alert_sensors
from stedi_assets.sensors.landing import landing_sensor
from stedi_assets.sensors.training import training_set_sensor
from stedi_assets.settings import Settings


def lakehouse_definitions(settings: Settings) -> dg.Definitions:
    """The project under these settings."""
    contract = contracts(pseudonymize=settings.pseudonymize)
    lineage = Lineage(RULES, settings)
    tables = lakehouse(settings)
    assets = [
        landing_assets(contract, settings, lineage),
        *(table_asset(rule, contract[rule.__name__], settings, lineage) for rule in RULES),
    ]
    return dg.Definitions(
        assets=[
            *source_assets(settings),
            *dg.map_asset_specs(_with_freshness, assets),
            report_asset(settings),
        ],
        jobs=[refresh_lakehouse(), vacuum_lakehouse(settings)],
        schedules=schedules(),
        sensors=[
            landing_sensor(settings, RULES),
            training_set_sensor(settings),
            report_automation,
            *alert_sensors(settings),
        ],
        resources={"lakehouse": tables, "io_manager": LakehouseIOManager(lakehouse=tables)},
        # The embedded engine uses all cores for one table at a time; a process for each step
        # would only pay for its start.
        executor=dg.in_process_executor,
    )


def _with_freshness(spec: dg.AssetSpec) -> dg.AssetSpec:
    return spec.replace_attributes(freshness_policy=FRESHNESS)


defs = lakehouse_definitions(Settings.load())
