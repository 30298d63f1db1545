"""Old landing data go on Spark as they do on DuckDB."""

from pathlib import Path

import pytest

from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.privacy.test_landing_retention import GONE, clean, make, settings_of
from stedi_assets_tests.support import counts


@pytest.fixture
def folder(lakehouses: Lakehouses) -> Path:
    return lakehouses.as_made(make)


def test_the_same_goes_on_spark(folder: Path, spark: str) -> None:
    settings = settings_of(folder, landing_retention="365d", engine="spark", spark_conf=spark)
    assert clean(settings).expired == GONE
    left = counts(settings)
    assert (left["step_trainer_landing"], left["accelerometer_landing"]) == (21, 21)
    assert left["machine_learning_curated"] == 20
