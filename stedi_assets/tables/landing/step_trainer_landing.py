"""step_trainer_landing: the readings of the Step Trainers."""

from stedi_assets.tables import columns
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.sources import SensorReading


class StepTrainerLanding(SensorReading):
    """Sensor readings of the Step Trainers, as landed: one row a JSON object."""

    source_file: str = columns.source_file()
    landed_at: int = columns.landed_at()

    class Config:
        name = "step_trainer_landing"
        metadata = {"zone": "landing"}


STEP_TRAINER_LANDING = TableDefinition(StepTrainerLanding, source="step_trainer")
