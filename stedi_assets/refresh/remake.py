"""Brings tables up to date with what is published, without taking in landing files."""

from collections.abc import Mapping

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.query import Query
from stedi_assets.refresh.findings import Verdict
from stedi_assets.refresh.gate import audit_and_publish
from stedi_assets.refresh.release import RELEASE, policy_to_make
from stedi_assets.refresh.stage import seen_by_checks, stage
from stedi_assets.tables import TABLES
from stedi_assets.tables.definition import query_of, takes_policy
from stedi_assets.tables.identity import key_id
from stedi_assets.tables.policy import Policy


def remake(
    lakehouse: Lakehouse, policy: Policy, run_id: str, max_consent_fall: float
) -> list[Verdict]:
    """Make each table that was made before from what its inputs are now, as a refresh does.

    Args:
        lakehouse: Which lakehouse.
        policy: What the rules depend on.
        run_id: What asks.
        max_consent_fall: As of `audit_and_publish`.

    Returns:
        What the gate decided of each.
    """
    verdicts = []
    for table in TABLES:
        if table.rule is None or lakehouse.catalog.published(table.name) is None:
            continue
        lakehouse.catalog.ensure(table.table(policy))
        inputs = {name: lakehouse.table(name) for name in table.inputs}
        own = policy_to_make(table, lakehouse.catalog, inputs, policy)
        rows = query_of(table.rule, inputs, own)
        said = says_of_policy(rows, own) if takes_policy(table.rule) else {}
        properties = {**said, "run-id": run_id, **seen_by_checks(table, lakehouse)}
        stage(table.name, rows, properties, lakehouse)
        verdicts.append(audit_and_publish(table, lakehouse, policy, max_consent_fall))
    return verdicts


def says_of_policy(rows: Query, policy: Policy) -> Mapping[str, str]:
    """What a snapshot says of the policy that its rows depend on."""
    says: dict[str, str] = {"consent-scope": policy.consent_scope}
    if "subject_id" in rows.schema:
        says |= {"key-id": key_id(policy), "times": policy.times}
        says |= {RELEASE: policy.release} if policy.release else {}
    return says
