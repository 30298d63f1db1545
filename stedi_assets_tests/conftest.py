"""What tests of several modules share."""

import contextlib
import functools
import gc
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest
from botocore.loaders import create_loader
from cloudpathlib import S3Client
from dagster._core.storage.event_log import in_memory
from dagster._core.storage.sql import create_engine
from typer.testing import CliRunner

from stedi_assets.cli import interrupts, refresh
from stedi_assets_tests import commands, support
from stedi_assets_tests.aws_servers import BUCKET, GlueServer, S3Server, settings

# The libraries bring many objects that stay: looking for garbage among them less often saves time.
gc.set_threshold(50_000, 20, 50)

# polars warns where a faster planner, another package, is not installed.
os.environ.setdefault("POLARS_ICEBERG_PLANNER", "pyiceberg")


# Dagster's events in memory: it would open another connection for each, and with each check one
# more to see whether there is a table for it. That is a fifth of the time of a small refresh.
@contextlib.contextmanager
def _one_connection(events: in_memory.InMemoryEventLogStorage) -> Iterator[Any]:
    with events._db_lock, events._held_conn.begin():  # noqa: SLF001
        yield events._held_conn  # noqa: SLF001


_any_thread = functools.partial(create_engine, connect_args={"check_same_thread": False})
in_memory.create_engine = _any_thread  # type: ignore[attr-defined]
in_memory.InMemoryEventLogStorage.has_table = lambda *_: True  # type: ignore[method-assign]
in_memory.InMemoryEventLogStorage._connect = _one_connection  # type: ignore[assignment, method-assign]  # noqa: SLF001

SERVERS = {"aws", "spark", "ui"}
"""Fixtures that start servers or a browser; `aws` names a deployment, too."""

TAKES_SECONDS = (support.refresh, refresh.refresh, commands.stedi, CliRunner, subprocess)
"""What starts a whole refresh or a process: a module that has one of them is there for it."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what takes seconds as `slow`, and let these modules begin: short ones fill the gaps."""
    for item in items:
        if _takes_seconds(item):
            item.add_marker("slow")
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def _takes_seconds(item: pytest.Item) -> bool:
    assert isinstance(item, pytest.Function)
    values = item.callspec.params.values() if hasattr(item, "callspec") else ()
    names = {*item.fixturenames, *(value for value in values if isinstance(value, str))}
    # Helpers of a folder's tests are in a module beside them.
    helpers = sys.modules.get(f"{item.module.__package__}.support", item.module)
    tools = [*vars(item.module).values(), *vars(helpers).values()]
    return bool(SERVERS & names) or any(tool is value for tool in TAKES_SECONDS for value in tools)


def pytest_collection_finish() -> None:
    """Never look for garbage among what is there once all tests are imported."""
    gc.collect()
    gc.freeze()


IcebergReader = Callable[[str], list[dict[str, Any]]]


@pytest.fixture(autouse=True)
def attend_to_ctrl_c() -> None:
    """Let commands under test be interrupted, as at a terminal.

    What a shell starts in the background ignores Ctrl-C, and so does a command that has ended.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupts.take_as_end()  # what came in another test is over


class Aws:
    """An S3 server and a Glue API on this machine, which settings point to by default."""

    def __init__(self, s3: S3Server, glue: GlueServer) -> None:
        self.s3, self.glue = s3, glue
        self._paths = S3Client(endpoint_url=s3.endpoint)

    def folder(self) -> Any:
        """A prefix for a test of its own, to be used as a path."""
        return self._paths.CloudPath(f"s3://{BUCKET}/{uuid4().hex}")


@pytest.fixture(scope="session")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aws]:
    """Servers for the whole session, and an environment in which everything finds them."""
    with (
        S3Server(tmp_path_factory.mktemp("s3")) as s3,
        GlueServer() as glue,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in settings(s3.endpoint, glue.endpoint).items():
            if name not in {"STEDI_DEPLOYMENT", "STEDI_LAKEHOUSE"}:
                patch.setenv(name, value)
        # Each client would read the description of its service anew, a second each time.
        loader = create_loader()
        patch.setattr("botocore.session.create_loader", lambda *_: loader)
        s3.client().create_bucket(Bucket=BUCKET)
        yield Aws(s3, glue)


class Lakehouses:
    """Lakehouses on this machine that are made once, and given to each test as they were then."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def as_made(self, make: Callable[[Path], object]) -> Path:
        """A folder as `make` left it: always the same one, for tables know where they are."""
        home = self._root / f"{make.__module__}.{make.__qualname__}"
        folder, spare = home / "project", home / "spare"
        shutil.rmtree(folder, ignore_errors=True)
        if not spare.exists():
            folder.mkdir(parents=True)
            make(folder)
            folder.rename(spare)
        return Path(shutil.copytree(spare, folder))


@pytest.fixture(scope="session")
def lakehouses(tmp_path_factory: pytest.TempPathFactory) -> Lakehouses:
    """See `Lakehouses`."""
    return Lakehouses(tmp_path_factory.mktemp("lakehouses"))


@pytest.fixture(scope="module", params=["local", "aws"])
def new_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Path]:
    """Makes folders of a deployment: of this machine, or on S3 and with the same methods."""
    if request.param == "local":
        return lambda: tmp_path_factory.mktemp("folder")
    make: Callable[[], Path] = request.getfixturevalue("aws").folder
    return make


@pytest.fixture
def folder(new_folder: Callable[[], Path]) -> Path:
    """A folder of a deployment, for one test."""
    return new_folder()


@pytest.fixture(scope="session")
def read_iceberg() -> IcebergReader:
    """Reads the rows of an Iceberg table, given its metadata file, with DuckDB's own reader.

    It shares no code with PyIceberg: what it sees, Athena should see too. The extensions come
    from PyPI packages, so nothing is downloaded.
    """
    connection = duckdb.connect(
        config={"autoinstall_known_extensions": False, "autoload_known_extensions": False}
    )
    for name in ("avro", "iceberg", "httpfs"):
        connection.execute(f"LOAD '{_extension(name)}'")

    def read(metadata_location: str) -> list[dict[str, Any]]:
        if endpoint := os.environ.get("STEDI_S3_ENDPOINT"):
            connection.execute(f"""
                CREATE OR REPLACE SECRET (
                    TYPE s3, URL_STYLE path, USE_SSL false, REGION 'us-east-1',
                    ENDPOINT '{endpoint.removeprefix("http://")}',
                    KEY_ID '{os.environ["AWS_ACCESS_KEY_ID"]}',
                    SECRET '{os.environ["AWS_SECRET_ACCESS_KEY"]}'
                )
            """)
        found = connection.execute("FROM iceberg_scan(?)", [metadata_location])
        rows: support.Rows = found.to_arrow_table().to_pylist()
        return rows

    return read


def _extension(name: str) -> Path:
    package = pytest.importorskip(f"duckdb_extension_{name}")
    folder = Path(package.__path__[0]) / "extensions" / f"v{duckdb.__version__}"
    return folder / f"{name}.duckdb_extension"


@pytest.fixture
def derive_small_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tables be derived from what changed, however small they are."""
    monkeypatch.setattr("stedi_assets.refresh.method.FEW_BYTES", -1)
    monkeypatch.setattr("stedi_assets.refresh.method.MOST", 1e9)
