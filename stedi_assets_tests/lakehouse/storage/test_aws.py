"""The tables in Glue, as Athena, EMR and Redshift Spectrum find them, and as other readers do.

What Glue holds is asked of its API, and rows are read by DuckDB and Polars from the metadata file
that Glue names. Moto does not enforce Glue's limits, so they are spelled out here.
"""

import re
from collections.abc import Callable
from datetime import timedelta
from inspect import getdoc
from typing import Any
from uuid import uuid4

import dagster as dg
import pyarrow as pa
import pytest
from pyiceberg.catalog.glue import GlueCatalog

from stedi_assets.defs.report import report_asset
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.storage.glue_catalog import PERSONAL_COLUMN
from stedi_assets.lakehouse.storage.s3_files import split
from stedi_assets.lakehouse.vacuum import vacuum
from stedi_assets.read import UnknownTableError, read_table
from stedi_assets.report.status import status
from stedi_assets.resources import open_lakehouse, open_storage
from stedi_assets.settings import Settings
from stedi_assets.tables import definition
from stedi_assets.tables.contract import OWNER, table_of
from stedi_assets.tables.policy import Policy
from stedi_assets_tests.aws_servers import ADMIN, BUCKET, REGION
from stedi_assets_tests.conftest import Aws, IcebergReader
from stedi_assets_tests.refresh.pipeline.support import FIRST, FIRST_COUNTS, SECOND, SECOND_COUNTS
from stedi_assets_tests.support import TABLES, Rows, deliver, refresh, table_named, under, write

GLUE_TYPES = {"string": "string", "int64": "bigint", "float64": "double"}
GLUES_LINE = re.compile("[\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff\t]*")
"""Glue's "single-line string pattern"."""
GLUES_LINES = re.compile("[\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff\r\n\t]*")
"""Glue's "multi-line string pattern"."""

GlueTable = Callable[[str], dict[str, Any]]


@pytest.fixture(scope="module")
def settings(aws: Aws) -> Settings:
    """A lakehouse with the first delivery, for tests that leave it alone."""
    folder = aws.folder()
    deliver(folder / "landing", "first.json", **FIRST)
    settings = under(folder)
    assert refresh(settings).success
    return settings


@pytest.fixture
def glue_table(aws: Aws, settings: Settings) -> GlueTable:
    return lambda table: table_in_glue(aws, settings, table)


def table_in_glue(aws: Aws, settings: Settings, table: str) -> dict[str, Any]:
    found = aws.glue.client().get_table(DatabaseName=settings.database, Name=table)
    return dict(found["Table"])


def columns(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {column["Name"]: column for column in table["StorageDescriptor"]["Columns"]}


def current(table: dict[str, Any]) -> list[str]:
    """Names of the columns that Glue's readers show."""
    return [
        name
        for name, column in columns(table).items()
        if column["Parameters"]["iceberg.field.current"] == "true"
    ]


def tagged(table: dict[str, Any]) -> list[str]:
    """Names of the columns that policies take for personal data."""
    return [
        name
        for name, column in columns(table).items()
        if column["Parameters"].get(PERSONAL_COLUMN) == "true"
    ]


# Database


def test_database_is_made_where_it_is_missing(aws: Aws, settings: Settings) -> None:
    client = aws.glue.client()
    assert client.get_database(Name=settings.database)["Database"]["Name"] == settings.database
    tables = client.get_tables(DatabaseName=settings.database)["TableList"]
    assert {table["Name"] for table in tables} == set(TABLES)


def test_database_that_is_there_is_used_as_it_is(aws: Aws) -> None:
    settings = under(aws.folder())
    mine = {
        "Name": settings.database,
        "Description": "made by the platform team",
        "LocationUri": "s3://elsewhere/",
        "Parameters": {"cost-centre": "4711"},
    }
    client = aws.glue.client()
    client.create_database(DatabaseInput=mine)
    assert refresh(settings, only=["customer_landing"]).success
    database = client.get_database(Name=settings.database)["Database"]
    assert {name: database[name] for name in mine} == mine
    assert table_in_glue(aws, settings, "customer_landing")


OF_HIVE = {
    "TableType": "EXTERNAL_TABLE",
    "StorageDescriptor": {"Columns": [{"Name": "a", "Type": "int"}], "Location": "s3://other/a"},
    "Parameters": {"classification": "json"},
}


@pytest.fixture
def busy(aws: Aws) -> Settings:
    """A lakehouse in a database where others have tables already."""
    folder = aws.folder()
    deliver(folder / "landing", "first.json", **FIRST)
    settings, client = under(folder), aws.glue.client()
    client.create_database(DatabaseInput={"Name": settings.database})
    client.create_table(DatabaseName=settings.database, TableInput={"Name": "of_hive"} | OF_HIVE)
    options = {"s3.endpoint": aws.s3.endpoint, "s3.region": REGION}
    table = GlueCatalog("theirs", client=client, **options).create_table(
        (settings.database, "of_iceberg"),
        pa.schema([pa.field("a", pa.int32())]),
        location=f"s3://{BUCKET}/{uuid4().hex}",
    )
    for number in range(2):
        table.append(pa.table({"a": pa.array([number], pa.int32())}))
    return settings


def test_tables_of_others_in_the_database_are_left_alone(aws: Aws, busy: Settings) -> None:
    theirs = ("of_hive", "of_iceberg")
    before = [table_in_glue(aws, busy, name) for name in theirs]
    assert refresh(busy, only=["customer_landing", "quarantine", "customer_trusted"]).success
    tables = {table["table"] for table in status(busy)["tables"]}
    assert tables == {"customer_landing", "customer_trusted", "quarantine"}
    vacuum(open_storage(busy), timedelta(0), timedelta(0))
    assert [table_in_glue(aws, busy, name) for name in theirs] == before
    with pytest.raises((UnknownTableError, LakehouseError), match="able of_iceberg"):
        read_table("of_iceberg", settings=busy)


def refused(settings: Settings) -> str:
    """Why a refresh did not take in customer_landing: as its check says, or the step."""
    result = refresh(settings, only=["customer_landing"])
    for failed in result.get_step_failure_events():
        said = failed.step_failure_data.user_failure_data
        assert said is not None
        return str(said.description)
    [found] = [c for c in result.get_asset_check_evaluations() if c.check_name == "readable"]
    assert not found.passed
    return str(found.description).removeprefix("customer_landing: ")


def test_table_of_somebody_else_is_not_taken_for_ones_own(aws: Aws, busy: Settings) -> None:
    name = "customer_landing"
    aws.glue.client().create_table(DatabaseName=busy.database, TableInput={"Name": name} | OF_HIVE)
    before = table_in_glue(aws, busy, name)
    assert (
        f"The table {name} in the Glue database {busy.database} is not one of the lakehouse "
        f"{busy.lakehouse}: set STEDI_DATABASE to a database of its own."
    ) == refused(busy)
    assert table_in_glue(aws, busy, name) == before


def test_two_lakehouses_do_not_share_a_database(aws: Aws, settings: Settings) -> None:
    before = [table_in_glue(aws, settings, name) for name in TABLES]
    other = under(aws.folder(), database=settings.database)
    assert f"is not one of the lakehouse {other.lakehouse}: set STEDI_DATABASE" in refused(other)
    assert [table_in_glue(aws, settings, name) for name in TABLES] == before


# Tables


@pytest.mark.parametrize("table", TABLES)
def test_table_is_an_iceberg_table_for_glues_readers(
    aws: Aws, settings: Settings, glue_table: GlueTable, table: str
) -> None:
    found = glue_table(table)
    zone = table_named(table).zone
    assert found["TableType"] == "EXTERNAL_TABLE"
    assert found["Parameters"]["table_type"] == "ICEBERG"
    place = f"{settings.lakehouse}/warehouse/{zone}/{table}"
    assert found["StorageDescriptor"]["Location"] == place
    metadata = found["Parameters"]["metadata_location"]
    assert metadata.startswith(f"{place}/metadata/")
    bucket, key = split(metadata)
    assert aws.s3.client().head_object(Bucket=bucket, Key=key)["ContentLength"]


@pytest.mark.parametrize("table", TABLES)
def test_table_says_in_glues_terms_what_its_contract_says(
    glue_table: GlueTable, table: str
) -> None:
    contract = definition(table).contract
    found, expected = glue_table(table), table_of(contract)
    assert found["Description"] == getdoc(contract)
    assert found["Owner"] == OWNER
    assert [(name, c["Type"], c["Comment"]) for name, c in columns(found).items()] == [
        (c.name, GLUE_TYPES[c.type], c.description) for c in expected.columns
    ]
    assert current(found) == list(columns(found))
    assert tagged(found) == list(expected.personal_columns)
    assert found["Parameters"]["stedi.personal-columns"] == ",".join(expected.personal_columns)


def test_column_shows_meaning_unit_and_that_it_is_personal(glue_table: GlueTable) -> None:
    found = columns(glue_table("accelerometer_landing"))
    assert found["timestamp"]["Comment"] == "time of the reading (epoch milliseconds)"
    assert found["user"]["Comment"] == "e-mail of the app's user"
    assert tagged(glue_table("accelerometer_landing")) == ["user", "serialnumber", "person"]
    assert tagged(glue_table("machine_learning_curated")) == []


@pytest.mark.parametrize("pseudonymize", [True, False])
@pytest.mark.parametrize("name", TABLES)
def test_contract_keeps_to_glues_limits(name: str, pseudonymize: bool) -> None:
    table = definition(name).table(Policy(pseudonymize=pseudonymize))
    assert re.fullmatch(r"[a-z0-9_]{1,255}", table.name)
    assert 1 <= len(table.owner.encode()) <= 255
    assert GLUES_LINE.fullmatch(table.owner)
    assert 1 <= len(table.description.encode()) <= 2048
    assert GLUES_LINES.fullmatch(table.description)
    for column in table.columns:
        assert re.fullmatch(r"[a-z0-9_]{1,255}", column.name)
        assert 1 <= len(column.description) <= 255, column.name
        assert GLUES_LINE.fullmatch(column.description), column.name


@pytest.mark.parametrize("table", TABLES)
def test_parameters_keep_to_glues_limits(glue_table: GlueTable, table: str) -> None:
    found = glue_table(table)
    given = [found["Parameters"], *(c["Parameters"] for c in columns(found).values())]
    for key, value in (entry for parameters in given for entry in parameters.items()):
        assert 1 <= len(key.encode()) <= 255
        assert GLUES_LINE.fullmatch(key)
        assert len(value.encode()) <= 512_000, key


def test_what_glue_says_follows_the_contract_through_later_commits(aws: Aws) -> None:
    folder = aws.folder()
    deliver(folder / "landing", "first.json", **FIRST)
    assert refresh(under(folder)).success
    deliver(folder / "landing", "second.json", **SECOND)
    revealing = under(folder, pseudonymize=False)
    assert refresh(revealing).success
    for name in TABLES:
        found = table_in_glue(aws, revealing, name)
        contract = definition(name).contract_under(Policy(pseudonymize=False))
        expected = table_of(contract)
        assert (found["Description"], found["Owner"]) == (getdoc(contract), OWNER)
        assert tagged(found) == list(expected.personal_columns), name
        assert current(found) == list(expected.types), name
    assert tagged(found) == ["user", "serialnumber"]  # of machine_learning_curated

    pseudonymous = under(folder)
    assert refresh(pseudonymous, only=["machine_learning_curated"]).success
    found = table_in_glue(aws, pseudonymous, "machine_learning_curated")
    assert found["Description"] == getdoc(definition("machine_learning_curated").contract)
    assert found["Parameters"]["stedi.personal-columns"] == ""
    assert set(columns(found)) - set(current(found)) == {"user", "serialnumber"}


# Other readers


def by_polars(aws: Aws, metadata_location: str) -> Rows:
    """Rows of a table; PyIceberg plans for Polars, which reads the files by itself."""
    polars = pytest.importorskip("polars", reason="Polars is not installed (pip install polars)")
    options = {
        "s3.endpoint": aws.s3.endpoint,
        "s3.region": "us-east-1",
        "s3.access-key-id": ADMIN.access_key,
        "s3.secret-access-key": ADMIN.secret_key,
    }
    found = polars.scan_iceberg(metadata_location, storage_options=options).collect()
    rows: Rows = found.to_dicts()
    return rows


@pytest.fixture(scope="module")
def rows(settings: Settings) -> dict[str, list[str]]:
    """Rows of each table as `read_table` gives them, in an order to compare them in."""
    tables = {name: read_table(name, settings=settings).to_pyarrow() for name in TABLES}
    return {name: sorted(map(repr, table.to_pylist())) for name, table in tables.items()}


@pytest.mark.parametrize("table", TABLES)
def test_duckdb_sees_the_same_rows(
    glue_table: GlueTable, read_iceberg: IcebergReader, rows: dict[str, list[str]], table: str
) -> None:
    found = read_iceberg(glue_table(table)["Parameters"]["metadata_location"])
    assert len(found) == FIRST_COUNTS[table]  # 0 of quarantine
    assert sorted(map(repr, found)) == rows[table]


@pytest.mark.parametrize("table", TABLES)
def test_polars_sees_the_same_rows(
    aws: Aws, glue_table: GlueTable, rows: dict[str, list[str]], table: str
) -> None:
    found = by_polars(aws, glue_table(table)["Parameters"]["metadata_location"])
    assert sorted(map(repr, found)) == rows[table]


def test_other_readers_see_the_newest_state_and_none_that_waits(
    aws: Aws, read_iceberg: IcebergReader
) -> None:
    folder = aws.folder()
    deliver(folder / "landing", "first.json", **FIRST)
    settings, tables = under(folder), ["customer_landing", "step_trainer_landing"]
    assert refresh(settings, only=tables).success
    deliver(folder / "landing", "second.json", **SECOND)
    write(folder / "landing", "customer", "broken.json", "upload failed\n")
    refresh(settings, only=tables)
    for name, expected in zip(tables, (FIRST_COUNTS, SECOND_COUNTS), strict=True):
        metadata = table_in_glue(aws, settings, name)["Parameters"]["metadata_location"]
        assert len(read_iceberg(metadata)) == expected[name]
        assert len(by_polars(aws, metadata)) == expected[name]


def test_report_is_written_into_the_bucket(aws: Aws) -> None:
    settings = under(aws.folder())
    made = dg.materialize(
        [report_asset(settings)], resources={"lakehouse": open_lakehouse(settings)}
    )
    [report] = made.asset_materializations_for_node("lakehouse_report")
    assert report.metadata["location"].value == f"{settings.lakehouse}/report/report.html"
    bucket, key = split(f"{settings.lakehouse}/report/report.html")
    page = aws.s3.client().get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    assert "Nothing is published yet" in page
