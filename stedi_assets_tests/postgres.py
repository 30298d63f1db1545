"""A PostgreSQL server for tests: the programs of the system's package, on a folder of its own."""

import os
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg2.extensions

_PASSWORD = "for tests"
# Where this process ends, its end of the pipe closes, and so the server ends, too.
_SERVE = '"$@" & read -r _; kill -INT $!; wait'


def programs() -> Path | None:
    """The folder of the newest server that is installed; Debian has it in no search path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=_version)
    path = str(found[-1]) if found else shutil.which("initdb")
    return Path(path).resolve().parent if path else None


def _version(program: Path) -> int:
    return int(program.parts[-3])


class PostgresServer:
    """A server on a free port of 127.0.0.1, from entering to leaving.

    PostgreSQL refuses to run as root: there it runs as the user that its package made.
    """

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._user = "postgres" if os.geteuid() == 0 else None
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        with self._cleanup:
            folder = tempfile.TemporaryDirectory(prefix="stedi-postgres-")
            root = Path(self._cleanup.enter_context(folder))
            if self._user:
                shutil.chown(root, self._user)
            self._start(root)
            self._cleanup = self._cleanup.pop_all()
        return self

    def _start(self, root: Path) -> None:
        password = root / "password"
        password.write_text(_PASSWORD)
        password.chmod(0o644)  # root made it, whose umask may be 077; its folder is the user's own
        options = ["--username=dagster", f"--pwfile={password}", "--auth=scram-sha-256"]
        subprocess.run(
            [self._binaries / "initdb", "--no-sync", *options, root / "data"],
            user=self._user,
            cwd=root,
            check=True,
            capture_output=True,
        )
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port = free.getsockname()[1]
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": root,
            "fsync": "off",
        }
        server: list[str | Path] = [self._binaries / "postgres", "-D", root / "data"]
        for name, value in settings.items():
            server += ["-c", f"{name}={value}"]
        log = self._cleanup.enter_context((root / "log").open("w+"))
        process = subprocess.Popen(
            ["sh", "-c", _SERVE, "sh", *server],
            user=self._user,
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
        )
        self._cleanup.callback(process.communicate)
        deadline = time.monotonic() + 30
        while True:
            try:
                return self.connect().close()
            except psycopg2.OperationalError:
                if time.monotonic() > deadline:
                    raise RuntimeError((root / "log").read_text()) from None
                time.sleep(0.1)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def environment(self) -> dict[str, str]:
        """The variables by which `deploy/dagster.yaml` finds it."""
        return {
            "DAGSTER_POSTGRES_HOST": "127.0.0.1",
            "DAGSTER_POSTGRES_PORT": str(self._port),
            "DAGSTER_POSTGRES_DB": "postgres",
            "DAGSTER_POSTGRES_USER": "dagster",
            "DAGSTER_POSTGRES_PASSWORD": _PASSWORD,
        }

    def connect(self) -> psycopg2.extensions.connection:
        """A connection of psycopg2."""
        return psycopg2.connect(
            host="127.0.0.1",
            port=self._port,
            dbname="postgres",
            user="dagster",
            password=_PASSWORD,
        )

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows that the database has to say."""
        connection = self.connect()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql)
                found: list[tuple[Any, ...]] = cursor.fetchall()
                return found
        finally:
            connection.close()
