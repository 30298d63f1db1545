"""The tables as rules and checks see them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import ibis.expr.types as ir

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.tables import SOURCES, TABLES
from stedi_assets.tables.definition import apply, query_of
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.policy import Policy


class View(Mapping[str, ir.Table]):
    """Tables by name: a candidate in its own place, others as published.

    `quarantine` is read from the landing ledgers: it may not be published yet.
    """

    def __init__(
        self, lakehouse: Lakehouse, policy: Policy, candidate: Snapshot | None = None
    ) -> None:
        """View the tables of a lakehouse; each is looked up once."""
        self._lakehouse = lakehouse
        self._policy = policy
        self._snapshots = {candidate.table: candidate} if candidate else {}

    def __getitem__(self, name: str) -> ir.Table:
        """The table as an expression."""
        if name not in self._snapshots:
            self._snapshots[name] = (
                self._lakehouse.rejects(SOURCES, QUARANTINE.table(self._policy))
                if name == QUARANTINE.name
                else self._lakehouse.published(name)
            )
        # Opened each time: an audit may outlast the credentials that a table was opened with.
        return self._lakehouse.open(self._snapshots[name])

    def __iter__(self) -> Iterator[str]:
        """Names of the tables."""
        return (table.name for table in TABLES)

    def __len__(self) -> int:
        """Number of the tables."""
        return len(TABLES)

    def published(self, name: str) -> Snapshot | None:
        """What readers see of a table now, if anything."""
        return self._lakehouse.catalog.published(name)

    def call(self, function: Callable[..., Any]) -> Any:
        """Call a rule or check with the tables that its parameters name."""
        return apply(function, self, self._policy)

    def fetch(self, function: Callable[..., Any]) -> list[dict[str, Any]]:
        """The rows that a rule or check gives, which are few."""
        query = query_of(function, self, self._policy)
        rows: list[dict[str, Any]] = self._lakehouse.engine.fetch(query).to_pylist()
        return rows

    def count(self, function: Callable[..., Any]) -> int:
        """The number that a check gives."""
        [[number]] = [row.values() for row in self.fetch(function)]
        return int(number)
