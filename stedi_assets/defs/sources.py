"""The sources: landing files that arrive from outside, each upstream of its landing table."""

import dagster as dg

from stedi_assets.lakehouse.table import Zone
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES
from stedi_assets.tables.contract import OWNER
from stedi_assets.tables.sources import files_of

_DESCRIPTIONS = {
    "customer": "Customer records of website and fulfilment, as JSON files.",
    "accelerometer": "Accelerometer readings of the mobile app, as JSON files.",
    "step_trainer": "Sensor readings of the Step Trainers, from the IoT network, as JSON files.",
}


def source_key(source: str) -> dg.AssetKey:
    """Key of the external asset of a source."""
    return dg.AssetKey(files_of(source))


def source_assets(settings: Settings) -> list[dg.AssetSpec]:
    """The landing files of each source as assets that others make."""
    kind = "s3" if settings.deployment == "aws" else "file"
    return [
        dg.AssetSpec(
            source_key(source),
            group_name="sources",
            description=_DESCRIPTIONS[source],
            kinds={"json", kind},
            owners=[OWNER],
            tags={"zone": str(Zone.LANDING), "personal-data": "yes"},
            metadata={"dagster/uri": f"{settings.landing_root}/{source}/landing"},
        )
        for source in SOURCES.values()
    ]
