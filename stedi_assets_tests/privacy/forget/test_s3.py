"""On S3, what was overwritten or deleted goes, too."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cloudpathlib import S3Client

from stedi_assets_tests.conftest import Aws
from stedi_assets_tests.privacy.forget.support import (
    ANN,
    BOB,
    PEOPLE,
    deliver_people,
    forget_people,
    names_of,
    of_others,
    places,
    rows_of,
)
from stedi_assets_tests.support import refresh, under

BUCKET = "versioned"


@pytest.fixture(scope="module")
def client(aws: Aws) -> Any:
    """A client of a server that has a bucket with versions."""
    client = aws.s3.client()
    client.create_bucket(Bucket=BUCKET)
    client.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    return client


def copy_of_versions(client: Any, prefix: str, folder: Path) -> int:
    """Write all versions of all objects to files; returns how many there are."""
    number = 0
    for page in client.get_paginator("list_object_versions").paginate(Bucket=BUCKET, Prefix=prefix):
        for version in page.get("Versions", ()):
            which = {"Bucket": BUCKET, "Key": version["Key"], "VersionId": version["VersionId"]}
            number += 1
            (folder / f"{number}").write_bytes(client.get_object(**which)["Body"].read())
    return number


def test_no_version_of_any_object_holds_who_was_forgotten(
    aws: Aws, client: Any, tmp_path: Path
) -> None:
    prefix = uuid4().hex
    folder: Any = S3Client(endpoint_url=aws.s3.endpoint).CloudPath(f"s3://{BUCKET}/{prefix}")
    deliver_people(folder / "landing", ANN, BOB, name="overwritten.json")
    deliver_people(folder / "landing", BOB, name="overwritten.json", lastupdatedate=9)
    deliver_people(folder / "landing", ANN, name="deleted.json")
    for source in ("customer", "accelerometer", "step_trainer"):
        (folder / f"landing/{source}/landing/deleted.json").unlink()
    deliver_people(folder / "landing", *PEOPLE)
    settings = under(folder)
    assert refresh(settings).success
    before = rows_of(settings)
    for name in ("before", "after"):
        (tmp_path / name).mkdir()
    assert copy_of_versions(client, prefix, tmp_path / "before")
    assert places(tmp_path / "before", names_of(ANN))
    certificate = forget_people(settings, ANN, landing_files=True)
    assert certificate.is_complete
    assert (certificate.landing_files_written, certificate.older_versions_deleted) == (3, 6)
    assert copy_of_versions(client, prefix, tmp_path / "after")
    assert places(tmp_path / "after", names_of(ANN)) == []
    assert places(tmp_path / "after", names_of(BOB))
    assert rows_of(settings) == of_others(before, ANN)


def test_older_versions_of_files_of_others_stay(aws: Aws, client: Any) -> None:
    prefix = uuid4().hex
    folder: Any = S3Client(endpoint_url=aws.s3.endpoint).CloudPath(f"s3://{BUCKET}/{prefix}")
    deliver_people(folder / "landing", ANN, BOB)
    settings = under(folder)
    assert refresh(settings).success
    for time in (8, 9):  # not taken in, so looked at
        deliver_people(folder / "landing", BOB, name="new.json", lastupdatedate=time)
    forget_people(settings, ANN, landing_files=True)
    key = f"{prefix}/landing/customer/landing/new.json"
    found = client.list_object_versions(Bucket=BUCKET, Prefix=key)["Versions"]
    assert len(found) == 2
