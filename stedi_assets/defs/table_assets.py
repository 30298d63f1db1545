"""Makes a Dagster asset of each table that has a rule."""

import time
from collections.abc import Iterator
from typing import Any

import dagster as dg
import ibis

from stedi_assets.defs.checks import check_results, check_specs
from stedi_assets.defs.failures import as_dagster_failure, withdrawal_hook
from stedi_assets.defs.landing import FULL
from stedi_assets.defs.metadata import Recorder, table_spec
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.table import Table
from stedi_assets.privacy.key import make_missing_key
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.gate import audit_and_publish, checks_of, refuse
from stedi_assets.refresh.recompute import recompute
from stedi_assets.refresh.release import policy_to_make
from stedi_assets.refresh.remake import says_of_policy
from stedi_assets.refresh.stage import seen_by_checks, stage
from stedi_assets.settings import Settings
from stedi_assets.tables.breaches import column_breaches
from stedi_assets.tables.curated.machine_learning_curated import MACHINE_LEARNING_CURATED
from stedi_assets.tables.definition import TableDefinition, query_of, takes_policy
from stedi_assets.tables.lineage import Lineage


def table_asset(
    definition: TableDefinition, settings: Settings, lineage: Lineage
) -> dg.AssetsDefinition:
    """The asset of a table that a rule makes.

    It is materialized when it is published; a candidate that is held back only has its checks.

    Args:
        definition: The table.
        settings: The settings it is made under.
        lineage: Where its columns come from.
    """
    policy = policy_of(settings)
    rule, table = definition.rule, definition.table(policy)
    contract = definition.contract_under(policy)
    assert rule is not None
    inputs = [dg.AssetKey(name) for name in definition.inputs]
    spec = table_spec(definition, settings, inputs)

    @dg.multi_asset(
        name=table.name,
        # There is no output where the candidate is held back.
        specs=[spec.replace_attributes(skippable=True)],
        ins={key.path[-1]: dg.AssetIn(key) for key in inputs},
        check_specs=check_specs(table.name, checks_of(definition)),
        hooks={withdrawal_hook(settings)},
    )
    def asset(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse], **tables: Any
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        with as_dagster_failure(), lakehouse.catalog.steady():
            started = time.perf_counter()
            if definition.name == MACHINE_LEARNING_CURATED.name:
                make_missing_key(settings)
            lakehouse.catalog.ensure(table)
            own = policy_to_make(definition, lakehouse.catalog, tables, policy)
            rows = query_of(rule, tables, own)
            if broken := column_breaches(contract, _used(rows.schema, table)):
                yield from check_results(refuse(definition, policy, broken), context.instance)
                return
            said = says_of_policy(rows, own) if takes_policy(rule) else {}
            seen = seen_by_checks(definition, lakehouse)
            properties = {**said, "run-id": context.run.run_id, **seen}
            method = stage(table.name, rows, properties, lakehouse)
            recomputed = None
            if FULL in context.run.tags:
                method, recomputed = recompute(table.name, rows, method, properties, lakehouse)
            seconds = time.perf_counter() - started
            verdict = audit_and_publish(
                definition, lakehouse, policy, settings.max_consent_fall, recomputed
            )
            if verdict.held_back:
                yield from check_results(verdict, context.instance)
            else:
                recorder = Recorder(settings, lakehouse, lineage, context.instance)
                yield recorder.materialized(verdict, seconds, {"how": method.sentence})

    return asset


def _used(schema: ibis.Schema, table: Table) -> ibis.Schema:
    """The columns of a rule that its table has: what else the rule gives is left out."""
    return ibis.schema({name: schema[name] for name in table.types if name in schema})
