"""Training sets, published without a refresh."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets_tests.support import (
    Rows,
    at,
    catalog_of,
    subject_id,
)

if TYPE_CHECKING:
    from stedi_assets.settings import Settings


NOW, DAY = timedelta(0), timedelta(days=1)


def rows_of(email: str, *times: int) -> Rows:
    row = {"subject_id": subject_id(email), "distancefromobject": 1.0, "x": 0.0, "y": 0.0, "z": 0.0}
    return [{**row, "sensorreadingtime": at(time)} for time in times]


def tags(settings: Settings) -> dict[str, int]:
    return {tag.name: tag.snapshot_id for tag in catalog_of(settings).state(TRAINING_SET).tags}
