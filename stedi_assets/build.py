"""Makes Dagster assets of the tables' rules."""

from collections.abc import Callable, Iterator
from inspect import getdoc, signature
from typing import Any

import dagster as dg
import ibis.expr.types as ir

from stedi_assets.audit import audit, check_specs, checks_of, refuse
from stedi_assets.lakehouse.resource import Lakehouse, plainly
from stedi_assets.schemas import Contract, column_breaches, table_of
from stedi_assets.settings import Settings


def table_asset(
    rule: Callable[..., ir.Table], contract: type[Contract], settings: Settings
) -> dg.AssetsDefinition:
    """The asset of a trusted or curated table.

    Args:
        rule: Gives the table as an expression; its parameters name the tables it is made from,
            and `settings` where it depends on them.
        contract: The table's contract, of the same name.
        settings: The settings to give it.
    """
    table = table_of(contract)
    assert table.name == rule.__name__
    inputs = [name for name in signature(rule).parameters if name != "settings"]
    given = {"settings": settings} if "settings" in signature(rule).parameters else {}

    @dg.asset(
        name=table.name,
        ins={name: dg.AssetIn() for name in inputs},
        group_name=str(table.zone),
        description=description(contract),
        kinds={"iceberg", settings.engine},
        metadata={
            "dagster/column_schema": column_schema(contract),
            **({"settings": {"consent-scope": settings.consent_scope}} if given else {}),
        },
        check_specs=check_specs(table.name, checks_of(table.name)),
        output_required=False,  # there is none where a column is missing or of another type
    )
    def asset(lakehouse: dg.ResourceParam[Lakehouse], **tables: Any) -> Iterator[Any]:
        with plainly():
            lakehouse.catalog.ensure(table)
            expression = rule(**tables, **given)
            known = expression.select(*(name for name in table.types if name in expression.columns))
            if broken := column_breaches(contract, known):
                yield from refuse(contract, broken)
                return
            yield dg.Output(expression)  # the IO manager puts it on `audit`
            yield from audit(table.name, contract, lakehouse, settings)

    return asset


def description(contract: type[Contract]) -> str:
    """What the table holds, for its page in the UI, with a link to its pictures.

    They are observed by the report, and the page's overview shows no observations.
    """
    return f"{getdoc(contract)}\n\n[Pictures of {table_of(contract).name}](?view=events)"


def column_schema(contract: type[Contract]) -> dg.TableSchema:
    """The contract's columns as the UI shows them."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                column.type,
                description=column.description,
                constraints=dg.TableColumnConstraints(nullable=column.nullable),
                tags={"personal-data": ""} if column.personal else {},
            )
            for column in table_of(contract).columns
        ]
    )
