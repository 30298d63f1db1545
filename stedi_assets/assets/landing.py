"""Landing zone: the sources' files as tables, and what could not be read of them."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import dagster as dg
import ibis.expr.types as ir

from stedi_assets.assets.sources import source_key
from stedi_assets.audit import (
    MOST_NAMED,
    UNSTOPPABLE,
    Finding,
    Verdict,
    check_contract,
    check_specs,
    conclude,
    unchanged,
)
from stedi_assets.lakehouse.catalog import Snapshot
from stedi_assets.lakehouse.faults import passes, sentence
from stedi_assets.lakehouse.ingest import MANY, Ingest, Ingested
from stedi_assets.lakehouse.landing.names import shown_name
from stedi_assets.lakehouse.ledger import Entry, LandingFolder
from stedi_assets.lakehouse.resource import RETRIES, Lakehouse, plainly, snapshot_metadata
from stedi_assets.lakehouse.table import PERSON, Table
from stedi_assets.lineage import Lineage
from stedi_assets.schemas import SOURCES, Contract, table_of
from stedi_assets.settings import Settings
from stedi_assets.shown import (
    lineage_metadata,
    published_metadata,
    table_spec,
    where_rows_went,
)
from stedi_assets.withdrawals import taking_out

CHECKS = ["contract", "completeness", "readable", "files"]
REBUILD = "stedi/rebuild"
"""Tag of a run that is to take the landing files of some sources in anew, joined by commas."""

QUARANTINE_CHECKS = ["contract", "completeness"]


def landing_assets(
    contracts: dict[str, type[Contract]], settings: Settings, lineage: Lineage
) -> dg.AssetsDefinition:
    """The landing tables and `quarantine`, which follows what they hold, as one step.

    A landing table that is held back stops no other table: a consent withdrawn in one source must
    not wait until another source's files are mended.
    """

    @dg.multi_asset(
        name="landing",
        specs=[_spec(contracts[name], settings) for name in (*SOURCES, "quarantine")],
        check_specs=[
            *(spec for name in SOURCES for spec in check_specs(name, CHECKS, stops_run=False)),
            *check_specs("quarantine", QUARANTINE_CHECKS, stops_run=False),
        ],
        hooks={taking_out(settings)},
        can_subset=True,
    )
    def landing(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse]
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Take in new landing files; quarantine what cannot be read."""
        selected = {key.path[-1] for key in context.selected_asset_keys}
        with plainly():
            refresh = _Refresh(contracts, settings, lakehouse, lineage, context)
            refresh.assert_usable(whole=selected.issuperset(SOURCES))
            refresh.prepare_quarantine()
            again: dg.RetryRequested | None = None
            for name in (name for name in SOURCES if name in selected):
                try:
                    landed = refresh.land(name)
                except dg.RetryRequested as requested:
                    again = requested  # when the others are through
                else:
                    yield landed
            if again:
                raise again
            if "quarantine" in selected:
                yield refresh.quarantine()

    return landing


def _spec(contract: type[Contract], settings: Settings) -> dg.AssetSpec:
    name = str(contract.to_schema().name)
    sources = [SOURCES[name]] if name in SOURCES else list(SOURCES.values())
    rule = Ingest.stage if name in SOURCES else Ingest.stage_quarantine
    return table_spec(contract, rule, settings, [source_key(source) for source in sources])


class _Refresh:
    """One refresh of the landing tables."""

    def __init__(
        self,
        contracts: dict[str, type[Contract]],
        settings: Settings,
        lakehouse: Lakehouse,
        lineage: Lineage,
        context: dg.AssetExecutionContext,
    ) -> None:
        self._contracts = contracts
        self._settings = settings
        self._lakehouse = lakehouse
        self._lineage = lineage
        self._run_id = context.run.run_id
        self._last_try = context.retry_number == RETRIES
        self._anew = sources_to_rebuild(context.run.tags)
        self._ingest = Ingest(
            LandingFolder(settings.landing_root, lakehouse.storage),
            lakehouse.catalog,
            lakehouse.engine,
            table_of(contracts["quarantine"]),
            settings.unreadable_limits,
            ordered={"customer"},
        )

    def assert_usable(self, *, whole: bool) -> None:
        """Refuse a landing root that is mistyped or, in a whole refresh, without any file."""
        self._ingest.assert_usable(SOURCES)
        if whole:
            self._ingest.assert_not_empty(SOURCES)

    def prepare_quarantine(self) -> None:
        """Make the table that rejects are written for, unless it is there."""
        catalog = self._lakehouse.catalog
        try:
            catalog.ensure(table_of(self._contracts["quarantine"]))
        except Exception:
            if "quarantine" not in catalog.names():  # no table can be made here
                raise
            # Else it is damaged, which is told when its turn has come.

    def land(self, name: str) -> dg.MaterializeResult[None]:
        """Take in a source's new files; what goes wrong with them is that table's alone."""
        return self._alone(name, CHECKS, "readable", lambda: self._land(name))

    def _alone(
        self,
        name: str,
        checks: list[str],
        check: str,
        work: Callable[[], dg.MaterializeResult[None]],
    ) -> dg.MaterializeResult[None]:
        """Let a check of the table fail where the work on it does."""
        try:
            with plainly():
                return work()
        except Exception as error:  # also an unforeseen one: it is not the other sources' trouble
            if isinstance(error, dg.RetryRequested) and not self._last_try:
                raise
            failed = Finding(check, False, f"{name}: {_said(error)}")
            found = self._unchanged(name, [other for other in checks if other != check])
            verdict = replace(found, findings=[failed, *found.findings])
            return self._result(verdict, found.published, 0.0)

    def _unchanged(self, name: str, checks: list[str]) -> Verdict:
        try:
            return unchanged(name, checks, self._lakehouse)
        except Exception:  # what is published cannot be read, either
            sentence = "Not tried: what is published cannot be read."
            return Verdict(name, [Finding(check, False, sentence) for check in checks])

    def _land(self, name: str) -> dg.MaterializeResult[None]:
        contract, catalog = self._contracts[name], self._lakehouse.catalog
        started = time.perf_counter()
        source = SOURCES[name]
        ingested = self._ingest.stage(
            source, table_of(contract), self._run_id, anew=source in self._anew
        )
        staged = time.perf_counter()
        if ingested.other_root:
            dg.get_dagster_logger().warning(
                f"{name} held the files of {ingested.other_root}; it is made anew from those of "
                f"{self._settings.landing_root}."
            )
        findings = [
            check_readable(name, ingested, self._settings.max_quarantine_share),
            self._checked(
                name,
                "files",
                lambda: check_files(name, ingested, self._columns_gone(name, ingested)),
            ),
        ]
        if ingested.candidate is None:
            unchanging = unchanged(name, ["contract", "completeness"], self._lakehouse)
            verdict = replace(unchanging, findings=[*unchanging.findings, *findings])
        else:
            candidate = ingested.candidate
            findings = [
                self._checked(
                    name,
                    "contract",
                    lambda: check_contract(
                        contract, self._lakehouse.open(catalog.added(candidate))
                    ),
                ),
                check_objects(name, ingested, candidate),
                *findings,
            ]
            verdict = conclude(candidate, findings, self._lakehouse, staged)
        snapshot = ingested.candidate or verdict.published
        return self._result(verdict, snapshot, staged - started, ingested)

    def _checked(self, name: str, check: str, look: Callable[[], Finding]) -> Finding:
        """What a check finds. One that cannot be carried out fails, and holds up no withdrawal."""
        try:
            return look()
        except Exception as error:
            if passes(error) and not self._last_try:
                raise
            return Finding(check, False, f"{name} could not be checked: {_said(error)}")

    def _result(
        self,
        verdict: Verdict,
        snapshot: Snapshot | None,
        seconds: float,
        ingested: Ingested | None = None,
    ) -> dg.MaterializeResult[None]:
        metadata: dict[str, Any] = snapshot_metadata(snapshot, seconds) if snapshot else {}
        if ingested:
            metadata |= files_metadata(ingested)
        if verdict.published:
            table = table_of(self._contracts[verdict.table])
            metadata |= published_metadata(verdict, table, self._lakehouse)
            if ingested:
                metadata |= where_rows_went(account(ingested, verdict.published))
        metadata |= lineage_metadata(self._lineage, verdict.table)
        return dg.MaterializeResult(
            asset_key=verdict.table, metadata=metadata, check_results=list(verdict.results())
        )

    def _columns_gone(self, name: str, ingested: Ingested) -> list[str]:
        if ingested.candidate is None:
            return []
        fresh = self._lakehouse.open(self._lakehouse.catalog.added(ingested.candidate))
        return columns_gone(table_of(self._contracts[name]), fresh)

    def quarantine(self) -> dg.MaterializeResult[None]:
        """Let quarantine hold what could not be read of the files taken in."""
        return self._alone("quarantine", QUARANTINE_CHECKS, "completeness", self._quarantine)

    def _quarantine(self) -> dg.MaterializeResult[None]:
        contract = self._contracts["quarantine"]
        started = time.perf_counter()
        candidate = self._ingest.stage_quarantine(SOURCES, self._run_id)
        staged = time.perf_counter()
        if candidate is None:
            verdict = unchanged("quarantine", QUARANTINE_CHECKS, self._lakehouse)
        else:
            findings = [
                self._checked(
                    "quarantine",
                    "contract",
                    lambda: check_contract(contract, self._lakehouse.open(candidate)),
                ),
                check_rejects(self._ingest.rejects(SOURCES).rows, candidate),
            ]
            verdict = conclude(candidate, findings, self._lakehouse, staged)
        return self._result(verdict, candidate or verdict.published, staged - started)


def _said(error: BaseException) -> str:
    """What went wrong, in a sentence."""
    failure = error.__cause__ if isinstance(error, dg.RetryRequested) else error
    if isinstance(failure, dg.Failure) and failure.description:
        return failure.description
    # The message of an unforeseen error may quote data.
    return sentence(error) or (
        f"its files could not be taken in, for the program stopped with {type(error).__name__}."
    )


def sources_to_rebuild(tags: Mapping[str, str]) -> set[str]:
    """Sources whose landing files a run is asked to take in anew."""
    return set(tags.get(REBUILD, "").split(",")) - {""}


def files_metadata(ingested: Ingested) -> dict[str, int]:
    """How many landing files were taken in, and how many not."""
    return {
        "new_files": len(ingested.taken),
        "duplicate_files": sum(1 for entry in ingested.new if entry.duplicate_of),
        "changed_files": len(ingested.changed),
        "held_back_files": len(ingested.held_back),
        "ignored_files": len(ingested.listing.ignored),
    }


def check_rejects(expected: int | None, candidate: Snapshot) -> Finding:
    """Whether quarantine has a row for all that was quarantined of the files taken in."""
    if expected is None:
        sentence = "Not known: a landing table cannot be read. What was there before stays there."
        return Finding("completeness", False, sentence)
    return Finding(
        "completeness",
        expected == candidate.rows,
        f"{expected} quarantined, {candidate.rows} rows.",
        {"rows_in": expected, "kept": candidate.rows},
    )


def check_readable(name: str, ingested: Ingested, allowed: float) -> Finding:
    """Whether the new objects can be read: a rename upstream must not publish an empty lake.

    Files of phone and sensor readings with more than that share of unreadable objects are held
    back and named until they are mended, removed or allowed. Customer records that can be read are
    published whatever stands beside them; a file of them that is lost as a whole, or from some
    place on, fails the check however small it is. Files that cannot be read now wait for the next
    refresh.
    """
    held, waiting = ingested.held_back, ingested.waiting
    faults = []
    if waiting:
        faults.append(
            f"{name}: {len(waiting)} files cannot be read now and are not taken in. "
            f"{' '.join(list(waiting.values())[:MOST_NAMED])} Refresh again when they can be read."
        )
    if held:
        faults.append(
            f"{name}: {len(held)} files are held back, {allowed:.1%} of a file's objects may be "
            f"unreadable (STEDI_MAX_QUARANTINE_SHARE). {_worst(held)}. Mend or remove these files, "
            "or allow more, and refresh again."
        )
    lost = [e for e in ingested.taken if e.lost and name in UNSTOPPABLE]
    if lost:
        faults.append(
            f"{name}: {len(lost)} files, or the rest of them, could not be read, and who withdrew "
            f"in them is not known. {_worst(lost)}. Deliver them anew under another name."
        )
    if faults:
        counts = {"held_back": len(held), "waiting": len(waiting), "lost": len(lost)}
        return Finding("readable", False, " ".join(faults), counts)
    objects = sum(entry.objects for entry in ingested.taken)
    quarantined = sum(entry.quarantined for entry in ingested.taken)
    share = quarantined / objects if objects else 0.0
    sentence = f"{quarantined} of {objects} new objects are unreadable ({share:.1%})"
    if share <= allowed:
        return Finding("readable", True, f"{sentence}.", {"share": share})
    return Finding(
        "readable",
        False,
        f"{name}: {sentence}, {allowed:.1%} are allowed (STEDI_MAX_QUARANTINE_SHARE). The readable "
        f"ones are published. {_worst(ingested.taken)}. Deliver these objects anew, readable.",
        {"share": share},
    )


def _worst(entries: Sequence[Entry]) -> str:
    """The files with the most unreadable objects, and what is wrong with them."""
    worst = sorted(entries, key=lambda entry: entry.quarantined, reverse=True)
    return "; ".join(_unreadable(entry) for entry in worst[:MOST_NAMED] if entry.reason)


def _unreadable(entry: Entry) -> str:
    if not entry.quarantined:
        return f"{shown_name(entry.path)}: {entry.reason}"
    counts = f"{entry.quarantined} of {entry.objects} unreadable, mostly “{entry.reason}”"
    return f"{shown_name(entry.path)}: {counts}"


def account(ingested: Ingested, snapshot: Snapshot) -> dict[str, Any]:
    """Objects of all files taken in: rows of the landing table, or quarantined."""
    taken = [entry for entry in ingested.entries if entry.held_back is None]
    quarantined = sum(entry.quarantined for entry in taken)
    return {
        "rows_in": sum(entry.objects for entry in taken),
        "kept": snapshot.rows,
        "withheld": {"quarantined": quarantined},
    }


def check_objects(name: str, ingested: Ingested, candidate: Snapshot) -> Finding:
    """Whether every object of every file is a row of the table or in quarantine."""
    found = account(ingested, candidate)
    objects, quarantined = found["rows_in"], found["withheld"]["quarantined"]
    return Finding(
        "completeness",
        objects == candidate.rows + quarantined,
        f"{name}: {objects} objects in files, {candidate.rows} rows, {quarantined} quarantined.",
        found,
    )


def columns_gone(table: Table, fresh: ir.Table) -> list[str]:
    """Optional columns that none of many new objects has a value for: renamed upstream?"""
    of_person = {*table.one_of, PERSON}
    optional = [c.name for c in table.columns if c.nullable and c.name not in of_person]
    [counts] = (
        fresh.agg(objects=fresh.count(), **{name: fresh[name].count() for name in optional})
        .to_pyarrow()
        .to_pylist()
    )
    return [name for name in optional if not counts[name]] if counts["objects"] >= MANY else []


def check_files(name: str, ingested: Ingested, gone: list[str]) -> Finding:
    """Whether landing files stayed as they were taken in, and carry what they should."""
    warnings = [
        f"{shown_name(path)} changed after it was taken in; its first content stays in {name}. "
        "Deliver only the new objects, under a new name, or take the files of this source in anew: "
        f"stedi rebuild --source {SOURCES[name]}."
        for path in ingested.changed
    ]
    if gone:
        warnings.append(f"No new object has a value for {', '.join(gone)}: renamed upstream?")
    files = f"{len(ingested.entries) - len(ingested.held_back)} files taken in, none changed since."
    return Finding(
        "files",
        not warnings,
        " ".join(warnings) or files,
        {
            "files": len(ingested.entries),
            "changed": list(map(shown_name, ingested.changed)),
            "duplicates": sum(1 for entry in ingested.entries if entry.duplicate_of),
        },
    )
