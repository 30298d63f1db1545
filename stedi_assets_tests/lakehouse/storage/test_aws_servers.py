"""The servers and the proxy that the tests of the AWS deployment stand on."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError, ResponseStreamingError

from stedi_assets_tests.aws_servers import (
    ADMIN,
    BUCKET,
    GlueServer,
    Identity,
    S3Server,
    prefix_policy,
)
from stedi_assets_tests.fault_proxy import (
    Exchange,
    FaultProxy,
    access_denied,
    cut_after,
    delay,
    drop,
    lose_answer,
    slow_down,
    throttled,
)
from stedi_assets_tests.support import PROJECT

ONCE = Config(retries={"total_max_attempts": 1})
STRANGE_KEYS = ("a b/c", "ü/ñ/日本", "day=1/x+y.json", "100%/%41", "a&b?c#d", "it's/(1)/~x*!$,;:@")


@pytest.fixture(scope="module")
def glue() -> Iterator[GlueServer]:
    with GlueServer() as server:
        yield server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory, glue: GlueServer) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("s3"), kms=glue.endpoint) as server:
        server.client().create_bucket(Bucket=BUCKET)
        server.client().put_object(Bucket=BUCKET, Key="object", Body=b"body of the object")
        yield server


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint) as running:
        yield running


@pytest.fixture
def client(s3: S3Server, proxy: FaultProxy) -> Any:
    """A client through the proxy that tries once."""
    return s3.client(endpoint_url=proxy.endpoint, config=ONCE)


def code_of(error: pytest.ExceptionInfo[ClientError]) -> str:
    return str(error.value.response["Error"]["Code"])


def gets(method: str, path: str, headers: Message) -> bool:
    return method == "GET"


# S3


def test_wrong_secret_is_refused(s3: S3Server, proxy: FaultProxy) -> None:
    impostor = Identity(ADMIN.access_key, "a guess")
    for endpoint in (s3.endpoint, proxy.endpoint):
        with pytest.raises(ClientError) as error:
            s3.client(impostor, endpoint_url=endpoint).get_object(Bucket=BUCKET, Key="object")
        assert code_of(error) == "SignatureDoesNotMatch"


def test_acknowledged_objects_survive_kill(s3: S3Server) -> None:
    client = s3.client()
    for number in range(20):
        client.put_object(Bucket=BUCKET, Key=f"kept/{number}", Body=b"%d" % number * 10_000)
    client.delete_object(Bucket=BUCKET, Key="kept/7")
    s3.restart()
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix="kept/")["Contents"]
    assert {entry["Key"] for entry in listed} == {f"kept/{n}" for n in range(20) if n != 7}
    for entry in listed:
        body = client.get_object(Bucket=BUCKET, Key=entry["Key"])["Body"].read()
        assert body == entry["Key"].removeprefix("kept/").encode() * 10_000


def test_policy_limits_identity_to_prefix(s3: S3Server) -> None:
    policy = prefix_policy(BUCKET, "mine/", "s3:GetObject", "s3:PutObject", "s3:ListBucket")
    client = s3.client(s3.allow(Identity("limited", "a secret", policy)))
    client.put_object(Bucket=BUCKET, Key="mine/1", Body=b"1")
    assert client.get_object(Bucket=BUCKET, Key="mine/1")["Body"].read() == b"1"
    assert client.list_objects_v2(Bucket=BUCKET, Prefix="mine/")["KeyCount"] == 1
    refused: dict[Callable[..., Any], dict[str, Any]] = {
        client.get_object: {"Key": "object"},
        client.put_object: {"Key": "yours/1", "Body": b"1"},
        client.list_objects_v2: {"Prefix": ""},
        client.delete_object: {"Key": "mine/1"},
    }
    for request, asked in refused.items():
        with pytest.raises(ClientError) as error:
            request(Bucket=BUCKET, **asked)
        assert code_of(error) == "AccessDenied"


def test_objects_are_encrypted_as_asked(s3: S3Server, glue: GlueServer) -> None:
    client, key = s3.client(), glue.client("kms").create_key()["KeyMetadata"]["Arn"]
    client.put_object(Bucket=BUCKET, Key="aes", Body=b"1", ServerSideEncryption="AES256")
    asked = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    client.put_object(Bucket=BUCKET, Key="kms", Body=b"2", **asked)
    s3.restart()
    aes, kms = (client.get_object(Bucket=BUCKET, Key=key) for key in ("aes", "kms"))
    assert (aes["ServerSideEncryption"], aes["Body"].read()) == ("AES256", b"1")
    assert (kms["ServerSideEncryption"], kms["SSEKMSKeyId"]) == ("aws:kms", key)
    assert kms["Body"].read() == b"2"


def test_glue_forgets_when_reset(glue: GlueServer) -> None:
    glue.client().create_database(DatabaseInput={"Name": "landing"})
    glue.reset()
    assert glue.client().get_databases()["DatabaseList"] == []


# The proxy


def test_proxy_passes_keys_and_listings_unchanged(client: Any, proxy: FaultProxy) -> None:
    for key in STRANGE_KEYS:
        client.put_object(Bucket=BUCKET, Key=f"strange/{key}", Body=key.encode())
        assert client.get_object(Bucket=BUCKET, Key=f"strange/{key}")["Body"].read().decode() == key
        assert client.head_object(Bucket=BUCKET, Key=f"strange/{key}")["ContentLength"]
    listed = client.list_objects_v2(Bucket=BUCKET, Prefix="strange/")["Contents"]
    assert {entry["Key"] for entry in listed} == {f"strange/{key}" for key in STRANGE_KEYS}
    assert {request.status for request in proxy.requests} == {200}


def test_proxy_passes_large_bodies_unchanged(client: Any) -> None:
    body = os.urandom(1 << 20) * 50
    client.put_object(Bucket=BUCKET, Key="large", Body=body)
    assert client.get_object(Bucket=BUCKET, Key="large")["Body"].read() == body


def test_proxy_passes_chunked_bodies_unchanged(client: Any, proxy: FaultProxy) -> None:
    asked = {"Bucket": BUCKET, "Key": "chunked"}
    url = urlsplit(client.generate_presigned_url("put_object", asked))
    connection = http.client.HTTPConnection(url.netloc)
    chunks = iter([b"one", b"two" * 100_000, b"three"])
    connection.request("PUT", f"{url.path}?{url.query}", chunks, encode_chunked=True)
    assert connection.getresponse().status == 200
    assert client.get_object(**asked)["Body"].read() == b"one" + b"two" * 100_000 + b"three"
    assert proxy.requests[0].headers["transfer-encoding"] == "chunked"


def test_slow_down_passes_with_retries(s3: S3Server, proxy: FaultProxy, client: Any) -> None:
    proxy.when(gets, slow_down(), times=1)
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket=BUCKET, Key="object")
    assert code_of(error) == "SlowDown"
    proxy.clear()
    proxy.when(gets, slow_down(), times=2)
    patient = s3.client(
        endpoint_url=proxy.endpoint, config=Config(retries={"mode": "standard", "max_attempts": 5})
    )
    assert patient.get_object(Bucket=BUCKET, Key="object")["Body"].read()
    assert [request.status for request in proxy.requests] == [503, 503, 200]


def test_access_denied_answers_what_was_asked_for_only(proxy: FaultProxy, client: Any) -> None:
    proxy.when(lambda method, path, headers: path.startswith(f"/{BUCKET}/obj"), access_denied())
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket=BUCKET, Key="object")
    assert code_of(error) == "AccessDenied"
    client.put_object(Bucket=BUCKET, Key="other", Body=b"1", ServerSideEncryption="AES256")
    assert proxy.requests[-1].method == "PUT"
    assert proxy.requests[-1].headers["X-Amz-Server-Side-Encryption"] == "AES256"


def test_throttled_glue(glue: GlueServer) -> None:
    with FaultProxy(glue.endpoint) as proxy:
        proxy.when(
            lambda method, path, headers: headers["x-amz-target"] == "AWSGlue.GetDatabases",
            throttled(),
            times=1,
        )
        client = glue.client(endpoint_url=proxy.endpoint, config=ONCE)
        with pytest.raises(ClientError) as error:
            client.get_databases()
        assert code_of(error) == "ThrottlingException"
        assert client.get_databases()["DatabaseList"] == []


def test_dropped_and_delayed_requests(proxy: FaultProxy, client: Any) -> None:
    proxy.when(gets, drop(), times=1)
    proxy.when(gets, delay(0.2), times=1)
    with pytest.raises(ConnectionClosedError):
        client.get_object(Bucket=BUCKET, Key="object")
    started = time.monotonic()
    assert client.get_object(Bucket=BUCKET, Key="object")["Body"].read()
    assert time.monotonic() - started >= 0.2
    assert [request.status for request in proxy.requests] == [None, 200]


def test_lost_answer_is_of_a_request_that_was_fulfilled(
    s3: S3Server, proxy: FaultProxy, client: Any
) -> None:
    proxy.when(lambda method, path, headers: method == "PUT", lose_answer())
    with pytest.raises(ConnectionClosedError):
        client.put_object(Bucket=BUCKET, Key="kept in silence", Body=b"1")
    assert s3.client().get_object(Bucket=BUCKET, Key="kept in silence")["Body"].read() == b"1"


def test_cut_body_arrives_in_part(proxy: FaultProxy, client: Any) -> None:
    proxy.when(gets, cut_after(4))
    body = client.get_object(Bucket=BUCKET, Key="object")["Body"]
    with pytest.raises(ResponseStreamingError):
        body.read()


def test_action_of_a_test_runs_at_the_request_it_names(
    s3: S3Server, proxy: FaultProxy, client: Any
) -> None:
    seen = []

    def delete(exchange: Exchange) -> None:
        seen.append(exchange.path)
        s3.client().delete_object(Bucket=BUCKET, Key="short-lived")

    client.put_object(Bucket=BUCKET, Key="short-lived", Body=b"1")
    proxy.when(gets, delete, skip=1, times=1)
    assert client.get_object(Bucket=BUCKET, Key="short-lived")["Body"].read() == b"1"
    with pytest.raises(ClientError) as error:
        client.get_object(Bucket=BUCKET, Key="short-lived")
    assert code_of(error) == "NoSuchKey"
    assert seen == [f"/{BUCKET}/short-lived"]


def test_server_killed_during_a_request(s3: S3Server, proxy: FaultProxy, client: Any) -> None:
    proxy.when(gets, lambda _: s3.kill(), times=1)
    with pytest.raises(ConnectionClosedError):
        client.get_object(Bucket=BUCKET, Key="object")
    s3.start()
    assert client.get_object(Bucket=BUCKET, Key="object")["Body"].read()


# Commands on the servers

PROGRAM = """
from stedi_assets_tests.support import PROJECT
import boto3, json, os, pathlib, sys, time
objects = boto3.client("s3", endpoint_url=os.environ["STEDI_S3_ENDPOINT"])
objects.head_bucket(Bucket="stedi")
pathlib.Path(sys.argv[1] + "~").write_text(json.dumps(dict(os.environ)))
pathlib.Path(sys.argv[1] + "~").rename(sys.argv[1])
time.sleep(float(sys.argv[2]))
"""


def start_main(told: Path, seconds: int, *more: str) -> subprocess.Popen[bytes]:
    """Run commands on servers; the first tells its environment and stays for some seconds."""
    temporary = told.parent / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-c", PROGRAM, str(told), str(seconds)]
    return subprocess.Popen(
        [sys.executable, "-m", "stedi_assets_tests.aws_servers", "--", *command, *more],
        env={**os.environ, "TMPDIR": str(temporary), "AWS_PROFILE": "a person's own"},
        cwd=PROJECT,
    )


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_gone(endpoint: str) -> bool:
    with socket.socket() as connection:
        url = urlsplit(endpoint)
        return connection.connect_ex((str(url.hostname), url.port or 0)) != 0


def test_commands_run_on_servers_until_one_fails(tmp_path: Path) -> None:
    told, not_run = tmp_path / "told", tmp_path / "not_run"
    exits = [sys.executable, "-c", "raise SystemExit(3)"]
    process = start_main(told, 0, "--", *exits, "--", "touch", str(not_run))
    assert process.wait(60) == 3
    assert not not_run.exists()
    environment = json.loads(told.read_text())
    assert environment["STEDI_DEPLOYMENT"] == "aws"
    assert environment["STEDI_LAKEHOUSE"] == f"s3://{BUCKET}/lakehouse"
    assert len(environment["STEDI_PSEUDONYM_KEY"]) >= 32
    assert "AWS_PROFILE" not in environment
    assert is_gone(environment["STEDI_S3_ENDPOINT"])
    assert is_gone(environment["STEDI_GLUE_ENDPOINT"])


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_servers_end_with_the_process_that_started_them(
    tmp_path: Path, how: signal.Signals
) -> None:
    told = tmp_path / "told"
    process = start_main(told, 5)
    until(told.exists)
    environment = json.loads(told.read_text())
    process.send_signal(how)
    assert process.wait(10) == (130 if how is signal.SIGINT else -how)
    until(lambda: is_gone(environment["STEDI_S3_ENDPOINT"]))
    until(lambda: is_gone(environment["STEDI_GLUE_ENDPOINT"]))
    if how is signal.SIGINT:
        assert not any((tmp_path / "tmp").iterdir())
