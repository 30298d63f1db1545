"""Both engines make the same rows of whatever lands, in every table."""

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings

from stedi_assets.defs.checks import FROM_FILES
from stedi_assets.lakehouse.changes.change import Rows
from stedi_assets.lakehouse.engines import sail as sail_engine
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.privacy.policy import policy_of
from stedi_assets.refresh.plan import look_ahead
from stedi_assets.refresh.view import View
from stedi_assets.resources import open_lakehouse
from stedi_assets.sample.landing_files import Sample, write_sample
from stedi_assets.settings import Settings
from stedi_assets.tables import definition
from stedi_assets_tests.lakehouse.engines.spark.servers import (
    HOST,
    QUICK,
    QUICK_JAVA,
    cluster,
    connect_server,
    without_java,
)
from stedi_assets_tests.lakehouse.landing.strategies import EXAMPLES, USER, files
from stedi_assets_tests.strategies import Landing, deliver_drawn, landings
from stedi_assets_tests.support import (
    ANN,
    BOB,
    KEY,
    SHARED,
    TABLES,
    blocking,
    catalog_of,
    counts,
    customer,
    deliver,
    device,
    phone,
    refresh,
    under,
)

DRAWN = 40


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real landing data where there are, every known defect, and what hypothesis thinks of."""
    folder = tmp_path_factory.mktemp("landing")
    for path in SHARED.glob("stedi-20*/*/landing/*"):
        year, source = path.parts[-4], path.parts[-3]
        copy = folder / source / "landing" / f"{year}-{path.name}"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    write_sample(folder / "sample", Sample(customers=30))
    for path in (folder / "sample").glob("*/landing/*"):
        path.rename(folder / path.relative_to(folder / "sample").with_name(f"sample-{path.name}"))
    (folder / "accelerometer" / "landing" / "{odd} [name] 100%.json").write_text(USER)
    for number, example in enumerate(EXAMPLES.values()):
        file = folder / "accelerometer" / "landing" / f"example-{number}.json"
        file.write_bytes(f"{USER}\n{example}\n".encode(errors="surrogateescape"))
    _draw(folder)
    return folder


def _draw(folder: Path) -> None:
    """Write what hypothesis draws: landing data of hard cases, and files of odd lines."""
    number = iter(range(1_000_000))

    @hypothesis_settings(
        max_examples=DRAWN,
        phases=[Phase.generate],
        database=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],  # on a busy machine
    )
    @given(landings(), files())
    def draw(drawn: Landing, odd: tuple[str, bytes]) -> None:
        name = f"drawn-{next(number)}.json"
        deliver_drawn(folder, name, drawn)
        (folder / odd[0] / "landing" / f"odd-{name}").write_bytes(odd[1])

    draw()


@pytest.fixture(scope="module")
def on_duckdb(tmp_path_factory: pytest.TempPathFactory, landing: Path) -> dict[str, Settings]:
    """The lakehouses that the embedded engine makes of it, by their consent scope."""
    made = {}
    for scope in ("any", "from_consent_date"):
        made[scope] = under(tmp_path_factory.mktemp("duckdb"), **_given(landing, scope))
        result = refresh(made[scope])
        assert result.success
        assert blocking(result) == []
    return made


def _given(landing: Path, scope: str) -> dict[str, Any]:
    return {
        "landing": str(landing),
        "max_quarantine_share": 1,
        "consent_scope": scope,
        "pseudonymize": scope == "any",
        "times": "exact" if scope == "any" else "shifted",
    }


@contextmanager
def refreshing(settings: Settings, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A refresh in a process of its own; it succeeds before this ends."""
    given = settings.model_dump(mode="json", exclude_defaults=True) | {"pseudonym_key": KEY}
    environment = {f"STEDI_{name.upper()}": str(value) for name, value in given.items()}
    # PySpark leaves it behind where this process has had a session with a server.
    inherited = {k: v for k, v in os.environ.items() if k != "SPARK_CONNECT_MODE_ENABLED"}
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "stedi_assets_tests.lakehouse.engines.spark.refresh"],
            env={**inherited, **environment, "SPARK_LOCAL_IP": HOST},
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        yield process
        assert process.wait(timeout=300) == 0, log.read_text(errors="replace")[-3000:]
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("scope", ["any", "from_consent_date"])
def test_sail_makes_the_rows_of_the_embedded_engine(
    tmp_path: Path, landing: Path, on_duckdb: dict[str, Settings], sail: str, scope: str
) -> None:
    settings = under(tmp_path, engine="spark", spark_conf=sail, **_given(landing, scope))
    result = refresh(settings)
    assert result.success
    assert blocking(result) == []
    assert differing(on_duckdb[scope], settings, tmp_path) == {}


SOME = {
    "customer": [customer(ANN, "S1"), customer(BOB)],
    "accelerometer": phone(ANN, *range(9)) + phone(BOB, *range(100, 109)),
    "step_trainer": device("S1", *range(9)),
}


@pytest.mark.parametrize("new_folder", ["aws"], indirect=True)
def test_sail_reads_and_writes_s3(folder: Path, sail: str) -> None:
    deliver(folder / "landing", "a.json", **SOME)
    settings = under(folder, engine="spark", spark_conf=sail)
    result = refresh(settings)
    assert result.success
    assert blocking(result) == []
    assert counts(settings)["machine_learning_curated"] == 9


def test_server_that_ends_in_the_middle_fails_a_refresh_and_not_the_next(
    tmp_path: Path, sail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stedi_assets.lakehouse.engines import spark  # noqa: PLC0415

    deliver(tmp_path / "landing", "a.json", **SOME)
    settings = under(tmp_path, engine="spark", spark_conf=sail)
    opens = spark.SparkEngine.open

    def ends(self: spark.SparkEngine, name: str, *args: Any) -> Any:
        opened = opens(self, name, *args)
        if name.startswith("accelerometer_trusted"):
            [server] = sail_engine._running  # noqa: SLF001
            os.kill(server._process.pid, signal.SIGKILL)  # noqa: SLF001
            monkeypatch.undo()
        return opened

    monkeypatch.setattr(spark.SparkEngine, "open", ends)
    failed = refresh(settings)
    assert not failed.success
    said = [str(event.event_specific_data) for event in failed.all_events if event.is_failure]
    said += [str(check.description) for check in failed.get_asset_check_evaluations()]
    assert any("Spark's server ended while it worked" in sentence for sentence in said)
    assert refresh(settings).success
    assert counts(settings)["machine_learning_curated"] == 9


def test_what_a_server_held_is_computed_again_after_it_ended(tmp_path: Path, sail: str) -> None:
    """Another run of the same refresh would take other rows for it, or find none."""
    deliver(tmp_path / "landing", "a.json", **SOME)
    settings = under(tmp_path, engine="spark", spark_conf=sail)
    assert refresh(settings).success
    lakehouse, policy = open_lakehouse(settings), policy_of(settings)
    table, check = "customer_trusted", definition("customer_trusted").consent
    assert check
    with lakehouse.locked(print):
        first, published = lakehouse.workspace, lakehouse.published(table)
        lakehouse.remember(published, published, Rows())
        assert View(lakehouse, policy, published).count(check) == 0
        [server] = sail_engine._running  # noqa: SLF001
        server.stop()
        assert View(lakehouse, policy, published).count(check) == 0
        assert lakehouse.workspace is not first
        assert not lakehouse.is_known(published, published)


def test_session_that_ended_is_not_taken_for_garbage(tmp_path: Path, sail: str) -> None:
    """PySpark would shut down what the sessions of a process share, and not always be done."""
    from pyspark.sql.connect.client.reattach import (  # noqa: PLC0415
        ExecutePlanResponseReattachableIterator as Responses,
    )

    from stedi_assets.lakehouse.engines import spark  # noqa: PLC0415

    deliver(tmp_path / "landing", "a.json", **SOME)
    settings = under(tmp_path, engine="spark", spark_conf=sail)
    assert refresh(settings, only=[*FROM_FILES]).success
    cycle: list[Any] = [*spark._with_sail.values()]  # noqa: SLF001
    cycle.append(cycle)  # what only a garbage collection removes
    del cycle
    [server] = sail_engine._running  # noqa: SLF001
    server.stop()
    for time_ in (80, 90):
        deliver(tmp_path / "landing", f"{time_}.json", accelerometer=phone(ANN, time_))
        assert refresh(settings, only=[*FROM_FILES]).success
        # In a thread that it would wait for itself.
        Responses._get_or_create_release_thread_pool().submit(gc.collect).result()  # noqa: SLF001


def test_server_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    from stedi_assets.lakehouse.engines.sail import SailServer  # noqa: PLC0415

    pytest.importorskip("pysail", reason="pysail is not installed: pip install -e '.[spark]'")
    code = (
        "import sys, time; from pathlib import Path\n"
        f"from {SailServer.__module__} import SailServer\n"
        "server = SailServer(Path(sys.argv[1]))\n"
        "print(server._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    started = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "spark")], stdout=subprocess.PIPE
    )
    assert started.stdout
    server = int(started.stdout.readline())
    assert Path(f"/proc/{server}").exists()
    started.kill()
    started.wait()
    started.stdout.close()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{server}").exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not Path(f"/proc/{server}").exists()


def test_spark_connect_makes_the_rows_of_the_embedded_engine(
    tmp_path: Path, landing: Path, on_duckdb: dict[str, Settings]
) -> None:
    if reason := without_java():
        pytest.skip(reason)
    scope = "from_consent_date"
    with connect_server(tmp_path) as address:
        conf = json.dumps(QUICK | {"spark.remote": address})
        settings = under(tmp_path, engine="spark", spark_conf=conf, **_given(landing, scope))
        with refreshing(settings, tmp_path / "refresh.log"):
            pass
    assert differing(on_duckdb[scope], settings, tmp_path) == {}


def test_cluster_that_loses_a_worker_makes_the_rows_of_the_embedded_engine(
    tmp_path: Path, landing: Path, on_duckdb: dict[str, Settings]
) -> None:
    if reason := without_java():
        pytest.skip(reason)
    log = tmp_path / "refresh.log"
    with cluster(tmp_path, workers=2) as (address, workers):
        conf = QUICK | {
            "spark.master": address,
            "spark.driver.host": HOST,
            "spark.driver.bindAddress": HOST,
            "spark.driver.extraJavaOptions": QUICK_JAVA,
            "spark.executor.extraJavaOptions": QUICK_JAVA,
            "spark.executor.cores": 1,
            "spark.executor.memory": "512m",
            # Nothing large goes through the driver.
            "spark.driver.memory": "512m",
            "spark.driver.maxResultSize": "2m",
        }
        given = _given(landing, "any")
        settings = under(tmp_path, engine="spark", spark_conf=json.dumps(conf), **given)
        with refreshing(settings, log) as process:
            while process.poll() is None and "customer_landing" not in counts(settings):
                time.sleep(0.2)
            workers[0].stop()
    assert "Lost executor" in log.read_text(errors="replace")
    assert differing(on_duckdb["any"], settings, tmp_path) == {}


def test_switch_to_spark_makes_no_table_anew_and_starts_no_java(
    monkeypatch: pytest.MonkeyPatch, on_duckdb: dict[str, Settings]
) -> None:
    def start(*_: object) -> None:
        raise AssertionError("Java was started")

    monkeypatch.setattr("dagster_pyspark.resources.spark_session_from_config", start)
    settings = on_duckdb["any"].model_copy(update={"engine": "spark"})
    assert look_ahead(open_lakehouse(settings), settings, policy_of(settings)).is_up_to_date


def differing(first: Settings, second: Settings, scratch: Path) -> dict[str, int]:
    """Tables whose rows differ, but for when they landed, and how many rows do."""
    engine = DuckDBEngine(LocalStorage(scratch))
    found = {}
    for name in TABLES:
        a, b = (
            engine.open(f"{name}_{side}", published.files, published.types).drop(
                *published.types.keys() & {"landed_at"}
            )
            for side, settings in enumerate((first, second))
            if (published := catalog_of(settings).published(name))
        )
        only = a.difference(b, distinct=False).union(b.difference(a, distinct=False))
        if rows := only.count().execute():
            found[name] = rows
    return found
