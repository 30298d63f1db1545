"""Jobs, named by what a person wants."""

import dagster as dg

from stedi_assets.lakehouse.table import Zone

REFRESH = "refresh_lakehouse"

refresh_lakehouse = dg.define_asset_job(
    REFRESH,
    selection=dg.AssetSelection.groups(*Zone),
    description="Take in new landing files and bring every table up to date with them.",
)
