"""The tables as rules and checks see them."""

from collections.abc import Callable, Sequence
from typing import Any

import ibis.expr.types as ir

from stedi_assets.lakehouse.changes.change import Change, UnderivableError
from stedi_assets.lakehouse.changes.workspace import Workspace
from stedi_assets.lakehouse.engines.engine import Engine
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.refresh.release import policy_of_set
from stedi_assets.tables import SOURCES, definition
from stedi_assets.tables.consent import consenting
from stedi_assets.tables.definition import (
    CONSENTING,
    apply,
    asks_who_consents,
    inputs_of,
    query_of,
)
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.policy import Policy

SEEN = "seen."
"""What the property of a snapshot begins with that names a state which its checks looked at."""


class View:
    """Tables by name: a candidate in its own place, others as published.

    `quarantine` is read from the landing ledgers: it may not be published yet.
    """

    def __init__(
        self,
        lakehouse: Lakehouse,
        policy: Policy,
        candidate: Snapshot | None = None,
        *,
        in_full: bool = False,
    ) -> None:
        """View the tables of a lakehouse; each is looked up once.

        Args:
            lakehouse: Where they are.
            policy: What their rules depend on.
            candidate: What to see in its table's place.
            in_full: Whether checks look at all of the candidate, however it was made.
        """
        self.in_full = in_full
        self._lakehouse = lakehouse
        self._policy = policy
        self._candidate = candidate
        self._snapshots = {candidate.table: candidate} if candidate else {}
        self._fetched: dict[Callable[..., Any], list[dict[str, Any]]] = {}

    def __getitem__(self, name: str) -> ir.Table:
        """The table as an expression."""
        # Opened each time: an audit may outlast the credentials that a table was opened with.
        return self._lakehouse.open(self._snapshot(name))

    def _snapshot(self, name: str) -> Snapshot:
        if name not in self._snapshots:
            self._snapshots[name] = (
                self._lakehouse.rejects(SOURCES, QUARANTINE.table(self._policy))
                if name == QUARANTINE.name
                else self._lakehouse.published(name)
            )
        return self._snapshots[name]

    def published(self, name: str) -> Snapshot | None:
        """What readers see of a table now, if anything."""
        return self._lakehouse.catalog.published(name)

    @property
    def is_published(self) -> bool:
        """Whether readers see the candidate already."""
        published = self._candidate and self.published(self._candidate.table)
        return published is not None and published.id == getattr(self._candidate, "id", None)

    def call(self, function: Callable[..., Any]) -> Any:
        """Call a rule with the tables that its parameters name."""
        tables = {name: self[name] for name in inputs_of(function)}
        return apply(function, tables, self._policy_for(function))

    @property
    def engine(self) -> Engine:
        """What computes small things."""
        return self._lakehouse.engine.immediate

    @property
    def workspace(self) -> Workspace:
        """Keeps what is computed on the way."""
        return self._lakehouse.workspace

    def known_account(self) -> dict[str, int]:
        """Where the rows of what is published went, instead of the candidate's.

        Raises:
            UnderivableError: That is not known.
        """
        account = self._lakehouse.catalog.state(self._own.table).account
        if not account:
            raise UnderivableError("what became of the rows is not known")
        return account

    @property
    def _own(self) -> Snapshot:
        """The candidate.

        Raises:
            UnderivableError: It was not made from what is published, or is audited in full.
        """
        if self._candidate is None or not self.is_from_changes:
            raise UnderivableError("it was made anew, or is audited in full")
        return self._candidate

    @property
    def is_from_changes(self) -> bool:
        """Whether the candidate was made from what is published, and its change is audited."""
        if self.in_full or self._candidate is None:
            return False
        published = self.published(self._candidate.table)
        return published is not None and self._lakehouse.is_known(published, self._candidate)

    def change_of(self, function: Callable[..., Any]) -> dict[str, Change]:
        """What became of the tables that a check looks at since it last looked.

        Raises:
            UnderivableError: That cannot be told.
        """
        own = self._own.table
        published = self.published(own)
        changes: dict[str, Change] = {}
        for name in inputs_of(function):
            now = self._snapshot(name)
            before = published if name == own else self._seen(name, published)
            if before is None:
                raise UnderivableError(f"{name} is not known as it was")
            changes[name] = self._lakehouse.change(before, now)
        return changes

    def changed_since(self, check: Callable[..., Any]) -> bool:
        """Whether a table that a check looks at is another one than when the candidate was made."""
        made = self._candidate
        assert made is not None
        return any(
            made.properties.get(f"input.{name}", made.properties.get(f"{SEEN}{name}"))
            != (now.rows_id if (now := self.published(name)) else None)
            for name in inputs_of(check)
            if name != made.table
        )

    def _seen(self, name: str, published: Snapshot | None) -> Snapshot | None:
        """The state of another table that was there when a table was published."""
        properties = published.properties if published else {}
        rows_id = properties.get(f"input.{name}") or properties.get(f"{SEEN}{name}")
        now = self._snapshot(name)
        if rows_id is None or rows_id == now.rows_id:
            return now if rows_id else None
        return self._lakehouse.catalog.state(name).snapshot(int(rows_id))

    def query(self, function: Callable[..., Any]) -> Query:
        """A rule or check on the tables that its parameters name."""
        return query_of(function, self._tables(function), self._policy_for(function))

    def _tables(self, function: Callable[..., Any]) -> dict[str, ir.Table]:
        tables = {name: self[name] for name in inputs_of(function)}
        people = self._consenting() if asks_who_consents(function) else None
        return tables if people is None else tables | {CONSENTING: people}

    def _consenting(self) -> ir.Table | None:
        """Who consents, held for the checks of all tables until the run ends; None: nobody."""
        people = self.workspace.selection(self.call(consenting))
        held = self.workspace.hold(people)
        return held and held.table

    def _policy_for(self, function: Callable[..., Any]) -> Policy:
        """The policy under which the training set that a rule or check looks at was made."""
        sets = [name for name in inputs_of(function) if definition(name).is_pseudonymous]
        return policy_of_set(self._snapshot(sets[0]), self._policy) if sets else self._policy

    def fetch(self, function: Callable[..., Any]) -> list[dict[str, Any]]:
        """The rows that a rule or check gives, which are few."""
        if function not in self._fetched:
            self.fetch_ahead([function])
        return self._fetched[function]

    def fetch_ahead(self, functions: Sequence[Callable[..., Any]]) -> None:
        """Execute several rules or checks at once, so that `fetch` has what they give."""
        found = self._lakehouse.engine.fetch_all([self.query(function) for function in functions])
        self._fetched |= {f: rows.to_pylist() for f, rows in zip(functions, found, strict=True)}

    def count(self, function: Callable[..., Any]) -> int:
        """The number that a check gives."""
        [[number]] = [row.values() for row in self.fetch(function)]
        return int(number)
