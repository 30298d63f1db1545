"""Forgets people: takes out of the lakehouse, for good, all that is theirs, and proves it.

`forget` is the whole of it, step by step. Each step can be repeated. If a command is killed, the
same command, with the same addresses, does what is left.

What is theirs: their customer records; the readings of their phones; readings of devices as
`naming.name_all` says; what could not be read and names them. Where something unreadable names
others, too, its text goes and what it says of these stays. What was published once and still holds
them goes as a whole, but for training sets with a tag: these are made anew without them, under the
same tag.

What others have after that may differ in one way: where a device or a serial number was also
theirs, the rules may now find that it is somebody else's.
"""

import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from uuid import uuid4

import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.faults import LakehouseError, is_damage
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.holds import files_of_all_holds, read_holds, release_holds
from stedi_assets.lakehouse.landing.ledger import (
    LEDGER,
    Entry,
    LandingFolder,
    read_ledger,
    write_ledger,
)
from stedi_assets.lakehouse.names import FILE
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.removal import Removal, located_in, read_rejects
from stedi_assets.lakehouse.state import ROWS_SINCE, SAME_ROWS
from stedi_assets.lakehouse.storage.storage import UNFINISHED
from stedi_assets.lakehouse.table import SOURCE_FILE
from stedi_assets.lakehouse.vacuum import expire_holding
from stedi_assets.privacy import naming as names
from stedi_assets.privacy.certificate import Certificate, certify
from stedi_assets.privacy.landing_files import (
    Mended,
    Objects,
    as_they_are_now,
    concerned,
    erase_older_versions,
    mend,
    words_in,
)
from stedi_assets.privacy.mending_notes import Notes
from stedi_assets.privacy.naming import Naming, held_in, name_all, together
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.scan import Finder, scan, values_of
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.privacy.withdrawal_ledger import note_withdrawals
from stedi_assets.privacy.withdrawals import take_out
from stedi_assets.refresh.forgotten import (
    Forgotten,
    Rule,
    folder_of,
    registered_again,
    rejects_without,
    rule_for_objects,
    until,
)
from stedi_assets.refresh.release import RELEASE
from stedi_assets.refresh.remake import remake
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES, TABLES, definition
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

_WORDS = {
    "customer_landing": ("customername", "phone", "serialnumber", "birthday"),
    "step_trainer_landing": ("serialnumber",),
}
"""Columns of others' words that may have a word of theirs in them."""


def forget(
    emails: Iterable[str], lakehouse: Lakehouse, settings: Settings, *, landing_files: bool = False
) -> Certificate:
    """Forget people.

    Args:
        emails: Their addresses, in any spelling.
        lakehouse: Which lakehouse, locked: nothing else may write to it meanwhile.
        settings: Its settings.
        landing_files: Whether to take them out of the landing files, too.

    Returns:
        What was done, and what a search through all files found after that.

    Raises:
        ValueError: An address is empty.
        LakehouseError: What still holds them could not be made without them.
    """
    run = _Forgetting(lakehouse, settings, str(uuid4()))
    people = run.begin(emails, landing_files=landing_files)
    rows = run.rows_held(people)
    files = run.take_out_of_landing(people)
    run.remake_tables()
    holding = run.files_holding(people)
    tags, unknown_sets = run.remake_training_sets(people, holding)
    run.note_withdrawals(people)
    snapshots, deleted = run.delete_states(holding)
    run.delete_reports()
    mended = Mended()
    if landing_files:
        people = run.name_by_landing_files(people)
        mended = run.mend_landing_files(people)
    finder = run.finder(people)
    scanned = scan(
        lakehouse.storage,
        run.places(landing_files=landing_files),
        finder,
        leave_out=run.left_out(landing_files=landing_files),
        progress=lakehouse.progress,
    )
    not_searched = dict.fromkeys([*scanned.unreadable, *mended.not_searched])
    scanned = replace(scanned, unreadable=tuple(not_searched))
    certificate = certify(
        lakehouse.storage,
        Certificate(
            people=len(people.people),
            rows=rows,
            snapshots=snapshots,
            files=deleted,
            training_sets=tags,
            unknown_training_sets=unknown_sets,
            landing_files_left=None if landing_files else files,
            landing_files_written=mended.written,
            landing_files_deleted=mended.deleted,
            older_versions_deleted=mended.versions,
            not_searched_for=len(people.shared) + finder.too_short,
            looked_at=scanned,
        ),
    )
    # Where a set is of another key, what names them here is of no help.
    if not (scanned.found or scanned.unreadable):
        run.end(people)
    return certificate


def held(emails: Iterable[str], lakehouse: Lakehouse, settings: Settings) -> dict[str, int]:
    """How many rows of people each table has as it is published: what would be taken out."""
    run = _Forgetting(lakehouse, settings, "")
    return run.rows_held(run.all_of(run.named(emails)))


class _Forgetting:
    """The steps."""

    def __init__(self, lakehouse: Lakehouse, settings: Settings, run_id: str) -> None:
        self._lakehouse = lakehouse
        self._settings = settings
        self._policy = policy_of(settings)
        self._run_id = run_id
        self._catalog = lakehouse.catalog
        self._engine = lakehouse.engine.immediate
        self._progress = lakehouse.progress
        self._removal = Removal(lakehouse, run_id)

    def named(self, emails: Iterable[str], *, landing_files: bool = False) -> dict[str, Naming]:
        """What names people: as it is now, and as it was when a command that did not end began.

        What that one began stays as of its time, and so does what is done later for landing files,
        unless somebody registered again meanwhile and is asked for now.
        """
        storage = self._lakehouse.storage
        now = name_all(emails, self._settings, at=_now())
        before = names.being_forgotten(storage)
        listed = Forgotten.read(storage)
        asked = {
            person: before[person].people[person] if person in before else listed.asked_at(person)
            for person in now
            if person in before or landing_files
        }
        known = {person: at for person, at in asked.items() if at is not None}
        for person in known.keys() - registered_again(known, self._lakehouse).keys():
            now[person] = replace(now[person], people={person: known[person]})
        return {
            person: together([before[person], each]) if person in before else each
            for person, each in now.items()
        }

    def all_of(self, named: Mapping[str, Naming]) -> Naming:
        """What names these people, and which of their devices somebody else has now."""
        people = together(named.values())
        taken_over: list[str] = []
        if people.devices and (published := self._catalog.published("customer_landing")):
            rows = self._lakehouse.open(published)
            others = rows.filter(~rows.person.isin(list(people.people)) | rows.person.isnull())
            taken_over += self._serials(others, people)
        if people.devices and (published := self._catalog.published("step_trainer_landing")):
            rows = self._lakehouse.open(published)
            theirs = _rule(people, published.table).theirs(published.table, rows)
            taken_over += self._serials(rows.filter(~theirs), people)
        return replace(people, taken_over=tuple(dict.fromkeys(taken_over)))

    def _serials(self, rows: ir.Table, people: Naming) -> list[str]:
        """Which of their devices these rows have."""
        found = rows.filter(rows.serialnumber.isin(list(people.devices)))
        serials = self._engine.fetch(Query.of(found.select("serialnumber").distinct()))
        return list(serials["serialnumber"].to_pylist())

    def begin(self, emails: Iterable[str], *, landing_files: bool) -> Naming:
        """Note who is to be forgotten: from now on nothing of theirs lands."""
        storage = self._lakehouse.storage
        self._progress.begin("looking for what is theirs")
        self._sweep(folder_of(storage))
        named = self.named(emails, landing_files=landing_files)
        names.keep({**names.being_forgotten(storage), **named}, storage)
        people = self.all_of(named)
        forgotten = Forgotten.read(storage).with_(
            people.people, people.devices, people.claims, people.readings
        )
        forgotten.write(storage)
        return people

    def end(self, people: Naming) -> None:
        """Keep no longer what names them."""
        storage = self._lakehouse.storage
        left = names.being_forgotten(storage)
        names.keep({p: each for p, each in left.items() if p not in people.people}, storage)

    def rows_held(self, people: Naming) -> dict[str, int]:
        """How many rows of theirs each table has as it is published."""
        rows = {}
        for table in TABLES:
            if published := self._catalog.published(table.name):
                self._progress.begin(f"looking for what is theirs in {table.name}")
                if table.name == QUARANTINE.name:
                    rows[table.name] = len(self._unreadable(published.files, people))
                else:
                    opened = self._lakehouse.open(published)
                    theirs = opened.filter(held_in(opened, people))
                    [counted] = self._fetch(theirs.agg(rows=theirs.count()))
                    rows[table.name] = counted["rows"]
        return rows

    def _fetch(self, rows: ir.Table) -> list[dict[str, int]]:
        found: list[dict[str, int]] = self._engine.fetch(Query.of(rows)).to_pylist()
        return found

    def _unreadable(self, files: Collection[str], people: Naming) -> list[str]:
        """The file of each row of `quarantine` that names them."""
        holds = self._finder_of(people).is_in
        return [
            file
            for file in files
            for row in read_rejects(file, self._lakehouse)
            if _rule(people, QUARANTINE.name).without(row["person"])[0] or holds(row["raw"])
        ]

    # The landing zone

    def take_out_of_landing(self, people: Naming) -> int:
        """Publish the landing tables and `quarantine` without them.

        Returns:
            How many landing files hold them, of those that were taken in.
        """
        left = 0
        holds = self._finder_of(people).is_in
        instead = rejects_without(_rule(people, QUARANTINE.name).without, holds)
        for name in reversed(SOURCES):  # what tells whose a device is goes last
            self._progress.begin(f"taking rows out of {name}")
            goes = partial(_rule(people, name).theirs, name)
            if taken := self._removal.take_out(name, goes, instead, "forgotten"):
                theirs = {entry.path for entry in taken.entries if entry.forgotten}
                left += sum(
                    entry.path in theirs or entry.duplicate_of in theirs for entry in taken.entries
                )
        storage = self._lakehouse.storage
        held = [each for each in read_holds(storage) if each.person in people.people]
        release_holds(storage, held)  # nothing of theirs is kept that could be used
        self._removal.fill_quarantine(QUARANTINE.table(self._policy), SOURCES)
        return left

    # All other tables

    def remake_tables(self) -> None:
        """Bring the tables that are made from the landing tables up to date.

        Raises:
            LakehouseError: A check holds a table back that still holds people who are gone.
        """
        lakehouse, policy = self._lakehouse, self._policy
        held_back = [
            verdict
            for verdict in remake(lakehouse, policy, self._run_id, self._settings.max_consent_fall)
            if verdict.held_back
        ]
        if held_back:  # those that show people do so without them from now on
            take_out(lakehouse, policy, self._run_id)

    def files_holding(self, people: Naming) -> dict[str, set[str]]:
        """Of each table, the data files that hold them, also those that are no longer in use."""
        holding = {}
        for name in self._catalog.names():
            self._progress.begin(f"looking for files of {name} that hold them")
            state = self._catalog.state(name)
            files = [f.location for f in self._lakehouse.storage.files(f"{state.location}/data")]
            if name == QUARANTINE.name:
                files += files_of_all_holds(self._lakehouse.storage)
                holding[name] = set(self._unreadable(files, people))
            else:
                holding[name] = set(self._holding(name, files, people))
            if name == TRAINING_SET and state.values_of(RELEASE):
                # Whose pseudonyms are in files of no state any more, nobody can tell.
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
                located = self._removal.located(name, alike, {c: _NAMING[c] for c in columns})
                yield from self._files(located.filter(held_in(located, people)), alike)

    def _columns(self, file: str) -> list[str] | None:
        """The columns of a data file; None if it is not whole: whoever wrote it was killed.

        Libraries say much the same of a damaged file and of one that cannot be read just now, so
        it counts as damaged once all its bytes were read.
        """
        stored = self._catalog.io.new_input(file)
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
        state = self._catalog.find(TRAINING_SET)
        if state is None:
            return [], []
        theirs = set(holding[TRAINING_SET])
        remade, unknown = [], []
        for tag in state.tags:
            tagged = self._catalog.state(TRAINING_SET).tagged(tag.name)
            if tagged is None:
                continue
            key = tagged.properties.get("key-id")
            if key not in {None, key_id(self._policy)}:
                unknown.append(tag.name)
            if touched := theirs.intersection(tagged.files):
                remade += [each.name for each in state.tags if each.snapshot_id == tagged.id]
                located = self._removal.located(TRAINING_SET, sorted(touched), tagged.types)
                rows = located.filter(~held_in(located, people)).select(*tagged.types)
                ids = {n: i for n, i in state.field_ids.items() if n in tagged.types}
                new = self._engine.write(Query.of(rows), f"{state.location}/data", ids)
                self._catalog.replace_tagged(
                    tagged, [*(f for f in tagged.files if f not in touched), *new]
                )
        return remade, unknown

    def note_withdrawals(self, people: Naming) -> None:
        """Write down what the states that go next tell of others' withdrawals."""
        try:
            note_withdrawals(self._lakehouse, self._settings, without=people.subject_ids)
        except Exception as error:
            if not is_damage(error):  # what is damaged keeps nobody from being forgotten
                raise

    def delete_states(self, holding: Mapping[str, Collection[str]]) -> tuple[int, int]:
        """Delete all older states, candidates and files that hold them.

        Returns:
            How many snapshots and data files went.

        Raises:
            LakehouseError: What is published still holds them.
        """
        snapshots = files = 0
        for name, theirs in holding.items():
            self._progress.begin(f"deleting older states of {name}")
            published = self._catalog.published(name)
            if published and set(theirs).intersection(published.files):
                raise LakehouseError(
                    f"{name} still holds people who are to be forgotten, as a check keeps it from "
                    "being made anew: see stedi status, mend what it says, and forget them again."
                )
            expired, deleted = expire_holding(
                self._catalog, self._lakehouse.storage, name, set(theirs)
            )
            snapshots, files = snapshots + expired, files + deleted
        return snapshots, files

    def delete_reports(self) -> None:
        """Delete the report, which is made anew after the next refresh."""
        storage = self._lakehouse.storage
        for file in storage.files(f"{storage.root}/report"):
            storage.erase(file.location)

    def name_by_landing_files(self, people: Naming) -> Naming:
        """Keep what names them in landing files, too: they may have been forgotten in tables."""
        paths = self._concerned("customer_landing")
        objects = self._objects("customer_landing", people)
        new, others = words_in(self._landing, paths, objects, people.words)
        others |= self._words_of_others({*people.words, *new})

        def with_words(each: Naming, words: Collection[str] = ()) -> Naming:
            all_ = [*each.words, *sorted(words)]  # what others have must cost them nothing
            shared = {*each.shared, *others.intersection(all_)}
            own = tuple(word for word in all_ if word not in others)
            return replace(each, words=own, shared=tuple(sorted(shared)))

        storage = self._lakehouse.storage
        kept = names.being_forgotten(storage)
        first = next(iter(people.people))  # nobody can tell whose of them each word is
        for person in people.people:
            kept[person] = with_words(kept[person], new if person == first else ())
        names.keep(kept, storage)
        return with_words(people, new)

    def mend_landing_files(self, people: Naming) -> Mended:
        """Take them out of the landing files, and note these as they are then."""
        self._sweep(self._settings.landing_root)
        all_, notes = Mended(), Notes(self._lakehouse.storage)
        for name, source in SOURCES.items():
            ledger, objects = self._ledger(name), self._objects(name, people)
            paths = self._concerned(name)
            digests, mended = mend(self._landing, source, paths, objects, notes)
            after = list(as_they_are_now(self._landing, source, ledger, digests, notes))
            all_.written += mended.written
            all_.deleted += mended.deleted
            all_.not_searched += mended.not_searched
            all_.versions += erase_older_versions(self._landing, source, self._finder_of(people))
            state = self._catalog.find(name)
            if after != ledger and state and (published := state.published):
                since = str(round(published.committed_at.timestamp() * 1000))
                says = {
                    **published.properties,
                    SAME_ROWS: published.rows_id,
                    ROWS_SINCE: since,
                    LEDGER: write_ledger(f"{state.location}/{LEDGER}", after, self._catalog.io),
                }
                self._removal.publish(published, published.files, says, rows=published.rows)
        notes.erase()
        return all_

    @property
    def _landing(self) -> LandingFolder:
        storage = self._lakehouse.storage
        return LandingFolder(self._settings.landing_root, storage, self._progress)

    def _finder_of(self, people: Naming) -> Finder:
        """Finds what names them in what cannot be read."""
        return Finder(people.people, people.emails, people.words)

    def _concerned(self, name: str) -> list[str]:
        """Landing files that hold them or people who were forgotten before."""
        silenced = list[str]()
        if quarantine := self._catalog.published(QUARANTINE.name):
            rows = self._lakehouse.open(quarantine)
            files = rows.filter(rows.raw == "").select(SOURCE_FILE).distinct()
            silenced = self._engine.fetch(Query.of(files))[SOURCE_FILE].to_pylist()
        return concerned(self._landing, SOURCES[name], self._ledger(name), silenced)

    def _ledger(self, name: str) -> list[Entry]:
        published = self._catalog.published(name)
        return read_ledger(published.properties[LEDGER], self._catalog.io) if published else []

    def _objects(self, name: str, people: Naming) -> Objects:
        forgotten = Forgotten.read(self._lakehouse.storage)
        rule = rule_for_objects(forgotten, self._lakehouse, name)
        finder = self._finder_of(people)
        now = _now()
        return Objects(definition(name).landing_table, rule, finder, now)

    def _sweep(self, folder: str) -> None:
        """Delete files that were being written when a command was killed."""
        for file in self._lakehouse.storage.files(folder):
            if file.location.rpartition("/")[2].startswith(UNFINISHED):
                self._lakehouse.storage.erase(file.location)

    def places(self, *, landing_files: bool) -> list[str]:
        """Folders to search: the lakehouse, the history of its runs, and landing files if asked."""
        root = self._lakehouse.storage.root
        others = [str(self._settings.dagster_home)]
        if landing_files:
            others += map(self._landing.folder, SOURCES.values())
        return [root, *(each for each in others if not f"{each}/".startswith(f"{root}/"))]

    def left_out(self, *, landing_files: bool) -> list[str]:
        """What is not searched of these: what names them, and landing files unless asked."""
        own = names.place_of(self._lakehouse.storage)
        return [own] if landing_files else [own, self._settings.landing_root]

    def finder(self, people: Naming) -> Finder:
        """Finds what names them; not words that others' names, phones and devices have, too."""
        finder = Finder(people.people, people.emails, people.words, people.subject_ids)
        return finder.without(self._words_of_others(people.words))

    def _words_of_others(self, words: Collection[str]) -> set[str]:
        """Words of theirs that rows of others have, too, once their own are gone."""
        finder = Finder(words)
        found: set[str] = set()
        for name, columns in _WORDS.items():
            if published := self._catalog.published(name):
                files = published.files
                found |= finder.find_in(values_of(self._lakehouse.storage, files, columns))
        return found

    def _files(self, rows: ir.Table, files: Collection[str]) -> set[str]:
        """The files that these rows are in."""
        if not files:  # all that landed could not be read
            return set()
        found = self._engine.fetch(Query.of(rows.select(FILE).distinct()))[FILE].to_pylist()
        return located_in(found, files)


def _rule(people: Naming, table: str) -> Rule:
    """Which rows of a landing table are theirs, also those of a clock that is ahead."""
    serials = people.claims if table == "accelerometer_landing" else people.devices
    return Rule(people=people.people, devices=until(serials), readings=people.readings)


def _now() -> int:
    """The time in epoch milliseconds."""
    return time.time_ns() // 1_000_000
