"""The page for data scientists: what it shows runs."""

import re
import shlex
from collections.abc import Iterator
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from stedi_assets.cli.main import app
from stedi_assets.defs.sensors.training import training_set_sensor
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.read import read_table
from stedi_assets.sample.landing_files import Sample, write_sample
from stedi_assets_tests.support import KEY, PROJECT, catalog_of, publish, refresh, under

PAGE = PROJECT / "docs/data-scientists.md"
DAY = "2026-11-22"
"""The day of the page's examples, which the test takes for the day of its own training set."""

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Day of a training set from which a person withdrew since, in the lakehouse of the page."""
    folder = tmp_path_factory.mktemp("folder")
    write_sample(folder / "landing", Sample(customers=20, files=2))
    settings = under(folder)
    assert refresh(settings).success
    published = catalog_of(settings).published(TRAINING_SET)
    assert published
    training_set_sensor(settings).evaluate_tick(
        dg.build_sensor_context(instance=dg.DagsterInstance.ephemeral())
    )
    rows = read_table(TRAINING_SET, settings=settings).to_pyarrow().to_pylist()
    gone = rows[-1]["subject_id"]
    publish(settings, TRAINING_SET, [row for row in rows if row["subject_id"] != gone])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STEDI_LAKEHOUSE", settings.lakehouse)
        patch.setenv("STEDI_LANDING", settings.landing_root)
        patch.setenv("STEDI_PSEUDONYM_KEY", KEY)
        yield f"{published.committed_at:%Y-%m-%d}"


def run(command: str) -> str:
    name, *words = shlex.split(command)
    assert name == "stedi"
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_everything_the_page_shows_runs(day: str, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    shown = ""
    for language, block in BLOCK.findall(PAGE.read_text().replace(DAY, day)):
        if language == "console":
            commands = [line.removeprefix("$ ") for line in block.splitlines() if line[:2] == "$ "]
            assert commands
            shown += "".join(map(run, commands))
        else:
            assert language == "python"
            exec(compile(block, str(PAGE), "exec"), names)
    # What the page says of them
    assert f"training-{day}" in capsys.readouterr().out
    assert "Row 3" in shown
    assert {"train", "test", "then", "allowed"} <= set(names)
    assert len(names["train"]) + len(names["test"]) == len(names["rows"])
    withdrawn = set(names["mine"].subject_id) - set(names["newest"].subject_id)
    assert len(withdrawn) == 1
    assert not withdrawn & set(names["allowed"].subject_id)
    assert set(names["allowed"].subject_id) == set(names["newest"].subject_id)
    assert len(names["allowed"]) == len(names["newest"])
