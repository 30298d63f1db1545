"""Leaves out what is of forgotten people of what lands, and of what could not be read."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from uuid import uuid4

import ibis.expr.types as ir

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.landing.person import SEPARATOR
from stedi_assets.lakehouse.landing.reader import Parsed
from stedi_assets.lakehouse.names import view_name
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.removal import (
    Instead,
    Reject,
    count_by_file,
    read_rejects,
    rewrite_rejects,
)
from stedi_assets.lakehouse.table import Table
from stedi_assets.refresh.forgotten import Forgotten
from stedi_assets.refresh.forgotten_rows import KINDS, rule_for


class Sieve:
    """Leaves out what is of forgotten people of what landed."""

    def __init__(self, lakehouse: Lakehouse, quarantine: Table) -> None:
        """Look at the list of a lakehouse when something landed."""
        self._lakehouse = lakehouse
        self._engine = lakehouse.engine.immediate
        self._quarantine = quarantine

    @cached_property
    def _forgotten(self) -> Forgotten:
        return Forgotten.read(self._lakehouse.storage)

    def __call__(self, table: Table, parsed: Parsed) -> Parsed:
        """What was read of new files of a landing table, without what is theirs."""
        if not self._forgotten.people:
            return parsed
        rows = self._open(table, parsed.rows)
        rejects = read_rejects(parsed.rejects, self._lakehouse)
        persons = {one for row in rejects for one in (row["person"] or "").split(SEPARATOR)}
        rule = rule_for(self._forgotten, self._lakehouse, table.name, rows, persons)
        if rule.is_empty and not rejects:
            return parsed
        gone = Counter(count_by_file(rows.filter(rule.theirs(table.name, rows)), self._lakehouse))
        if gone:
            kept = rows.filter(~rule.theirs(table.name, rows)).select(*table.types)
            state = self._lakehouse.catalog.state(table.name)
            folder = f"{state.location}/data"
            files = self._engine.write(Query.of(kept), folder, state.field_ids)
            for file in parsed.rows:
                self._lakehouse.storage.erase(file)
            parsed = replace(parsed, rows=files)
        instead = rejects_without(rule.without, self._has_device)
        written, lost = rewrite_rejects(parsed.rejects, rejects, instead, self._lakehouse)
        if parsed.rejects and written != parsed.rejects:
            self._lakehouse.storage.erase(parsed.rejects)
        counts = {
            path: replace(
                each,
                rows=each.rows - gone[path],
                quarantined=each.quarantined - lost[path],
                forgotten=gone[path] + lost[path],
            )
            for path, each in parsed.counts.items()
        }
        return replace(parsed, rejects=written, counts=counts)

    def _has_device(self, raw: str) -> bool:
        """Whether something unreadable has the serial number of a device on the list."""
        return any(
            self._forgotten.digest(kind, text) in self._forgotten.devices
            for text in strings_in(raw)
            for kind in KINDS.values()
        )

    def _open(self, table: Table, files: list[str]) -> ir.Table:
        return self._engine.open(view_name(f"{table.name}_landed", uuid4().hex), files, table.types)


_STRING = re.compile(r'"([^"\\\n]+)"')


def strings_in(raw: str) -> list[str]:
    """Texts in quotes in something unreadable."""
    return _STRING.findall(raw)


Without = Callable[[str | None], tuple[bool, str | None]]


def rejects_without(without: Without, holds: Callable[[str], bool]) -> Instead:
    """What takes the place of a row of `quarantine` that may be of forgotten people.

    What names others, too, is kept for the sake of these, without its text: it may suspend them.

    Args:
        without: As `Rule.without`.
        holds: Whether a text has something of theirs in it, though it names nobody.
    """

    def instead(row: Reject) -> Reject | None:
        theirs, left = without(row["person"])
        if not theirs and not holds(row["raw"]):
            return row
        return None if left is None else {**row, "raw": "", "person": left}

    return instead
