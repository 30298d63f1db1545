"""The report as an asset: a page in the lakehouse, and on each table's page its pictures."""

from collections.abc import Iterable, Iterator, Sequence

import dagster as dg

from stedi_assets.defs.failures import as_dagster_failure
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.privacy.risk import (
    Attack,
    are_named_by_times,
    attacks_on_published,
    summary,
)
from stedi_assets.report.charts import DrawnPicture, draw
from stedi_assets.report.page import page, page_as_markdown, picture_as_markdown
from stedi_assets.report.pictures import pictures
from stedi_assets.report.status import status
from stedi_assets.settings import Settings
from stedi_assets.tables.contract import OWNER

REPORT = "lakehouse_report"
RE_IDENTIFICATION = "re_identification"

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
        check_specs=[
            dg.AssetCheckSpec(
                RE_IDENTIFICATION,
                asset=REPORT,
                description="Nobody in the training set is recognized by the times of readings. "
                "Only warns: STEDI_TIMES=shifted is against it.",
            )
        ],
    )
    def lakehouse_report(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # with checks, Dagster takes no other
        with as_dagster_failure():
            available, missing = pictures(lakehouse)
            found, reason = attacks_on_published(lakehouse, settings)
            drawn = [draw(picture) for picture in available]
            place = f"{lakehouse.storage.root}/report/report.html"
            overview = status(settings)
            with lakehouse.storage.io.new_output(place).create(overwrite=True) as file:
                file.write(page(overview, drawn, missing, found).encode())
        for observation in picture_observations(drawn):
            context.log_event(observation)
        return dg.MaterializeResult(
            check_results=[_re_identification(found, reason)],
            metadata={
                # Opens in the UI, which shows no HTML.
                "report": dg.MetadataValue.md(page_as_markdown(overview, drawn, missing, found)),
                "location": dg.MetadataValue.path(place),
                "pictures": len(drawn),
            },
        )

    return lakehouse_report


def _re_identification(found: Sequence[Attack], reason: str | None) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        asset_key=REPORT,
        check_name=RE_IDENTIFICATION,
        passed=not are_named_by_times(found),
        severity=dg.AssetCheckSeverity.WARN,
        description=f"Not tried: {reason}" if reason else summary(found),
        metadata={attack.name: f"{attack.named:,} of {attack.tried:,}" for attack in found},
    )


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
