"""Who asks S3 and Glue, and how what is written there is encrypted.

A proxy before each server tells the requests of boto3 from those of DuckDB, which finds no
credentials by itself.
"""

import json
import os
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import ibis
import pytest

from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.storage.s3_files import split
from stedi_assets.read import read_table
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings
from stedi_assets_tests.aws_servers import BUCKET, Identity, S3Server
from stedi_assets_tests.conftest import Aws
from stedi_assets_tests.fault_proxy import Exchange, FaultProxy
from stedi_assets_tests.refresh.pipeline.support import FIRST, FIRST_COUNTS
from stedi_assets_tests.support import (
    TABLES,
    catalog_of,
    counts,
    customer,
    deliver,
    refresh,
    under,
    write,
)

ANN, BOB = Identity("key-of-ann", "secret of ann"), Identity("key-of-bob", "secret of bob")


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, aws: Aws) -> Iterator[S3Server]:
    """A server that knows Ann and Bob, and the keys of moto's KMS."""
    folder = tmp_path_factory.mktemp("s3")
    with S3Server(folder, ANN, BOB, kms=aws.glue.endpoint) as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture
def anonymous(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without credentials."""
    for name in list(os.environ):
        if name.startswith("AWS_") and name not in {
            "AWS_REGION",
            "AWS_DEFAULT_REGION",
            "AWS_EC2_METADATA_DISABLED",
        }:
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    return monkeypatch


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def settings(aws: Aws, s3: S3Server, proxy: FaultProxy) -> Settings:
    """A lakehouse with a landing file, its S3 behind the proxy."""
    settings = under(aws.folder(), s3_endpoint=proxy.endpoint)
    land(s3.client(), settings, "a.json", "ann@x.io")
    return settings


def land(client: Any, settings: Settings, name: str, *emails: str) -> None:
    bucket, key = split(f"{settings.landing_root}/customer/landing/{name}")
    lines = "".join(json.dumps(customer(email)) + "\n" for email in emails)
    client.put_object(Bucket=bucket, Key=key, Body=lines.encode())


def take_in(settings: Settings) -> int:
    """Refresh customer_landing; gives the number of its rows, read as a person reads."""
    result = refresh(settings, only=["customer_landing"])
    assert [c.description for c in result.get_asset_check_evaluations() if not c.passed] == []
    assert result.success
    return int(read_table("customer_landing", settings=settings).count().to_pyarrow().as_py())


def from_engine(method: str, path: str, headers: Message) -> bool:
    return "duckdb" in headers["User-Agent"].lower()


def by_engine(requests: Iterable[Exchange]) -> list[Exchange]:
    return [asked for asked in requests if from_engine(asked.method, asked.path, asked.headers)]


def by_boto3(requests: Iterable[Exchange]) -> list[Exchange]:
    return [asked for asked in requests if "boto3" in asked.headers["User-Agent"].lower()]


def keys(requests: Iterable[Exchange]) -> list[str]:
    """Access key of each request."""
    credentials = (asked.headers["Authorization"].split("Credential=")[1] for asked in requests)
    return [credential.split("/")[0] for credential in credentials]


def assert_asked_by_both(requests: list[Exchange], key: str) -> None:
    assert len(by_engine(requests)) + len(by_boto3(requests)) == len(requests)
    assert set(keys(by_engine(requests))) == set(keys(by_boto3(requests))) == {key}


# Credentials


def test_keys_of_the_environment(
    settings: Settings, proxy: FaultProxy, anonymous: pytest.MonkeyPatch
) -> None:
    anonymous.setenv("AWS_ACCESS_KEY_ID", ANN.access_key)
    anonymous.setenv("AWS_SECRET_ACCESS_KEY", ANN.secret_key)
    assert take_in(settings) == 1
    assert_asked_by_both(proxy.requests, ANN.access_key)


def test_profile_of_a_credentials_file(
    settings: Settings, proxy: FaultProxy, anonymous: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "credentials"
    file.write_text(
        "[default]\naws_access_key_id = nobody\naws_secret_access_key = guessed\n"
        f"[stedi]\naws_access_key_id = {BOB.access_key}\naws_secret_access_key = {BOB.secret_key}\n"
    )
    anonymous.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    anonymous.setenv("AWS_PROFILE", "stedi")
    assert take_in(settings) == 1
    assert_asked_by_both(proxy.requests, BOB.access_key)


def test_region_of_a_profile(
    settings: Settings, proxy: FaultProxy, anonymous: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "config"
    file.write_text(
        "[profile stedi]\nregion = eu-central-1\n"
        f"aws_access_key_id = {BOB.access_key}\naws_secret_access_key = {BOB.secret_key}\n"
    )
    anonymous.delenv("AWS_REGION")
    anonymous.delenv("AWS_DEFAULT_REGION")
    anonymous.setenv("AWS_CONFIG_FILE", str(file))
    anonymous.setenv("AWS_PROFILE", "stedi")
    assert take_in(settings) == 1
    signed = {asked.headers["Authorization"].split("/")[2] for asked in proxy.requests}
    assert signed == {"eu-central-1"}


@pytest.fixture
def unchecked(aws: Aws) -> Iterator[FaultProxy]:
    """Moto's S3, which takes any session token."""
    with FaultProxy(aws.glue.endpoint) as running:
        yield running


@pytest.fixture
def unchecked_settings(aws: Aws, unchecked: FaultProxy) -> Settings:
    """A lakehouse with a landing file in moto's S3."""
    bucket, client = f"bucket-{uuid4().hex}", aws.glue.client("s3")
    client.create_bucket(Bucket=bucket)
    values = {"lakehouse": f"s3://{bucket}/lakehouse", "landing": f"s3://{bucket}"}
    settings = under(aws.folder(), **values, s3_endpoint=unchecked.endpoint)
    land(client, settings, "a.json", "ann@x.io")
    return settings


def tokens(requests: Iterable[Exchange]) -> set[str | None]:
    return {asked.headers["X-Amz-Security-Token"] for asked in requests}


def test_session_token_goes_with_every_request(
    unchecked_settings: Settings, unchecked: FaultProxy, anonymous: pytest.MonkeyPatch
) -> None:
    anonymous.setenv("AWS_ACCESS_KEY_ID", "key-of-a-session")
    anonymous.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    anonymous.setenv("AWS_SESSION_TOKEN", "a/token+of=it'self")
    assert take_in(unchecked_settings) == 1
    assert_asked_by_both(unchecked.requests, "key-of-a-session")
    assert tokens(unchecked.requests) == {"a/token+of=it'self"}


class RoleServer(ThreadingHTTPServer):
    """Hands out the credentials of a role, as a container's or an instance's address does."""

    def __init__(self) -> None:
        self.asked_with: list[str | None] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.asked_with.append(self.headers["Authorization"])
                body = json.dumps(credentials(ANN, hours=6) | {"Token": "token of a role"}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Keep quiet."""

        super().__init__(("127.0.0.1", 0), Handler)


def credentials(identity: Identity, **valid: float) -> dict[str, Any]:
    """Credentials as AWS hands them out, valid for a time."""
    return {
        "Version": 1,
        "AccessKeyId": identity.access_key,
        "SecretAccessKey": identity.secret_key,
        "Expiration": (datetime.now(UTC) + timedelta(**valid)).isoformat(),
    }


@pytest.fixture
def role_server() -> Iterator[RoleServer]:
    with RoleServer() as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def test_role_of_a_container(
    unchecked_settings: Settings,
    unchecked: FaultProxy,
    anonymous: pytest.MonkeyPatch,
    role_server: RoleServer,
) -> None:
    address = f"http://127.0.0.1:{role_server.server_port}/role"
    anonymous.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", address)
    anonymous.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN", "told to the container")
    assert take_in(unchecked_settings) == 1
    assert set(role_server.asked_with) == {"told to the container"}
    assert_asked_by_both(unchecked.requests, ANN.access_key)
    assert tokens(unchecked.requests) == {"token of a role"}


def test_credentials_renewed_during_a_refresh_reach_the_running_engine(
    settings: Settings, proxy: FaultProxy, anonymous: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    handed_out, config = tmp_path / "handed-out.json", tmp_path / "config"
    handed_out.write_text(json.dumps(credentials(ANN, minutes=5)))
    config.write_text(f"[default]\ncredential_process = cat {handed_out}\n")
    anonymous.setenv("AWS_CONFIG_FILE", str(config))
    connected: list[Any] = []
    connect = ibis.duckdb.connect

    def spy(**options: Any) -> Any:
        connected.append(connect(**options))
        return connected[-1]

    anonymous.setattr(ibis.duckdb, "connect", spy)

    def renew(_: Exchange) -> None:
        renewed = tmp_path / "renewed.json"
        renewed.write_text(json.dumps(credentials(BOB, minutes=5)))
        renewed.rename(handed_out)

    proxy.when(from_engine, renew, times=1)
    assert take_in(settings) == 1
    for asked in (by_engine(proxy.requests), by_boto3(proxy.requests)):
        found = keys(asked)
        assert found == sorted(found)  # Ann's first, then Bob's
        assert set(found) == {ANN.access_key, BOB.access_key}
    assert len(connected) == 1


def test_credentials_that_nobody_has_are_missed_in_a_sentence(
    settings: Settings, proxy: FaultProxy, anonymous: pytest.MonkeyPatch
) -> None:
    result = refresh(settings, only=["customer_landing"])
    assert not result.success
    [failure] = (e for e in result.get_step_failure_events())
    said = failure.step_failure_data.user_failure_data
    assert said is not None
    assert str(said.description).startswith("There are no AWS credentials: log in")
    assert proxy.requests == []


# Encryption


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of somebody whom the server knows."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ANN.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", ANN.secret_key)


@pytest.fixture
def kms_key(aws: Aws) -> str:
    return str(aws.glue.client("kms").create_key()["KeyMetadata"]["Arn"])


@pytest.fixture
def landing(s3: S3Server, aws: Aws) -> Any:
    """A prefix with the first delivery and an object that cannot be read."""
    folder = Aws(s3, aws.glue).folder()
    deliver(folder / "landing", "first.json", **FIRST)
    write(folder / "landing", "customer", "broken.json", "upload failed\n")
    return folder


def encrypted(folder: Any, s3: S3Server, **values: Any) -> Settings:
    """A lakehouse that accepts the object that cannot be read."""
    return under(folder, **({"s3_endpoint": s3.endpoint, "max_quarantine_share": 1} | values))


def objects(s3: S3Server, settings: Settings) -> dict[str, dict[str, Any]]:
    """What S3 says of each object of the lakehouse, by key relative to it."""
    client = s3.client()
    bucket, prefix = split(f"{settings.lakehouse}/")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
    found = [entry["Key"] for page in pages for entry in page["Contents"]]
    return {key.removeprefix(prefix): client.head_object(Bucket=bucket, Key=key) for key in found}


def kinds(paths: Iterable[str]) -> set[str]:
    """What there is of each kind of file; rejects are written by another writer than rows."""
    found = set()
    for path in paths:
        if path == "warehouse/database":
            found.add("whose tables these are")
            continue
        _, _, table, *folder, name = path.split("/")
        kind = f"{folder[0]} *{name[name.rindex('.') :]}"
        found.add(f"quarantine/{kind}" if table == "quarantine" else kind)
    return found


ALL_KINDS = {
    "metadata *.json",
    "metadata *.avro",
    "ledger *.parquet",
    "data *.parquet",
    "quarantine/metadata *.json",
    "quarantine/metadata *.avro",
    "quarantine/data *.parquet",
    "whose tables these are",
}


@pytest.mark.usefixtures("allowed")
def test_every_file_is_encrypted_with_the_key_asked_for(
    s3: S3Server, landing: Any, kms_key: str
) -> None:
    settings = encrypted(landing, s3, s3_encryption="aws:kms", s3_kms_key=kms_key)
    assert refresh(settings).success
    assert counts(settings) == FIRST_COUNTS | {"quarantine": 1}
    found = objects(s3, settings)
    assert kinds(found) == ALL_KINDS
    for path, said in found.items():
        assert said["ServerSideEncryption"] == "aws:kms", path
        assert said["SSEKMSKeyId"] == kms_key, path
    people = read_table("customer_trusted", settings=settings).email.to_pyarrow().to_pylist()
    assert len(people) == FIRST_COUNTS["customer_trusted"]


@pytest.mark.usefixtures("allowed")
def test_file_under_another_key_is_refused(s3: S3Server, aws: Aws, kms_key: str) -> None:
    folder = Aws(s3, aws.glue).folder()
    stored, asked = (
        open_storage(encrypted(folder, s3, s3_encryption="aws:kms", s3_kms_key=key))
        for key in (kms_key, str(aws.glue.client("kms").create_key()["KeyMetadata"]["Arn"]))
    )
    location = f"{folder}/a.parquet"
    with stored.io.new_output(location).create() as file:
        file.write(b"rows")
    stored.check_written([location])
    with pytest.raises(LakehouseError, match="with another key instead of the key of STEDI_S3_KMS"):
        asked.check_written([location])


@pytest.mark.usefixtures("allowed")
def test_every_file_is_encrypted_with_aes256_where_that_is_the_buckets_default(
    s3: S3Server, landing: Any
) -> None:
    client, bucket = s3.client(), f"bucket-{uuid4().hex}"
    client.create_bucket(Bucket=bucket)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    client.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    settings = encrypted(landing, s3, lakehouse=f"s3://{bucket}/lakehouse", s3_encryption="AES256")
    assert refresh(settings).success
    assert counts(settings) == FIRST_COUNTS | {"quarantine": 1}
    found = objects(s3, settings)
    assert kinds(found) == ALL_KINDS
    for path, said in found.items():
        assert said.get("ServerSideEncryption") == "AES256", path


@pytest.mark.usefixtures("allowed")
def test_nothing_is_published_where_the_bucket_does_not_encrypt_as_asked(
    s3: S3Server, landing: Any
) -> None:
    settings = encrypted(landing, s3, s3_encryption="AES256")
    result = refresh(settings)
    said = " ".join(c.description or "" for c in result.get_asset_check_evaluations())
    assert (
        f"The bucket {BUCKET} stored a table's file with no encryption instead of AES256 "
        "(STEDI_S3_ENCRYPTION), so it is not published: make that the bucket's default encryption"
    ) in said
    assert not any(counts(settings).values())
    assert all(catalog_of(settings).candidate(table) is None for table in TABLES)


@pytest.mark.usefixtures("allowed")
def test_unset_encryption_asks_for_nothing(s3: S3Server, proxy: FaultProxy, landing: Any) -> None:
    settings = encrypted(landing, s3, s3_endpoint=proxy.endpoint)
    assert refresh(settings, only=["customer_landing", "quarantine"]).success
    written = [asked for asked in proxy.requests if asked.method in {"PUT", "POST"}]
    assert by_engine(written)
    assert by_boto3(written)
    for asked in written:
        named = [name for name in asked.headers if "server-side-encryption" in name.lower()]
        assert named == []


@pytest.mark.usefixtures("allowed")
def test_encryption_is_asked_for_wherever_something_is_written(
    s3: S3Server, proxy: FaultProxy, landing: Any, kms_key: str
) -> None:
    asked_for: dict[str, Any] = {"s3_encryption": "aws:kms", "s3_kms_key": kms_key}
    settings = encrypted(landing, s3, s3_endpoint=proxy.endpoint, **asked_for)
    assert refresh(settings, only=["customer_landing", "quarantine"]).success
    for asked in proxy.requests:
        begins_an_object = "uploadId=" not in asked.path
        if asked.method in {"PUT", "POST"} and begins_an_object:
            assert asked.headers["x-amz-server-side-encryption"] == "aws:kms"
            assert asked.headers["x-amz-server-side-encryption-aws-kms-key-id"] == kms_key
