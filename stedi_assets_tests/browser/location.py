"""The project as Dagster loads it, with a mistake in a rule while a file `mistake` is there."""

from dataclasses import replace
from pathlib import Path

import ibis
import ibis.expr.types as ir

from stedi_assets import tables
from stedi_assets.defs import project
from stedi_assets.settings import Settings
from stedi_assets.tables.trusted import customer_trusted as right

MISTAKE = Path("mistake")
"""In the folder that Dagster was started in."""


def customer_trusted(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """All customers: who refuses is taken to consent since they landed."""
    landing = customer_landing
    since = ibis.coalesce(landing.sharewithresearchasofdate, landing.landed_at)
    consented = landing.mutate(sharewithresearchasofdate=since)
    return right.customer_trusted(consented, quarantine)


if MISTAKE.exists():
    project.TABLES = tuple(  # type: ignore[attr-defined]  # it is only imported there
        replace(table, rule=customer_trusted) if table.name == "customer_trusted" else table
        for table in tables.TABLES
    )

defs = project.lakehouse_definitions(Settings.load())
