"""The embedded engine beside others of its kind."""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import ibis
import pytest

from stedi_assets.lakehouse.engines import duckdb as duckdb_engine
from stedi_assets.lakehouse.engines.duckdb import (
    FILE_SIZE,
    DuckDBEngine,
    drop_leftovers,
    shared_engine,
)
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.storage.local import LocalStorage


def spill_folder(engine: DuckDBEngine) -> str:
    [[folder]] = engine.backend.raw_sql("SELECT current_setting('temp_directory')").fetchall()
    return str(folder)


def test_engines_spill_to_folders_of_their_own(tmp_path: Path) -> None:
    first, second = DuckDBEngine(LocalStorage(tmp_path)), DuckDBEngine(LocalStorage(tmp_path))
    assert spill_folder(first) != spill_folder(second)
    assert {Path(spill_folder(engine)).parent for engine in (first, second)} == {
        tmp_path / "scratch"
    }


def test_process_has_one_engine_for_a_lakehouse(tmp_path: Path) -> None:
    first = shared_engine(LocalStorage(tmp_path), "1GB")
    assert shared_engine(LocalStorage(tmp_path), "1GB") is first
    assert shared_engine(LocalStorage(tmp_path / "other"), "1GB") is not first


def test_leftovers_of_ended_processes_are_dropped_and_others_kept(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    gone, alive = tmp_path / f"{ended.pid}-a", tmp_path / f"{os.getpid()}-b"
    for folder in (gone, alive):
        folder.mkdir()
        (folder / "spilled").write_text("personal")
    drop_leftovers(tmp_path)
    assert [folder.name for folder in tmp_path.iterdir()] == [alive.name]


def test_limits_reach_the_engine(tmp_path: Path) -> None:
    engine = DuckDBEngine(LocalStorage(tmp_path), memory_limit="512MB", threads=1)
    limits = engine.backend.raw_sql(
        "SELECT current_setting('memory_limit'), current_setting('threads')"
    ).fetchall()
    assert limits == [("488.2 MiB", 1)]


def test_memory_is_half_of_what_there_is_when_the_engine_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = DuckDBEngine(LocalStorage(tmp_path))
    monkeypatch.setattr(duckdb_engine, "available_memory", lambda: 2 << 30)
    [[limit]] = engine.backend.raw_sql("SELECT current_setting('memory_limit')").fetchall()
    assert limit == "1.0 GiB"


def test_what_does_not_fit_into_memory_is_encrypted_on_disk(tmp_path: Path) -> None:
    engine = DuckDBEngine(LocalStorage(tmp_path), memory_limit="60MB", threads=1)
    engine.backend.raw_sql(
        "CREATE TEMP TABLE people AS "
        "SELECT 'ann@x.io ' || n AS email, md5(n::VARCHAR) AS id FROM range(1_500_000) t(n)"
    )
    spilled = [path for path in Path(spill_folder(engine)).iterdir() if path.stat().st_size]
    assert spilled
    assert not any(b"ann@x.io" in path.read_bytes() for path in spilled)
    found = engine.backend.raw_sql("SELECT count(DISTINCT email) FROM people").fetchall()
    assert found == [(1_500_000,)]


def test_reading_drops_what_killed_processes_left(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / "scratch" / f"{ended.pid}-a"
    left.mkdir(parents=True)
    (left / "spilled").write_text("personal")
    _ = shared_engine(LocalStorage(tmp_path)).backend
    assert not left.exists()


def test_threads_that_need_the_engine_first_at_once_share_one_that_is_set_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else one of them might write to S3 by an engine that knows of no credentials."""
    made = []
    connect, together = ibis.duckdb.connect, Barrier(4)

    def slowly(**config: Any) -> Any:
        time.sleep(0.2)
        made.append(connect(**config))
        return made[-1]

    def first(engine: DuckDBEngine) -> Any:
        together.wait()
        return engine.backend

    monkeypatch.setattr(ibis.duckdb, "connect", slowly)
    engine = DuckDBEngine(LocalStorage(tmp_path))
    with ThreadPoolExecutor(4) as pool:
        backends = list(pool.map(first, [engine] * 4))
    assert len(made) == 1
    assert all(backend is made[0] for backend in backends)


def test_rows_that_come_together_stay_together_in_files_of_a_few_megabytes(tmp_path: Path) -> None:
    """Else each person who withdraws would have all of a table rewritten."""
    engine = DuckDBEngine(LocalStorage(tmp_path), threads=2)
    rows = "SELECT n // 100 AS person, random() AS x FROM range(6_000_000) t(n)"
    engine.backend.raw_sql(f"COPY ({rows}) TO '{tmp_path}/rows.parquet' (FORMAT parquet)")
    types = {"person": "int64", "x": "float64"}
    table = engine.open("rows", [f"{tmp_path}/rows.parquet"], types)
    files = engine.write(Query.of(table), str(tmp_path / "written"), {})
    sizes = sorted(Path(file).stat().st_size for file in files)
    assert sum(size < FILE_SIZE for size in sizes) <= 2  # the last one of each thread
    assert sizes[-1] < 1.5 * FILE_SIZE
    [[most]] = engine.backend.raw_sql(
        "SELECT max(files) FROM (SELECT count(DISTINCT filename) AS files "
        f"FROM read_parquet({files!r}, filename=true) GROUP BY person)"
    ).fetchall()
    assert most <= 2
