"""Spark's own servers as processes of this machine, from the files of the pyspark package."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Self

HOST = "127.0.0.1"
START_SECONDS = 90
QUICK = {
    # Tests have few rows: what Spark prepares for many of them takes longer than the work.
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}
"""Spark's configuration for little data."""

QUICK_JAVA = "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"
"""Options of a Java that lives for a minute."""


def without_java() -> str | None:
    """Why Spark cannot run here, if it cannot."""
    if find_spec("pyspark") is None:
        return "pyspark is not installed: pip install -e '.[spark]'"
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        return "Java is not installed: make system, or install Java 17 or 21"
    return None


class SparkProcess:
    """A program of Spark; with the processes it starts it ends at the latest with `stop`."""

    def __init__(self, name: str, log: Path, *command: str, memory: str = "256m") -> None:
        self._log = log
        home = Path(str(find_spec("pyspark").origin)).parent  # type: ignore[union-attr]  # a package
        self._process = subprocess.Popen(
            [str(home / "bin" / command[0]), *command[1:]],
            env={
                **os.environ,
                "SPARK_HOME": str(home),
                "SPARK_LOCAL_IP": HOST,  # where its pages listen
                "SPARK_DAEMON_MEMORY": memory,
                "SPARK_DAEMON_JAVA_OPTS": QUICK_JAVA,
                "PYSPARK_PYTHON": sys.executable,
            },
            stdout=log.open("wb"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._name = name

    def find(self, pattern: str) -> str:
        """Wait until the log has it; gives the first group."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            log = self._log.read_text(errors="replace")
            if found := re.search(pattern, log):
                return found[1]
            if self._process.poll() is not None:
                break
            time.sleep(0.1)
        raise RuntimeError(f"{self._name} did not start:\n{self._log.read_text()[-2000:]}")

    def stop(self) -> None:
        """End it and all that it started, at once: as if its machine were gone."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextmanager
def cluster(
    folder: Path, workers: int, memory: str = "640m"
) -> Iterator[tuple[str, list[SparkProcess]]]:
    """A standalone cluster: the master's address, and workers of a core and an executor each."""
    main = "org.apache.spark.deploy"
    place = ("--host", HOST, "--port", "0", "--webui-port", "0")
    started: list[SparkProcess] = []
    master = SparkProcess(
        "The master", folder / "master.log", "spark-class", f"{main}.master.Master", *place
    )
    try:
        address = master.find(r"Starting Spark master at (spark://\S+)")
        for number in range(workers):
            log, work = folder / f"worker-{number}.log", folder / f"work-{number}"
            size = ("--cores", "1", "--memory", memory, "--work-dir", str(work))
            started.append(
                SparkProcess(
                    f"Worker {number}",
                    log,
                    "spark-class",
                    f"{main}.worker.Worker",
                    *place,
                    *size,
                    address,
                )
            )
        for worker in started:
            worker.find(r"(Successfully registered) with master")
        yield address, started
    finally:
        for process in (*started, master):
            process.stop()


@contextmanager
def connect_server(folder: Path) -> Iterator[str]:
    """A Spark Connect server on a free port; gives its address."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    given = QUICK | {
        "spark.master": "local[2]",
        "spark.ui.enabled": "false",
        "spark.driver.host": HOST,
        "spark.driver.bindAddress": HOST,
        "spark.driver.extraJavaOptions": QUICK_JAVA,
        "spark.connect.grpc.binding.address": HOST,
        "spark.connect.grpc.binding.port": str(port),
        "spark.sql.warehouse.dir": str(folder / "unused"),
    }
    options = [part for name, value in given.items() for part in ("--conf", f"{name}={value}")]
    server = "org.apache.spark.sql.connect.service.SparkConnectServer"
    with SparkProcess(
        "Spark Connect",
        folder / "connect.log",
        "spark-submit",
        "--class",
        server,
        *options,
        "spark-internal",
        memory="1g",
    ) as process:
        process.find(r"(Spark Connect server started)")
        yield f"sc://{HOST}:{port}"
