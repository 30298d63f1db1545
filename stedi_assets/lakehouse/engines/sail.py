"""Sail's server: Spark's protocol on this machine, without Java.

It runs in a process of its own, which ends with the process that started it, however that ends.
"""

import atexit
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

from stedi_assets.lakehouse.engines.memory import available_memory
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.storage.durable import make_folder

_HOST = "127.0.0.1"
_WEEK = 7 * 24 * 3600
_START_SECONDS = 120


class SailServer:
    """A server of Sail, and the folder that it spills to.

    Attributes:
        address: What a client connects to.
        folder: Where it keeps what does not fit into memory; it is removed when the server ends.
        s3_endpoint: Another address of S3.
    """

    def __init__(self, folder: Path, s3_endpoint: str | None = None) -> None:
        """Start a server, and wait until it listens.

        Args:
            folder: Where it may keep what does not fit into memory.
            s3_endpoint: Another address of S3.

        Raises:
            LakehouseError: It does not start.
        """
        self.folder = folder
        self.s3_endpoint = s3_endpoint
        for part in ("tasks", "held", "spilled"):
            make_folder(folder / part)
        log = folder / "log"
        with log.open("wb") as said:
            # A group of its own: Ctrl-C at a terminal is for the one who started it.
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name],
                env=os.environ | _environment(folder) | _s3(s3_endpoint) | _given(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                process_group=0,
            )
        atexit.register(self.stop)
        assert self._process.stdout
        # A server that hangs would keep the refresh, and so withdrawals, for ever.
        deadline = threading.Timer(_START_SECONDS, self._process.kill)
        deadline.start()
        port = self._process.stdout.readline().decode().strip()
        deadline.cancel()
        if not port:
            self._process.kill()
            self._process.wait()
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            self.stop()
            raise LakehouseError(
                f"Sail, which is Spark on this machine, did not start ({' '.join(last)}): see that "
                "there is memory left and that the package pysail fits this machine."
            )
        self.address = f"sc://{_HOST}:{port}"

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def stop(self) -> None:
        """End it, and remove what it spilled."""
        atexit.unregister(self.stop)
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()  # which it waits for
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        shutil.rmtree(self.folder, ignore_errors=True)


_lock = threading.Lock()
_running: list[SailServer] = []


def running_server(scratch: Path, s3_endpoint: str | None = None) -> SailServer:
    """The one server of this process; another one takes its place where it ended.

    Args:
        scratch: Folder below which it may spill. If this process is killed, the next refresh
            removes what is left there.
        s3_endpoint: Another address of S3.

    Raises:
        LakehouseError: It does not start.
    """
    with _lock:
        for server in _running[:]:
            is_usable = server.is_running and server.folder.exists()
            if is_usable and server.s3_endpoint == s3_endpoint:
                return server
            server.stop()
            _running.remove(server)
        _running.append(SailServer(scratch / f"{os.getpid()}-spark", s3_endpoint))
        return _running[0]


def _environment(folder: Path) -> dict[str, str]:
    """Sail's configuration. See its reference, "Configuration"."""
    memory = str(available_memory() // 2)
    return {
        "SPARK_LOCAL_DIRS": str(folder / "tasks"),
        "SAIL_MODE": "local",
        # By itself it would take all memory; no operator takes more than its part of the half.
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": "fair",
        "SAIL_RUNTIME__MEMORY_POOL__FAIR__MAX_SIZE": memory,
        "SAIL_RUNTIME__TEMPORARY_FILES__PATHS": f'["{folder / "spilled"}"]',
        "SAIL_EXECUTION__CHECKPOINT__PATH": (folder / "held").as_uri(),
        # The session ends with the process, not while that waits for something else.
        "SAIL_SPARK__SESSION_TIMEOUT_SECS": str(_WEEK),
        "RUST_LOG": "error",
    }


def _given() -> dict[str, str]:
    """What somebody configured of Sail: it wins."""
    return {name: value for name, value in os.environ.items() if name.startswith("SAIL_")}


def _s3(endpoint: str | None) -> dict[str, str]:
    """Where Sail finds S3; credentials and region it finds as AWS's tools do."""
    return {"AWS_ENDPOINT_URL": endpoint, "AWS_ALLOW_HTTP": "true"} if endpoint else {}


def _import_tasks() -> None:
    """Import most of what tasks are made of before the first one needs it: it takes a second."""
    import stedi_assets.lakehouse.engines.spark_tasks  # noqa: F401, PLC0415


def _serve() -> None:
    """Serve until whoever started this process closes its standard input, or is gone."""
    from pysail.spark import SparkConnectServer  # noqa: PLC0415  (the parent needs none of it)

    server = SparkConnectServer(_HOST, 0)
    server.start(background=True)
    assert server.listening_address
    sys.stdout.write(f"{server.listening_address[1]}\n")
    sys.stdout.flush()
    os.dup2(2, 1)  # what a task prints goes to the log: nobody reads on
    threading.Thread(target=_import_tasks, daemon=True).start()
    sys.stdin.read()
    os._exit(0)  # what is under way is of no use to anybody


if __name__ == "__main__":
    _serve()
