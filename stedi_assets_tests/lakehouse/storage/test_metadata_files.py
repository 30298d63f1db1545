"""Metadata files are parsed once, and read each time."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pyiceberg.catalog
import pyiceberg.serializers
import pyiceberg.table
import pytest

from stedi_assets.lakehouse.faults import DamagedError
from stedi_assets.lakehouse.storage import metadata_files
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


def test_metadata_that_this_process_wrote_is_not_parsed_nor_copied_for_each_look(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has every snapshot of the table: ten thousand after a week of a refresh a minute."""
    settings = under(folder, landing=None)
    publish(settings, "customer_trusted", [customer(ANN)])
    done: Counter[str] = Counter()

    def counted(module: Any, name: str) -> None:
        work = getattr(module, name)

        def count(*args: Any, **kwargs: Any) -> Any:
            done[name] += 1
            return work(*args, **kwargs)

        monkeypatch.setattr(module, name, count)

    counted(pyiceberg.serializers.FromByteStream, "table_metadata")
    counted(pyiceberg.table, "update_table_metadata")
    counted(pyiceberg.catalog, "update_table_metadata")
    publish(settings, "customer_trusted", [])
    published = catalog_of(settings).published("customer_trusted")
    assert published
    assert published.rows == 0
    assert done == {"update_table_metadata": 2}  # by the catalog: what waits on `audit`, and `main`


def test_only_so_many_tables_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metadata_files, "MOST_TABLES", 1)
    settings = under(tmp_path, landing=None)
    for table in ("customer_trusted", "customers_curated"):
        publish(settings, table, [customer(ANN)])
    catalog: Any = catalog_of(settings).storage.iceberg
    assert len(catalog._metadata_files._known) == 1  # noqa: SLF001
