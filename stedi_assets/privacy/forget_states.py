"""Takes people out of all states of tables that were ever published, and out of their files."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.holds import files_of_all_holds
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.vacuum import expire_holding
from stedi_assets.privacy.forget_work import Work
from stedi_assets.privacy.naming import Naming, held_in
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.tables.identity import key_id
from stedi_assets.tables.landing.quarantine import QUARANTINE

_NAMING = {
    "person": "string",
    "email": "string",
    "user": "string",
    "customername": "string",
    "subject_id": "string",
    "serialnumber": "string",
    "timestamp": "int64",
    "sensorreadingtime": "int64",
}
"""Columns that say whose a row is."""


class States:
    """The states and data files of all tables, from which people are taken out."""

    def __init__(self, work: Work) -> None:
        """Take people out of the states of a lakehouse."""
        self._work = work

    def files_holding(self, people: Naming) -> dict[str, set[str]]:
        """Of each table, the data files that hold them, also those that are no longer in use."""
        holding = {}
        for name in self._work.catalog.names():
            self._work.progress.begin(f"looking for files of {name} that hold them")
            state = self._work.catalog.state(name)
            files = [
                f.location for f in self._work.lakehouse.storage.files(f"{state.location}/data")
            ]
            if name == QUARANTINE.name:
                files += files_of_all_holds(self._work.lakehouse.storage)
                holding[name] = set(self._work.unreadable(files, people))
            else:
                holding[name] = set(self._holding(name, files, people))
            if name == TRAINING_SET:
                # Whose pseudonyms are in files of no state, nobody can tell: releases have their
                # own, and a refresh may have been killed before it noted which.
                holding[name] |= {*files} - {f for s in state.all_snapshots for f in s.files}
        return holding

    def _holding(self, name: str, files: Collection[str], people: Naming) -> Iterator[str]:
        by_columns: dict[tuple[str, ...], list[str]] = {}
        for file in files:
            found = self._columns(file)
            if found is None:
                yield file
                continue
            by_columns.setdefault(tuple(c for c in _NAMING if c in found), []).append(file)
        for columns, alike in by_columns.items():
            if columns:
                located = self._work.removal.located(name, alike, {c: _NAMING[c] for c in columns})
                yield from self._work.files_of(located.filter(held_in(located, people)), alike)

    def _columns(self, file: str) -> list[str] | None:
        """The columns of a data file; None if it is not whole: whoever wrote it was killed.

        Libraries say much the same of a damaged file and of one that cannot be read just now, so
        it counts as damaged once all its bytes were read.
        """
        stored = self._work.catalog.io.new_input(file)
        with suppress(Exception), stored.open() as opened:
            return list(pq.read_schema(opened).names)
        with stored.open() as opened:
            content = pa.BufferReader(opened.read())
        try:
            return list(pq.read_schema(content).names)
        except Exception:
            return None

    def remake_training_sets(
        self, people: Naming, holding: Mapping[str, Collection[str]]
    ) -> tuple[list[str], list[str]]:
        """Let the tags of training sets that hold them name sets without them.

        Returns:
            These tags, and those of sets made under another key: whom these hold nobody can tell.
        """
        state = self._work.catalog.find(TRAINING_SET)
        if state is None:
            return [], []
        theirs = set(holding[TRAINING_SET])
        remade, unknown = [], []
        for tag in state.tags:
            tagged = self._work.catalog.state(TRAINING_SET).tagged(tag.name)
            if tagged is None:
                continue
            key = tagged.properties.get("key-id")
            if key not in {None, key_id(self._work.policy)}:
                unknown.append(tag.name)
            if touched := theirs.intersection(tagged.files):
                remade += [each.name for each in state.tags if each.snapshot_id == tagged.id]
                located = self._work.removal.located(TRAINING_SET, sorted(touched), tagged.types)
                rows = located.filter(~held_in(located, people)).select(*tagged.types)
                ids = {n: i for n, i in state.field_ids.items() if n in tagged.types}
                new = self._work.engine.write(Query.of(rows), f"{state.location}/data", ids)
                self._work.catalog.replace_tagged(
                    tagged, [*(f for f in tagged.files if f not in touched), *new]
                )
        return remade, unknown

    def delete(self, holding: Mapping[str, Collection[str]]) -> tuple[int, int]:
        """Delete all older states, candidates and files that hold them.

        Returns:
            How many snapshots and data files went.

        Raises:
            LakehouseError: What is published still holds them.
        """
        snapshots = files = 0
        for name, theirs in holding.items():
            self._work.progress.begin(f"deleting older states of {name}")
            published = self._work.catalog.published(name)
            if published and set(theirs).intersection(published.files):
                raise LakehouseError(
                    f"{name} still holds people who are to be forgotten, as a check keeps it from "
                    "being made anew: see stedi status, mend what it says, and forget them again."
                )
            expired, deleted = expire_holding(
                self._work.catalog, self._work.lakehouse.storage, name, set(theirs)
            )
            snapshots, files = snapshots + expired, files + deleted
        return snapshots, files
