"""Takes landing files into the landing tables, and what cannot be read into quarantine."""

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from stedi_assets.lakehouse.engines.duckdb_faults import is_interrupted
from stedi_assets.lakehouse.faults import is_transient, sentence
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.ingest import Ingest, Ingested
from stedi_assets.lakehouse.landing.ledger import LandingFolder
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.refresh.anomaly_checks import check_source
from stedi_assets.refresh.findings import Finding, Verdict
from stedi_assets.refresh.gate import check_contract, publish_or_hold_back, unchanged
from stedi_assets.refresh.landing_checks import (
    CHECKS,
    CHECKS_OF_ROWS,
    QUARANTINE_CHECKS,
    check_files,
    check_objects,
    check_readable,
    check_rejects,
    empty_columns,
)
from stedi_assets.refresh.sieve import Sieve
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES, definition
from stedi_assets.tables.landing.quarantine import QUARANTINE


@dataclass(frozen=True)
class LandingResult:
    """What became of a landing table, or of quarantine.

    Attributes:
        verdict: What the gate decided.
        seconds: How long the files took to be read.
        ingested: What was in the landing folder; None if it could not be read.
        warning: What else somebody should know.
    """

    verdict: Verdict
    seconds: float = 0.0
    ingested: Ingested | None = None
    warning: str | None = None


class Landing:
    """The landing tables in one refresh.

    A fault in one source's files stops that table alone: a withdrawal in one source must not wait
    until another source's files are mended.
    """

    def __init__(
        self,
        lakehouse: Lakehouse,
        settings: Settings,
        run_id: str,
        *,
        rebuild: Collection[str],
        is_last_try: bool,
    ) -> None:
        """Read the landing files of these settings.

        Args:
            lakehouse: Where the tables are.
            settings: Say where the landing files are, and how much of them may be unreadable.
            run_id: The run that asks.
            rebuild: Sources whose files are all taken in anew.
            is_last_try: Whether a transient fault is a failure, because nobody tries again.
        """
        self._lakehouse = lakehouse
        self._settings = settings
        self._run_id = run_id
        self._rebuild = rebuild
        self._is_last_try = is_last_try
        self._quarantine = QUARANTINE.landing_table
        self._ingest = Ingest(
            LandingFolder(settings.landing_root, lakehouse.storage, lakehouse.progress),
            lakehouse.catalog,
            lakehouse.engine,
            self._quarantine,
            settings.unreadable_limits,
            ordered={"customer"},
            sift=Sieve(lakehouse, self._quarantine),
        )

    def prepare(self, *, all_sources: bool) -> None:
        """Make sure that files can be taken in, and that there is a place for rejects.

        Args:
            all_sources: Whether all are taken in; then there must be at least one file.

        Raises:
            LakehouseError: The landing root is mistyped, or there is no file; or the catalog
                cannot be used.
        """
        self._ingest.assert_usable(SOURCES)
        if all_sources:
            self._ingest.assert_not_empty(SOURCES)
        catalog = self._lakehouse.catalog
        try:
            catalog.ensure(self._quarantine)
        except Exception:
            if QUARANTINE.name not in catalog.names():  # no table can be made here
                raise
            # Otherwise it is damaged; `fill_quarantine` reports that.

    def land(self, name: str) -> LandingResult:
        """Take in the new files of a landing table's source.

        Raises:
            Exception: A transient fault, unless this is the last try.
        """
        return self._isolated(name, CHECKS, "readable", lambda: self._land(name))

    def check(self, name: str) -> Verdict:
        """Check what waits on `audit` once more; nothing is taken in or published."""
        return self._isolated(name, CHECKS, "readable", lambda: self._check(name)).verdict

    def check_quarantine(self) -> Verdict:
        """Likewise for quarantine."""
        return self._isolated(
            QUARANTINE.name, QUARANTINE_CHECKS, "completeness", self._check_quarantine
        ).verdict

    def fill_quarantine(self) -> LandingResult:
        """Let quarantine hold what could not be read of the files taken in."""
        return self._isolated(
            QUARANTINE.name, QUARANTINE_CHECKS, "completeness", self._fill_quarantine
        )

    def _isolated(
        self, name: str, checks: list[str], failing_check: str, work: Callable[[], LandingResult]
    ) -> LandingResult:
        """Do the work on a table; a failure is recorded as a failure of one of its checks."""
        try:
            return work()
        except Exception as error:  # also an unforeseen one: the other sources go on
            if is_interrupted(error) or self._is_worth_another_try(error):
                raise
            failed = Finding(failing_check, False, f"{name}: {_reason(error)}")
            others = self._unchanged(name, [check for check in checks if check != failing_check])
            verdict = replace(others, findings=[failed, *others.findings])
            return LandingResult(verdict)

    def _is_worth_another_try(self, error: Exception) -> bool:
        return is_transient(error) and not self._is_last_try

    def _unchanged(self, name: str, checks: list[str]) -> Verdict:
        try:
            return unchanged(name, checks, self._lakehouse)
        except Exception:  # what is published cannot be read, either
            sentence = "Not tried: what is published cannot be read."
            return Verdict(name, [Finding(check, False, sentence) for check in checks])

    def _land(self, name: str) -> LandingResult:
        table, source = definition(name).landing_table, SOURCES[name]
        started = time.perf_counter()
        ingested = self._ingest.stage(source, table, self._run_id, anew=source in self._rebuild)
        staged = time.perf_counter()
        self._lakehouse.progress.begin(f"auditing {name}")
        findings = self._check_files(name, ingested)
        if ingested.candidate is None:
            verdict = unchanged(name, CHECKS_OF_ROWS, self._lakehouse)
            verdict = replace(verdict, findings=[*verdict.findings, *findings])
        else:
            findings = [*self._check_rows(name, ingested, ingested.candidate), *findings]
            verdict = publish_or_hold_back(ingested.candidate, findings, self._lakehouse, staged)
        warning = ingested.other_root and (
            f"{name} held the files of {ingested.other_root}; it is made anew from those of "
            f"{self._settings.landing_root}."
        )
        return LandingResult(verdict, staged - started, ingested, warning)

    def _check(self, name: str) -> LandingResult:
        ingested = self._ingest.waiting(SOURCES[name], definition(name).landing_table)
        verdict = unchanged(name, CHECKS_OF_ROWS, self._lakehouse)
        if candidate := ingested.candidate:
            verdict = replace(verdict, findings=self._check_rows(name, ingested, candidate))
        findings = [*verdict.findings, *self._check_files(name, ingested)]
        return LandingResult(replace(verdict, findings=findings))

    def _check_quarantine(self) -> LandingResult:
        verdict = unchanged(QUARANTINE.name, QUARANTINE_CHECKS, self._lakehouse)
        if candidate := self._lakehouse.catalog.candidate(QUARANTINE.name):
            verdict = replace(verdict, findings=self._check_rejects(candidate))
        return LandingResult(verdict)

    def _check_rejects(self, candidate: Snapshot) -> list[Finding]:
        expected = self._ingest.rejects(SOURCES).rows
        return [self._check_contract(candidate), check_rejects(expected, candidate)]

    def _fill_quarantine(self) -> LandingResult:
        started = time.perf_counter()
        self._lakehouse.progress.begin(f"filling {QUARANTINE.name}")
        candidate = self._ingest.stage_quarantine(SOURCES, self._run_id)
        staged = time.perf_counter()
        if candidate is None:
            verdict = unchanged(QUARANTINE.name, QUARANTINE_CHECKS, self._lakehouse)
        else:
            findings = self._check_rejects(candidate)
            verdict = publish_or_hold_back(candidate, findings, self._lakehouse, staged)
        return LandingResult(verdict, staged - started)

    def _check_files(self, name: str, ingested: Ingested) -> list[Finding]:
        return [
            check_readable(name, ingested, self._settings.max_quarantine_share),
            self._attempt(
                name,
                "files",
                lambda: check_files(name, ingested, self._empty_columns(name, ingested)),
            ),
            self._attempt(name, "anomalies", lambda: self._check_anomalies(name, ingested)),
        ]

    def _check_rows(self, name: str, ingested: Ingested, candidate: Snapshot) -> list[Finding]:
        contract = self._check_contract(candidate, added_only=True)
        return [contract, check_objects(name, ingested, candidate)]

    def _check_contract(self, candidate: Snapshot, *, added_only: bool = False) -> Finding:
        """Whether the candidate, or the part of it that is new, fulfils its contract."""

        def run() -> Finding:
            rows = self._lakehouse.catalog.added(candidate) if added_only else candidate
            contract = definition(candidate.table).contract
            return check_contract(contract, rows, self._lakehouse)

        return self._attempt(candidate.table, "contract", run)

    def _attempt(self, name: str, check: str, run: Callable[[], Finding]) -> Finding:
        """Run a check. One that cannot be run fails, but holds up no withdrawal."""
        try:
            return run()
        except Exception as error:
            if is_interrupted(error) or self._is_worth_another_try(error):
                raise
            return Finding(check, False, f"{name} could not be checked: {_reason(error)}")

    def _check_anomalies(self, name: str, ingested: Ingested) -> Finding:
        refreshed_at = self._ingest.refreshed_at(SOURCES)
        return check_source(name, ingested.entries, refreshed_at, self._ingest.began)

    def _empty_columns(self, name: str, ingested: Ingested) -> list[str]:
        if ingested.candidate is None:
            return []
        fresh = self._lakehouse.open(self._lakehouse.catalog.added(ingested.candidate))
        return empty_columns(definition(name).landing_table, fresh)


def _reason(error: Exception) -> str:
    """What went wrong, in a sentence."""
    # The message of an unforeseen error may quote data.
    return sentence(error) or (
        f"its files could not be taken in: the program stopped with {type(error).__name__}."
    )
