"""Reading tables, for people and scripts."""

import ibis.expr.types as ir

from stedi_assets.deployments import storage
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engine import shared_engine
from stedi_assets.settings import Settings


class UnknownTableError(LookupError):
    """There is no such table, or no such snapshot of it."""


def read_table(
    name: str, snapshot: int | str | None = None, settings: Settings | None = None
) -> ir.Table:
    """Open a table of the lakehouse as an ibis table; `.to_pandas()` makes a DataFrame of it.

    Args:
        name: Table, such as `machine_learning_curated`.
        snapshot: Id of an older state to read; what is published now where absent.
        settings: Which lakehouse; the one of the environment where absent.

    Raises:
        UnknownTableError: No such table is published, or it has no such snapshot.
    """
    settings = settings or Settings.load()
    where = storage(settings)
    catalog = Catalog(where)
    state = catalog.find(name) if where.exists() else None
    if state is None:
        tables = ", ".join(sorted(catalog.tables()))
        raise UnknownTableError(f"There is no table {name}; there are: {tables or 'none yet'}.")
    found = state.published if snapshot is None else state.snapshot(int(snapshot))
    if found is None:
        raise UnknownTableError(
            f"{name} has not been published yet; refresh the lakehouse first."
            if snapshot is None
            else f"{name} has no snapshot {snapshot}."
        )
    engine = shared_engine(where, settings.memory_limit, settings.threads)
    return engine.open(found.name, found.files, found.types)
