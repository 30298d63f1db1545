"""Takes people out of the landing zone: of its tables and quarantine."""

from functools import partial

from stedi_assets.lakehouse.landing.holds import read_holds, release_holds
from stedi_assets.privacy.forget_work import Work, rule_of
from stedi_assets.privacy.naming import Naming
from stedi_assets.refresh.sieve import rejects_without
from stedi_assets.tables import SOURCES
from stedi_assets.tables.landing.quarantine import QUARANTINE


class LandingTables:
    """The landing tables and `quarantine`, from which people are taken out."""

    def __init__(self, work: Work) -> None:
        """Take people out of the landing tables of a lakehouse."""
        self._work = work

    def take_out(self, people: Naming) -> int:
        """Publish the landing tables and `quarantine` without them.

        Returns:
            How many landing files hold them, of those that were taken in.
        """
        left = 0
        holds = self._work.finder_of(people).is_in
        instead = rejects_without(rule_of(people, QUARANTINE.name).without, holds)
        for name in reversed(SOURCES):  # what tells whose a device is goes last
            self._work.progress.begin(f"taking rows out of {name}")
            goes = partial(rule_of(people, name).theirs, name)
            if taken := self._work.removal.take_out(name, goes, instead, "forgotten"):
                theirs = {entry.path for entry in taken.entries if entry.forgotten}
                left += sum(
                    entry.path in theirs or entry.duplicate_of in theirs for entry in taken.entries
                )
        storage = self._work.lakehouse.storage
        held = [each for each in read_holds(storage) if each.person in people.people]
        release_holds(storage, held)  # nothing of theirs is kept that could be used
        self._work.removal.fill_quarantine(QUARANTINE.table(self._work.policy), SOURCES)
        return left
