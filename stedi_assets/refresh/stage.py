"""Puts a rule's rows on the branch `audit`, unless they are there or published already."""

from collections.abc import Mapping

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.refresh.anomaly_checks import row_history


def stage(
    table: str, query: Query, properties: Mapping[str, str], lakehouse: Lakehouse
) -> Snapshot:
    """Execute the query of a table's rule and put its rows on `audit`.

    The fingerprint covers the inputs' snapshots, the rule and the contract. Where the table has it
    already, nothing is computed.

    Args:
        table: The table.
        query: Its rows, as its rule makes them of other tables.
        properties: What the snapshot says about itself, besides its inputs.
        lakehouse: Where the table is.

    Returns:
        What waits on `audit` or, where nothing changed, what is published.
    """
    catalog = lakehouse.catalog
    state = catalog.state(table)
    current = query.fingerprint(state.contract)
    published, candidate = state.published, state.candidate
    if published is not None and published.properties["fingerprint"] == current:
        catalog.discard_candidate(table)
        return published
    if candidate is not None and candidate.properties.get("fingerprint") == current:
        return candidate
    inputs = {f"input.{name}": id_ for name, id_ in query.inputs.items()}
    lakehouse.progress.begin(f"computing {table}")
    rows, folder = query.select(tuple(state.types)), f"{state.location}/data"
    files = lakehouse.engine.write(rows, folder, state.field_ids)
    history = row_history(published, lakehouse)
    return catalog.stage(table, files, {"fingerprint": current, **inputs, **properties, **history})
