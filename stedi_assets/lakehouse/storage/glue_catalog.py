"""The Glue Data Catalog: the tables of one lakehouse in a Glue database."""

from typing import Any

import boto3
from botocore.config import Config
from pyiceberg.catalog import ICEBERG, METADATA_LOCATION, TABLE_TYPE, WAREHOUSE_LOCATION
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.exceptions import (
    NoSuchIcebergTableError,
    NoSuchNamespaceError,
    NoSuchPropertyException,
)
from pyiceberg.table import Table
from pyiceberg.typedef import Identifier

from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.storage.aws_faults import retry_cut_answers
from stedi_assets.lakehouse.storage.metadata_files import WithKnownMetadata
from stedi_assets.lakehouse.table import OWNER, PERSONAL

ATTEMPTS = 10
"""Attempts at a request to AWS, with growing pauses: about two minutes in all."""

PERSONAL_COLUMN = "stedi.personal-data"
"""Parameter of a Glue column that holds personal data, for policies to go by."""


def glue_client(session: boto3.Session, endpoint: str | None) -> Any:
    """A client of Glue that asks again, for minutes, while Glue is busy or out of reach."""
    retries: Any = {"max_attempts": ATTEMPTS, "mode": "standard"}
    glue = session.client("glue", endpoint_url=endpoint, config=Config(retries=retries))
    retry_cut_answers(glue, ATTEMPTS)
    return glue


class GlueTables(WithKnownMetadata, GlueCatalog):
    """The tables of one lakehouse: a Glue database may hold those of others, too."""

    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        """Names of its tables."""
        database = self.identifier_to_database(namespace, NoSuchNamespaceError)
        try:
            pages = self.glue.get_paginator("get_tables").paginate(DatabaseName=database)
            tables = [table for page in pages for table in page["TableList"]]
        except self.glue.exceptions.EntityNotFoundException:
            raise NoSuchNamespaceError(f"There is no database {database}") from None
        return [
            (database, table["Name"])
            for table in tables
            if self._is_own(table.get("StorageDescriptor", {}).get("Location", ""))
        ]

    def load_table(self, identifier: str | Identifier) -> Table:
        """One of its tables.

        Raises:
            LakehouseError: Somebody else's table has that name.
        """
        try:
            table = super().load_table(identifier)
        except (NoSuchIcebergTableError, NoSuchPropertyException):
            pass
        else:
            if self._is_own(table.location()):
                return table
        database, name = self.identifier_to_database_and_table(identifier)
        raise LakehouseError(
            f"The table {name} in the Glue database {database} is not one of the lakehouse "
            f"{self.properties[WAREHOUSE_LOCATION]}: set STEDI_DATABASE to a database of its own."
        )

    def _convert_glue_to_iceberg(self, glue_table: Any) -> Table:
        parameters = glue_table.get("Parameters") or {}
        location = parameters.get(METADATA_LOCATION)
        if location is None or parameters.get(TABLE_TYPE, "").lower() != ICEBERG:
            return super()._convert_glue_to_iceberg(glue_table)  # raises what is wrong
        metadata = self._metadata_files.read(location, self._load_file_io(location=location))
        return Table(
            (glue_table["DatabaseName"], glue_table["Name"]),
            metadata,
            location,
            self._load_file_io(metadata.properties, location),
            self,
        )

    def _is_own(self, location: str) -> bool:
        return location.startswith(f"{self.properties[WAREHOUSE_LOCATION]}/")


def describe(params: dict[str, Any], **_: Any) -> None:
    """Say in Glue's own terms what the Iceberg properties say of a table."""
    table = params["TableInput"]
    parameters = table["Parameters"]
    table["Description"] = parameters["comment"]
    table["Owner"] = parameters[OWNER]
    personal = parameters[PERSONAL].split(",")
    for column in table["StorageDescriptor"]["Columns"]:
        if column["Name"] in personal:
            column["Parameters"][PERSONAL_COLUMN] = "true"
