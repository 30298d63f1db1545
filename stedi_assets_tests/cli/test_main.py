"""The `stedi` command and `read_table`, as a person uses them."""

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import ibis.expr.types as ir
import pandas as pd
import pytest
from typer.testing import CliRunner, Result

from stedi_assets.cli.history import instance_of
from stedi_assets.cli.main import app
from stedi_assets.read import UnknownSnapshotError, UnknownTableError, read_table
from stedi_assets.settings import Settings
from stedi_assets.tables.trusted.customer_trusted import customer_trusted
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.support import (
    KEY,
    change_table,
    keep_history_in,
    on_this_machine,
    publish,
    under,
)

LATER = int(time.time() * 1000)
"""A time in milliseconds after all those of a sample."""

TABLES = {
    "accelerometer_landing",
    "accelerometer_trusted",
    "customer_landing",
    "customer_trusted",
    "customers_curated",
    "device_matches",
    "device_ownership",
    "machine_learning_curated",
    "quarantine",
    "step_trainer_landing",
    "step_trainer_trusted",
}


@dataclass(frozen=True)
class Project:
    """A project of a test's own: the history of its runs, and its lakehouse."""

    history: Path
    place: Path

    @property
    def customers(self) -> Path:
        """Landing folder of the customers."""
        return self.place / "lakehouse/landing/customer/landing"

    def isolate(self, patch: pytest.MonkeyPatch) -> "Project":
        """Let commands use it, so that no run of a test is in the history of this checkout."""
        keep_history_in(self.history, patch)
        settings = under(self.place, landing=None)
        patch.setenv("STEDI_DEPLOYMENT", settings.deployment)
        patch.setenv("STEDI_LAKEHOUSE", settings.lakehouse)
        patch.delenv("STEDI_LANDING", raising=False)
        patch.delenv("STEDI_PSEUDONYM_KEY", raising=False)
        if settings.deployment == "aws":
            patch.setenv("STEDI_DATABASE", settings.database)
            patch.setenv("STEDI_PSEUDONYM_KEY", KEY)
        return self


@pytest.fixture
def project(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, folder).isolate(monkeypatch)


def stedi(*words: str) -> Result:
    return CliRunner().invoke(app, [*words], catch_exceptions=False)


def status() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(stedi("status", "--json").stdout)
    return found


def refresh_sample() -> None:
    assert stedi("sample", "--customers", "40", "--files", "2").exit_code == 0
    assert stedi("refresh").exit_code == 0


@pytest.fixture
def refreshed(
    tmp_path: Path, folder: Path, lakehouses: Lakehouses, monkeypatch: pytest.MonkeyPatch
) -> Project:
    """A refreshed lakehouse that the test may change."""
    if isinstance(folder, Path):  # of this machine
        made = lakehouses.as_made(make_sample)
        return Project(made / "history", made / "place").isolate(monkeypatch)
    project = Project(tmp_path, folder).isolate(monkeypatch)
    refresh_sample()
    return project


def make_sample(folder: Path) -> None:
    project = Project(folder / "history", folder / "place")
    project.history.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        project.isolate(patch)
        refresh_sample()


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory, new_folder: Callable[[], Path]) -> Project:
    project = Project(tmp_path_factory.mktemp("history"), new_folder())
    with pytest.MonkeyPatch.context() as patch:
        project.isolate(patch)
        refresh_sample()
    return project


@pytest.fixture
def shared(made_once: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """A refreshed lakehouse that the test only looks at."""
    return made_once.isolate(monkeypatch)


def test_refresh_says_one_line_for_each_table(project: Project) -> None:
    stedi("sample", "--customers", "40", "--files", "2")
    said = stedi("refresh").stdout
    for table in TABLES:
        lines = [line for line in said.splitlines() if line.startswith(f"{table} ")]
        assert len(lines) == 1, table
    assert "3,600 rows" in said
    assert "not run" not in said


def test_refresh_is_a_run_of_the_job_in_the_history(shared: Project) -> None:
    history = shared.history
    with dg.DagsterInstance.from_config(str(history)) as instance:
        [run] = instance.get_runs()
    assert (run.job_name, run.status) == ("refresh_lakehouse", dg.DagsterRunStatus.SUCCESS)


@on_this_machine
def test_each_lakehouse_has_the_history_of_its_own_runs(
    refreshed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    runs = []
    for name in ("one", "other"):
        lakehouse = refreshed.place / name
        monkeypatch.setenv("STEDI_LAKEHOUSE", str(lakehouse))
        assert stedi("sample", "--customers", "20", "--files", "1").exit_code == 0
        assert stedi("refresh").exit_code == 0
        with instance_of(Settings.load(lakehouse=str(lakehouse))) as instance:
            [run] = instance.get_runs()
        runs.append(run.run_id)
    assert len(set(runs)) == 2


def test_refresh_without_news_runs_nothing(shared: Project) -> None:
    before = status()
    again = stedi("refresh")
    assert (again.exit_code, again.stdout.startswith("Nothing new")) == (0, True)
    assert status() == before


@on_this_machine
def test_full_refresh_without_news_compares_the_tables_named(refreshed: Project) -> None:
    before = status()
    again = stedi("refresh", "--full", "accelerometer_trusted")
    lines = [line.split() for line in again.stdout.splitlines()]
    assert (again.exit_code, status()) == (0, before)
    said = {words[0]: words[-1] for words in lines if words and words[0] in TABLES}
    assert said["accelerometer_trusted"] == "unchanged"
    assert "step_trainer_trusted" not in said
    with dg.DagsterInstance.from_config(str(refreshed.history)) as instance:
        [run, _] = instance.get_runs()
        key = dg.AssetCheckKey(dg.AssetKey("accelerometer_trusted"), "recomputed")
        [last] = instance.event_log_storage.get_asset_check_execution_history(key, 1)
        assert last.evaluation
        assert last.evaluation.description == "A full computation gave the same rows: 1,800."
    assert run.tags["stedi/full"] == "true"


@on_this_machine
def test_refresh_runs_again_under_another_scope(
    refreshed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {entry["table"]: entry["published"] for entry in status()["tables"]}
    monkeypatch.setenv("STEDI_CONSENT_SCOPE", "from_consent_date")
    assert stedi("refresh").exit_code == 0
    after = {entry["table"]: entry["published"] for entry in status()["tables"]}
    assert {name for name in TABLES if before[name] != after[name]} == {
        "accelerometer_trusted",
        "customers_curated",
        "step_trainer_trusted",
        "machine_learning_curated",
    }


@on_this_machine
def test_refresh_of_a_table_makes_it_and_what_it_is_made_from(project: Project) -> None:
    stedi("sample", "--customers", "10", "--files", "1")
    result = stedi("refresh", "accelerometer_trusted")
    assert result.exit_code == 0
    assert "not run" not in result.stdout
    made = {entry["table"] for entry in status()["tables"] if entry["published"]}
    assert made == {
        "customer_landing",
        "accelerometer_landing",
        "quarantine",
        "customer_trusted",
        "accelerometer_trusted",
    }


@on_this_machine
def test_same_content_under_another_name_is_skipped_and_counted(refreshed: Project) -> None:
    folder = refreshed.customers
    (folder / "again.json").write_bytes(min(folder.iterdir()).read_bytes())
    before = read_table("customer_landing").count().to_pandas()
    assert "skipped, content taken in before: 1" in stedi("refresh").stdout
    assert read_table("customer_landing").count().to_pandas() == before


@on_this_machine
def test_failed_check_is_named_and_gives_exit_code_1(refreshed: Project) -> None:
    bad = refreshed.customers / "renamed.json"
    bad.write_text('{"mail": "ann@x.io"}\n')
    good = refreshed.customers / "beside.json"
    good.write_text('{"email": "bob@x.io"}\n')
    before = read_table("customer_landing").count().to_pandas()
    failed = stedi("refresh")
    assert failed.exit_code == 1
    assert "Failed: readable of customer_landing." in failed.stdout
    assert "renamed.json: 1 of 1 unreadable, mostly “email is missing”" in " ".join(
        failed.stdout.split()
    )
    assert [email for email in ("ann@x.io", "bob@x.io") if email in failed.stdout] == []
    assert read_table("customer_landing").count().to_pandas() == before + 1


@on_this_machine
def test_column_that_a_rule_lacks_is_named_on_the_terminal(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rule(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
        return customer_trusted(customer_landing, quarantine).drop("phone")

    change_table(monkeypatch, "customer_trusted", rule=rule)
    stedi("sample", "--customers", "1", "--files", "1")
    failed = stedi("refresh")
    assert failed.exit_code == 1
    said = " ".join(failed.stdout.split())
    assert "customer_trusted - rows" in said
    assert "phone: column is missing" in said
    assert "Failed: contract of customer_trusted" in said


def test_status_tells_tables_quarantine_and_devices(shared: Project) -> None:
    found = status()
    assert {entry["table"] for entry in found["tables"]} == TABLES
    assert found["devices"] == {"shared_readings": 40, "withheld": 0}
    assert found["quarantine"] == []
    assert found["consent_scope"] == "any"


def test_status_before_the_first_refresh_says_what_to_do(project: Project) -> None:
    assert "refresh the lakehouse first" in stedi("status").stdout
    assert status()["tables"] == []


def test_show_masks_personal_data_unless_revealed(shared: Project) -> None:
    [email] = read_table("customer_trusted").limit(1).email.to_pandas()
    shown = stedi("show", "customer_trusted", "--limit", "100").stdout
    assert email not in shown
    assert "•••" in shown
    assert email in stedi("show", "customer_trusted", "--limit", "100", "--reveal").stdout


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["show", "nope"], "There is no table nope"),
        (["refresh", "nope"], "There is no table nope; there are: customer_landing, acc"),
        (["sample", "--customers", "1", "--late-readings", "--files", "1"], "late_readings"),
    ],
)
def test_mistake_is_said_in_one_sentence(project: Project, words: list[str], sentence: str) -> None:
    result = stedi(*words)
    assert result.exit_code == 1
    assert sentence in result.output
    assert "Traceback" not in result.output


def test_wrong_setting_is_said_in_one_sentence(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEDI_ENGINE", "spork")
    for command in ("refresh", "status"):
        result = stedi(command)
        assert result.exit_code == 1
        assert result.output.startswith("STEDI_ENGINE is “spork”; allowed: ")


@on_this_machine
def test_tag_names_the_published_training_set_once(
    refreshed: Project,
) -> None:
    assert status()["training_sets"] == []
    said = stedi("tag").stdout
    name, _, rows = said.partition(": ")
    assert rows.endswith(" rows.\n")
    assert stedi("tag").stdout == said
    [tagged] = status()["training_sets"]
    assert tagged["tag"] == name
    assert name.startswith("training-")


def test_tag_needs_a_training_set(project: Project) -> None:
    result = stedi("tag")
    assert result.exit_code == 1
    assert "Refresh first" in result.output


@on_this_machine
def test_status_counts_training_rows_that_repeat_another(refreshed: Project) -> None:
    assert status()["repeats"] == 0
    settings = Settings.load()
    rows = read_table("machine_learning_curated").to_pyarrow().to_pylist()
    publish(settings, "machine_learning_curated", [*rows, *rows[:2], rows[0]])
    assert status()["repeats"] == 3
    assert "repeat another one exactly: 3." in stedi("status").stdout


@on_this_machine
def test_vacuum_says_what_goes_and_tables_stay(
    refreshed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = " ".join(stedi("vacuum", "--older-than", "0m").stdout.split())
    assert "Removed 0 snapshots" in first
    merged = re.search(r"Merged [0-9]+ small files of ([0-9]+) tables into", first)
    assert merged
    monkeypatch.setenv("STEDI_THREADS", "1")  # each of which would write a file of its own
    monkeypatch.setenv("STEDI_CONSENT_SCOPE", "from_consent_date")
    assert stedi("refresh").exit_code == 0
    monkeypatch.setenv("STEDI_RETENTION", "0d")
    before = status()
    told = " ".join(stedi("vacuum", "--older-than", "0m", "--dry-run").stdout.split())
    done = " ".join(stedi("vacuum", "--older-than", "0m").stdout.split())
    # The empty snapshot that each table began with, four tables made anew, and those whose files
    # the first vacuum merged.
    assert told.startswith(f"Would remove {15 + int(merged[1])} snapshots")
    assert done == told.replace("Would remove", "Removed").replace("Would merge", "Merged")
    assert status() == before
    assert read_table("machine_learning_curated").count().to_pandas() > 0


@on_this_machine
def test_vacuum_says_when_the_next_snapshot_can_go(
    refreshed: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEDI_CONSENT_SCOPE", "from_consent_date")
    assert stedi("refresh").exit_code == 0
    # The empty snapshot that each table began with was replaced first.
    first = min(entry["published"]["at"] for entry in status()["tables"])
    said = " ".join(stedi("vacuum", "--dry-run").stdout.split())
    due = datetime.fromisoformat(first) + timedelta(days=7)
    assert f"The next snapshot can go from {due:%Y-%m-%d} " in said
    monkeypatch.setenv("STEDI_RETENTION", "0d")
    assert "No other snapshot will go" in stedi("vacuum", "--older-than", "0m").stdout


@on_this_machine
def test_sample_makes_the_landing_folder(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEDI_LANDING", str(tmp_path / "not/yet"))
    assert stedi("status").exit_code == 1  # only who writes to it makes it
    assert stedi("sample", "--customers", "1", "--files", "1").exit_code == 0
    assert (tmp_path / "not/yet/customer/landing/customer-1.json").exists()
    (tmp_path / "file").touch()
    monkeypatch.setenv("STEDI_LANDING", str(tmp_path / "file"))
    wrong = stedi("sample", "--customers", "1", "--files", "1")
    assert (wrong.exit_code, "which is no folder" in wrong.output) == (1, True)


def test_vacuum_before_the_first_refresh_has_nothing_to_do(project: Project) -> None:
    assert "No tables yet" in stedi("vacuum").stdout
    assert stedi("vacuum", "--older-than", "soon").exit_code == 1


def test_sample_does_not_overwrite_landing_files(shared: Project) -> None:
    again = stedi("sample", "--customers", "40", "--files", "2")
    assert again.exit_code == 1
    assert "-1.json exists already, and a sample overwrites nothing." in again.output
    assert "Traceback" not in again.output


def test_read_table_gives_pandas_now_and_then(refreshed: Project) -> None:
    table = read_table("machine_learning_curated")
    now = table.to_pandas()
    assert isinstance(now, pd.DataFrame)
    snapshot = next(
        entry["published"]["snapshot"]
        for entry in status()["tables"]
        if entry["table"] == "machine_learning_curated"
    )
    late = refreshed.customers / "late.json"
    people = read_table("customer_landing").select("email").to_pandas()
    late.write_text(
        "".join(
            json.dumps({"email": email, "lastUpdateDate": LATER, "registrationDate": LATER}) + "\n"
            for email in people.email
        )
    )
    assert stedi("refresh").exit_code == 0
    assert read_table("machine_learning_curated").count().to_pandas() == 0
    then = read_table("machine_learning_curated", snapshot=snapshot).to_pandas()
    columns = list(now.columns)
    pd.testing.assert_frame_equal(
        then.sort_values(columns, ignore_index=True), now.sort_values(columns, ignore_index=True)
    )


def test_tables_that_were_read_can_be_joined(shared: Project) -> None:
    readings, customers = read_table("accelerometer_trusted"), read_table("customer_trusted")
    joined = readings.join(customers, [("user", "email")])
    assert joined.count().to_pandas() == readings.count().to_pandas()


def test_read_table_says_what_is_wrong(shared: Project) -> None:
    with pytest.raises(UnknownTableError, match="There is no table nope; there are: accel"):
        read_table("nope")
    with pytest.raises(UnknownSnapshotError, match="customer_trusted has no snapshot 5"):
        read_table("customer_trusted", snapshot=5)


def test_read_table_before_the_first_refresh_says_so(folder: Path) -> None:
    with pytest.raises(UnknownTableError, match="none yet"):
        read_table("customer_trusted", settings=under(folder, landing=None))
