"""Metadata files are parsed once, and read each time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stedi_assets.lakehouse.faults import DamagedError
from stedi_assets_tests.support import (
    ANN,
    catalog_of,
    customer,
    on_this_machine,
    publish,
    static_table,
    under,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_metadata_is_the_same_until_somebody_publishes(folder: Path) -> None:
    settings = under(folder, landing=None)
    publish(settings, "customer_trusted", [customer(ANN)])
    catalog = catalog_of(settings)
    first = catalog.load("customer_trusted")
    assert catalog.load("customer_trusted").metadata is first.metadata
    assert static_table(first.metadata_location).metadata == first.metadata
    publish(settings, "customer_trusted", [])
    second = catalog.load("customer_trusted")
    assert second.metadata_location != first.metadata_location
    assert static_table(second.metadata_location).metadata == second.metadata
    assert first.metadata.current_snapshot_id != second.metadata.current_snapshot_id


@on_this_machine
def test_damage_is_seen_although_the_metadata_is_known(folder: Path) -> None:
    settings = under(folder, landing=None)
    publish(settings, "customer_trusted", [customer(ANN)])
    catalog = catalog_of(settings)
    location = catalog.metadata_location("customer_trusted")
    with catalog.io.new_output(location).create(overwrite=True) as file:
        file.write(b"damaged")
    with pytest.raises(DamagedError):
        catalog.load("customer_trusted")
