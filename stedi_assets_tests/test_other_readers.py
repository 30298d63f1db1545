"""Other tools see the same rows as we do: DuckDB, PyIceberg, pandas, polars, Daft."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from os import environ
from pathlib import Path
from typing import Any

import daft
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import StaticTable

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.vacuum import vacuum
from stedi_assets.read import read_table
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.support import (
    ANN,
    BOB,
    TABLES,
    Rows,
    catalog_of,
    customer,
    deliver,
    device,
    phone,
    refresh,
    static_table,
    subject_id,
    table_named,
    under,
    write,
)

Reader = Callable[[StaticTable], pa.Table]

LOOKED_AT = ("customer_landing", "quarantine", "customer_trusted", "machine_learning_curated")


def with_polars(table: StaticTable) -> pa.Table:
    options: Any = {
        "aws_endpoint_url": environ.get("STEDI_S3_ENDPOINT", ""),
        "aws_allow_http": "true",
        "aws_region": "us-east-1",
    }
    on_s3 = table.location().startswith("s3://")
    return pl.scan_iceberg(table, storage_options=options if on_s3 else None).collect()


def with_daft(table: StaticTable) -> pa.Table:
    s3 = daft.io.S3Config(
        endpoint_url=environ.get("STEDI_S3_ENDPOINT"),
        region_name="us-east-1",
        key_id=environ.get("AWS_ACCESS_KEY_ID"),
        access_key=environ.get("AWS_SECRET_ACCESS_KEY"),
    )
    return daft.read_iceberg(table, io_config=daft.io.IOConfig(s3=s3)).to_arrow()


READERS: Mapping[str, Reader] = {
    "pyiceberg": lambda table: table.scan().to_arrow(),
    "pandas": lambda table: table.scan().to_pandas(),
    "polars": with_polars,
    "daft": with_daft,
}
"""Readers that PyIceberg shows the table."""

EVERY_READER = (*READERS, "duckdb")


def rows_of(found: Any) -> Rows:
    """Rows of a frame, in an order that the rows decide.

    To pandas, a whole number beside an absent one is a fraction.
    """
    if isinstance(found, pd.DataFrame):
        found = pa.Table.from_pandas(found, preserve_index=False)
    if isinstance(found, pl.DataFrame):
        found = found.to_arrow()
    rows: Rows = found.to_pylist() if isinstance(found, pa.Table) else list(found)
    alike = [
        {name: float(value) if isinstance(value, int) else value for name, value in row.items()}
        for row in rows
    ]
    return sorted(alike, key=lambda row: sorted(map(repr, row.items())))


@dataclass(frozen=True)
class Moment:
    """What was published at a moment, and what each reader saw of it: by table."""

    published: dict[str, Rows]
    seen: dict[str, dict[str, Rows | Exception]]


def look(settings: Settings, read_iceberg: IcebergReader) -> Moment:
    tables = {
        name: static_table(catalog_of(settings).metadata_location(name)) for name in LOOKED_AT
    }
    readers = {**READERS, "duckdb": lambda table: read_iceberg(table.metadata_location)}

    def read(reader: Reader, table: StaticTable) -> Rows | Exception:
        try:
            return rows_of(reader(table))
        except Exception as error:  # raised by the test of this reader
            return error

    return Moment(
        {name: rows_of(read_table(name, settings=settings).to_pyarrow()) for name in LOOKED_AT},
        {
            name: {table: read(reader, iceberg) for table, iceberg in tables.items()}
            for name, reader in readers.items()
        },
    )


@dataclass(frozen=True)
class Place:
    """A lakehouse in which somebody withdrew, and what was seen of it before, then, and later."""

    settings: Settings
    moments: Mapping[str, Moment]


@pytest.fixture(scope="module")
def place(new_folder: Callable[[], Path], read_iceberg: IcebergReader) -> Place:
    folder = new_folder()
    landing = folder / "landing"
    deliver(
        landing,
        "a.json",
        customer=[customer(ANN, "d"), customer(BOB, "e")],
        accelerometer=[*phone(ANN, *range(10)), *phone(BOB, *range(20, 30), x=None)],
        step_trainer=[*device("d", *range(10)), *device("e", *range(20, 30))],
    )
    write(landing, "customer", "b.json", '{"email": "cy@x.io", "lastupdatedate": "soon"}\n')
    settings = under(folder)
    refresh(settings)
    moments = {"refresh": look(settings, read_iceberg)}
    deliver(landing, "withdrawal.json", customer=[customer(BOB, sharewithresearchasofdate=None)])
    deliver(landing, "more.json", accelerometer=phone(ANN, 10), step_trainer=device("d", 10))
    refresh(settings)
    moments["withdrawal"] = look(settings, read_iceberg)
    vacuum(open_storage(settings), timedelta(0), timedelta(0))
    return Place(settings, moments | {"vacuum": look(settings, read_iceberg)})


@pytest.mark.parametrize("moment", ["refresh", "withdrawal", "vacuum"])
@pytest.mark.parametrize("reader", EVERY_READER)
def test_reader_sees_what_is_published(reader: str, moment: str, place: Place) -> None:
    found = place.moments[moment]
    for table, rows in found.seen[reader].items():
        if isinstance(rows, Exception):
            raise rows
        assert rows == found.published[table], table
    people = {ANN, BOB} if moment == "refresh" else {ANN}
    training = found.published["machine_learning_curated"]
    assert {row["subject_id"] for row in training} == set(map(subject_id, people))
    assert len(found.published["quarantine"]) == 1


@pytest.mark.parametrize("name", TABLES)
def test_files_name_columns_by_the_ids_of_the_table(name: str, place: Place) -> None:
    published = catalog_of(place.settings).published(name)
    table = static_table(catalog_of(place.settings).metadata_location(name))
    ids = {field.name: str(field.field_id) for field in table.schema().fields}
    assert published
    assert published.files
    for file in published.files:
        with table.io.new_input(file).open() as opened:
            schema = pq.read_schema(opened)
        assert {f.name: f.metadata[b"PARQUET:field_id"].decode() for f in schema} == ids


@pytest.mark.parametrize("name", TABLES)
def test_columns_that_the_contract_wants_filled_are_required(name: str, place: Place) -> None:
    table = static_table(catalog_of(place.settings).metadata_location(name))
    wanted = {column.name for column in table_named(name).columns if not column.nullable}
    assert {field.name for field in table.schema().fields if field.required} == wanted


# A table that got other columns


def evolved(folder: Path, *, without: Sequence[str]) -> Catalog:
    """A table with a file from before it got the column `added` and lost others, and one since."""
    storage, before = open_storage(under(folder, landing=None)), table_named("device_ownership")
    engine, catalog = DuckDBEngine(storage), Catalog(storage)
    kept = [column for column in before.columns if column.name not in without]
    added = replace(before.columns[0], name="added", nullable=False)
    files: list[str] = []
    for table in (before, replace(before, columns=(*kept, added), fingerprint="other")):
        catalog.ensure(table)
        state = catalog.state(table.name)
        values = [f"'{n}'" if kind == "string" else "1::BIGINT" for n, kind in table.types.items()]
        named = ", ".join(f"{v} AS {n}" for v, n in zip(values, table.types, strict=True))
        row = Query.of(engine.backend.sql(f"SELECT {named}"))
        files += engine.write(row, f"{state.location}/data", state.field_ids)
        catalog.publish(catalog.stage(table.name, files, {}))
    return catalog


# Daft 0.7 looks for the columns behind a dropped one in the wrong place of a local file.
@pytest.mark.parametrize(
    ("reader", "dropped"),
    [(name, ()) for name in EVERY_READER]
    + [(name, ("basis",)) for name in EVERY_READER if name != "daft"],
)
def test_rows_from_before_a_column_was_added_have_none_in_it(
    reader: str, dropped: Sequence[str], folder: Path, read_iceberg: IcebergReader
) -> None:
    location = evolved(folder, without=dropped).metadata_location("device_ownership")
    iceberg = static_table(location)
    found = rows_of(read_iceberg(location) if reader == "duckdb" else READERS[reader](iceberg))
    assert [row["added"] for row in found] == ["added", None]
    assert {row["email"] for row in found} == {"email"}
    assert {row["matched"] for row in found} == {1}
    assert not iceberg.schema().find_field("added").required
