"""Merges the small files that refreshes add, so that tables of the same rows have few files.

What is published has other files then, but the same rows under the same id: no table is made again
because of it. States of before keep their files until they expire.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

from stedi_assets.lakehouse.catalog import PublishConflictError
from stedi_assets.lakehouse.engines.duckdb import FILE_SIZE, DuckDBEngine
from stedi_assets.lakehouse.faults import LakehouseError, is_damage, sentence
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.ledger import (
    LEDGER,
    LedgerReader,
    Segment,
    merge_segments,
    write_ledger,
)
from stedi_assets.lakehouse.state import ROWS_SINCE, SAME_ROWS, Snapshot, TableState

_FEW = 1_000
"""Files of the usual size that a table may have; a commit reads and writes a line for each file."""

_LARGEST = 128 << 20
"""Bytes of a merged file in the largest tables."""

ALIKE = 1 << 20
"""Bytes up to which files count as equally small."""


def target_size(table: int) -> int:
    """Bytes that a merged file has at most, in a table of so many bytes.

    A row that goes has all others of its file rewritten, so files stay as small as DuckDB writes
    them. Only in a table that would have thousands of them they grow with it. A file of half this
    size or more is left as it is.
    """
    return min(max(FILE_SIZE, table // _FEW), _LARGEST)


def files_to_merge(sizes: Mapping[str, int]) -> list[list[str]]:
    """Which files become one, by the bytes of each.

    A file waits until the smaller ones together are as large as it is. So a row is written anew a
    few times in all, not each night, and there are a few files for each power of two.
    """
    target = target_size(sum(sizes.values()))
    small = sorted((size, file) for file, size in sizes.items() if size < target // 2)
    groups: list[list[str]] = [[]]
    total = 0
    for size, file in small:
        if size > max(total, ALIKE) or total + size > target:
            groups.append([])
            total = 0
        groups[-1].append(file)
        total += size
    return [group for group in groups if len(group) > 1]


def segments_to_merge(segments: Iterable[Segment]) -> int:
    """How many of the last parts of a ledger become one: each until it is as large as those after.

    None, or two and more.
    """
    number = total = 0
    for segment in reversed(list(segments)):
        if segment.size > max(total, ALIKE):
            break
        number += 1
        total += segment.size
    return number if number > 1 else 0


@dataclass(frozen=True)
class Compacted:
    """What a compaction merged.

    Attributes:
        files: Number of files of each table that were merged, and that they became.
        damaged: What is wrong with tables that were left alone, a sentence each.
    """

    files: Mapping[str, tuple[int, int]]
    damaged: tuple[str, ...] = ()

    def __str__(self) -> str:
        """What was merged, in words."""
        before, after = (sum(numbers) for numbers in zip((0, 0), *self.files.values(), strict=True))
        return f"{before:,} small files of {len(self.files):,} tables into {after:,}"


def compact(
    lakehouse: Lakehouse,
    landing_tables: Collection[str],
    quarantine: str,
    *,
    dry_run: bool = False,
) -> Compacted:
    """Merge the small files of all tables; readers see the same rows.

    A table is left alone while a candidate waits on `audit`, if it is damaged, or if another
    refresh writes to it meanwhile.

    Args:
        lakehouse: Which lakehouse; no refresh of this machine may run meanwhile.
        landing_tables: Tables whose ledgers name files of `quarantine`.
        quarantine: The table of what could not be read.
        dry_run: Merge nothing; only return what would be merged.

    Raises:
        LakehouseError: A merged table does not have as many rows as before; it was not published.
    """
    run = _Compaction(lakehouse, quarantine, dry_run)
    for name in lakehouse.catalog.names():
        if name != quarantine:
            run.compact(name, of_ledger=name in landing_tables)
    run.compact_quarantine()
    files = {table: groups for table, groups in run.groups.items() if groups}
    numbers = {table: (sum(map(len, groups)), len(groups)) for table, groups in files.items()}
    return Compacted(numbers, tuple(run.damaged))


class _Compaction:
    """Merges the files of one table after the other.

    Attributes:
        groups: Files of each table that became one each.
        damaged: What is wrong with tables, a sentence each.
    """

    def __init__(self, lakehouse: Lakehouse, quarantine: str, dry_run: bool) -> None:
        self._lakehouse = lakehouse
        self._catalog = lakehouse.catalog
        self._quarantine = quarantine
        self._dry_run = dry_run
        self._renamed: dict[str, str] = {}  # files of quarantine, in ledgers
        self.groups: dict[str, list[list[str]]] = defaultdict(list)
        self.damaged: list[str] = []

    def compact(self, name: str, *, of_ledger: bool) -> None:
        """Merge files of a table, and those of quarantine that its ledger names."""
        with self._noting_damage(name):
            state = self._ready(name)
            if state is None or (published := state.published) is None:
                return
            self._lakehouse.progress.begin(f"merging small files of {name}")
            groups = files_to_merge(_sizes(published))
            ledger = published.properties[LEDGER] if of_ledger else None
            segments = LedgerReader(self._catalog.io).segments(ledger) if ledger else {}
            rejects = self._groups_of_rejects(segments.values())
            if not (groups or rejects or segments_to_merge(segments.values())):
                return
            if not self._dry_run:
                properties, renamed = dict[str, str](), self._merged(rejects, self._quarantine)
                if ledger:
                    properties[LEDGER] = self._ledger(segments, renamed, state)
                if not self._publish(published, self._merged(groups, name), properties):
                    return
                self._renamed |= renamed
            self.groups[name] += groups
            self.groups[self._quarantine] += rejects

    def compact_quarantine(self) -> None:
        """Let quarantine have the files that ledgers name now."""
        with self._noting_damage(self._quarantine):
            state = self._ready(self._quarantine)
            published = state.published if state else None
            if published and self._renamed:
                self._publish(published, self._renamed, {})

    def _groups_of_rejects(self, segments: Iterable[Segment]) -> list[list[str]]:
        """Files of quarantine to merge, of those that a ledger names."""
        named = {entry.rejects for part in segments for entry in part.entries if entry.rejects}
        try:
            state = self._ready(self._quarantine) if named else None
            sizes = _sizes(state.published) if state and state.published else {}
        except Exception as error:
            if not is_damage(error):
                raise
            return []
        # What it lacks, the next refresh puts there.
        return files_to_merge({file: sizes[file] for file in named if file in sizes})

    def _ledger(
        self, segments: Mapping[str, Segment], renamed: Mapping[str, str], state: TableState
    ) -> str:
        """A ledger with fewer parts, that names files of quarantine as they are called now."""
        parts = list(segments.items())
        concerned = [
            number
            for number, (_, part) in enumerate(parts)
            if any(entry.rejects in renamed for entry in part.entries)
        ]
        first = min(len(parts) - segments_to_merge(segments.values()), *concerned, len(parts) - 1)
        if first == len(parts) - 1 and not concerned:
            return parts[-1][0]
        merged, gone = merge_segments([part for _, part in parts[first:]])
        after = [replace(e, rejects=renamed.get(e.rejects or "", e.rejects)) for e in merged]
        before = [path for path, _ in parts[:first]]
        folder = f"{state.location}/{LEDGER}"
        return write_ledger(folder, after, self._catalog.io, before, gone if before else [])

    @contextmanager
    def _noting_damage(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if not is_damage(error):
                raise
            self.damaged.append(sentence(error) or name)

    def _ready(self, name: str) -> TableState | None:
        """A table, if its files can be merged."""
        state = self._catalog.find(name)
        if state is None or state.published is None or state.types != state.published.types:
            return None
        candidate = state.candidate
        if candidate is None:
            return state
        if ROWS_SINCE not in candidate.properties or self._dry_run:
            return None
        self._catalog.discard_candidate(name)  # a compaction was cut short
        return self._catalog.state(name)

    def _merged(self, groups: Sequence[Sequence[str]], name: str) -> dict[str, str]:
        """The file that each of a table's files became."""
        if not groups:
            return {}
        state = self._catalog.state(name)
        work = partial(
            _merge, types=state.types, folder=f"{state.location}/data", field_ids=state.field_ids
        )
        shares = self._lakehouse.engine.spread(work, groups, [len(group) for group in groups])
        return {old: new for share in shares for old, new in share.items()}

    def _publish(
        self, published: Snapshot, renamed: Mapping[str, str], properties: Mapping[str, str]
    ) -> bool:
        """Publish the same rows in other files; whether nobody else published meanwhile."""
        since = round(published.committed_at.timestamp() * 1000)
        same = {SAME_ROWS: published.rows_id, ROWS_SINCE: str(since)}
        files = {renamed.get(file, file) for file in published.files}
        says = {**published.properties, **same, **properties}
        try:
            candidate = self._catalog.stage(published.table, files, says)
            if candidate.rows != published.rows:
                self._catalog.drop_candidate(candidate)
                raise LakehouseError(
                    f"The merged files of {published.table} have {candidate.rows:,} rows, and "
                    f"those before {published.rows:,}: what was published stays. Report this."
                )
            self._catalog.publish(candidate)
        except PublishConflictError:  # the next night is soon enough
            return False
        return True


def _sizes(snapshot: Snapshot) -> dict[str, int]:
    return dict(zip(snapshot.files, snapshot.sizes_of_files, strict=True))


def _merge(
    engine: DuckDBEngine,
    groups: Sequence[Sequence[str]],
    *,
    types: Mapping[str, str],
    folder: str,
    field_ids: Mapping[str, int],
) -> dict[str, str]:
    """Merge each group of files; returns the file that each of them became."""
    merged = dict[str, str]()
    for group in groups:
        new = engine.merge(group, types, folder, field_ids)
        merged |= dict.fromkeys(group, new)
    return merged
