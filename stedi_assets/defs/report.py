"""The report as an asset: a page in the lakehouse, and on each table's page its pictures."""

from collections.abc import Iterable, Iterator

import dagster as dg

from stedi_assets.defs.failures import as_dagster_failure
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.report.charts import DrawnPicture, draw
from stedi_assets.report.page import page, page_as_markdown, picture_as_markdown
from stedi_assets.report.pictures import pictures
from stedi_assets.report.status import status
from stedi_assets.settings import Settings
from stedi_assets.tables.contract import OWNER

REPORT = "lakehouse_report"

FINAL_TABLES = ("quarantine", "machine_learning_curated")
"""The tables that no other is made from: a refresh is over when it is through with them."""

AFTER_REFRESH = dg.AutomationCondition.eager()

# Neither `eager` nor `on_missing` makes an asset that was missing when Dagster first looked, after
# tables had been refreshed. A report that failed is not tried again until a table is refreshed.
WHERE_MISSING = (
    dg.AutomationCondition.missing()
    & ~dg.AutomationCondition.execution_failed()
    & ~dg.AutomationCondition.any_deps_missing()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
)


def report_asset(settings: Settings) -> dg.AssetsDefinition:
    """The asset of the report, made anew when a refresh is done."""

    @dg.asset(
        name=REPORT,
        deps=FINAL_TABLES,
        group_name="report",
        description="A page with pictures of what the lakehouse holds; counts, nobody's data. "
        "*Show Markdown* beside `report` opens it; it is in the lakehouse as HTML, too.",
        kinds={"html"},
        owners=[OWNER],
        automation_condition=AFTER_REFRESH | WHERE_MISSING,
    )
    def lakehouse_report(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]
    ) -> dg.MaterializeResult[None]:
        with as_dagster_failure():
            available, missing = pictures(lakehouse)
            drawn = [draw(picture) for picture in available]
            place = f"{lakehouse.storage.root}/report/report.html"
            overview = status(settings)
            with lakehouse.storage.io.new_output(place).create(overwrite=True) as file:
                file.write(page(overview, drawn, missing).encode())
        for observation in picture_observations(drawn):
            context.log_event(observation)
        return dg.MaterializeResult(
            metadata={
                # Opens in the UI, which shows no HTML.
                "report": dg.MetadataValue.md(page_as_markdown(overview, drawn, missing)),
                "location": dg.MetadataValue.path(place),
                "pictures": len(drawn),
            }
        )

    return lakehouse_report


def picture_observations(drawn: Iterable[DrawnPicture]) -> Iterator[dg.AssetObservation]:
    """The first picture of each table, for its page in the UI."""
    first: dict[str, DrawnPicture] = {}
    for one in drawn:
        for table in one.picture.tables:
            first.setdefault(table, one)
    for table, one in first.items():
        yield dg.AssetObservation(
            table,
            # The UI draws a description right away, long metadata at a click.
            description=str(picture_as_markdown(one)),
            metadata={"all pictures": dg.MetadataValue.asset(dg.AssetKey(REPORT))},
        )


report_automation = dg.AutomationConditionSensorDefinition(
    "report_automation",
    target=dg.AssetSelection.assets(REPORT),
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Makes the report anew after a refresh.",
)
