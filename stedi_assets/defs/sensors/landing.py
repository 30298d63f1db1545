"""Requests a refresh where landing files have arrived that no refresh has read.

Each tick compares all landing files with the ledgers of the landing tables, so no order of arrival
and no clock can make it miss one. The cursor only keeps it from requesting the same twice.
"""

import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from time import time
from typing import Any, TypeVar

import dagster as dg

from stedi_assets.defs.dead_runs import STARTING, end_dead_runs
from stedi_assets.defs.jobs import REFRESH, VACUUM, WRITING_TABLES
from stedi_assets.defs.sources import source_key
from stedi_assets.lakehouse.faults import LakehouseError, sentence
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.arrivals import Arrived
from stedi_assets.lakehouse.landing.ledger import LandingFile
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.plan import ledgers_of, out_of_date
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES
from stedi_assets.tables.policy import Policy

STILL_ARRIVING, WAITED_ENOUGH = 5, 600
"""Seconds: below the first a new file may not be the last; above the second it does not wait."""

PAUSES = 1, 5, 15, 60
"""Minutes before a refresh is requested again for files that the last one left unread."""

NEW_FILES = "new_files/"
"""Begin of the tags of a run that say how many files of each source it was requested for."""

_T = TypeVar("_T")
_TABLES = "tables"  # beside the sources in the cursor
_JOBS = *WRITING_TABLES, "__ASSET_JOB"  # the latter: a person starts it for single assets


def landing_sensor(settings: Settings) -> dg.SensorDefinition:
    """The sensor that requests a refresh for new landing files.

    It also requests one if a refresh took in files but ended before it made the tables: somebody
    who withdrew must not stay in them until the next file comes.
    """
    policy = policy_of(settings)

    @dg.sensor(
        name="landing_files",
        job_name=REFRESH,
        minimum_interval_seconds=60 if settings.deployment == "aws" else 10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Requests a refresh where landing files have arrived that none has read.",
    )
    def sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        # Not Dagster's resource: that would wait until no refresh is running.
        lakehouse = open_lakehouse(settings)
        end_dead_runs(context.instance, lakehouse, (VACUUM, *_JOBS))
        return _Tick(context, settings, policy, lakehouse).result()

    return sensor


@dataclass(frozen=True)
class _Cursor:
    """What the sensor remembers from tick to tick.

    Attributes:
        observed: Digest of each source's files, as last observed.
        requested: Digest of each source's files at the last request, while some are unread.
        replaced: Digest of each source's replaced files that a refresh was requested for.
        requested_at: When that was, in seconds since the epoch.
        requests: How many there were since the last time that no file was unread.
    """

    observed: dict[str, str] = field(default_factory=dict)
    requested: dict[str, str] = field(default_factory=dict)
    replaced: dict[str, str] = field(default_factory=dict)
    requested_at: int | None = None
    requests: int = 0

    @classmethod
    def read(cls, text: str | None) -> "_Cursor":
        try:
            return cls(**json.loads(text or "{}"))
        except (TypeError, ValueError):  # not ours: as if nothing was seen yet
            return cls()

    @property
    def due(self) -> float:
        """When to request again for the same files."""
        return (self.requested_at or 0) + 60 * PAUSES[min(self.requests, len(PAUSES)) - 1]


@dataclass(frozen=True)
class _Source:
    """A source at this tick.

    Attributes:
        news: Files that a refresh is to be requested for.
        removed: Digest of the held-back files that were removed; None if none was.
    """

    name: str
    table: str
    arrived: Arrived
    news: tuple[LandingFile, ...]
    removed: str | None

    @cached_property
    def digest(self) -> str:
        """Changes when a file is added, removed or replaced."""
        return _digest(self.arrived.listing.files)

    def observation(self) -> dg.AssetObservation:
        """What the UI shows of the source's files."""
        listing = self.arrived.listing
        newest = max(listing.modified.values(), default=None)
        return dg.AssetObservation(
            source_key(self.name),
            metadata={
                "files": len(listing.files),
                "bytes": sum(file.size for file in listing.files),
                "ignored_files": len(listing.ignored),
                **({"newest": dg.MetadataValue.timestamp(newest)} if newest else {}),
                # As Dagster's own data version it would mark the tables as unsynced for good: that
                # of an external asset is not looked up where the tables' inputs are compared.
                "data_version": self.digest,
            },
        )


class _Tick:
    """One look at all sources, and what follows from it."""

    def __init__(
        self,
        context: dg.SensorEvaluationContext,
        settings: Settings,
        policy: Policy,
        lakehouse: Lakehouse,
    ) -> None:
        self._interval = settings.refresh_interval.total_seconds()
        self._instance = context.instance
        self._log = context.log
        self._cursor = _Cursor.read(context.cursor)
        self._settings, self._policy = settings, policy
        self._lakehouse = lakehouse
        self._ledgers = ledgers_of(lakehouse.catalog, lakehouse.storage, settings)
        self._now = time()
        self._faults: list[str] = []

    def result(self) -> dg.SensorResult:
        """A request or a reason for none, and observations of the sources that changed.

        Raises:
            LakehouseError: Something could not be read, and there is nothing to request.
        """
        # First, so that a refresh that ends while files are compared still counts as at work.
        at_work = self._attempt(self._is_refresh_at_work)
        attempts = [self._attempt(self._look, *source) for source in SOURCES.items()]
        sources = [source for source in attempts if source]
        behind = {}
        if at_work is False and not _news(sources):
            behind = {s.table: s.removed for s in sources if s.removed} | self._behind()
        # Where it is not known whether a refresh is at work, none is requested.
        reason = self._reason_to_skip(sources, behind, at_work=at_work is not False)
        faults = " ".join(dict.fromkeys(self._faults))
        if faults and reason:
            raise LakehouseError(faults)
        if faults:
            self._log.error(faults)
        observed = {source.name: source.digest for source in sources}
        cursor = replace(self._cursor, observed={**self._cursor.observed, **observed})
        changed = [s for s in sources if self._cursor.observed.get(s.name) != s.digest]
        if reason is None:
            cursor = self._requested(cursor, sources, behind)
        elif not (_news(sources) or behind):
            cursor = replace(cursor, requested={}, requests=0)
        return dg.SensorResult(
            run_requests=None if reason else [self._request(sources, behind)],
            skip_reason=reason,
            cursor=json.dumps(asdict(cursor)),
            asset_events=[source.observation() for source in changed],
        )

    def _behind(self) -> dict[str, str]:
        """Tables that the last refresh did not reach; unreadable ones are left out."""
        tables = self._attempt(out_of_date, self._lakehouse, self._policy)
        return dict(tables.behind) if tables else {}

    def _attempt(self, look: Callable[..., _T], *arguments: Any) -> _T | None:
        try:
            return look(*arguments)
        except Exception as error:
            if not (message := sentence(error)):
                raise
            self._faults.append(message)
            return None

    def _is_refresh_at_work(self) -> bool:
        status = dg.DagsterRunStatus
        launched = {status.NOT_STARTED, status.STARTING, status.STARTED}
        since = datetime.fromtimestamp(self._now, UTC) - STARTING
        # A run that is older has locked the tables, or its process is gone.
        filters = (
            dg.RunsFilter(statuses=[status.QUEUED]),
            dg.RunsFilter(statuses=[*launched], updated_after=since),
        )
        return self._lakehouse.is_locked() or any(
            record.dagster_run.job_name in _JOBS
            for which in filters
            for record in self._instance.get_run_records(which)
        )

    def _look(self, table: str, name: str) -> _Source:
        arrived = self._ledgers.arrived(name, table)
        is_known = self._cursor.replaced.get(name) == _digest(arrived.replaced)
        news = (*arrived.new, *(() if is_known else arrived.replaced))
        removed = [entry.path for entry in arrived.held_back_gone]
        return _Source(name, table, arrived, news, _digest_of(removed) if removed else None)

    def _reason_to_skip(
        self, sources: list[_Source], behind: dict[str, str], *, at_work: bool
    ) -> str | None:
        news = _news(sources)
        if behind:
            is_repeated = self._cursor.requested.get(_TABLES) == _digest_of(behind)
            return self._pause(_work(sources, behind)) if is_repeated else None
        if not news:
            return self._nothing_new(sources)
        count = f"new files: {len(news):,}"
        if at_work:
            return f"A refresh is queued or at work; {count}; it or the next takes them in."
        next_one = (self._cursor.requested_at or 0) + self._interval
        if self._now < next_one:
            at = datetime.fromtimestamp(next_one, UTC)
            return f"{count.capitalize()}; the next refresh is requested at {at:%H:%M:%S} UTC."
        if self._are_arriving(sources):
            return (
                f"{count.capitalize()}, and more may be on their way; a refresh is requested when "
                f"none has come for {STILL_ARRIVING:.0f} s."
            )
        fresh = any(s.news and self._cursor.requested.get(s.name) != s.digest for s in sources)
        unread = f"Files left unread by the last refresh: {len(news):,}"
        return None if fresh else self._pause(unread)

    def _pause(self, work: str) -> str | None:
        if self._now >= self._cursor.due:
            return None
        due = datetime.fromtimestamp(self._cursor.due, UTC)
        return f"{work}. Its run says why; the next one is requested at {due:%H:%M:%S} UTC."

    def _nothing_new(self, sources: list[_Source]) -> str:
        files = sum(source.arrived.taken for source in sources)
        held_back = {s.table: len(s.arrived.held_back) for s in sources if s.arrived.held_back}
        if not files and not held_back:
            folders = ", ".join(
                f"{self._settings.landing_root}/{source}/landing" for source in SOURCES.values()
            )
            return f"There are no landing files yet; drop them into {folders}."
        counts = [f"{files:,} taken in"]
        if held_back:
            tables = ", ".join(held_back)
            counts.append(f"{sum(held_back.values()):,} held back by a check of {tables}")
        return f"No new landing files; {', '.join(counts)}."

    def _are_arriving(self, sources: list[_Source]) -> bool:
        times = [s.arrived.listing.modified[file.path] for s in sources for file in s.news]
        ages = [self._now - moment.timestamp() for moment in times]
        if min(ages) < 0:  # clocks differ: how long to wait is not known
            return False
        return min(ages) < STILL_ARRIVING and max(ages) <= WAITED_ENOUGH

    def _request(self, sources: list[_Source], behind: dict[str, str]) -> dg.RunRequest:
        # The same if a tick is evaluated twice, but another one after the lakehouse was emptied.
        digest = _digest_of(behind) if behind else _digest(_news(sources))
        key = f"{digest} {self._cursor.requested_at or ''}".strip()
        return dg.RunRequest(
            run_key=key,
            tags={f"{NEW_FILES}{s.name}": str(len(s.news)) for s in sources if s.news}
            | ({_TABLES: ", ".join(behind)} if behind else {}),
        )

    def _requested(
        self, cursor: _Cursor, sources: list[_Source], behind: dict[str, str]
    ) -> _Cursor:
        digests = {source.name: source.digest for source in sources} | {_TABLES: _digest_of(behind)}
        replaced = {s.name: _digest(s.arrived.replaced) for s in sources if s.arrived.replaced}
        return replace(
            cursor,
            requested={**cursor.requested, **digests},
            replaced={**cursor.replaced, **replaced},
            requested_at=int(self._now),
            requests=cursor.requests + 1,
        )


def _news(sources: list[_Source]) -> list[LandingFile]:
    return [file for source in sources for file in source.news]


def _work(sources: list[_Source], behind: dict[str, str]) -> str:
    """What there is to do although no file is new."""
    removed = [source.table for source in sources if source.removed]
    missed = [table for table in behind if table not in removed]
    return "; ".join(
        f"{what}: {', '.join(tables)}"
        for what, tables in (
            ("Tables whose held-back files were removed", removed),
            ("Tables that the last refresh did not reach", missed),
        )
        if tables
    )


def _digest(files: Iterable[LandingFile]) -> str:
    return _digest_of(sorted((file.path, file.size, file.version) for file in files))


def _digest_of(what: object) -> str:
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:32]
