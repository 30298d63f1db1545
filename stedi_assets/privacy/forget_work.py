"""What the steps of forgetting people share: the lakehouse, its files, and how to publish."""

import time
from collections.abc import Collection

import ibis.expr.types as ir

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.names import FILE, located_in
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.removal import Removal, read_rejects
from stedi_assets.lakehouse.storage.storage import UNFINISHED
from stedi_assets.privacy.naming import Naming
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.scan import Finder
from stedi_assets.refresh.forgotten import until
from stedi_assets.refresh.forgotten_rows import Rule
from stedi_assets.settings import Settings
from stedi_assets.tables.landing.quarantine import QUARANTINE


class Work:
    """A lakehouse from which people are being taken out."""

    def __init__(self, lakehouse: Lakehouse, settings: Settings, run_id: str) -> None:
        """Work on a lakehouse; `run_id` is what snapshots say made them."""
        self.lakehouse = lakehouse
        self.settings = settings
        self.policy = policy_of(settings)
        self.run_id = run_id
        self.catalog = lakehouse.catalog
        self.engine = lakehouse.engine.immediate
        self.progress = lakehouse.progress
        self.removal = Removal(lakehouse, run_id)

    @staticmethod
    def now() -> int:
        """The time in epoch milliseconds."""
        return time.time_ns() // 1_000_000

    def files_of(self, rows: ir.Table, files: Collection[str]) -> set[str]:
        """The files that these rows are in."""
        if not files:  # all that landed could not be read
            return set()
        found = self.engine.fetch(Query.of(rows.select(FILE).distinct()))[FILE].to_pylist()
        return located_in(found, files)

    def fetch(self, rows: ir.Table) -> list[dict[str, int]]:
        """A few numbers."""
        found: list[dict[str, int]] = self.engine.fetch(Query.of(rows)).to_pylist()
        return found

    def unreadable(self, files: Collection[str], people: Naming) -> list[str]:
        """The file of each row of `quarantine` that names them."""
        holds = self.finder_of(people).is_in
        return [
            file
            for file in files
            for row in read_rejects(file, self.lakehouse)
            if rule_of(people, QUARANTINE.name).without(row["person"])[0] or holds(row["raw"])
        ]

    def finder_of(self, people: Naming) -> Finder:
        """Finds what names them in what cannot be read."""
        return Finder(people.people, people.emails, people.words)

    def sweep(self, folder: str) -> None:
        """Delete files that were being written when a command was killed."""
        for file in self.lakehouse.storage.files(folder):
            if file.location.rpartition("/")[2].startswith(UNFINISHED):
                self.lakehouse.storage.erase(file.location)


def rule_of(people: Naming, table: str) -> Rule:
    """Which rows of a landing table are theirs, also those of a clock that is ahead."""
    serials = people.claims if table == "accelerometer_landing" else people.devices
    return Rule(people=people.people, devices=until(serials), readings=people.readings)
