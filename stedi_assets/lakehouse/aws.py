"""The lakehouse on AWS: files in a bucket, tables in the Glue Data Catalog."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import boto3
import dagster as dg
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import NoCredentialsError, NoRegionError
from dagster_aws.s3 import S3Resource
from pyiceberg.catalog import WAREHOUSE_LOCATION
from pyiceberg.catalog import Catalog as IcebergCatalog
from pyiceberg.catalog.glue import GlueCatalog
from pyiceberg.exceptions import (
    NoSuchIcebergTableError,
    NoSuchNamespaceError,
    NoSuchPropertyException,
)
from pyiceberg.io import FileIO
from pyiceberg.table import Table
from pyiceberg.typedef import Identifier

from stedi_assets.lakehouse.aws_faults import remember_place, retry_cut_answers
from stedi_assets.lakehouse.embedded import sql_text
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.resource import Lakehouse
from stedi_assets.lakehouse.s3 import BUCKET, Bucket, S3FileIO, split
from stedi_assets.lakehouse.storage import Storage, StoredFile
from stedi_assets.lakehouse.table import OWNER, PERSONAL

ATTEMPTS = 10
"""Tries of a request to AWS, with growing pauses: some two minutes before it is given up."""

_DUCKDB_RETRIES = ("http_retries = 6", "http_retry_wait_ms = 200", "http_retry_backoff = 2.5")


@dataclass(frozen=True)
class S3Storage:
    """A prefix of a bucket, its catalog a Glue database.

    Attributes:
        root: URI of the lakehouse, without a slash at its end.
        namespace: The Glue database.
        s3: Region, endpoint and profile; credentials come by the ordinary chain of AWS.
        glue_endpoint: Another address of the Glue API.
        encryption: Server-side encryption to ask for, `AES256` or `aws:kms`; the bucket's default
            where absent.
        kms_key: The key of `aws:kms`.
        path_style: Whether a bucket's name does not fit into an address of AWS.
    """

    root: str
    namespace: str
    s3: S3Resource
    glue_endpoint: str | None = None
    encryption: str | None = None
    kms_key: str | None = None
    path_style: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """What is open here stays here when it is sent to another process."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        # A resource of Dagster cannot be sent, but for what it was made of.
        return _made_of, (values | {"s3": self.s3.model_dump()},)

    @cached_property
    def client(self) -> Any:
        """S3 client that asks for the encryption wherever it writes."""
        client = self.s3.get_client()
        remember_place(client)
        if asked := self._encryption():

            def encrypt(params: dict[str, Any], **_: Any) -> None:
                params.update(asked)

            for operation in ("PutObject", "CreateMultipartUpload"):
                client.meta.events.register(f"provide-client-params.s3.{operation}", encrypt)
        return client

    def _encryption(self) -> dict[str, str]:
        asked = {"ServerSideEncryption": self.encryption, "SSEKMSKeyId": self.kms_key}
        return {name: value for name, value in asked.items() if value}

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session(
            profile_name=self.s3.profile_name,
            region_name=self.s3.region_name,
            aws_access_key_id=self.s3.aws_access_key_id,
            aws_secret_access_key=self.s3.aws_secret_access_key,
            aws_session_token=self.s3.aws_session_token,
        )

    @property
    def scratch(self) -> Path:
        """Folder of this machine for what does not fit into memory, for its user alone."""
        user = getattr(os, "getuid", int)()
        name = hashlib.sha256(f"{self.root} {user}".encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"stedi-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != user or found.st_mode & 0o077:
            raise LakehouseError(
                f"{folder} is for what does not fit into memory, so nobody else may read it: "
                "remove it, or let TMPDIR name a folder of your own."
            )
        return folder

    @cached_property
    def io(self) -> FileIO:
        """Reads, writes and deletes objects."""
        return S3FileIO({BUCKET: self._bucket})

    @cached_property
    def _bucket(self) -> Any:
        return Bucket(self.client)

    @cached_property
    def iceberg(self) -> IcebergCatalog:
        """The Glue Data Catalog."""
        glue = glue_client(self._session, self.glue_endpoint)
        remember_place(glue)
        for operation in ("CreateTable", "UpdateTable"):
            glue.meta.events.register(f"provide-client-params.glue.{operation}", _describe)
        properties = {
            WAREHOUSE_LOCATION: self.root,
            "py-io-impl": f"{S3FileIO.__module__}.{S3FileIO.__name__}",
            BUCKET: self._bucket,
        }
        return _OwnTables(self.namespace, client=glue, **properties)

    def exists(self) -> bool:
        """Whether there is the Glue database."""
        return self.iceberg.namespace_exists(self.namespace)

    def drop_catalog(self) -> None:
        """Glue's catalog is not a file of ours; where it cannot be read, access is missing.

        Raises:
            LakehouseError: Always.
        """
        raise LakehouseError(
            f"The Glue database {self.namespace} cannot be read: see to it, and try again."
        )

    def claim(self) -> None:
        """Note below the root whose tables are there: a vacuum knows the files of no other."""
        note = self.io.new_output(f"{self.root}/warehouse/database")
        if not note.exists():
            with note.create() as written:
                written.write(self.namespace.encode())
        with note.to_input_file().open() as file:
            owner = file.read().decode()
        if owner != self.namespace:
            raise LakehouseError(
                f"{self.root} holds the tables of the Glue database {owner}: set STEDI_DATABASE to "
                f"{owner}, or STEDI_LAKEHOUSE to a prefix of its own."
            )

    def files(self, folder: str) -> Iterator[StoredFile]:
        """All objects below a prefix, folder markers included."""
        bucket, prefix = split(folder.rstrip("/") + "/")
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        for page in pages:
            for found in page.get("Contents", ()):
                yield StoredFile(
                    f"s3://{bucket}/{found['Key']}",
                    found["Size"],
                    found["ETag"].strip('"'),
                    found["LastModified"],
                )

    def landing_files(self, folder: str, root: str) -> Iterator[StoredFile | str]:
        """All objects below a prefix: there are no links in a bucket."""
        return self.files(folder)

    def open_landing(self, location: str, root: str) -> BinaryIO:
        """Open an object."""
        return cast("BinaryIO", self.io.new_input(location).open())

    def make_private(self) -> None:
        """Who may read a bucket is decided in AWS."""

    def drop_uploads(self, before: datetime) -> int:
        """Remove the parts of uploads that were begun before that time and never ended."""
        bucket, prefix = split(f"{self.root}/warehouse/")
        pages = self.client.get_paginator("list_multipart_uploads")
        begun = [
            {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            for page in pages.paginate(Bucket=bucket, Prefix=prefix)
            for upload in page.get("Uploads", ())
            if upload["Initiated"] < before
        ]
        for upload in begun:
            self.client.abort_multipart_upload(Bucket=bucket, **upload)
        return len(begun)

    def engine_setup(self) -> list[str]:
        """Hand DuckDB the credentials of now: they may expire."""
        secret = ", ".join(f"{name} {value}" for name, value in self._secret().items())
        return [
            *(f"SET {setting}" for setting in _DUCKDB_RETRIES),
            # It remembers size and version of objects instead of asking in each query.
            "SET enable_http_metadata_cache = true",
            f"CREATE OR REPLACE SECRET stedi ({secret})",
        ]

    def check_written(self, files: Sequence[str]) -> None:
        """DuckDB asks for `aws:kms` alone, Spark for nothing: else the bucket's default counts."""
        if self.encryption is None or not files:
            return
        bucket, key = split(files[0])  # they are stored alike
        found = self.client.head_object(Bucket=bucket, Key=key)
        if found.get("ServerSideEncryption") != self.encryption:
            asked, instead = self.encryption, found.get("ServerSideEncryption", "no encryption")
        elif self._is_another_key(found.get("SSEKMSKeyId", "")):
            asked, instead = "the key of STEDI_S3_KMS_KEY", "another key"
        else:
            return
        raise LakehouseError(
            f"The bucket {bucket} stored a table's file with {instead} instead of {asked} "
            "(STEDI_S3_ENCRYPTION), so it is not published: make that the bucket's default "
            "encryption, and refresh again."
        )

    def _is_another_key(self, arn: str) -> bool:
        """Whether it is not `kms_key`, where that is no alias: what it stands for is not told."""
        if self.kms_key is None or "alias/" in self.kms_key:
            return False
        return arn.rpartition("/")[2] != self.kms_key.rpartition("/")[2]

    def _secret(self) -> dict[str, str]:
        credentials = self._credentials()
        endpoint = urlsplit(self.client.meta.endpoint_url)  # the same for both
        on_aws = ".amazonaws.com" in endpoint.netloc
        region = self._session.region_name
        if not region:
            raise NoRegionError
        given = {
            "KEY_ID": credentials.access_key,
            "SECRET": credentials.secret_key,
            "SESSION_TOKEN": credentials.token,
            "REGION": region,
            "ENDPOINT": endpoint.netloc,
            "USE_SSL": "false" if endpoint.scheme == "http" else "true",
            "URL_STYLE": "vhost" if on_aws and not self.path_style else "path",
            "KMS_KEY_ID": self.kms_key,
        }
        return {"TYPE": "s3"} | {name: sql_text(value) for name, value in given.items() if value}

    def _credentials(self) -> ReadOnlyCredentials:
        found = self._session.get_credentials()
        if found is None:
            raise NoCredentialsError
        return found.get_frozen_credentials()


def _made_of(values: dict[str, Any]) -> S3Storage:
    return S3Storage(**values | {"s3": S3Resource(**values["s3"])})


def glue_client(session: boto3.Session, endpoint: str | None) -> Any:
    """A client of Glue that asks again, and for long, where Glue is busy or out of reach."""
    retries: Any = {"max_attempts": ATTEMPTS, "mode": "standard"}
    glue = session.client("glue", endpoint_url=endpoint, config=Config(retries=retries))
    retry_cut_answers(glue, ATTEMPTS)
    return glue


class _OwnTables(GlueCatalog):
    """The tables of one lakehouse: a Glue database may hold those of others, too."""

    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        """Names of its tables."""
        database = self.identifier_to_database(namespace, NoSuchNamespaceError)
        try:
            pages = self.glue.get_paginator("get_tables").paginate(DatabaseName=database)
            found = [table for page in pages for table in page["TableList"]]
        except self.glue.exceptions.EntityNotFoundException:
            raise NoSuchNamespaceError(f"There is no database {database}") from None
        return [
            (database, table["Name"])
            for table in found
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
            f"The table {name} in the Glue database {database} is not of the lakehouse "
            f"{self.properties[WAREHOUSE_LOCATION]}: set STEDI_DATABASE to a database of its own."
        )

    def _is_own(self, location: str) -> bool:
        return location.startswith(f"{self.properties[WAREHOUSE_LOCATION]}/")


def _describe(params: dict[str, Any], **_: Any) -> None:
    """Say in Glue's own terms what the Iceberg properties say of a table."""
    table = params["TableInput"]
    parameters = table["Parameters"]
    table["Description"] = parameters["comment"]
    table["Owner"] = parameters[OWNER]
    personal = parameters[PERSONAL].split(",")
    for column in table["StorageDescriptor"]["Columns"]:
        if column["Name"] in personal:
            column["Parameters"][PERSONAL_COLUMN] = "true"


PERSONAL_COLUMN = "stedi.personal-data"
"""Parameter of a Glue column that holds personal data, for policies to go by."""


class S3Lakehouse(Lakehouse):
    """The tables below a prefix of a bucket, in a Glue database."""

    root: str
    database: str
    s3: dg.ResourceDependency[S3Resource]
    glue_endpoint: str | None = None
    encryption: str | None = None
    kms_key: str | None = None
    path_style: bool = False

    @cached_property
    def storage(self) -> Storage:
        """Where files and tables are."""
        return S3Storage(
            root=self.root,
            namespace=self.database,
            s3=self.s3,
            glue_endpoint=self.glue_endpoint,
            encryption=self.encryption,
            kms_key=self.kms_key,
            path_style=self.path_style,
        )
