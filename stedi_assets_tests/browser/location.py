"""The project as Dagster loads it, with a mistake in a rule while a file `mistake` is there."""

from pathlib import Path

import ibis
import ibis.expr.types as ir

from stedi_assets import definitions
from stedi_assets.assets import trusted
from stedi_assets.settings import Settings

MISTAKE = Path("mistake")
"""In the folder that Dagster was started in."""


def customer_trusted(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
    """All customers: who refuses is taken to consent since they landed."""
    landing = customer_landing
    since = ibis.coalesce(landing.sharewithresearchasofdate, landing.landed_at)
    consented = landing.mutate(sharewithresearchasofdate=since)
    return trusted.customer_trusted(consented, quarantine)


if MISTAKE.exists():
    definitions.RULES = tuple(
        customer_trusted if rule.__name__ == customer_trusted.__name__ else rule
        for rule in definitions.RULES
    )

defs = definitions.lakehouse_definitions(Settings.load())
