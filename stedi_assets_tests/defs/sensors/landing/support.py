"""The sensor, tick by tick, on a clock of its own."""

import time
from uuid import uuid4

import dagster as dg
import pytest

from stedi_assets.defs.sensors import landing as sensor
from stedi_assets.settings import Settings
from stedi_assets.tables.definition import TableDefinition
from stedi_assets_tests.support import (
    ANN,
    customer,
    device,
    phone,
    refresh,
)

LANDING = ("customer_landing", "accelerometer_landing", "step_trainer_landing")


FIRST = {
    "customer": [customer(ANN, "d")],
    "accelerometer": phone(ANN, 1),
    "step_trainer": device("d", 1),
}


HOUR = 3600


class Watch:
    """The sensor of a lakehouse, tick by tick, on a clock that is ahead of files' times.

    Attributes:
        ahead: Seconds by which it is.
        tables: Those that it expects to follow the landing tables.
    """

    tables: tuple[TableDefinition, ...] = ()

    def __init__(self, settings: Settings) -> None:
        self.settings, self.instance = settings, dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None
        self.ahead: float = 100
        self.log = ""

    def look(self) -> dg.SensorResult:
        """A tick that leaves no trace."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stedi_assets.refresh.plan.TABLES", self.tables)
            result = sensor.landing_sensor(self.settings)(context)
        assert isinstance(result, dg.SensorResult)
        return result

    def tick(self) -> dg.SensorResult:
        result = self.look()
        self.cursor = result.cursor
        return result

    def requests(self) -> dict[str, str]:
        """New files of each source that the tick requests a run for; none where it skips."""
        requests = self.tick().run_requests or []
        return {
            name.removeprefix("new_files/"): value
            for request in requests
            for name, value in request.tags.items()
        }

    def reason(self) -> str:
        """Why the tick requests no run."""
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason and result.skip_reason.skip_message
        return result.skip_reason.skip_message

    def refresh(self, *tables: str) -> dict[str, int]:
        """Take in what has landed, of customers alone by default; new files by table."""
        result = refresh(self.settings, self.instance, only=tables or LANDING[:1])
        return {
            found.asset_key.path[-1]: int(str(found.metadata["new_files"].value))
            for found in result.asset_materializations_for_node("landing")
            if "new_files" in found.metadata  # quarantine has none
        }

    def run(self, job: str, status: dg.DagsterRunStatus) -> str:
        """Record a run of Dagster's."""
        made = dg.DagsterRun(job_name=job, run_id=str(uuid4()), status=status)
        self.instance.add_run(made)
        return made.run_id


def watched(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch(settings)
    monkeypatch.setattr(sensor, "time", lambda: time.time() + watch.ahead)
    return watch
