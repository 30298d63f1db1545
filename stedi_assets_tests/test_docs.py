"""What the pages for readers show runs, in order, on a lakehouse that was refreshed once."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stedi_assets.cli.main import app
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.read import read_table
from stedi_assets.sample.landing_files import Sample, write_sample
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.support import KEY, PROJECT, counts, publish, refresh, under

PAGE = PROJECT / "docs/data-scientists.md"
OPERATING = PROJECT / "docs/operating.md"

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A lakehouse as `make run` leaves it, in `lakehouse/` of the current folder."""
    folder = tmp_path_factory.mktemp("folder")
    write_sample(folder / "landing", Sample(customers=20, files=2))
    settings = under(folder)
    assert refresh(settings).success
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEDI_LAKEHOUSE", settings.lakehouse)
        patch.setenv("STEDI_LANDING", settings.landing_root)
        patch.setenv("STEDI_PSEUDONYM_KEY", KEY)
        patch.chdir(folder)
        yield settings


def publish_repeats(settings: Settings) -> None:
    """Let the last row be there twice: one of its readings was delivered twice."""
    rows = read_table(TRAINING_SET, settings=settings).to_pyarrow().to_pylist()
    publish(settings, TRAINING_SET, [*rows, rows[-1]])


def withdraw(settings: Settings) -> str:
    """Publish the training set without a person; returns who it is."""
    rows = read_table(TRAINING_SET, settings=settings).to_pyarrow().to_pylist()
    gone: str = rows[-1]["subject_id"]
    publish(settings, TRAINING_SET, [row for row in rows if row["subject_id"] != gone])
    return gone


def run(command: str) -> str:
    name, *words = shlex.split(command)
    assert name == "stedi"
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_everything_the_page_shows_runs(
    settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    publish_repeats(settings)
    names: dict[str, Any] = {}
    shown, gone = "", ""
    for language, block in BLOCK.findall(PAGE.read_text()):
        if language == "console":
            commands = [line.removeprefix("$ ") for line in block.splitlines() if line[:2] == "$ "]
            assert commands
            shown += "".join(map(run, commands))
            if "stedi tag" in block:
                gone = withdraw(settings)
        else:
            assert language == "python"
            exec(compile(block, str(PAGE), "exec"), names)
    # What the page says of them
    printed = capsys.readouterr().out
    assert names["tag"] in shown
    assert names["tag"] in printed
    assert "\n1 rows repeat another one exactly\n" in printed
    assert "Row 3" in shown
    assert {"train", "test", "then", "allowed"} <= set(names)
    assert len(names["train"]) + len(names["test"]) == len(names["rows"])
    assert set(names["mine"].subject_id) - set(names["newest"].subject_id) == {gone}
    assert set(names["allowed"].subject_id) == set(names["newest"].subject_id)
    assert len(names["allowed"]) == len(names["newest"])


def test_other_tools_read_the_tables_as_the_page_says(
    settings: Settings, read_iceberg: IcebergReader
) -> None:
    _, _, section = OPERATING.read_text().partition("## Reading with other tools")
    names: dict[str, Any] = {}
    folders = []
    for language, block in BLOCK.findall(section):
        if language == "python":
            exec(compile(block, str(OPERATING), "exec"), names)
        else:
            assert language == "sql"
            folders += re.findall(r"iceberg_scan\('(.*)'\)", block)
    expected = counts(settings)[TRAINING_SET]
    read = [names[each] for each in ("rows", "with_polars", "with_daft")]
    assert [len(rows) for rows in read] == [expected] * 3
    [folder] = folders
    assert len(read_iceberg(folder)) == expected
    assert Path(folder).is_dir()


def test_every_promise_of_privacy_names_tests_that_exist() -> None:
    page = (PROJECT / "docs/privacy.md").read_text()
    promises = page.split("<!-- promises -->")[1].split("<!-- /promises -->")[0]
    rows = promises.strip().splitlines()[2:]
    assert rows
    for row in rows:
        tests = re.findall(r"`([\w/.]+)::(\w+)`", row)
        assert tests, row
        for path, name in tests:
            code = (PROJECT / "stedi_assets_tests" / path).read_text()
            assert re.search(rf"^def {name}\(", code, re.MULTILINE), (path, name)
