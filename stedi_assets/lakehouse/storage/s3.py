"""A lakehouse on AWS: files in a bucket, tables in the Glue Data Catalog."""

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import boto3
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError, NoCredentialsError, NoRegionError
from pyiceberg.catalog import WAREHOUSE_LOCATION
from pyiceberg.catalog import Catalog as IcebergCatalog
from pyiceberg.io import FileIO

from stedi_assets.lakehouse.duckdb_sql import sql_text
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.storage.aws_faults import remember_place
from stedi_assets.lakehouse.storage.glue_catalog import GlueTables, describe, glue_client
from stedi_assets.lakehouse.storage.s3_files import BUCKET, Bucket, S3FileIO, split
from stedi_assets.lakehouse.storage.storage import OlderVersion, StoredFile

_DUCKDB_RETRIES = ("http_retries = 6", "http_retry_wait_ms = 200", "http_retry_backoff = 2.5")


@dataclass(frozen=True)
class S3Storage:
    """A prefix of a bucket, its catalog a Glue database.

    Attributes:
        root: URI of the lakehouse, without a slash at its end.
        namespace: The Glue database.
        new_client: Makes an S3 client, which finds credentials by the ordinary chain of AWS; it can
            be sent to another process.
        glue_endpoint: Another address of the Glue API.
        encryption: Server-side encryption to ask for, `AES256` or `aws:kms`; the bucket's default
            where absent.
        kms_key: The key of `aws:kms`.
        path_style: Whether addresses have the bucket in their path, not in the host's name.
    """

    root: str
    namespace: str
    new_client: Callable[[], Any]
    glue_endpoint: str | None = None
    encryption: str | None = None
    kms_key: str | None = None
    path_style: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickling leaves open clients behind."""
        return type(self), tuple(getattr(self, field.name) for field in fields(self))

    @cached_property
    def client(self) -> Any:
        """S3 client that asks for the encryption wherever it writes."""
        client = self.new_client()
        remember_place(client)
        if encryption := self._encryption():

            def encrypt(params: dict[str, Any], **_: Any) -> None:
                params.update(encryption)

            for operation in ("PutObject", "CreateMultipartUpload"):
                client.meta.events.register(f"provide-client-params.s3.{operation}", encrypt)
        return client

    def _encryption(self) -> dict[str, str]:
        options = {"ServerSideEncryption": self.encryption, "SSEKMSKeyId": self.kms_key}
        return {name: value for name, value in options.items() if value}

    @cached_property
    def _session(self) -> boto3.Session:
        return boto3.Session()

    @property
    def scratch(self) -> Path:
        """Folder of this machine for what does not fit into memory, for its user alone."""
        user = getattr(os, "getuid", int)()
        name = hashlib.sha256(f"{self.root} {user}".encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / f"stedi-{name}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != user or status.st_mode & 0o077:
            raise LakehouseError(
                f"{folder} is for rows that do not fit into memory, so only you may read it: "
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
            glue.meta.events.register(f"provide-client-params.glue.{operation}", describe)
        properties = {
            WAREHOUSE_LOCATION: self.root,
            "py-io-impl": f"{S3FileIO.__module__}.{S3FileIO.__name__}",
            BUCKET: self._bucket,
        }
        return GlueTables(self.namespace, client=glue, **properties)

    def exists(self) -> bool:
        """Whether there is the Glue database."""
        return self.iceberg.namespace_exists(self.namespace)

    def drop_catalog(self) -> None:
        """Refuse: if Glue's catalog cannot be read, it is not damaged; access is missing.

        Raises:
            LakehouseError: Always.
        """
        raise LakehouseError(
            f"The Glue database {self.namespace} cannot be read: check permissions, and try again."
        )

    def claim(self) -> None:
        """Note below the root whose tables are there: a vacuum would remove those of another."""
        note = self.io.new_output(f"{self.root}/warehouse/database")
        if not note.exists():
            with note.create() as file:
                file.write(self.namespace.encode())
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
            for item in page.get("Contents", ()):
                yield StoredFile(
                    f"s3://{bucket}/{item['Key']}",
                    item["Size"],
                    item["ETag"].strip('"'),
                    item["LastModified"],
                )

    def stored(self, location: str) -> StoredFile | None:
        """An object as it is now."""
        bucket, key = split(location)
        try:
            head = self.client.head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in {"404", "NoSuchKey"}:
                raise
            return None
        return StoredFile(
            location, head["ContentLength"], head["ETag"].strip('"'), head["LastModified"]
        )

    def landing_files(self, folder: str, root: str) -> Iterator[StoredFile | str]:
        """All objects below a prefix: there are no links in a bucket."""
        return self.files(folder)

    def open_landing(self, location: str, root: str) -> BinaryIO:
        """Open an object."""
        return cast("BinaryIO", self.io.new_input(location).open())

    @contextmanager
    def replacing(self, location: str) -> Iterator[BinaryIO]:
        """Write an object anew: it is there once it is whole."""
        with self.io.new_output(location).create(overwrite=True) as file:
            yield cast("BinaryIO", file)

    def erase(self, location: str) -> None:
        """Delete an object with all its versions, as far as these may be listed."""
        try:
            self._erase(location, older_only=False)
        except ClientError as error:
            # The pipeline may not, in a bucket of tables without versions.
            if error.response["Error"]["Code"] != "AccessDenied":
                raise
        self.io.delete(location)

    def erase_older(self, location: str) -> None:
        """Delete all versions of an object but the one that is read."""
        self._erase(location, older_only=True)

    def _erase(self, location: str, *, older_only: bool) -> None:
        bucket, key = split(location)
        pages = self.client.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=bucket, Prefix=key):
            for version in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                # Without versioning there is one, named null.
                if version["Key"] == key and not (older_only and version["IsLatest"]):
                    self.client.delete_object(
                        Bucket=bucket, Key=key, VersionId=version["VersionId"]
                    )

    def older_versions(self, folder: str) -> Iterator[OlderVersion]:
        """Versions of objects below a prefix that are not the one that is read."""
        bucket, prefix = split(folder.rstrip("/") + "/")
        pages = self.client.get_paginator("list_object_versions")
        for page in pages.paginate(Bucket=bucket, Prefix=prefix):
            for version in page.get("Versions", ()):
                if not version["IsLatest"]:
                    which = {name: version[name] for name in ("Key", "VersionId")} | {
                        "Bucket": bucket
                    }
                    yield OlderVersion(
                        f"s3://{bucket}/{version['Key']}",
                        partial(self._open_version, which),
                        partial(self.client.delete_object, **which),
                    )

    def _open_version(self, which: Mapping[str, str]) -> BinaryIO:
        return cast("BinaryIO", self.client.get_object(**which)["Body"])

    def point_readers(self) -> None:
        """Readers ask Glue: a hint could be out of date, and show people who withdrew."""

    def make_private(self) -> None:
        """Who may read a bucket is decided in AWS."""

    def drop_uploads(self, before: datetime) -> int:
        """Remove the parts of uploads that were begun before that time and never ended."""
        bucket, prefix = split(f"{self.root}/warehouse/")
        pages = self.client.get_paginator("list_multipart_uploads")
        uploads = [
            {"Key": upload["Key"], "UploadId": upload["UploadId"]}
            for page in pages.paginate(Bucket=bucket, Prefix=prefix)
            for upload in page.get("Uploads", ())
            if upload["Initiated"] < before
        ]
        for upload in uploads:
            self.client.abort_multipart_upload(Bucket=bucket, **upload)
        return len(uploads)

    def engine_setup(self) -> list[str]:
        """Give DuckDB the current credentials: they may expire."""
        secret = ", ".join(f"{name} {value}" for name, value in self._secret().items())
        return [
            *(f"SET {setting}" for setting in _DUCKDB_RETRIES),
            # DuckDB remembers size and version of objects instead of asking in each query.
            "SET enable_http_metadata_cache = true",
            f"CREATE OR REPLACE SECRET stedi ({secret})",
        ]

    def check_written(self, files: Sequence[str]) -> None:
        """See that files are encrypted as asked: DuckDB requests only `aws:kms`, Spark nothing."""
        if self.encryption is None or not files:
            return
        bucket, key = split(files[0])  # they are stored alike
        stored = self.client.head_object(Bucket=bucket, Key=key)
        if stored.get("ServerSideEncryption") != self.encryption:
            wanted, instead = self.encryption, stored.get("ServerSideEncryption", "no encryption")
        elif self._is_another_key(stored.get("SSEKMSKeyId", "")):
            wanted, instead = "the key of STEDI_S3_KMS_KEY", "another key"
        else:
            return
        raise LakehouseError(
            f"The bucket {bucket} stored a table's file with {instead} instead of {wanted} "
            "(STEDI_S3_ENCRYPTION), so it is not published: make that the bucket's default "
            "encryption, and refresh again."
        )

    def _is_another_key(self, arn: str) -> bool:
        """Whether it is another key than `kms_key`; false for an alias: its key is not known."""
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
        values = {
            "KEY_ID": credentials.access_key,
            "SECRET": credentials.secret_key,
            "SESSION_TOKEN": credentials.token,
            "REGION": region,
            "ENDPOINT": endpoint.netloc,
            "USE_SSL": "false" if endpoint.scheme == "http" else "true",
            "URL_STYLE": "vhost" if on_aws and not self.path_style else "path",
            "KMS_KEY_ID": self.kms_key,
        }
        return {"TYPE": "s3"} | {name: sql_text(value) for name, value in values.items() if value}

    def _credentials(self) -> ReadOnlyCredentials:
        credentials = self._session.get_credentials()
        if credentials is None:
            raise NoCredentialsError
        return credentials.get_frozen_credentials()
