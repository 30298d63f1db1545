"""What Dagster loads: the project under the settings of the environment."""

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.settings import Settings

defs = lakehouse_definitions(Settings.load())
