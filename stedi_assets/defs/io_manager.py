"""The lakehouse as Dagster's resource, and the IO manager that stages what assets yield."""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import dagster as dg
import ibis.expr.types as ir

from stedi_assets.defs.failures import as_dagster_failure
from stedi_assets.defs.metadata import snapshot_metadata
from stedi_assets.lakehouse.faults import in_a_sentence
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.progress import SILENT, Progress
from stedi_assets.lakehouse.query import Query
from stedi_assets.refresh.stage import stage
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
    required_resource_keys={"lakehouse"}, description="Hands out tables, and stages new states."
)
def io_manager(context: dg.InitResourceContext) -> dg.IOManager:
    """Hands tables to assets as published, and puts what they yield on the branch `audit`."""
    return _IOManager(context.resources.lakehouse)


@dataclass(frozen=True)
class TableOutput:
    """What an asset yields.

    Attributes:
        query: Its rows.
        properties: What its snapshot says about itself, besides its inputs.
    """

    query: Query
    properties: Mapping[str, str] = field(default_factory=dict)


class _IOManager(dg.IOManager):
    def __init__(self, lakehouse: Lakehouse) -> None:
        self._lakehouse = lakehouse

    def load_input(self, context: dg.InputContext) -> ir.Table:
        with as_dagster_failure():
            return self._lakehouse.table(context.asset_key.path[-1])

    def handle_output(self, context: dg.OutputContext, obj: TableOutput) -> None:
        started = time.perf_counter()
        table = context.asset_key.path[-1]
        with as_dagster_failure():
            properties = {"run-id": context.run_id, **obj.properties}
            staged = stage(table, obj.query, properties, self._lakehouse)
        context.add_output_metadata(snapshot_metadata(staged, time.perf_counter() - started))
