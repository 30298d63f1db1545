"""The history of runs, whose files stay open: others see each event at once all the same."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import dagster as dg
import pytest
import sqlalchemy as db
from sqlalchemy.event import listens_for, remove

from stedi_assets_tests.support import keep_history_in


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DAGSTER_HOME that is configured like the project."""
    keep_history_in(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def history(home: Path) -> Iterator[dg.DagsterInstance]:
    """The history as a run writes it."""
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@pytest.fixture
def other(home: Path, history: dg.DagsterInstance) -> Iterator[dg.DagsterInstance]:
    """The same files, by Dagster's own storage."""
    (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    with dg.DagsterInstance.from_config(str(home)) as instance:
        yield instance


@dg.job
def job() -> None:
    """Does nothing; the events are what counts."""


def say(history: dg.DagsterInstance, run_id: str, message: str = "said") -> None:
    history.report_engine_event(message, job_name=job.name, run_id=run_id)


def messages(history: dg.DagsterInstance, run_id: str) -> list[str]:
    events = (entry.dagster_event for entry in history.all_logs(run_id))
    return [event.message or "" for event in events if event]


def test_each_event_is_seen_by_others_at_once(
    history: dg.DagsterInstance, other: dg.DagsterInstance
) -> None:
    run = history.create_run_for_job(job)
    for written in range(1, 4):
        say(history, run.run_id, str(written))
        assert messages(other, run.run_id)[-1] == str(written)
        assert messages(history, run.run_id) == messages(other, run.run_id)


def test_ui_follows_a_run_while_its_file_is_open(
    history: dg.DagsterInstance, other: dg.DagsterInstance
) -> None:
    run = history.create_run_for_job(job)
    say(history, run.run_id, "before")
    followed = Event()
    other.watch_event_logs(run.run_id, None, lambda entry, _: _set(followed, entry))
    say(history, run.run_id, "after")
    assert followed.wait(10)


def _set(followed: Event, entry: dg.EventLogEntry) -> None:
    if entry.dagster_event and entry.dagster_event.message == "after":
        followed.set()


def test_files_are_opened_once_for_all_events_of_a_run(history: dg.DagsterInstance) -> None:
    run = history.create_run_for_job(job)
    say(history, run.run_id)
    opened: list[object] = []

    @listens_for(db.Engine, "connect")
    def count(connection: object, _: object) -> None:
        opened.append(connection)

    try:
        for _ in range(20):
            say(history, run.run_id)
            assert history.event_log_storage.supports_asset_checks  # Dagster asks with each check
    finally:
        remove(db.Engine, "connect", count)
    assert not opened


def test_no_more_than_two_files_stay_open(history: dg.DagsterInstance, home: Path) -> None:
    runs = [history.create_run_for_job(job).run_id for _ in range(5)]
    for run_id in runs:
        say(history, run_id)
    assert [messages(history, run_id)[-1] for run_id in runs] == ["said"] * 5
    files = (Path(f"/proc/self/fd/{fd.name}") for fd in Path("/proc/self/fd").iterdir())
    events = home / "history/runs"
    is_open = {fd.readlink().name for fd in files if fd.exists() and events in fd.resolve().parents}
    assert {name for name in is_open if name.endswith(".db")} == {"index.db", f"{runs[-1]}.db"}


def test_threads_write_at_once(history: dg.DagsterInstance) -> None:
    run = history.create_run_for_job(job)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda number: say(history, run.run_id, str(number)), range(40)))
    assert {str(number) for number in range(40)} <= set(messages(history, run.run_id))


def test_nothing_stays_beside_the_files_once_they_are_closed(
    history: dg.DagsterInstance, home: Path
) -> None:
    run = history.create_run_for_job(job)
    say(history, run.run_id)
    history.dispose()
    assert not list((home / "history/runs").glob("*-wal"))
