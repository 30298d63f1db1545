"""Whose pseudonyms a training set has where each release has its own (STEDI_PSEUDONYM_SCOPE).

A release is named after the state that was published before it, or after the table where there was
none. So no name comes twice, whatever becomes of states and tags, and a refresh that is cut short
goes on with the same one. A set from which people were taken out, or that is corrected, is of the
release it was of.
"""

from collections.abc import Mapping
from dataclasses import replace

import ibis.expr.types as ir

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.state import Snapshot, TableState
from stedi_assets.tables.definition import TableDefinition, query_of
from stedi_assets.tables.policy import Policy

RELEASE = "release"
"""Property of a snapshot: the release whose pseudonyms it has, if it has not those of all sets."""


def policy_of_set(snapshot: Snapshot, policy: Policy) -> Policy:
    """The policy under which a state has its pseudonyms."""
    return replace(policy, release=snapshot.properties.get(RELEASE))


def policies_of_sets(state: TableState | None, policy: Policy) -> list[Policy]:
    """The policy of all sets, and that of each release of which a state is still there."""
    releases = state.values_of(RELEASE) if state else []
    return [replace(policy, release=release) for release in (None, *releases)]


def policy_to_make(
    table: TableDefinition, catalog: Catalog, inputs: Mapping[str, ir.Table], policy: Policy
) -> Policy:
    """The policy under which a table is made of its inputs as they are; computes nothing.

    It is that of the published state where this is made of these inputs already.
    """
    if policy.pseudonym_scope == "all" or not table.is_pseudonymous or table.rule is None:
        return policy
    state = catalog.state(table.name)
    published = state.published
    if published is None:
        return replace(policy, release=state.uuid)
    own = policy_of_set(published, policy)
    made = query_of(table.rule, inputs, own).fingerprint(state.contract)
    if own.release and published.properties.get("fingerprint") == made:
        return own
    return replace(policy, release=published.rows_id)
