"""The Dagster job that forgets people names nobody in its run."""

from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.privacy.forget.support import (
    ANN,
    PEOPLE,
    deliver_people,
    names_of,
    places,
    rows_of,
)
from stedi_assets_tests.support import refresh, under


def make(folder: Path) -> None:
    deliver_people(folder / "landing", *PEOPLE)
    assert refresh(under(folder)).success


@pytest.fixture
def folder(lakehouses: Lakehouses) -> Path:
    return lakehouses.as_made(make)


def run(settings: Settings, home: Path, **config: object) -> dg.ExecuteInProcessResult:
    home.mkdir(exist_ok=True)
    job = lakehouse_definitions(settings).resolve_job_def("forget_people")
    with dg.DagsterInstance.local_temp(str(home)) as instance:
        return job.execute_in_process(
            run_config={"ops": {"forget": {"config": config}}},
            instance=instance,
            raise_on_error=False,
        )


def test_job_forgets_and_its_history_names_nobody(folder: Path, tmp_path: Path) -> None:
    settings = under(folder)
    requests = tmp_path / "requests.txt"
    requests.write_text(f"{ANN.upper()}\n")
    requests.chmod(0o640)
    refused = run(settings, tmp_path / "home", requests=str(requests), landing_files=True)
    assert not refused.success
    requests.chmod(0o600)
    result = run(settings, tmp_path / "home", requests=str(requests), landing_files=True)
    assert result.success
    assert places(folder, names_of(ANN)) == []
    assert places(tmp_path / "home", names_of(ANN)) == []
    assert places(tmp_path / "home", ["Certificate 1"])
    assert len(rows_of(settings)["customer_landing"]) == len(PEOPLE) - 1


def test_job_without_its_file_fails_with_a_sentence(folder: Path, tmp_path: Path) -> None:
    result = run(under(folder), tmp_path / "home", requests=str(tmp_path / "none.txt"))
    [failed] = [event for event in result.all_events if event.is_step_failure]
    failure = failed.step_failure_data.user_failure_data
    assert failure
    assert failure.description == (
        "The file of requests cannot be read: No such file or directory."
    )
