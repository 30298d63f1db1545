"""What is damaged is named in one sentence with the way back, and what is published stays."""

import errno
import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pytest
from pyiceberg.table import StaticTable

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.faults import LakehouseError, explain
from stedi_assets.read import read_table
from stedi_assets.settings import Settings
from stedi_assets_tests.commands import Answer, T, deliver_people, isolate, stedi
from stedi_assets_tests.support import ANN, counts, deliver, refresh, under

Stedi = Callable[..., Answer]
TABLE = "customer_landing"
WAY_BACK = "restore it from a backup, or make all tables anew from the landing files: stedi rebuild"
CUSTOMERS = (
    "customer_landing",
    "accelerometer_landing",
    "step_trainer_landing",
    "quarantine",
    "customer_trusted",
)
LOOKS = ("status", f"show {TABLE}", "report {page}", "vacuum", "vacuum --dry-run")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A refreshed lakehouse, which each test damages and mends again."""
    folder = tmp_path_factory.mktemp("place")
    deliver_people(folder / "lakehouse/landing")
    result = refresh(under(folder, landing=None))
    assert result.success
    return folder


@pytest.fixture
def settings(place: Path) -> Settings:
    return under(place, landing=None)


@pytest.fixture
def run(place: Path, monkeypatch: pytest.MonkeyPatch) -> Stedi:
    isolate(monkeypatch, place)

    def answer(line: str) -> Answer:
        return stedi(monkeypatch, *line.format(page=place / "report.html").split())

    return answer


def files_of(place: Path, table: str = TABLE) -> dict[str, Path]:
    """A file of each kind that the published state of a table consists of."""
    with closing(sqlite3.connect(place / "lakehouse/catalog.db")) as catalog:
        [[metadata]] = catalog.execute(
            "SELECT metadata_location FROM iceberg_tables WHERE table_name = ?", [table]
        ).fetchall()
    iceberg = StaticTable.from_metadata(metadata)
    snapshot = iceberg.current_snapshot()
    assert snapshot and snapshot.summary
    [manifest, *_] = snapshot.manifests(iceberg.io)
    found = {
        "metadata": metadata,
        "manifest list": snapshot.manifest_list,
        "manifest": manifest.manifest_path,
        "data": next(iter(iceberg.scan().plan_files())).file.file_path,
        "ledger": snapshot.summary.additional_properties["stedi.ledger"],
        "catalog": str(place / "lakehouse/catalog.db"),
    }
    return {kind: Path(path) for kind, path in found.items()}


@contextmanager
def harmed(file: Path, how: str) -> Iterator[None]:
    """Damage a file, and put back what it was."""
    held = file.read_bytes()
    file.unlink()
    if how == "a folder":
        file.mkdir()
    elif how != "missing":
        file.write_bytes(
            {
                "empty": b"",
                "cut": held[: len(held) // 2],
                "zeros": bytes(len(held)),
                "text": b"ann@x.io 8015551212\n" * 50,
                "garbage": held[:20] + os.urandom(len(held)),
            }[how]
        )
    try:
        yield
    finally:
        if file.is_dir():
            shutil.rmtree(file)
        file.write_bytes(held)


def made(settings: Settings) -> dict[str, int]:
    """Rows of the tables that are made from landing tables."""
    return {table: rows for table, rows in counts(settings).items() if "landing" not in table}


def assert_one_sentence(answer: Answer, *parts: str) -> None:
    assert answer.code == 1, answer.text
    [line] = answer.err.strip().splitlines()
    assert line.endswith(".")
    for part in parts:
        assert part in line
    assert "Traceback" not in answer.text
    assert "@x.io" not in answer.text


HOWS = ("missing", "empty", "cut", "zeros", "text", "garbage", "a folder")


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("kind", ["metadata", "manifest list", "manifest", "catalog"])
def test_damaged_metadata_is_one_sentence_from_every_command(
    place: Path, run: Stedi, settings: Settings, kind: str, how: str
) -> None:
    file = files_of(place)[kind]
    named = str(file) if kind.startswith("manifest") else "catalog.db" if kind == "catalog" else ""
    with harmed(file, how):
        for line in LOOKS:
            back = WAY_BACK if (kind, how) != ("catalog", "a folder") else "see that it is a file"
            assert_one_sentence(run(line), named, back)
        with pytest.raises(LakehouseError, match=r"damaged|missing|empty|cannot be opened"):
            read_table(TABLE, settings=settings)
    assert run("status").code == 0


@pytest.mark.parametrize("how", HOWS)
def test_damaged_rows_are_named_by_whoever_reads_them(place: Path, run: Stedi, how: str) -> None:
    file = files_of(place)["data"]
    with harmed(file, how):
        for line in (f"show {TABLE}", "report {page}"):
            assert_one_sentence(run(line), str(file), WAY_BACK)


@pytest.mark.parametrize("how", HOWS)
def test_damaged_ledger_is_named_by_whoever_reads_it(place: Path, run: Stedi, how: str) -> None:
    file = files_of(place)["ledger"]
    with harmed(file, how):
        for line in ("status", "vacuum", "vacuum --dry-run"):
            assert_one_sentence(run(line), str(file), WAY_BACK)


@pytest.mark.parametrize("kind", ["metadata", "manifest", "ledger", "data", "catalog"])
def test_refresh_names_what_is_damaged_and_keeps_what_is_published(
    place: Path, run: Stedi, settings: Settings, kind: str
) -> None:
    before = made(settings)
    file = files_of(place)[kind]
    new = place / f"lakehouse/landing/customer/landing/{kind}.json"
    deliver(place / "lakehouse/landing", new.name, customer=[{"email": "new@x.io"}])
    with harmed(file, "cut"):
        answer = run("refresh")
    new.unlink()
    assert answer.code == 1
    assert "is damaged: restore it from a backup" in answer.text
    assert "Traceback" not in answer.text
    assert "@x.io" not in answer.text
    assert made(settings) == before


def test_damage_of_readings_does_not_hold_up_a_withdrawal(tmp_path: Path) -> None:
    deliver_people(tmp_path / "lakehouse/landing")
    settings = under(tmp_path, landing=None)
    assert refresh(settings, only=CUSTOMERS).success
    withdrawn = {"email": ANN, "registrationDate": T, "lastUpdateDate": T + 1}
    deliver(tmp_path / "lakehouse/landing", "withdrawn.json", customer=[withdrawn])
    for table in ("accelerometer_landing", "step_trainer_landing"):
        files_of(tmp_path, table)["metadata"].write_text("{")
    refresh(settings, only=CUSTOMERS)
    assert read_table("customer_trusted", settings=settings).count().to_pandas() == 0


def test_run_and_sensor_say_a_sentence_without_data(place: Path, settings: Settings) -> None:
    file = files_of(place, "customer_landing")["manifest list"]
    definitions = lakehouse_definitions(settings)
    with harmed(file, "text"), dg.DagsterInstance.ephemeral() as instance:
        run = refresh(settings, instance)
        context = dg.build_sensor_context(instance=instance, definitions=definitions)
        with pytest.raises(Exception, match=r"is damaged: restore it from a backup"):
            definitions.resolve_sensor_def("landing_files")(context)
        log = "\n".join(str(entry) for entry in instance.all_logs(run.run_id))
    assert f"{file} is damaged: {WAY_BACK}." in log
    assert "@x.io" not in log


def test_catalog_in_use_for_long_is_a_sentence(
    place: Path, run: Stedi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stedi_assets.lakehouse.storage.local.BUSY", 0.1)
    with closing(sqlite3.connect(place / "lakehouse/catalog.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert_one_sentence(
            run("status"), f"Another process has locked {place}/lakehouse/catalog.db"
        )
    assert run("status").code == 0


def test_tables_that_are_elsewhere_are_a_sentence(place: Path, run: Stedi) -> None:
    moved = place.with_name("moved")
    place.rename(moved)
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STEDI_LAKEHOUSE", str(moved / "lakehouse"))
            for line in (*LOOKS, "refresh"):
                page = line.replace("{page}", str(moved / "report.html"))
                assert_one_sentence(run(page), "a lakehouse cannot be moved or copied")
    finally:
        moved.rename(place)
    copied = place.with_name("copied")
    shutil.copytree(place, copied)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEDI_LAKEHOUSE", str(copied / "lakehouse"))
        assert_one_sentence(run("vacuum"), "a lakehouse cannot be moved or copied")
    assert run("status").code == 0


def test_warehouse_that_is_gone_is_a_sentence(place: Path, run: Stedi) -> None:
    warehouse = place / "lakehouse/warehouse"
    away = warehouse.rename(place / "away")
    try:
        for line in LOOKS:
            assert_one_sentence(run(line), "is missing", WAY_BACK)
    finally:
        away.rename(warehouse)


def test_rebuild_is_the_way_back_from_any_damage(
    place: Path, run: Stedi, settings: Settings
) -> None:
    before = made(settings)
    files_of(place)["metadata"].unlink()
    files_of(place, "accelerometer_landing")["ledger"].write_bytes(b"")
    files_of(place, "step_trainer_landing")["data"].unlink()
    assert run("rebuild --yes").code == 0
    assert made(settings) == before
    (place / "lakehouse/catalog.db").write_text("no database")
    assert run("rebuild --yes").code == 0
    assert made(settings) == before
    assert run("status").code == 0


def test_killed_while_its_first_table_was_made_a_refresh_goes_on(tmp_path: Path) -> None:
    deliver_people(tmp_path / "lakehouse/landing")
    settings = under(tmp_path, landing=None)
    assert refresh(settings, only=["quarantine"]).success
    with closing(sqlite3.connect(tmp_path / "lakehouse/catalog.db")) as catalog:
        catalog.execute("DELETE FROM iceberg_tables")
        catalog.commit()
    assert refresh(settings, only=["customer_landing"]).success


# Disks


FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
READ_ONLY = OSError(errno.EROFS, os.strerror(errno.EROFS), "/data/x")
LEFT = "There is no space left on the disk"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (FULL, f"{LEFT} for a file"),
        (OSError(errno.ENOSPC, "No space", "/data/8015551212.json"), f"{LEFT} for /data/•••.json"),
        (READ_ONLY, "/data/x cannot be written"),
        (PermissionError(errno.EACCES, "Permission denied", "/data/x"), "/data/x may not be read"),
        (OSError(errno.EMFILE, "Too many open files", "/data/x"), "ulimit -n"),
        (OSError(errno.EIO, "Input/output error", "/data/x"), "The disk of /data/x"),
        (
            duckdb.IOException('Could not write file "/data/x": No space left on device'),
            f"{LEFT} for /data/x",
        ),
        (
            duckdb.OutOfMemoryException("failed to offload data block (max_temp_directory_size)"),
            f"{LEFT} for what the engine spills",
        ),
        (duckdb.OutOfMemoryException("could not allocate"), "The engine ran out of memory"),
        (duckdb.ConversionException("Could not convert 'ann@x.io'"), "The engine failed with"),
        (sqlite3.OperationalError("database or disk is full"), f"{LEFT} for the database"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "cannot be written"),
        (MemoryError(), "no memory left"),
    ],
)
def test_trouble_with_disks_and_memory_is_a_sentence(error: Exception, words: str) -> None:
    said = explain(error) or ""
    assert words.lower() in said.lower()
    assert said.endswith(".")
    assert "@x.io" not in said


def test_report_that_cannot_be_written_leaves_the_last_one(
    place: Path, run: Stedi, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = place / "report.html"
    page.write_text("the last one")

    def full(path: Path, *_: Any, **__: Any) -> None:
        path.write_bytes(b"half")
        raise FULL

    monkeypatch.setattr(Path, "write_text", full)
    assert_one_sentence(run("report {page}"), f"{LEFT} for {page}")
    assert page.read_text() == "the last one"
    assert [path.name for path in place.glob("*report*")] == ["report.html"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes, where this machine lets a test mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=False
    ).returncode:
        pytest.skip("No disk can be mounted here.")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_disk_that_fills_up_is_a_sentence_and_goes_on_when_there_is_space(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, disk)
    deliver_people(disk / "lakehouse/landing")
    settings = under(disk, landing=None)
    assert refresh(settings, only=CUSTOMERS).success
    before = counts(settings)
    deliver(disk / "lakehouse/landing", "b.json", customer=[{"email": "cy@x.io"}])
    with (disk / "fill").open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            os.write(file.fileno(), bytes(4096))
    full = stedi(monkeypatch, "refresh")
    assert (full.code, "Traceback" in full.text) == (1, False)
    assert LEFT in full.text
    assert counts(settings) == before
    (disk / "fill").unlink()
    assert refresh(settings, only=CUSTOMERS).success
    assert counts(settings)["customer_landing"] == before["customer_landing"] + 1


def test_disk_that_takes_no_writes_is_a_sentence(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, disk)
    deliver_people(disk / "lakehouse/landing")
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    denied = stedi(monkeypatch, "refresh")
    assert (denied.code, "Traceback" in denied.text) == (1, False)
    assert f"{disk}/lakehouse/scratch cannot be written" in denied.text
    assert stedi(monkeypatch, "status").code == 0


@pytest.mark.parametrize("retention", ["999999w", "0m"])
def test_longest_and_shortest_ages_work(
    place: Path, run: Stedi, monkeypatch: pytest.MonkeyPatch, retention: str
) -> None:
    monkeypatch.setenv("STEDI_RETENTION", retention)
    assert run("vacuum --dry-run --older-than 999999w").code == 0
