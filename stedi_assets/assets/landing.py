"""Landing zone: the sources' files as tables, and what could not be read of them."""

import time
from collections import Counter
from collections.abc import Iterator
from inspect import getdoc

import dagster as dg

from stedi_assets.assets.build import column_schema
from stedi_assets.audit import Finding, check_contract, check_specs, conclude, unchanged
from stedi_assets.lakehouse.catalog import Snapshot
from stedi_assets.lakehouse.ingest import Ingest, Ingested
from stedi_assets.lakehouse.landing import Entry
from stedi_assets.lakehouse.resource import Lakehouse, plainly, snapshot_metadata
from stedi_assets.schemas import Contract, table_of
from stedi_assets.settings import Settings

SOURCES = {
    "customer_landing": "customer",
    "accelerometer_landing": "accelerometer",
    "step_trainer_landing": "step_trainer",
}
"""The landing tables, each with the source whose files it holds."""

CHECKS = ["contract", "readable", "completeness", "files"]
QUARANTINE_CHECKS = ["contract", "completeness"]


def landing_assets(contracts: dict[str, type[Contract]], settings: Settings) -> dg.AssetsDefinition:
    """The landing tables and `quarantine`: one step, so that quarantine follows each refresh.

    Were quarantine a step after the landing tables, a landing table that is held back would keep
    it from showing why.
    """

    @dg.multi_asset(
        name="landing",
        specs=[_spec(contracts[name], settings) for name in (*SOURCES, "quarantine")],
        check_specs=[
            *(spec for name in SOURCES for spec in check_specs(name, CHECKS)),
            *check_specs("quarantine", QUARANTINE_CHECKS),
        ],
        can_subset=True,
    )
    def landing(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Take in new landing files; quarantine what cannot be read."""
        quarantine = table_of(contracts["quarantine"])
        ingest = Ingest(settings.landing_root, lakehouse.catalog, lakehouse.engine, quarantine)
        lakehouse.catalog.ensure(quarantine)
        selected = {key.path[-1] for key in context.selected_asset_keys}
        for name in (name for name in SOURCES if name in selected):
            yield _land(name, contracts[name], ingest, lakehouse, settings, context.run_id)
        if quarantine.name in selected:
            yield _quarantine(contracts["quarantine"], ingest, lakehouse, context.run_id)

    return landing


def _spec(contract: type[Contract], settings: Settings) -> dg.AssetSpec:
    table = table_of(contract)
    return dg.AssetSpec(
        table.name,
        group_name=table.zone,
        description=getdoc(contract),
        kinds={"iceberg", settings.engine},
        metadata={"dagster/column_schema": column_schema(contract)},
        skippable=True,
    )


def _land(  # noqa: PLR0913
    name: str,
    contract: type[Contract],
    ingest: Ingest,
    lakehouse: Lakehouse,
    settings: Settings,
    run_id: str,
) -> dg.MaterializeResult[None]:
    started = time.perf_counter()
    with plainly():
        ingested = ingest.stage(SOURCES[name], table_of(contract), run_id)
    seconds = time.perf_counter() - started
    files = check_files(name, ingested, lakehouse)
    if ingested.candidate is None:
        results = [
            *unchanged(name, [check for check in CHECKS if check != "files"], lakehouse),
            files.result(name),
        ]
    else:
        started = time.perf_counter()
        fresh = lakehouse.catalog.added(ingested.candidate)
        findings = [
            check_contract(contract, lakehouse.open(fresh)),
            check_readable(name, ingested, settings.max_quarantine_share),
            check_objects(name, ingested, ingested.candidate),
            files,
        ]
        audited = time.perf_counter() - started
        results = list(conclude(ingested.candidate, findings, lakehouse, audited))
    shown = ingested.candidate or lakehouse.catalog.published(name)
    return dg.MaterializeResult(
        asset_key=name,
        metadata={
            **(snapshot_metadata(shown, seconds) if shown else {}),
            "new_files": len(ingested.taken),
            "duplicate_files": len(ingested.new) - len(ingested.taken),
            "changed_files": len(ingested.changed),
        },
        check_results=results,
    )


def _quarantine(
    contract: type[Contract], ingest: Ingest, lakehouse: Lakehouse, run_id: str
) -> dg.MaterializeResult[None]:
    name = table_of(contract).name
    started = time.perf_counter()
    candidate = ingest.stage_quarantine(SOURCES, run_id)
    seconds = time.perf_counter() - started
    if candidate is None:
        results = list(unchanged(name, QUARANTINE_CHECKS, lakehouse))
    else:
        entries = [entry for table in SOURCES for entry in ingest.entries(table)]
        expected = sum(entry.quarantined for entry in entries)
        findings = [
            check_contract(contract, lakehouse.open(candidate)),
            Finding(
                "completeness",
                expected == candidate.rows,
                f"{expected} quarantined, {candidate.rows} rows.",
                {"rows_in": expected, "kept": candidate.rows},
            ),
        ]
        results = list(conclude(candidate, findings, lakehouse, time.perf_counter() - started))
    shown = candidate or lakehouse.catalog.published(name)
    return dg.MaterializeResult(
        asset_key=name,
        metadata=snapshot_metadata(shown, seconds) if shown else {},
        check_results=results,
    )


def check_readable(name: str, ingested: Ingested, allowed: float) -> Finding:
    """Whether few enough of the new objects are unreadable: a rename upstream must not pass."""
    objects = sum(entry.objects for entry in ingested.taken)
    worst = sorted(ingested.taken, key=lambda entry: entry.quarantined, reverse=True)
    quarantined = sum(entry.quarantined for entry in worst)
    share = quarantined / objects if objects else 0.0
    passed = share <= allowed
    sentence = f"{quarantined} of {objects} new objects are unreadable ({share:.1%})"
    if passed:
        return Finding("readable", passed, f"{sentence}.", {"share": share})
    files = "; ".join(_unreadable(entry) for entry in worst[:3] if entry.quarantined)
    return Finding(
        "readable",
        passed,
        f"{name}: {sentence}, {allowed:.1%} are allowed (STEDI_MAX_QUARANTINE_SHARE), so it is "
        f"not published. {files}. Mend or remove these files, or allow more, and refresh again.",
        {"share": share},
    )


def _unreadable(entry: Entry) -> str:
    return f"{entry.path}: {entry.quarantined} of {entry.objects}, mostly “{entry.reason}”"


def check_objects(name: str, ingested: Ingested, candidate: Snapshot) -> Finding:
    """Whether every object of every file is a row of the table or in quarantine."""
    objects = sum(entry.objects for entry in ingested.entries)
    quarantined = sum(entry.quarantined for entry in ingested.entries)
    passed = objects == candidate.rows + quarantined
    return Finding(
        "completeness",
        passed,
        f"{name}: {objects} objects in files, {candidate.rows} rows, {quarantined} quarantined.",
        {"rows_in": objects, "kept": candidate.rows, "withheld": {"quarantined": quarantined}},
    )


def check_files(name: str, ingested: Ingested, lakehouse: Lakehouse) -> Finding:
    """Whether landing files stayed as they were taken in, and carry what they carried before."""
    changed = [
        f"{path} changed after it was taken in; its first content stays in {name}. Deliver the "
        "new content under a new name."
        for path in ingested.changed
    ]
    duplicates = Counter(entry.duplicate_of for entry in ingested.entries if entry.duplicate_of)
    sentence = " ".join(changed) or f"{len(ingested.entries)} files taken in, none changed since."
    return Finding(
        "files",
        not changed,
        sentence,
        {
            "files": len(ingested.entries),
            "changed": list(ingested.changed),
            "duplicates": sum(duplicates.values()),
        },
    )
