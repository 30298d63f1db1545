"""Jobs, named by what a person wants."""

import dagster as dg

REFRESH = "refresh_lakehouse"

refresh_lakehouse = dg.define_asset_job(
    REFRESH,
    selection=dg.AssetSelection.all(),
    description="Take in new landing files and bring every table up to date with them.",
)
