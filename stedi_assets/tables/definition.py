"""The definition of a table: its contract, its rule, its checks, its account of rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from inspect import signature
from typing import Any

import ibis.expr.types as ir

from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.table import Table
from stedi_assets.tables.consent import consenting
from stedi_assets.tables.contract import Contract, columns_of, table_of
from stedi_assets.tables.policy import Policy

_POLICY = "policy"

CONSENTING = "consenting_people"
"""Parameter of a check that is no table: people who consent (email), worked out once for all."""

Rule = Callable[..., ir.Table]
"""Gives rows. Its parameters name the tables it reads, and `policy` where it depends on that.

It is a pure function: expressions in, one expression out.
"""

Violations = Callable[..., ir.IntegerScalar]
"""Counts violations. Its parameters are those of a `Rule`, besides its own table and CONSENTING."""


@dataclass(frozen=True)
class TableDefinition:
    """A table.

    Attributes:
        contract: Its columns, with their meaning and checks.
        identified_contract: Its contract with STEDI_PSEUDONYMIZE=false, if that differs.
        source: The source whose files a landing table holds.
        rule: Its rows; None for tables that are made of landing files.
        consent: Rows of people who do not consent. Nobody sees a table that has any.
        serial_numbers: Rows that contradict the proven owner of a device, or its proof. Likewise.
        account: Where the rows of its inputs went: (outcome, rows), see `accounts`; None if its own
            rows are none of them.
        still_consenting: The published rows that may stay when people withdrew and the table cannot
            be made anew.
    """

    contract: type[Contract]
    identified_contract: type[Contract] | None = None
    source: str | None = None
    rule: Rule | None = None
    consent: Violations | None = None
    serial_numbers: Violations | None = None
    account: Rule | None = None
    still_consenting: Rule | None = None

    @cached_property
    def name(self) -> str:
        """Its name."""
        return self.contract.Config.name

    @property
    def is_pseudonymous(self) -> bool:
        """Whether its rows name people by pseudonym."""
        return "subject_id" in columns_of(self.contract)

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the tables that its rule is made from."""
        return inputs_of(self.rule) if self.rule else ()

    def contract_under(self, policy: Policy) -> type[Contract]:
        """Its contract under a policy."""
        return (not policy.pseudonymize and self.identified_contract) or self.contract

    @property
    def landing_table(self) -> Table:
        """What the lakehouse needs to know of a landing table, which no policy changes."""
        return self.table(Policy())

    def table(self, policy: Policy) -> Table:
        """What the lakehouse needs to know of it under a policy."""
        return table_of(self.contract_under(policy))


def inputs_of(function: Callable[..., object]) -> tuple[str, ...]:
    """Names of the tables that a rule or check looks at."""
    names = [
        (name,) if name != CONSENTING else _parameters(consenting) for name in _parameters(function)
    ]
    return tuple(dict.fromkeys(name for some in names for name in some))


def _parameters(function: Callable[..., object]) -> tuple[str, ...]:
    return tuple(name for name in signature(function).parameters if name != _POLICY)


def asks_who_consents(function: Callable[..., object]) -> bool:
    """Whether a check asks for the people who consent."""
    return CONSENTING in _parameters(function)


def takes_policy(function: Callable[..., object]) -> bool:
    """Whether a rule or check depends on the policy."""
    return _POLICY in signature(function).parameters


def apply(function: Callable[..., Any], tables: Mapping[str, ir.Table], policy: Policy) -> Any:
    """Call a rule or check with the tables that its parameters name.

    People who consent may be among the tables; otherwise they are worked out.
    """
    arguments: dict[str, Any] = {
        name: consenting(*map(tables.__getitem__, _parameters(consenting)))
        if name == CONSENTING and name not in tables
        else tables[name]
        for name in _parameters(function)
    }
    return function(**arguments, **({_POLICY: policy} if takes_policy(function) else {}))


def query_of(function: Callable[..., Any], tables: Mapping[str, ir.Table], policy: Policy) -> Query:
    """A rule or check on the tables that its parameters name, under the key as it is now."""
    policy = _with_key_of_now(policy) if takes_policy(function) else _ANY_POLICY
    names = _parameters(function) if CONSENTING in tables else inputs_of(function)
    return Query(_Applied(function, policy), {name: tables[name] for name in names})


@dataclass(frozen=True)
class _Applied:
    """A rule or check under a policy; equal to those that give the same expression."""

    function: Callable[..., Any]
    policy: Policy

    def __call__(self, tables: Mapping[str, ir.Table]) -> Any:
        return apply(self.function, tables, self.policy)


_ANY_POLICY = Policy()


def _with_key_of_now(policy: Policy) -> Policy:
    """The policy with one key, which does not change while SQL is compiled and kept by it."""
    try:
        return replace(policy, subject_key=_Key(policy.subject_key()))
    except Exception as error:  # a rule that needs no key can do without it
        return replace(policy, subject_key=_Unreadable(error))


@dataclass(frozen=True)
class _Key:
    key: str = field(repr=False)

    def __call__(self) -> str:
        return self.key


@dataclass(frozen=True, eq=False)
class _Unreadable:
    error: Exception

    def __call__(self) -> str:
        raise self.error
