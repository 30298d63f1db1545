"""The landing tables and `quarantine`, as one Dagster step."""

from collections.abc import Iterator, Mapping

import dagster as dg

from stedi_assets.defs.checks import check_results, check_specs
from stedi_assets.defs.failures import RETRIES, as_dagster_failure, withdrawal_hook
from stedi_assets.defs.metadata import Recorder, files_metadata, table_spec, where_rows_went
from stedi_assets.defs.sources import source_key
from stedi_assets.lakehouse.faults import is_transient
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.refresh.land import Landing, LandingResult
from stedi_assets.refresh.landing_checks import CHECKS, QUARANTINE_CHECKS, account
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES, definition
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.lineage import Lineage

REBUILD = "stedi/rebuild"
"""Tag of a run that is to take the landing files of some sources in anew, joined by commas."""

FULL = "stedi/full"
"""Tag of a run that is to compare each table that has a rule with a full computation."""

LANDING_CHECKS = {**dict.fromkeys(SOURCES, CHECKS), QUARANTINE.name: QUARANTINE_CHECKS}


def landing_assets(settings: Settings, lineage: Lineage) -> dg.AssetsDefinition:
    """The landing tables and `quarantine`, which follows what they hold, as one step.

    A landing table that is held back stops no other table: a consent withdrawn in one source must
    not wait until another source's files are mended.
    """

    @dg.multi_asset(
        name="landing",
        specs=[_spec(name, settings) for name in LANDING_CHECKS],
        check_specs=[
            spec for name, checks in LANDING_CHECKS.items() for spec in check_specs(name, checks)
        ],
        hooks={withdrawal_hook(settings)},
        can_subset=True,
    )
    def landing(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        """Take in new landing files; quarantine what cannot be read."""
        selected = {key.path[-1] for key in context.selected_asset_keys}
        recorder = Recorder(settings, lakehouse, lineage, context.instance)
        with as_dagster_failure(), lakehouse.catalog.steady():
            files = Landing(
                lakehouse,
                settings,
                context.run.run_id,
                rebuild=sources_to_rebuild(context.run.tags),
                is_last_try=context.retry_number == RETRIES,
            )
            files.prepare(all_sources=selected.issuperset(SOURCES))
            transient: Exception | None = None
            for name in (name for name in SOURCES if name in selected):
                try:
                    result = files.land(name)
                except Exception as error:
                    if not is_transient(error):
                        raise
                    transient = error  # tried again when the others are through
                else:
                    yield _materialized(result, recorder)
            if transient:
                raise transient
            if QUARANTINE.name in selected:
                yield _materialized(files.fill_quarantine(), recorder)
            yield from _check_alone(context, files, selected)

    return landing


def _spec(name: str, settings: Settings) -> dg.AssetSpec:
    table = definition(name)
    sources = [table.source] if table.source else SOURCES.values()
    return table_spec(table, settings, [source_key(source) for source in sources])


def _materialized(result: LandingResult, recorder: Recorder) -> dg.MaterializeResult[None]:
    """What Dagster records of a table."""
    verdict, ingested = result.verdict, result.ingested
    if result.warning:
        dg.get_dagster_logger().warning(result.warning)
    metadata = files_metadata(ingested) if ingested else {}
    if ingested and verdict.published and not verdict.held_back:
        metadata |= where_rows_went(account(ingested, verdict.published))
    return recorder.materialized(verdict, result.seconds, metadata)


def _check_alone(
    context: dg.AssetExecutionContext, files: Landing, selected: set[str]
) -> Iterator[dg.AssetCheckResult]:
    """The checks that were asked for without their tables, on what waits on `audit`."""
    alone = {
        key for key in context.selected_asset_check_keys if key.asset_key.path[-1] not in selected
    }
    for name in dict.fromkeys(key.asset_key.path[-1] for key in sorted(alone)):
        verdict = files.check_quarantine() if name == QUARANTINE.name else files.check(name)
        for result in check_results(verdict, context.instance):
            if dg.AssetCheckKey(dg.AssetKey(name), str(result.check_name)) in alone:
                yield result


def sources_to_rebuild(tags: Mapping[str, str]) -> set[str]:
    """Sources whose landing files a run is asked to take in anew."""
    return set(tags.get(REBUILD, "").split(",")) - {""}
