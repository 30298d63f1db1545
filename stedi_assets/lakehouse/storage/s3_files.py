"""Files of a bucket for PyIceberg and for ourselves, all with the same S3 client."""

import re
from collections.abc import Callable
from contextlib import suppress
from io import BytesIO
from threading import Lock
from typing import Any, cast

from botocore.exceptions import ClientError
from cachetools import LRUCache
from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream
from pyiceberg.typedef import Properties
from smart_open import s3

BUCKET = "stedi.bucket"
"""Property of a catalog with the `Bucket` that its `S3FileIO` uses."""

_READ_AHEAD = 1 << 20
_REMEMBERED = 64 << 20
_METADATA = re.compile(r"(.*/)?warehouse/.+/metadata/[^/]+\.(metadata\.json|avro)", re.DOTALL)
_MISSING = {"404", "NoSuchKey"}


def split(location: str) -> tuple[str, str]:
    """Bucket and key of an S3 URI, the key as it is: neither `?` nor `#` ends it."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    return bucket, key


class Bucket:
    """An S3 client, and the Iceberg metadata that it has read: those files never change."""

    def __init__(self, client: Any) -> None:
        """Use this boto3 client, which finds credentials and tries again by itself."""
        self.client = client
        self._metadata: LRUCache[str, bytes] = LRUCache(_REMEMBERED, getsizeof=len)
        self._lock = Lock()  # PyIceberg reads manifests in several threads

    @staticmethod
    def is_metadata(key: str) -> bool:
        """Whether PyIceberg wrote the object; no landing file has such a name."""
        return _METADATA.fullmatch(key) is not None

    def metadata(self, location: str, read: Callable[[], bytes]) -> bytes:
        """A metadata file's content, remembered or read now."""
        with self._lock:
            content = self._metadata.get(location)
        if content is None:
            content = read()
            with self._lock, suppress(ValueError):  # too large to be remembered
                self._metadata[location] = content
        return content


class S3FileIO(FileIO):
    """Reads, writes and deletes objects with the client it is given.

    PyIceberg's own ones have an S3 client each, which finds other credentials than boto3 where
    these come from a role or a login, or asks for no encryption.
    """

    def __init__(self, properties: Properties) -> None:
        """Use the `Bucket` that the properties hold."""
        super().__init__(properties)
        self._bucket = cast("Bucket", properties[BUCKET])

    def new_input(self, location: str) -> "S3Object":
        """The object, to read it."""
        return S3Object(location, self._bucket)

    def new_output(self, location: str) -> "S3Object":
        """The object, to write it."""
        return S3Object(location, self._bucket)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete the object, if it exists."""
        bucket, key = split(location if isinstance(location, str) else location.location)
        self._bucket.client.delete_object(Bucket=bucket, Key=key)


class S3Object(InputFile, OutputFile):
    """An object of a bucket."""

    def __init__(self, location: str, bucket: Bucket) -> None:
        """The object at an S3 URI; it need not exist."""
        super().__init__(location)
        self._client, self._objects = bucket.client, bucket
        self._bucket, self._key = split(location)

    def __len__(self) -> int:
        """Its bytes."""
        return int(self._client.head_object(Bucket=self._bucket, Key=self._key)["ContentLength"])

    def exists(self) -> bool:
        """Whether it is there."""
        try:
            self._client.head_object(Bucket=self._bucket, Key=self._key)
        except ClientError as error:
            if error.response["Error"]["Code"] in _MISSING:
                return False
            raise
        return True

    def open(self, seekable: bool = True) -> InputStream:
        """Open it for reading; reading goes on where a connection broke.

        Raises:
            FileNotFoundError: It is not there.
        """
        if not Bucket.is_metadata(self._key):
            return self._reader()
        return BytesIO(self._objects.metadata(self.location, self._read))

    def _read(self) -> bytes:
        with self._reader() as reader:
            return reader.read()

    def _reader(self) -> InputStream:
        try:
            reader = s3.open(
                self._bucket, self._key, "rb", client=self._client, buffer_size=_READ_AHEAD
            )
        except OSError as error:
            cause = error.__cause__
            if isinstance(cause, ClientError) and cause.response["Error"]["Code"] in _MISSING:
                raise FileNotFoundError(2, "No such object", self.location) from None
            raise
        return cast("InputStream", reader)

    def create(self, overwrite: bool = False) -> OutputStream:
        """Open it for writing; nothing is there before it is closed.

        Raises:
            FileExistsError: It exists, and `overwrite` is false.
        """
        if not overwrite and self.exists():
            raise FileExistsError(17, "There is an object already", self.location)
        # Metadata is small: one request instead of three.
        writer = s3.SinglepartWriter if Bucket.is_metadata(self._key) else _Upload
        return cast("OutputStream", writer(self._bucket, self._key, client=self._client))

    def to_input_file(self) -> "S3Object":
        """The same object, to read it."""
        return self


class _Upload(s3.MultipartWriter):
    """Ends when it fails: an open one would begin again when it is garbage-collected."""

    def close(self) -> None:
        """Complete the object."""
        try:
            super().close()
        finally:
            self._upload_id = None

    def terminate(self) -> None:
        """Let there be no object."""
        try:
            super().terminate()
        finally:
            self._upload_id = None


# The client tries again for two minutes; smart_open would multiply that.
s3.RETRY.exceptions, s3.RETRY.client_error_codes = [], []
