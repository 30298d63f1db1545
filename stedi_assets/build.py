"""Makes Dagster assets of the tables' rules."""

from collections.abc import Callable, Iterator
from inspect import signature
from typing import Any

import dagster as dg
import ibis.expr.types as ir

from stedi_assets import shown
from stedi_assets.assets.curated import key_id
from stedi_assets.audit import audit, check_specs, checks_of, refuse
from stedi_assets.lakehouse.resource import Lakehouse, Made, plainly
from stedi_assets.lineage import Lineage
from stedi_assets.schemas import Contract, column_breaches, table_of
from stedi_assets.settings import Settings
from stedi_assets.withdrawals import taking_out


def table_asset(
    rule: Callable[..., ir.Table], contract: type[Contract], settings: Settings, lineage: Lineage
) -> dg.AssetsDefinition:
    """The asset of a trusted or curated table.

    Args:
        rule: Gives the table as an expression; its parameters name the tables it is made from,
            and `settings` where it depends on them.
        contract: The table's contract, of the same name.
        settings: The settings to give it.
        lineage: Where its columns come from.
    """
    table = table_of(contract)
    assert table.name == rule.__name__
    inputs = [name for name in signature(rule).parameters if name != "settings"]
    given = {"settings": settings} if "settings" in signature(rule).parameters else {}
    spec = shown.table_spec(contract, rule, settings)

    @dg.asset(
        name=table.name,
        ins={name: dg.AssetIn() for name in inputs},
        check_specs=check_specs(table.name, checks_of(table.name)),
        output_required=False,  # there is none where a column is missing or of another type
        group_name=spec.group_name,
        description=spec.description,
        owners=spec.owners,
        hooks={taking_out(settings)},
        tags=spec.tags,
        metadata=spec.metadata,
    )
    def asset(
        context: dg.AssetExecutionContext, lakehouse: dg.ResourceParam[Lakehouse], **tables: Any
    ) -> Iterator[Any]:
        with plainly():
            lakehouse.catalog.ensure(table)
            expression = rule(**tables, **given)
            known = expression.select(*(name for name in table.types if name in expression.columns))
            if broken := column_breaches(contract, known):
                yield from refuse(contract, broken)
                return
            # The IO manager puts it on `audit`.
            made = Made(expression, _properties(expression, settings) if given else {})
            yield dg.Output(made, metadata=shown.lineage_metadata(lineage, table.name))
            verdict = audit(table.name, contract, lakehouse, settings)
            yield from verdict.results()
            yield from shown.observations(verdict, table, lakehouse, context.instance)

    return asset


def _properties(rule: ir.Table, settings: Settings) -> dict[str, str]:
    """What a snapshot says of the settings that its rows depend on."""
    key = {"key-id": key_id(settings)} if "subject_id" in rule.columns else {}
    return {"consent-scope": settings.consent_scope, **key}
