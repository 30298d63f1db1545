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

from collections.abc import Iterable, Mapping
from dataclasses import replace
from uuid import uuid4

import ibis.expr.types as ir

from stedi_assets.lakehouse.faults import is_damage
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.query import Query
from stedi_assets.privacy import naming as names
from stedi_assets.privacy.certificate import Certificate, certify
from stedi_assets.privacy.forget_landing import LandingTables
from stedi_assets.privacy.forget_landing_files import LandingFiles
from stedi_assets.privacy.forget_states import States
from stedi_assets.privacy.forget_work import Work, rule_of
from stedi_assets.privacy.landing_files import Mended
from stedi_assets.privacy.naming import Naming, held_in, name_all, together
from stedi_assets.privacy.scan import Finder, scan
from stedi_assets.privacy.withdrawal_ledger import note_withdrawals
from stedi_assets.privacy.withdrawals import take_out
from stedi_assets.refresh.forgotten import Forgotten, folder_of
from stedi_assets.refresh.forgotten_rows import registered_again
from stedi_assets.refresh.remake import remake
from stedi_assets.settings import Settings
from stedi_assets.tables import SOURCES, TABLES
from stedi_assets.tables.landing.quarantine import QUARANTINE


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
    work = Work(lakehouse, settings, str(uuid4()))
    run, files_there, states = _Forgetting(work), LandingFiles(work), States(work)
    people = run.begin(emails, landing_files=landing_files)
    rows = run.rows_held(people)
    files = LandingTables(work).take_out(people)
    run.remake_tables()
    holding = states.files_holding(people)
    tags, unknown_sets = states.remake_training_sets(people, holding)
    run.note_withdrawals(people)
    snapshots, deleted = states.delete(holding)
    run.delete_reports()
    mended = Mended()
    if landing_files:
        people = files_there.name_by(people)
        mended = files_there.mend(people)
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
    run = _Forgetting(Work(lakehouse, settings, ""))
    return run.rows_held(run.all_of(run.named(emails)))


class _Forgetting:
    """The steps that are no others' matter."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._landing_files = LandingFiles(work)

    def named(self, emails: Iterable[str], *, landing_files: bool = False) -> dict[str, Naming]:
        """What names people: as it is now, and as it was when a command that did not end began.

        What that one began stays as of its time, and so does what is done later for landing files,
        unless somebody registered again meanwhile and is asked for now.
        """
        storage = self._work.lakehouse.storage
        now = name_all(emails, self._work.settings, at=self._work.now())
        before = names.being_forgotten(storage)
        listed = Forgotten.read(storage)
        asked = {
            person: before[person].people[person] if person in before else listed.asked_at(person)
            for person in now
            if person in before or landing_files
        }
        known = {person: at for person, at in asked.items() if at is not None}
        for person in known.keys() - registered_again(known, self._work.lakehouse).keys():
            now[person] = replace(now[person], people={person: known[person]})
        return {
            person: together([before[person], each]) if person in before else each
            for person, each in now.items()
        }

    def all_of(self, named: Mapping[str, Naming]) -> Naming:
        """What names these people, and which of their devices somebody else has now."""
        people = together(named.values())
        taken_over: list[str] = []
        if people.devices and (published := self._work.catalog.published("customer_landing")):
            rows = self._work.lakehouse.open(published)
            others = rows.filter(~rows.person.isin(list(people.people)) | rows.person.isnull())
            taken_over += self._serials(others, people)
        if people.devices and (published := self._work.catalog.published("step_trainer_landing")):
            rows = self._work.lakehouse.open(published)
            theirs = rule_of(people, published.table).theirs(published.table, rows)
            taken_over += self._serials(rows.filter(~theirs), people)
        return replace(people, taken_over=tuple(dict.fromkeys(taken_over)))

    def _serials(self, rows: ir.Table, people: Naming) -> list[str]:
        """Which of their devices these rows have."""
        found = rows.filter(rows.serialnumber.isin(list(people.devices)))
        serials = self._work.engine.fetch(Query.of(found.select("serialnumber").distinct()))
        return list(serials["serialnumber"].to_pylist())

    def begin(self, emails: Iterable[str], *, landing_files: bool) -> Naming:
        """Note who is to be forgotten: from now on nothing of theirs lands."""
        storage = self._work.lakehouse.storage
        self._work.progress.begin("looking for what is theirs")
        self._work.sweep(folder_of(storage))
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
        storage = self._work.lakehouse.storage
        left = names.being_forgotten(storage)
        names.keep({p: each for p, each in left.items() if p not in people.people}, storage)

    def rows_held(self, people: Naming) -> dict[str, int]:
        """How many rows of theirs each table has as it is published."""
        rows = {}
        for table in TABLES:
            if published := self._work.catalog.published(table.name):
                self._work.progress.begin(f"looking for what is theirs in {table.name}")
                if table.name == QUARANTINE.name:
                    rows[table.name] = len(self._work.unreadable(published.files, people))
                else:
                    opened = self._work.lakehouse.open(published)
                    theirs = opened.filter(held_in(opened, people))
                    [counted] = self._work.fetch(theirs.agg(rows=theirs.count()))
                    rows[table.name] = counted["rows"]
        return rows

    def remake_tables(self) -> None:
        """Bring the tables that are made from the landing tables up to date.

        Raises:
            LakehouseError: A check holds a table back that still holds people who are gone.
        """
        lakehouse, policy = self._work.lakehouse, self._work.policy
        held_back = [
            verdict
            for verdict in remake(
                lakehouse, policy, self._work.run_id, self._work.settings.max_consent_fall
            )
            if verdict.held_back
        ]
        if held_back:  # those that show people do so without them from now on
            take_out(lakehouse, policy, self._work.run_id)

    def note_withdrawals(self, people: Naming) -> None:
        """Write down what the states that go next tell of others' withdrawals."""
        try:
            note_withdrawals(self._work.lakehouse, self._work.settings, without=people.subject_ids)
        except Exception as error:
            if not is_damage(error):  # what is damaged keeps nobody from being forgotten
                raise

    def delete_reports(self) -> None:
        """Delete the report, which is made anew after the next refresh."""
        storage = self._work.lakehouse.storage
        for file in storage.files(f"{storage.root}/report"):
            storage.erase(file.location)

    def places(self, *, landing_files: bool) -> list[str]:
        """Folders to search: the lakehouse, the history of its runs, and landing files if asked."""
        root = self._work.lakehouse.storage.root
        others = [str(self._work.settings.dagster_home)]
        if landing_files:
            others += map(self._landing_files.landing.folder, SOURCES.values())
        return [root, *(each for each in others if not f"{each}/".startswith(f"{root}/"))]

    def left_out(self, *, landing_files: bool) -> list[str]:
        """What is not searched of these: what names them, and landing files unless asked."""
        own = names.place_of(self._work.lakehouse.storage)
        return [own] if landing_files else [own, self._work.settings.landing_root]

    def finder(self, people: Naming) -> Finder:
        """Finds what names them; not words that others' names, phones and devices have, too."""
        finder = Finder(people.people, people.emails, people.words, people.subject_ids)
        return finder.without(self._landing_files.words_of_others(people.words))
