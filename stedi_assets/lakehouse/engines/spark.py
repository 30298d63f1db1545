"""The Spark engine: transformations on a cluster, or on this machine by a server of Sail."""

import os
import pickle
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache, reduce
from heapq import heapreplace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from uuid import uuid4

import ibis
import ibis.expr.operations as ops
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.pyspark import Backend
from ibis.backends.sql.dialects import PySpark
from ibis.formats.pyarrow import PyArrowData
from pyspark.errors import PySparkException, UnsupportedOperationException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.functions import input_file_name, lit
from sqlglot.expressions import NullSafeEQ

from stedi_assets.lakehouse.dialect import SPARK
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine, backend_table
from stedi_assets.lakehouse.engines.memory import available_memory
from stedi_assets.lakehouse.engines.sail import running_server
from stedi_assets.lakehouse.engines.spark_faults import condition
from stedi_assets.lakehouse.engines.spark_tasks import Done, Failed, Tasks, Writing
from stedi_assets.lakehouse.faults import DamagedError, LakehouseError
from stedi_assets.lakehouse.names import FILE, view_name
from stedi_assets.lakehouse.query import Query, Statement
from stedi_assets.lakehouse.storage.storage import Storage

# In words, IS NOT DISTINCT FROM, Sail would compare each row of a join with each.
PySpark.Generator.TRANSFORMS[NullSafeEQ] = lambda sql, node: sql.binary(node, "<=>")

Item = TypeVar("Item")
Result = TypeVar("Result")

SHARE = 128 << 20
"""Bytes of landing files that one task reads, as large as the parts Spark itself reads."""

_CONNECT_PORT, _MASTER_PORT = 15002, 7077

REDACTED = "spark.sql.redaction.string.regex"
"""Option with the pattern of text that Spark hides in plans: rules may hold secrets."""

SQL = {
    # A rule that overflows must fail, whatever the default of the version.
    "spark.sql.ansi.enabled": "true",
    # A task for each core, but none, and no file, for less than some megabytes.
    "spark.sql.adaptive.enabled": "true",
    "spark.sql.adaptive.coalescePartitions.parallelismFirst": "true",
    "spark.sql.adaptive.coalescePartitions.minPartitionSize": "8m",
    "spark.sql.adaptive.advisoryPartitionSizeInBytes": "128m",
    # A table is broadcast only once its real size is known: the size of a column in a file says
    # little, millions of e-mails may take a megabyte there.
    "spark.sql.autoBroadcastJoinThreshold": "-1",
    "spark.sql.adaptive.autoBroadcastJoinThreshold": "10m",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
}
"""Options of every session, wherever Spark runs."""
SILENT = {
    # Plans hold literals: the UI shows them to everybody who reaches the driver's machine, event
    # logs have them unredacted, and so have logs at INFO, which spark-submit begins with.
    "spark.ui.enabled": "false",
    "spark.eventLog.enabled": "false",
    "spark.log.level": "WARN",
}
"""Options that keep a driver from showing plans."""
_CLUSTER = SILENT | {
    "spark.app.name": "STEDI lakehouse",
    "spark.ui.showConsoleProgress": "false",
    "spark.io.encryption.enabled": "true",  # rows that do not fit into memory
}
_LOCAL = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    # Of Spark's 200 nearly all would be empty, and each takes its time.
    "spark.sql.shuffle.partitions": str(max(16, 2 * (os.cpu_count() or 1))),
}


def configuration(options: Mapping[str, str]) -> dict[str, str]:
    """Spark's configuration: these options, and good values for others.

    Sail is Spark on this machine, unless the options have `spark.master` or `spark.remote` (the
    address of a server), or spark-submit started this process.
    """
    if "spark.remote" in options or not _has_master(options):
        return SQL | dict(options)  # the server is configured where it is started
    is_local = options.get("spark.master", "").startswith("local")
    here = _LOCAL | {"spark.driver.memory": _half_of_memory()} if is_local else {}
    return SQL | _CLUSTER | here | dict(options)


def _has_master(options: Mapping[str, str]) -> bool:
    """Whether Spark runs on a JVM, which spark-submit may have started."""
    return "spark.master" in options or "PYSPARK_GATEWAY_PORT" in os.environ


def _half_of_memory() -> str:
    # Spark's default, 1 GB, is for a driver that leaves the work to others.
    return f"{available_memory() // 2 >> 20}m"


@dataclass(frozen=True)
class SparkStart:
    """Begins Spark's session when the first table is opened.

    Attributes:
        conf: Spark's configuration.
        begin: Begins the session with a configuration, or gives the one that was begun.
        scratch: Where Spark on this machine spills to.
        s3_endpoint: Another address of S3, for Sail.
    """

    conf: Mapping[str, str]
    begin: Callable[[dict[str, str]], SparkSession]
    scratch: Callable[[], Path]
    s3_endpoint: str | None = None

    def __call__(self) -> SparkSession:
        """The session; it is begun once.

        Raises:
            LakehouseError: Spark cannot be reached or does not start.
        """
        master = self.conf.get("spark.master", "")
        if remote := self.conf.get("spark.remote"):
            _assert_reached(_server(remote), "Spark Connect server", "spark.remote")
        elif not _has_master(self.conf):
            address = running_server(self.scratch(), self.s3_endpoint).address
            return _session_with_sail(lambda: self._begin({"spark.remote": address}), address)
        elif master.startswith("spark://") and "," not in master:
            _assert_reached(_server(master, _MASTER_PORT), "Spark master", "spark.master")
        elif master.startswith("local") and "spark.local.dir" not in self.conf:
            # If this process is killed, the next refresh removes what it spilled there.
            os.environ.setdefault("SPARK_LOCAL_DIRS", f"{self.scratch()}/{os.getpid()}-spark")
        return self._begin({})

    def _begin(self, found: Mapping[str, str]) -> SparkSession:
        conf = {**self.conf, **found}
        try:
            return self.begin(conf)
        except Exception as error:
            raise LakehouseError(_start_failure(error, conf)) from None


_numbers = count()
"""In the names of what is held: no name of a session that ended is given again, to other rows."""

_lock = threading.Lock()
_with_sail: dict[str, SparkSession] = {}
"""The session of this process with its server of Sail, by the server's address."""
_ended: list[SparkSession] = []
"""Those with servers that ended. Taken for garbage in an unlucky moment, one would leave the pool
of threads that all sessions share shut down, and the process without Spark."""


def _session_with_sail(begin: Callable[[], SparkSession], address: str) -> SparkSession:
    """The session with the server that runs now: PySpark would go on with one that ended."""
    with _lock:
        if address not in _with_sail:
            for ended in _with_sail.values():
                ended.stop()
            _ended.extend(_with_sail.values())
            _with_sail.clear()
            session = begin()
            _give_up_soon(session)
            _with_sail[address] = session
        return _with_sail[address]


def _give_up_soon(session: Any) -> None:
    """Ask a server once more if it does not answer; PySpark asks for minutes by itself."""
    if hasattr(session.client, "set_retry_policies"):  # not in Spark 3.5
        from pyspark.sql.connect.client.retries import DefaultPolicy  # noqa: PLC0415

        session.client.set_retry_policies([DefaultPolicy(max_retries=1)])


def _start_failure(error: Exception, conf: Mapping[str, str]) -> str:
    if isinstance(error, PySparkException) and condition(error) == "JAVA_GATEWAY_EXITED":
        return (
            "Spark could not start: spark.master in STEDI_SPARK_CONF takes Java 17 or 21 (`java "
            "-version`; set JAVA_HOME if there are several), and a configuration that Java "
            "accepts. Without it, Sail takes Spark's place on this machine."
        )
    place = conf.get("spark.master", "the cluster of spark-submit")
    if remote := conf.get("spark.remote"):  # behind the server it may hold a token
        place = _server(remote)
    return (
        f"Spark could not start on {place}: see that it runs and is reachable from here, and that "
        "STEDI_SPARK_CONF is right. What Spark's driver said is in the log of this process."
    )


@cache
def _assert_reached(server: str, kind: str, option: str) -> None:
    """Say at once that a server is out of reach: Spark tries for minutes."""
    host, _, port = server.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 10).close()
    except OSError as error:
        raise LakehouseError(
            f"No {kind} answers at {server} ({error.strerror or error}): start it, or mend "
            f"{option} in STEDI_SPARK_CONF."
        ) from None


def _server(url: str, port: int = _CONNECT_PORT) -> str:
    """Host and port of an address such as `sc://host:15002/;token=...`."""
    address = urlsplit(url)
    return f"{address.hostname}:{address.port or port}"


class SparkEngine:
    """Opens Parquet files as ibis tables and writes expressions to Parquet files."""

    def __init__(
        self,
        storage: Storage,
        session: Callable[[], SparkSession],
        task_memory: str | None = None,
    ) -> None:
        """Take the session once there is work; DuckDB may use `task_memory` in each task."""
        self._storage = storage
        self._session = session
        self._task_memory = task_memory or "1GB"

    dialect = SPARK

    @property
    def immediate(self) -> "SparkEngine":
        """This engine itself: it has a session."""
        return self

    @property
    def backend(self) -> "_Backend":
        """The ibis backend."""
        # The Python that runs the tasks has to be one that has the project.
        os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
        return _connected(self._session())

    def open(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files as the table `name`, with columns of these types."""
        backend, files = self.backend, tuple(files)
        if (opened := (files, types)) != backend.opened.get(name):
            self._rows_of(files, types).createOrReplaceTempView(name)
            backend.opened[name] = opened
        return backend_table(name, types, backend)

    def _rows_of(self, files: Sequence[str], types: Mapping[str, str]) -> DataFrame:
        session = self.backend.session
        columns = _columns(types)
        if not files:
            return session.createDataFrame([], columns)
        if self.backend.is_sail:
            self._assert_there(files)
            return self._rows_there(files, types)
        reader = session.read.schema(columns)
        # Spark would take * ? [ { in a path for a pattern, and a folder user=ann for a column.
        reader = reader.options(__globPaths__="false", recursiveFileLookup="true")
        return reader.parquet(*map(_uri, files))

    def _rows_there(self, files: Sequence[str], types: Mapping[str, str]) -> DataFrame:
        """The rows of files on Sail, which are there."""
        reader = self.backend.session.read.schema(_columns(types))
        return reader.parquet(*map(_quoted_uri, files))

    def _assert_there(self, files: Sequence[str]) -> None:
        """Refuse files that are gone: to Sail they are files without rows."""
        with ThreadPoolExecutor() as pool:
            there = list(pool.map(lambda file: self._storage.io.new_input(file).exists(), files))
        for file, is_there in zip(files, there, strict=True):
            if not is_there:
                raise DamagedError(file, missing=True)

    def open_located(self, name: str, files: Sequence[str], types: Mapping[str, str]) -> ir.Table:
        """Open Parquet files with the path of each row's file in the column `FILE`."""
        if self.backend.is_sail:  # it does not tell which file a row is of
            self._assert_there(files)
            each = [self._rows_there([file], types).withColumn(FILE, lit(file)) for file in files]
            rows = reduce(DataFrame.unionAll, each or [self._rows_of((), types)])
        else:
            rows = self._rows_of(tuple(files), types).withColumn(FILE, input_file_name())
        rows.createOrReplaceTempView(name)
        return backend_table(name, {**types, FILE: "string"}, self.backend)

    def hold(self, rows: Statement) -> ir.Table | None:
        """Compute rows now and keep them until `let_go`; None if there are none."""
        backend = self.backend
        name = view_name("held", str(next(_numbers)))
        types = {column: dtype.copy(nullable=True) for column, dtype in rows.schema.items()}
        # What a union makes of a smaller and a larger whole number, Sail refuses to keep.
        columns = self.dialect.held_columns(types)
        sql = f"SELECT {columns} FROM ({rows.sql('pyspark')})"
        # Not `cache`: plans that hold the plans of all that they are made from fill the driver.
        kept = backend.session.sql(sql).localCheckpoint()
        number = kept.count()
        kept.createOrReplaceTempView(name)
        backend.held[name] = kept, number
        return backend_table(name, types, backend) if number else None

    @property
    def holder(self) -> object:
        """Stands for what holds rows: the session."""
        return self.backend

    def held_rows(self, held: ir.Table | None) -> int:
        """How many rows are held there."""
        return 0 if held is None else self.backend.held[held.get_name()][1]

    def let_go(self) -> None:
        """Forget all rows that are held."""
        backend = self.backend
        for name in backend.held:
            backend.session.catalog.dropTempView(name)
        backend.held.clear()

    def fetch(self, query: Statement) -> pa.Table:
        """The rows of a query, which are few."""
        return self._fetch(query.sql("pyspark"), query.schema)

    def fetch_all(self, queries: Sequence[Query]) -> list[pa.Table]:
        """The rows of several queries, side by side: each has many small stages, one by one."""
        compiled = [(query.sql("pyspark"), query.schema) for query in queries]
        with ThreadPoolExecutor() as pool:
            return list(pool.map(lambda each: self._fetch(*each), compiled))

    def _fetch(self, sql: str, schema: ibis.Schema) -> pa.Table:
        return _arrow(self.backend.session.sql(sql), schema)

    def write(self, query: Query, folder: str, field_ids: Mapping[str, int]) -> list[str]:
        """Write the rows of a query as Parquet files below `folder`, with these ids of columns.

        Returns:
            The files with rows; none if there are no rows.
        """
        backend, target = self.backend, f"{folder}/{uuid4().hex}"
        rows = backend.session.sql(query.sql("pyspark"))
        if backend.is_sail:
            writing = Writing(self._storage, target, query.schema.to_pyarrow(), field_ids)
            written = rows.mapInArrow(writing.run, "file string").collect()
            files = sorted(row.file for row in written)
            self._assert_there(backend.files_of(query))  # as they were when they were opened
            self._storage.check_written(files)
            return files
        for name, id_ in field_ids.items():
            rows = rows.withMetadata(name, {_FIELD_ID: id_})
        rows.write.parquet(_uri(target))
        paths = [file.location for file in self._storage.files(target)]
        with ThreadPoolExecutor() as pool:
            have_rows = list(pool.map(self._has_rows, paths))
        files = []
        for path, has_rows in zip(paths, have_rows, strict=True):
            if has_rows:
                files.append(path)
            else:
                self._storage.io.delete(path)
        self._storage.check_written(files)
        return files

    def _has_rows(self, file: str) -> bool:
        """Whether it is a Parquet file with rows, and not a checksum or the mark of success."""
        if not file.endswith(".parquet"):
            return False
        with self._storage.io.new_input(file).open() as opened:
            return bool(pq.read_metadata(opened).num_rows)

    def spread(
        self,
        work: Callable[[DuckDBEngine, Sequence[Item]], Result],
        items: Sequence[Item],
        sizes: Sequence[int],
    ) -> list[Result]:
        """Have the work done by tasks, in shares of about the same size."""
        shares = _shares(items, sizes)
        if not shares:
            return []
        pickled = [pickle.dumps(share) for share in shares]
        tasks = Tasks(work, pickled, self._storage, self._task_memory)
        numbers = self.backend.session.range(0, len(shares), 1, len(shares))
        outcomes = numbers.mapInArrow(tasks.run, "result binary").collect()
        results: list[Result] = []
        for (pickled_outcome,) in outcomes:
            outcome: Done | Failed = pickle.loads(pickled_outcome)
            if isinstance(outcome, Failed):
                raise outcome.error
            results.append(outcome.result)
        return results


class _Backend(Backend):  # type: ignore[misc]
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.opened: dict[str, tuple[Sequence[str], Mapping[str, str]]] = {}
        self.held: dict[str, tuple[DataFrame, int]] = {}

    def files_of(self, query: Query) -> list[str]:
        """The files of the tables that a query reads."""
        names = [table.name for table in query.expression.op().find(ops.DatabaseTable)]
        return [file for name in names if name in self.opened for file in self.opened[name][0]]

    @cached_property
    def is_sail(self) -> bool:
        """Whether the server is Sail, which calls itself Spark: it lacks a function of Spark's."""
        if ".connect." not in type(self.session).__module__:
            return False
        try:
            self.session.sql("SELECT input_file_name()").collect()
        except UnsupportedOperationException:
            return True
        return False

    @property
    def session(self) -> SparkSession:
        session: SparkSession = self._session
        return session

    def to_pyarrow(self, expr: ir.Expr, /, **options: Any) -> Any:
        # ibis goes by way of pandas, where a whole number beside a null loses its last digits.
        table = expr.as_table()
        rows = self.session.sql(self.compile(table, **options))
        return expr.__pyarrow_result__(_arrow(rows, table.schema()))


def _arrow(rows: DataFrame, schema: ibis.Schema) -> pa.Table:
    """The rows themselves, with the types of a schema."""
    if hasattr(rows, "toArrow"):
        arrow = rows.toArrow()
    else:  # Spark 3.5
        arrow = pa.Table.from_pylist([row.asDict() for row in rows.collect()], schema.to_pyarrow())
    return PyArrowData.convert_table(arrow, schema)


@lru_cache(maxsize=1)
def _connected(session: SparkSession) -> _Backend:
    """The one backend of a session: expressions cannot mix tables of two."""
    ibis.pyspark  # noqa: B018  (registers the backend's options)
    backend: _Backend = _Backend().connect(session)
    return backend


_FIELD_ID = "parquet.field.id"
"""What Spark calls the id of a column in the metadata of a field."""

_SPARK_TYPES = {"string": "string", "int64": "bigint", "float64": "double"}


def _columns(types: Mapping[str, str]) -> str:
    return ", ".join(f"`{column}` {_SPARK_TYPES[dtype]}" for column, dtype in types.items())


def _uri(location: str) -> str:
    # A cluster may take a path without a scheme for one of its own file system.
    return location if "://" in location else f"file://{location}"


def _quoted_uri(location: str) -> str:
    # Sail takes no sign of an escaped path for a pattern.
    return location if "://" in location else Path(location).as_uri()


def _shares(items: Sequence[Item], sizes: Sequence[int]) -> list[list[Item]]:
    """The items in shares of about the same size, the largest items first."""
    number = min(len(items), -(-sum(sizes) // SHARE) or 1)
    shares: list[list[Item]] = [[] for _ in range(number)]
    loads = [(0, share) for share in range(number)]
    for size, item in sorted(zip(sizes, items, strict=True), key=lambda pair: -pair[0]):
        load, share = loads[0]
        shares[share].append(item)
        heapreplace(loads, (load + size, share))
    return shares
