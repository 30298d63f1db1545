"""The project as Dagster loads it, with a mistake in a rule while a file `mistake` is there."""

from pathlib import Path

import ibis
import ibis.expr.types as ir

from stedi_assets import definitions
from stedi_assets.assets import trusted
from stedi_assets.settings import Settings

MISTAKE = Path("mistake")
"""In the folder that Dagster was started in."""


def customer_trusted(customer_landing: ir.Table) -> ir.Table:
    """Whoever ever consented: a withdrawal is forgotten."""
    consented = customer_landing.mutate(
        sharewithresearchasofdate=ibis.coalesce(customer_landing.sharewithresearchasofdate, 1)
    )
    return trusted.customer_trusted(consented)


if MISTAKE.exists():
    definitions.RULES = tuple(
        customer_trusted if rule.__name__ == customer_trusted.__name__ else rule
        for rule in definitions.RULES
    )

defs = definitions.lakehouse_definitions(Settings.load())
