"""Takes people out of the landing files, where that is asked for."""

from collections.abc import Collection
from dataclasses import replace

from stedi_assets.lakehouse.landing.ledger import (
    LEDGER,
    Entry,
    LandingFolder,
    read_ledger,
    write_ledger,
)
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.state import ROWS_SINCE, SAME_ROWS
from stedi_assets.lakehouse.table import SOURCE_FILE
from stedi_assets.privacy import naming as names
from stedi_assets.privacy.forget_work import Work
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
from stedi_assets.privacy.naming import Naming
from stedi_assets.privacy.scan import Finder, values_of
from stedi_assets.refresh.forgotten import Forgotten
from stedi_assets.refresh.forgotten_rows import rule_for_objects
from stedi_assets.tables import SOURCES, definition
from stedi_assets.tables.landing.quarantine import QUARANTINE

_WORDS = {
    "customer_landing": ("customername", "phone", "serialnumber", "birthday"),
    "step_trainer_landing": ("serialnumber",),
}
"""Columns of others' words that may have a word of theirs in them."""


class LandingFiles:
    """The landing files, from which people are taken out."""

    def __init__(self, work: Work) -> None:
        """Take people out of the landing files of a lakehouse."""
        self._work = work

    def name_by(self, people: Naming) -> Naming:
        """Keep what names them in landing files, too: they may have been forgotten in tables."""
        paths = self._concerned("customer_landing")
        objects = self._objects("customer_landing", people)
        new, others = words_in(self.landing, paths, objects, people.words)
        others |= self.words_of_others({*people.words, *new})

        def with_words(each: Naming, words: Collection[str] = ()) -> Naming:
            all_ = [*each.words, *sorted(words)]  # what others have must cost them nothing
            shared = {*each.shared, *others.intersection(all_)}
            own = tuple(word for word in all_ if word not in others)
            return replace(each, words=own, shared=tuple(sorted(shared)))

        storage = self._work.lakehouse.storage
        kept = names.being_forgotten(storage)
        first = next(iter(people.people))  # nobody can tell whose of them each word is
        for person in people.people:
            kept[person] = with_words(kept[person], new if person == first else ())
        names.keep(kept, storage)
        return with_words(people, new)

    def mend(self, people: Naming) -> Mended:
        """Take them out of the landing files, and note these as they are then."""
        self._work.sweep(self._work.settings.landing_root)
        all_, notes = Mended(), Notes(self._work.lakehouse.storage)
        for name, source in SOURCES.items():
            ledger, objects = self._ledger(name), self._objects(name, people)
            paths = self._concerned(name)
            digests, mended = mend(self.landing, source, paths, objects, notes)
            after = list(as_they_are_now(self.landing, source, ledger, digests, notes))
            all_.written += mended.written
            all_.deleted += mended.deleted
            all_.not_searched += mended.not_searched
            all_.versions += erase_older_versions(
                self.landing, source, self._work.finder_of(people)
            )
            state = self._work.catalog.find(name)
            if after != ledger and state and (published := state.published):
                since = str(round(published.committed_at.timestamp() * 1000))
                folder = f"{state.location}/{LEDGER}"
                says = {
                    **published.properties,
                    SAME_ROWS: published.rows_id,
                    ROWS_SINCE: since,
                    LEDGER: write_ledger(folder, after, self._work.catalog.io),
                }
                self._work.removal.publish(published, published.files, says, rows=published.rows)
        notes.erase()
        return all_

    @property
    def landing(self) -> LandingFolder:
        """Where they are."""
        storage = self._work.lakehouse.storage
        return LandingFolder(self._work.settings.landing_root, storage, self._work.progress)

    def _concerned(self, name: str) -> list[str]:
        """Landing files that hold them or people who were forgotten before."""
        silenced = list[str]()
        if quarantine := self._work.catalog.published(QUARANTINE.name):
            rows = self._work.lakehouse.open(quarantine)
            files = rows.filter(rows.raw == "").select(SOURCE_FILE).distinct()
            silenced = self._work.engine.fetch(Query.of(files))[SOURCE_FILE].to_pylist()
        return concerned(self.landing, SOURCES[name], self._ledger(name), silenced)

    def _ledger(self, name: str) -> list[Entry]:
        published = self._work.catalog.published(name)
        return read_ledger(published.properties[LEDGER], self._work.catalog.io) if published else []

    def _objects(self, name: str, people: Naming) -> Objects:
        forgotten = Forgotten.read(self._work.lakehouse.storage)
        rule = rule_for_objects(forgotten, self._work.lakehouse, name)
        finder = self._work.finder_of(people)
        now = self._work.now()
        return Objects(definition(name).landing_table, rule, finder, now)

    def words_of_others(self, words: Collection[str]) -> set[str]:
        """Words of theirs that rows of others have, too, once their own are gone."""
        finder = Finder(words)
        found: set[str] = set()
        for name, columns in _WORDS.items():
            if published := self._work.catalog.published(name):
                files = published.files
                found |= finder.find_in(values_of(self._work.lakehouse.storage, files, columns))
        return found
