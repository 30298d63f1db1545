"""Makes a Dagster asset of each table that has a rule."""

from collections.abc import Iterator
from typing import Any

import dagster as dg
import ibis

from stedi_assets.defs.checks import check_results, check_specs
from stedi_assets.defs.failures import as_dagster_failure, withdrawal_hook
from stedi_assets.defs.io_manager import TableOutput
from stedi_assets.defs.metadata import lineage_metadata, published_observations, table_spec
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.table import Table
from stedi_assets.privacy.key import make_missing_key
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.gate import audit_and_publish, checks_of, refuse
from stedi_assets.settings import Settings
from stedi_assets.tables.contract import column_breaches
from stedi_assets.tables.curated.machine_learning_curated import MACHINE_LEARNING_CURATED
from stedi_assets.tables.definition import TableDefinition, query_of, takes_policy
from stedi_assets.tables.identity import key_id
from stedi_assets.tables.lineage import Lineage
from stedi_assets.tables.policy import Policy


def table_asset(
    definition: TableDefinition, settings: Settings, lineage: Lineage
) -> dg.AssetsDefinition:
    """The asset of a trusted or curated table, or of device_ownership.

    Args:
        definition: The table.
        settings: The settings it is made under.
        lineage: Where its columns come from.
    """
    policy = policy_of(settings)
    rule, table = definition.rule, definition.table(policy)
    contract = definition.contract_under(policy)
    assert rule is not None
    spec = table_spec(definition, settings)

    @dg.asset(
        name=table.name,
        ins={name: dg.AssetIn() for name in definition.inputs},
        check_specs=check_specs(table.name, checks_of(definition)),
        output_required=False,  # no output where a column is missing or of another type
        group_name=spec.group_name,
        description=spec.description,
        owners=spec.owners,
        hooks={withdrawal_hook(settings)},
        tags=spec.tags,
        metadata=spec.metadata,
    )
    def asset(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse], **tables: Any
    ) -> Iterator[Any]:
        with as_dagster_failure():
            if definition.name == MACHINE_LEARNING_CURATED.name:
                make_missing_key(settings)
            lakehouse.catalog.ensure(table)
            rows = query_of(rule, tables, policy)
            if broken := column_breaches(contract, _used(rows.schema, table)):
                yield from check_results(refuse(definition, policy, broken))
                return
            properties = _properties(rows, policy) if takes_policy(rule) else {}
            yield dg.Output(
                TableOutput(rows, properties), metadata=lineage_metadata(lineage, table.name)
            )
            # When the yield returns, the IO manager has put the rows on `audit`.
            verdict = audit_and_publish(definition, lakehouse, policy, settings.max_consent_fall)
            yield from check_results(verdict)
            yield from published_observations(
                verdict, definition, policy, lakehouse, context.instance
            )

    return asset


def _used(schema: ibis.Schema, table: Table) -> ibis.Schema:
    """The columns of a rule that its table has: what else the rule gives is left out."""
    return ibis.schema({name: schema[name] for name in table.types if name in schema})


def _properties(rows: Query, policy: Policy) -> dict[str, str]:
    """What a snapshot says of the policy that its rows depend on."""
    key = {"key-id": key_id(policy)} if "subject_id" in rows.schema else {}
    return {"consent-scope": policy.consent_scope, **key}
