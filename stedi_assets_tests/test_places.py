"""Wherever landing files and lakehouse are, the tables are the same; or a sentence says why not."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.query import Query
from stedi_assets.settings import PROJECT, Settings, SettingsError, duration
from stedi_assets_tests.commands import deliver_people
from stedi_assets_tests.lakehouse.conftest import storage_in
from stedi_assets_tests.support import (
    ANN,
    BOB,
    TABLES,
    catalog_of,
    on_this_machine,
    refresh,
    static_table,
    under,
)

Rows = dict[str, list[dict[str, Any]]]

AS_COLUMNS = "user=alice/serialnumber=1/timestamp=5/person=x/email=y/distancefromobject=7"
"""Folders that an engine might take for values of columns."""

ODD = 'a b/it\'s "quoted"/*star*/[a]/{b,c}/ünï/;--/$HOME/~/a&b'


def rows_of(settings: Settings) -> Rows:
    """All rows of all tables, but for when they landed; read by PyIceberg."""
    catalog = catalog_of(settings)
    found = {}
    for name in TABLES:
        rows = static_table(catalog.metadata_location(name)).scan().to_arrow().to_pylist()
        kept = [{c: v for c, v in row.items() if c != "landed_at"} for row in rows]
        found[name] = sorted(kept, key=repr)
    return found


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    """The rows where no folder has a special name."""
    folder = tmp_path_factory.mktemp("plain")
    deliver_people(folder / "landing")
    settings = under(folder)
    assert refresh(settings).success
    return rows_of(settings)


def assert_same(folder: Path, plain: Rows) -> None:
    deliver_people(folder / "landing")
    settings = under(folder)
    result = refresh(settings)
    assert result.success
    found = rows_of(settings)
    assert found == plain
    assert [row["email"] for row in found["customers_curated"]] == [ANN]
    published = {name: rows for name, rows in found.items() if "trusted" in name or "cura" in name}
    assert (len(published), BOB in str(published)) == (5, False)


def test_folders_named_as_columns_are_none(new_folder: Callable[[], Path], plain: Rows) -> None:
    assert_same(new_folder() / AS_COLUMNS, plain)


@on_this_machine
def test_folders_of_odd_names_are_like_others(new_folder: Callable[[], Path], plain: Rows) -> None:
    assert_same(new_folder() / ODD, plain)


@on_this_machine
def test_name_with_wildcards_opens_no_other_files(new_folder: Callable[[], Path]) -> None:
    folder = new_folder()
    engine = DuckDBEngine(storage_in(folder))
    written = {}
    for name in ("a*", "ab", "[ab]", "?b", "**", "a[*]"):
        one = engine.backend.sql(f"SELECT '{name}' AS name")
        written[name] = engine.write(Query.of(one), str(folder / name / "data"), {})
    for name, files in written.items():
        opened = engine.open(f"table of {name}", files, {"name": "string"})
        assert opened.to_pyarrow().to_pylist() == [{"name": name}]


# Places that are none


def sentence(**values: Any) -> str:
    with pytest.raises(SettingsError) as refused:
        Settings.load(**values)
    return str(refused.value)


def test_lakehouse_in_a_landing_folder_is_refused(tmp_path: Path) -> None:
    for inside in ("customer/landing", "step_trainer/landing/a/b"):
        said = sentence(landing=tmp_path, lakehouse=tmp_path / inside)
        assert "would be taken for landing files" in said
    said = sentence(
        deployment="aws",
        landing="s3://bucket/data",
        lakehouse="s3://bucket/data/accelerometer/landing/lake",
    )
    assert "would be taken for landing files" in said


def test_lakehouse_that_a_landing_folder_links_to_is_refused(tmp_path: Path) -> None:
    (tmp_path / "landing/customer").mkdir(parents=True)
    (tmp_path / "landing/customer/landing").symlink_to(tmp_path / "lake")
    said = sentence(landing=tmp_path / "landing", lakehouse=tmp_path / "lake")
    assert "would be taken for landing files" in said


def test_landing_folder_among_the_files_of_tables_is_refused(tmp_path: Path) -> None:
    landing = tmp_path / "warehouse/landing"
    landing.mkdir(parents=True)
    assert "removes what no table refers to" in sentence(landing=landing, lakehouse=tmp_path)


def test_same_folder_for_both_is_no_trouble(tmp_path: Path) -> None:
    deliver_people(tmp_path)
    settings = under(tmp_path, landing=str(tmp_path), lakehouse=str(tmp_path))
    assert refresh(settings, only=["customer_landing"]).success
    assert refresh(settings, only=["customer_landing"]).success


@pytest.mark.parametrize("name", ["lakehouse", "landing"])
def test_path_that_cannot_be_is_a_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "file").write_text("x")
    undecodable = os.fsdecode(b"\xff")
    for path, words in {
        "x" * 4_000: "too long",
        "loop/a": "links lead in a circle",
        "file": "file",
        "back\\slash": "cannot address a path with \\ in it",
        "new\nline": "no terminal can print",
        "\x1b[31mred": "no terminal can print",
        "\u202eltr": "no terminal can print",
        undecodable: "no terminal can print",
    }.items():
        said = sentence(**{name: tmp_path / path})
        assert words in said or (name, path) == ("landing", "file")
        assert said.isprintable()


def test_link_to_a_folder_that_is_not_there_yet_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    assert Settings.load(lakehouse=tmp_path / "link").lakehouse == str(tmp_path / "target")


def test_relative_path_is_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = Settings.load(lakehouse="lake/../here")
    assert settings.lakehouse == str(tmp_path / "here")


def test_folder_that_may_not_be_looked_into_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(path: Path) -> bool:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_dir", denied)
    said = sentence(lakehouse=tmp_path)
    assert said == f"STEDI_LAKEHOUSE is wrong: {tmp_path} cannot be looked into: Permission denied."


# Settings that nobody means


def test_ages_are_as_long_as_dates_go_back() -> None:
    assert duration("999999w") == Settings.load(retention="999998w").retention


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threads", "100000"),
        ("threads", "9" * 30),
        ("memory_limit", f"{'9' * 30}TB"),
        ("memory_limit", "4 elephants"),
        ("training_sets", "9" * 5_000),
        ("max_quarantine_share", "nan"),
    ],
)
def test_absurd_number_is_refused_in_a_sentence(name: str, value: str) -> None:
    said = sentence(**{name: value})
    assert said.startswith(f"STEDI_{name.upper()} is wrong")
    assert "\n" not in said


def test_largest_limits_work(tmp_path: Path) -> None:
    for limit in ("999999999999MB", "999999TiB"):
        engine = DuckDBEngine(storage_in(tmp_path), memory_limit=limit, threads=1024)
        assert engine.backend.sql("SELECT 1 AS one").to_pyarrow().to_pylist() == [{"one": 1}]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed.")
def test_make_clean_removes_tables_and_nothing_beside_wherever_the_project_lies(
    tmp_path: Path,
) -> None:
    project, beside = tmp_path / 'my "odd" \'pro ject', tmp_path / "my"
    for folder in (project / "lakehouse/warehouse", project / "lakehouse/landing", beside):
        folder.mkdir(parents=True)
    shutil.copy(PROJECT / "Makefile", project)
    environment = {name: value for name, value in os.environ.items() if name[:5] != "STEDI"}
    subprocess.run(["make", "clean"], cwd=project, env=environment, check=True)
    assert [path.name for path in (project / "lakehouse").iterdir()] == ["landing"]
    assert beside.is_dir()


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed.")
def test_make_clean_leaves_who_is_held_or_forgotten(tmp_path: Path) -> None:
    zone = tmp_path / "lakehouse/warehouse/landing"
    for name in (
        "holds/a.parquet",
        "forgotten/people.json",
        "quarantine/data/a.parquet",
        "../curated/t/data/a.parquet",
    ):
        path = zone / name
        path.parent.mkdir(parents=True)
        path.touch()
    shutil.copy(PROJECT / "Makefile", tmp_path)
    environment = {name: value for name, value in os.environ.items() if name[:5] != "STEDI"}
    subprocess.run(["make", "clean"], cwd=tmp_path, env=environment, check=True)
    left = [path for path in (tmp_path / "lakehouse").rglob("*") if path.is_file()]
    assert set(left) == {zone / "holds/a.parquet", zone / "forgotten/people.json"}
