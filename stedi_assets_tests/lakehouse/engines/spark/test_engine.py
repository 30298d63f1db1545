"""The Spark engine by itself: what it makes of expressions, files, work and mistakes."""

from __future__ import annotations

import json
import os
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError

from stedi_assets.lakehouse.changes.selection import Selection
from stedi_assets.lakehouse.engines import sail
from stedi_assets.lakehouse.faults import LakehouseError, explain, is_transient
from stedi_assets.lakehouse.landing.ledger import LandingFileError, LandingFolder
from stedi_assets.lakehouse.landing.reader import Counts, examine, parse
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.storage.s3 import S3Storage
from stedi_assets.privacy.policy import policy_of
from stedi_assets.resources import S3Clients, open_lakehouse
from stedi_assets.settings import Settings, SettingsError
from stedi_assets.tables.identity import pseudonym
from stedi_assets_tests.aws_servers import ADMIN, REGION
from stedi_assets_tests.lakehouse.changes import selections
from stedi_assets_tests.support import (
    ANN,
    BOB,
    FIRST_DELIVERY,
    customer,
    deliver,
    table_named,
    under,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
    from stedi_assets.lakehouse.engines.spark import SparkEngine
    from stedi_assets_tests.conftest import Aws

TYPES = {"name": "string", "number": "int64", "share": "float64"}
SCHEMA = pa.schema({"name": pa.string(), "number": pa.int64(), "share": pa.float64()})


@pytest.fixture
def settings(tmp_path: Path, spark: str) -> Settings:
    return under(tmp_path, landing=None, engine="spark", spark_conf=spark)


@pytest.fixture
def engine(settings: Settings) -> SparkEngine:
    return cast("SparkEngine", open_lakehouse(settings).engine)


on_java = pytest.mark.parametrize("spark", ["java"], indirect=True)
"""For a test of what Sail has not: plans that can be looked at."""


def is_sail(engine: SparkEngine) -> bool:
    return engine.backend.is_sail


def parquet(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    return str(path)


def test_folder_named_as_a_column_is_none(tmp_path: Path, engine: SparkEngine) -> None:
    folder = tmp_path / "name=alice/number=7/*[a]"
    rows = [{"name": "bob", "number": 1, "share": 0.5}]
    given = parquet(folder / "share=2" / "a.parquet", rows)
    opened = engine.open("given", [given], TYPES)
    assert opened.to_pyarrow().to_pylist() == rows
    written = engine.write(Query.of(opened), str(folder / "out"), {})
    again = engine.open("written", written, TYPES)
    assert again.to_pyarrow().to_pylist() == rows


def test_damaged_file_is_named_with_the_way_back(tmp_path: Path, engine: SparkEngine) -> None:
    for how, words in (("missing", "is missing"), ("text", "is damaged")):
        path = Path(parquet(tmp_path / f"warehouse/{how}.parquet", [{"name": "ann@x.io"}]))
        with pytest.raises(Exception, match="") as raised:
            path.unlink() if how == "missing" else path.write_text("ann@x.io" * 100)
            engine.open(how, [str(path)], TYPES).to_pyarrow()
        said = explain(raised.value) or ""
        named = "A data file of the tables" if is_sail(engine) and how == "text" else path
        assert f"{named} {words}: restore it from a backup" in said


def test_rows_come_back_as_they_were_written(tmp_path: Path, engine: SparkEngine) -> None:
    rows: list[dict[str, Any]] = [
        {"name": "ann", "number": 2**63 - 1, "share": 0.1},
        {"name": None, "number": None, "share": None},
        {"name": "", "number": -(2**63), "share": 5e-324},
    ]
    odd = tmp_path / "{a,b} [c]* 100%"
    table = engine.open("rows", [parquet(odd / "a?.parquet", rows)], TYPES)
    written = engine.write(Query.of(table), str(odd / "out"), {})
    assert [Path(file).suffix for file in written] == [".parquet"]
    again = engine.open("again", written, TYPES).to_pyarrow().to_pylist()
    assert sorted(again, key=str) == sorted(rows, key=str)
    left = [path.suffix for path in (odd / "out").rglob("*") if path.is_file()]
    assert left == [".parquet"], "checksums and marks are dropped"


def test_files_name_columns_by_their_ids(tmp_path: Path, engine: SparkEngine) -> None:
    path = parquet(tmp_path / "a.parquet", [{"name": "ann", "number": 1, "share": 0.1}])
    ids = {"name": 7, "number": 2, "share": 11}
    query = Query.of(engine.open("numbered", [path], TYPES))
    [written] = engine.write(query, str(tmp_path / "out"), ids)
    columns = pq.read_schema(written)
    assert {c.name: int(c.metadata[b"PARQUET:field_id"]) for c in columns} == ids


def test_expression_without_rows_writes_no_file(tmp_path: Path, engine: SparkEngine) -> None:
    table = engine.open("none", [], TYPES)
    assert {name: str(dtype) for name, dtype in table.schema().items()} == TYPES
    assert engine.write(Query.of(table), str(tmp_path / "out"), {}) == []


def test_column_that_a_file_lacks_is_null(tmp_path: Path, engine: SparkEngine) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"name": ["ann"]}), path)
    [row] = engine.open("lacking", [str(path)], TYPES).to_pyarrow().to_pylist()
    assert row == {"name": "ann", "number": None, "share": None}


@on_java
def test_nothing_goes_through_the_driver_for_the_small_size_of_its_file(
    tmp_path: Path, engine: SparkEngine
) -> None:
    rows = [{"name": ANN, "number": number, "share": 0.0} for number in range(1_000)]
    left, right = (
        engine.open(name, [parquet(tmp_path / f"{name}.parquet", rows)], TYPES)
        for name in ("left", "right")
    )
    sql = engine.backend.compile(left.semi_join(right, "name"))
    plan = engine.backend.session.sql(sql)._jdf.queryExecution().executedPlan()  # noqa: SLF001
    assert "SortMergeJoin" in plan.toString()
    assert "Broadcast" not in plan.toString()


def test_keys_that_may_be_null_are_looked_up_and_not_compared_one_by_one(
    tmp_path: Path, engine: SparkEngine
) -> None:
    types = {"key": "string", "number": "int64"}
    row = {"key": None, "number": 1}
    rows, keys = (
        engine.open(name, [parquet(tmp_path / name, [row])], types) for name in ("rows", "keys")
    )
    found = rows.semi_join(keys, [rows[name].identical_to(keys[name]) for name in types])
    left, right = (Selection.of(table, engine.dialect) for table in (rows, keys))
    derived = left.matching(right, {name: name for name in types}, nulls=True)
    for statement in (Query.of(found), derived):
        plan = engine.backend.session.sql(f"EXPLAIN {statement.sql('pyspark')}").collect()
        assert "Join" in str(plan) and "NestedLoop" not in str(plan)
        assert engine.fetch(statement).to_pylist() == [row]


def test_selections_give_the_same_rows_as_in_this_process(
    tmp_path: Path, engine: SparkEngine
) -> None:
    left, right = (
        Selection.of(
            engine.open(name, [parquet(tmp_path / name, named(rows))], selections.TYPES),
            engine.dialect,
        )
        for name, rows in (("left", selections.LEFT), ("right", selections.RIGHT))
    )
    found = {
        name: engine.fetch(build(left, right)).to_pylist()
        for name, (build, _) in selections.CASES.items()
    }
    assert {
        name: selections.in_order([tuple(row.values()) for row in rows])
        for name, rows in found.items()
    } == {name: selections.in_order(rows) for name, (_, rows) in selections.CASES.items()}


def named(rows: list[selections.Row]) -> list[dict[str, Any]]:
    return [dict(zip(selections.TYPES, row, strict=True)) for row in rows]


def test_queries_that_run_side_by_side_give_each_its_rows(
    tmp_path: Path, engine: SparkEngine
) -> None:
    rows = engine.open("row", [parquet(tmp_path / "row", [{"number": 1}])], {"number": "int64"})
    queries = [Query.of(rows.select(number=rows.number + more)) for more in range(6)]
    found = [table["number"].to_pylist() for table in engine.fetch_all(queries)]
    assert found == [[1 + more] for more in range(6)]


def test_smaller_whole_number_is_held_beside_a_larger_one(
    tmp_path: Path, engine: SparkEngine
) -> None:
    """Sail takes the types of the first part of a union for those of all."""
    rows = engine.open("row", [parquet(tmp_path / "row", [{"number": 5}])], {"number": "int64"})
    text = f"SELECT 0 AS number UNION ALL SELECT number FROM {rows.get_name()}"
    held = engine.hold(Selection(text, (), rows.schema(), engine.dialect))
    assert held is not None
    assert sorted(engine.fetch(Query.of(held))["number"].to_pylist()) == [0, 5]


def total(engine: DuckDBEngine, share: Sequence[int], *, refused: int) -> int:
    [[found]] = engine.backend.raw_sql(f"SELECT sum(unnest) FROM unnest({list(share)})").fetchall()
    if refused in share:
        raise FileNotFoundError(2, "No such file", "a.json")
    return int(found)


def test_work_is_spread_over_tasks_by_size(engine: SparkEngine) -> None:
    sizes = [100 << 20, 60 << 20, 50 << 20, 1]
    assert sorted(engine.spread(partial(total, refused=-1), [1, 2, 3, 4], sizes)) == [5, 5]
    assert engine.spread(partial(total, refused=-1), [], []) == []


def test_what_fails_in_a_task_is_raised_as_it_was(engine: SparkEngine) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        engine.spread(partial(total, refused=3), [1, 2, 3], [1, 1, 1])
    assert raised.value.filename == "a.json"


def throttled(engine: DuckDBEngine, share: Sequence[int]) -> None:
    answer = {"Error": {"Code": "SlowDown", "stedi.place": "s3://a/b.json"}}
    raise OSError("unable to read") from ClientError(answer, "GetObject")


def test_fault_that_may_pass_is_known_by_its_cause(engine: SparkEngine) -> None:
    with pytest.raises(OSError, match="unable to read") as raised:
        engine.spread(throttled, [1], [1])
    assert is_transient(raised.value)
    assert "too busy for GetObject s3://a/b.json" in str(explain(raised.value))


def where_it_spills(engine: DuckDBEngine, share: Sequence[int]) -> str:
    [[folder]] = engine.backend.raw_sql("SELECT current_setting('temp_directory')").fetchall()
    return str(folder)


def where_leftovers_are_dropped(engine: SparkEngine) -> Path:
    if is_sail(engine):
        [server] = sail._running  # noqa: SLF001
        return server.folder / "tasks"
    return Path(os.environ["SPARK_LOCAL_DIRS"])


def test_task_spills_to_where_spark_cleans_up(engine: SparkEngine) -> None:
    [folder] = engine.spread(where_it_spills, [1], [1])
    assert where_leftovers_are_dropped(engine) in Path(folder).parents


class ClientsOfTasks(S3Clients):
    """Tasks are of processes that began before the servers: they are told the credentials."""

    def __call__(self) -> Any:
        os.environ |= {
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": ADMIN.access_key,
            "AWS_SECRET_ACCESS_KEY": ADMIN.secret_key,
        }
        return super().__call__()


def test_tasks_read_landing_files_from_s3(aws: Aws, engine: SparkEngine) -> None:
    folder = aws.folder()
    deliver(folder, "a.json", customer=[customer(ANN), customer(BOB)])
    storage = S3Storage(str(folder), "stedi", ClientsOfTasks(aws.s3.endpoint))
    landing = LandingFolder(str(folder), storage)
    on_s3 = type(engine)(storage, lambda: engine.backend.session)
    paths = [file.path for file in landing.listing("customer").files]
    [contents] = on_s3.spread(partial(examine, landing=landing), paths, [1])
    assert contents[paths[0]].digest
    work = partial(
        parse,
        landing=landing,
        source="customer",
        table=table_named("customer_landing"),
        quarantine=table_named("quarantine"),
        folder=f"{folder}/rows",
        rejects=f"{folder}/rejects",
        landed_at=FIRST_DELIVERY,
    )
    [parsed] = on_s3.spread(work, paths, [1])
    [counts] = parsed.counts.values()
    assert replace(counts, profile=None) == Counts(objects=2, rows=2)
    assert [file.location for file in storage.files(f"{folder}/rows")] == parsed.rows
    nowhere = partial(examine, landing=LandingFolder("s3://no-such-bucket", storage))
    [contents] = on_s3.spread(nowhere, paths, [1])
    assert str(contents[paths[0]].fault).startswith("There is no bucket no-such-bucket")
    with pytest.raises(LandingFileError, match="deleted while it was read"):
        on_s3.spread(work, ["customer/landing/gone.json"], [1])


@on_java
def test_spark_shows_no_key(tmp_path: Path, engine: SparkEngine, settings: Settings) -> None:
    table = engine.open("people", [parquet(tmp_path / "a.parquet", [])], TYPES)
    rule = table.select(subject_id=pseudonym(table.name, policy_of(settings)))
    sql = engine.backend.compile(rule)
    keys = {word for word in sql.replace("'", " ").split() if len(word) == 64}
    assert len(keys) == 2
    plan = engine.backend.session.sql(sql)._jdf.queryExecution()  # noqa: SLF001
    for shown in (plan.toString(), plan.simpleString()):
        assert not any(key in shown for key in keys)


def test_spark_spills_to_where_leftovers_are_dropped(engine: SparkEngine) -> None:
    engine.open("none", [], TYPES)
    folder = where_leftovers_are_dropped(engine)
    assert f"scratch/{os.getpid()}-spark" in str(folder)
    assert folder.is_dir()


def test_failure_of_spark_is_a_sentence_without_data(tmp_path: Path, engine: SparkEngine) -> None:
    path = parquet(tmp_path / "a.parquet", [{"name": ANN, "number": 1, "share": 0.0}])
    table = engine.open("mistaken", [path], TYPES)
    with pytest.raises(Exception) as raised:
        table.select(number=table.name.cast("int64")).to_pyarrow()
    said = explain(raised.value)
    assert said is not None
    kind = "SparkRuntimeException" if is_sail(engine) else "CAST_INVALID_INPUT"
    assert said.startswith(f"Spark failed with {kind}.")
    assert ANN not in said


def test_configuration_is_this_machine_unless_a_cluster_is_named(spark: str) -> None:
    from stedi_assets.lakehouse.engines.spark import configuration  # noqa: PLC0415

    assert not {"spark.master", "spark.driver.memory"} & configuration({}).keys()
    here = configuration({"spark.master": "local[*]"})
    assert here["spark.driver.bindAddress"] == "127.0.0.1"
    assert int(here["spark.driver.memory"].removesuffix("m")) > 1024
    there = configuration({"spark.master": "yarn", "spark.executor.cores": "4"})
    assert (there["spark.master"], there["spark.executor.cores"]) == ("yarn", "4")
    assert not {"spark.driver.bindAddress", "spark.driver.memory"} & there.keys()
    # Event logs hold plans unredacted, and so the keys of pseudonyms.
    assert {conf["spark.eventLog.enabled"] for conf in (here, there)} == {"false"}
    connected = configuration({"spark.remote": "sc://host"})
    assert not {"spark.master", "spark.ui.enabled"} & connected.keys()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("spark.master=yarn", "write a JSON object"),
        ("[]", "write a JSON object"),
        ('{"master": "yarn"}', "write a JSON object"),
        ('{"spark.a": []}', "write a JSON object"),
        ('{"spark.remote": "local[*]"}', "write spark.remote as sc://host:15002"),
        ('{"spark.master": "locl[2]"}', "set spark.master to local"),
    ],
)
def test_configuration_is_a_json_object_of_sparks_names(
    monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setenv("STEDI_SPARK_CONF", text)
    with pytest.raises(SettingsError, match=f"STEDI_SPARK_CONF is wrong: {said}"):
        Settings.load()


def test_values_of_the_configuration_are_passed_as_spark_writes_them() -> None:
    text = json.dumps({"spark.a": "x", "spark.b": 4, "spark.c": True})
    found = Settings.load(spark_conf=text).spark_configuration
    assert found == {"spark.a": "x", "spark.b": "4", "spark.c": "true"}


@pytest.mark.parametrize(
    ("option", "scheme", "kind"),
    [("spark.remote", "sc", "Spark Connect server"), ("spark.master", "spark", "Spark master")],
)
def test_server_that_does_not_answer_is_named_at_once(
    tmp_path: Path, spark: str, option: str, scheme: str, kind: str
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        conf = json.dumps({option: f"{scheme}://127.0.0.1:{port}"})
        settings = under(tmp_path, landing=None, engine="spark", spark_conf=conf)
        with pytest.raises(LakehouseError, match=f"No {kind} answers at .*:{port} "):
            open_lakehouse(settings).engine.open("none", [], TYPES)


@pytest.mark.parametrize(
    ("condition", "said"),
    [("JAVA_GATEWAY_EXITED", "takes Java 17 or 21"), ("OTHER", "could not start on yarn")],
)
def test_spark_that_does_not_start_gives_a_sentence(
    tmp_path: Path,
    spark: str,
    monkeypatch: pytest.MonkeyPatch,
    condition: str,
    said: str,
) -> None:
    from pyspark.errors import PySparkException  # noqa: PLC0415

    def start(*_: object) -> None:
        raise PySparkException(condition, errorClass=condition, messageParameters={})

    monkeypatch.setattr("dagster_pyspark.resources.spark_session_from_config", start)
    conf = json.dumps({"spark.master": "yarn"})
    settings = under(tmp_path, landing=None, engine="spark", spark_conf=conf)
    with pytest.raises(LakehouseError, match=said):
        open_lakehouse(settings).engine.open("none", [], TYPES)


def test_token_of_a_server_is_not_shown(
    tmp_path: Path, spark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(*_: object) -> None:
        raise RuntimeError("refused")

    monkeypatch.setattr("dagster_pyspark.resources.spark_session_from_config", start)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = "{}:{}".format(*server.getsockname())
        conf = json.dumps({"spark.remote": f"sc://{address}/;token=secret"})
        settings = under(tmp_path, landing=None, engine="spark", spark_conf=conf)
        with pytest.raises(LakehouseError, match=f"could not start on {address}: ") as raised:
            open_lakehouse(settings).engine.open("none", [], TYPES)
    assert "secret" not in str(raised.value)
