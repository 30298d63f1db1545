"""The lakehouse as Dagster's resource, and the IO manager that hands out its tables."""

import contextlib
from collections.abc import Iterator

import dagster as dg
import ibis.expr.types as ir

from stedi_assets.defs.failures import as_dagster_failure
from stedi_assets.lakehouse.faults import in_a_sentence
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.progress import SILENT, Progress
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings


def lakehouse_resource(settings: Settings, progress: Progress = SILENT) -> dg.ResourceDefinition:
    """The lakehouse under these settings, locked for the time of a run."""
    # Opened at once: a missing library shows when Dagster loads the project.
    lakehouse = open_lakehouse(settings)
    lakehouse.progress = progress

    @contextlib.contextmanager
    def locked(context: dg.InitResourceContext) -> Iterator[Lakehouse]:
        log = context.log or dg.get_dagster_logger()
        with contextlib.ExitStack() as stack:
            with in_a_sentence():
                stack.enter_context(lakehouse.locked(log.warning))
            yield lakehouse

    return dg.ResourceDefinition(locked, description="The tables; a run has them to itself.")


@dg.io_manager(
    required_resource_keys={"lakehouse"}, description="Hands out tables as they are published."
)
def io_manager(context: dg.InitResourceContext) -> dg.IOManager:
    """Hands tables to assets as they are published."""
    return _IOManager(context.resources.lakehouse)


class _IOManager(dg.IOManager):
    def __init__(self, lakehouse: Lakehouse) -> None:
        self._lakehouse = lakehouse

    def load_input(self, context: dg.InputContext) -> ir.Table:
        with as_dagster_failure():
            return self._lakehouse.table(context.asset_key.path[-1])

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        # Whoever may write a table has to pass the gate.
        raise dg.DagsterInvariantViolationError(
            f"{context.asset_key.to_user_string()} yields a value: tables are published by the "
            "assets in stedi_assets.defs.table_assets alone."
        )
