"""The landing tables and `quarantine`, as one Dagster step."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from stedi_assets.defs.checks import check_results, check_specs
from stedi_assets.defs.failures import RETRIES, as_dagster_failure, withdrawal_hook
from stedi_assets.defs.metadata import (
    files_metadata,
    lineage_metadata,
    published_metadata,
    snapshot_metadata,
    table_spec,
    where_rows_went,
)
from stedi_assets.defs.sources import source_key
from stedi_assets.lakehouse.faults import is_transient
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.land import Landing, LandingResult
from stedi_assets.refresh.landing_checks import CHECKS, QUARANTINE_CHECKS, account
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES, definition
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.lineage import Lineage

REBUILD = "stedi/rebuild"
"""Tag of a run that is to take the landing files of some sources in anew, joined by commas."""


def landing_assets(settings: Settings, lineage: Lineage) -> dg.AssetsDefinition:
    """The landing tables and `quarantine`, which follows what they hold, as one step.

    A landing table that is held back stops no other table: a consent withdrawn in one source must
    not wait until another source's files are mended.
    """

    @dg.multi_asset(
        name="landing",
        specs=[_spec(name, settings) for name in (*SOURCES, QUARANTINE.name)],
        check_specs=[
            *(spec for name in SOURCES for spec in check_specs(name, CHECKS, stops_run=False)),
            *check_specs(QUARANTINE.name, QUARANTINE_CHECKS, stops_run=False),
        ],
        hooks={withdrawal_hook(settings)},
        can_subset=True,
    )
    def landing(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Take in new landing files; quarantine what cannot be read."""
        selected = {key.path[-1] for key in context.selected_asset_keys}
        results = _Results(settings, lakehouse, lineage)
        with as_dagster_failure():
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
                    yield results.of(result)
            if transient:
                raise transient
            if QUARANTINE.name in selected:
                yield results.of(files.fill_quarantine())

    return landing


def _spec(name: str, settings: Settings) -> dg.AssetSpec:
    table = definition(name)
    sources = [table.source] if table.source else SOURCES.values()
    return table_spec(table, settings, [source_key(source) for source in sources])


class _Results:
    """What Dagster records of each table."""

    def __init__(self, settings: Settings, lakehouse: Lakehouse, lineage: Lineage) -> None:
        self._policy = policy_of(settings)
        self._lakehouse = lakehouse
        self._lineage = lineage

    def of(self, result: LandingResult) -> dg.MaterializeResult[None]:
        verdict, ingested = result.verdict, result.ingested
        if result.warning:
            dg.get_dagster_logger().warning(result.warning)
        metadata: dict[str, Any] = {}
        if result.snapshot:
            metadata |= snapshot_metadata(result.snapshot, result.seconds)
        if ingested:
            metadata |= files_metadata(ingested)
        if verdict.published:
            table = definition(verdict.table)
            metadata |= published_metadata(verdict, table, self._policy, self._lakehouse)
            if ingested:
                metadata |= where_rows_went(account(ingested, verdict.published))
        metadata |= lineage_metadata(self._lineage, verdict.table)
        return dg.MaterializeResult(
            asset_key=verdict.table, metadata=metadata, check_results=list(check_results(verdict))
        )


def sources_to_rebuild(tags: Mapping[str, str]) -> set[str]:
    """Sources whose landing files a run is asked to take in anew."""
    return set(tags.get(REBUILD, "").split(",")) - {""}
