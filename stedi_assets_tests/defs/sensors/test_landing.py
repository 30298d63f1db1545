"""The sensor asks for a refresh for every file that arrives, and for no other reason."""

import json
import os
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import dagster as dg
import ibis
import pytest

from stedi_assets.defs.sensors import landing as sensor
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.read import read_table
from stedi_assets.refresh import land as landing_tables
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES
from stedi_assets.tables.definition import TableDefinition
from stedi_assets_tests.conftest import Aws
from stedi_assets_tests.fault_proxy import FaultProxy, access_denied
from stedi_assets_tests.support import (
    ANN,
    BOB,
    change_table,
    customer,
    deliver,
    device,
    phone,
    refresh,
    under,
    write,
)

LANDING = ("customer_landing", "accelerometer_landing", "step_trainer_landing")
FIRST = {
    "customer": [customer(ANN, "d")],
    "accelerometer": phone(ANN, 1),
    "step_trainer": device("d", 1),
}
HOUR = 3600


class Watch:
    """The sensor of a lakehouse, tick by tick, on a clock that is ahead of files' times.

    Attributes:
        ahead: Seconds by which it is.
        tables: Those that it expects to follow the landing tables.
    """

    tables: tuple[TableDefinition, ...] = ()

    def __init__(self, settings: Settings) -> None:
        self.settings, self.instance = settings, dg.DagsterInstance.ephemeral()
        self.cursor: str | None = None
        self.ahead: float = 100
        self.log = ""

    def look(self) -> dg.SensorResult:
        """A tick that leaves no trace."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("stedi_assets.refresh.plan.TABLES", self.tables)
            result: Any = sensor.landing_sensor(self.settings)(context)
        return result

    def tick(self) -> dg.SensorResult:
        result = self.look()
        self.cursor = result.cursor
        return result

    def requests(self) -> dict[str, str]:
        """New files of each source that the tick requests a run for; none where it skips."""
        requests = self.tick().run_requests or []
        return {
            name.removeprefix("new_files/"): value
            for request in requests
            for name, value in request.tags.items()
        }

    def reason(self) -> str:
        """Why the tick requests no run."""
        result = self.tick()
        assert not result.run_requests
        assert result.skip_reason and result.skip_reason.skip_message
        return result.skip_reason.skip_message

    def refresh(self, *tables: str) -> dict[str, int]:
        """Take in what has landed, of customers alone by default; new files by table."""
        result = refresh(self.settings, self.instance, only=tables or LANDING[:1])
        return {
            found.asset_key.path[-1]: int(str(found.metadata["new_files"].value))
            for found in result.asset_materializations_for_node("landing")
            if "new_files" in found.metadata  # quarantine has none
        }

    def run(self, job: str, status: dg.DagsterRunStatus) -> str:
        """Record a run of Dagster's."""
        made = dg.DagsterRun(job_name=job, run_id=str(uuid4()), status=status)
        self.instance.add_run(made)
        return made.run_id


@pytest.fixture
def watch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A lakehouse on this machine, without landing files."""
    (tmp_path / "landing").mkdir()
    return watched(under(tmp_path), monkeypatch)


def watched(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Watch:
    watch = Watch(settings)
    monkeypatch.setattr(sensor, "time", lambda: time.time() + watch.ahead)
    return watch


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    return tmp_path / "landing"


@pytest.fixture(scope="module")
def holding(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A lakehouse that has taken in a first file of customers, and is only looked at."""
    folder = tmp_path_factory.mktemp("holding")
    deliver(folder / "landing", "first.json", customer=FIRST["customer"])
    settings = under(folder)
    refresh(settings, only=LANDING[:1])
    return settings


@pytest.fixture
def taken_in(holding: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watch]:
    watch = watched(holding, monkeypatch)
    watch.tick()
    yield watch
    for path in Path(holding.landing_root).rglob("*.json"):
        if path.name != "first.json":
            path.unlink()


# Requests


def test_files_are_requested_once_and_seen_as_taken_in_after_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(folder / "landing", "first.json", customer=[customer(ANN)])
    both = {"customer": [customer("bob@x.io")], "accelerometer": phone(ANN, 1)}
    deliver(folder / "landing", "second.json", **both)
    watch = watched(under(folder), monkeypatch)
    again = watch.look()
    result = watch.tick()
    assert result.run_requests and again.run_requests
    [request] = result.run_requests
    assert request == again.run_requests[0]
    assert request.tags == {"new_files/customer": "2", "new_files/accelerometer": "1"}
    taken_in = {"customer_landing": 2, "accelerometer_landing": 1}
    assert watch.refresh(*taken_in) == taken_in
    result = watch.tick()
    assert not result.run_requests and not result.asset_events
    assert result.skip_reason
    assert result.skip_reason.skip_message == "No new landing files; 3 taken in."
    assert watch.requests() == {}


def test_without_files_it_says_where_to_drop_them_and_makes_nothing(
    watch: Watch, tmp_path: Path
) -> None:
    folders = [f"{tmp_path}/landing/{source}/landing" for source in FIRST]
    assert watch.reason() == f"There are no landing files yet; drop them into {', '.join(folders)}."
    assert not (tmp_path / "lakehouse").exists()


def test_equal_times_and_late_arrivals_of_older_names_miss_no_file(
    watch: Watch, landing: Path
) -> None:
    moment = time.time() - HOUR

    def put(name: str, number: int, at: float) -> None:
        path = write(landing, "step_trainer", name, json.dumps(device("d", number)[0]))
        os.utime(path, (at, at))

    for number in range(1_100):
        put(f"b{number}.json", number, moment)
    assert watch.requests() == {"step_trainer": "1100"}
    assert watch.refresh("step_trainer_landing") == {"step_trainer_landing": 1_100}
    assert watch.requests() == {}
    put("b1100.json", 1_100, moment)
    put("a.json", 1_101, moment - HOUR)
    assert watch.requests() == {"step_trainer": "2"}
    watch.refresh("step_trainer_landing")
    assert watch.requests() == {}
    assert read_table("step_trainer_landing", settings=watch.settings).count().execute() == 1_102


def test_replaced_file_is_requested_once(watch: Watch, landing: Path) -> None:
    deliver(landing, "first.json", customer=FIRST["customer"])
    extra = write(landing, "customer", "extra.json", json.dumps(customer("bob@x.io")))
    watch.refresh()
    for content in ("cy@x.io", "dan@x.io"):
        write(landing, "customer", "first.json", json.dumps(customer(content)))
        assert watch.requests() == {"customer": "1"}
        watch.ahead += 2 * HOUR  # longer than any pause
        assert watch.reason() == "No new landing files; 2 taken in."
        watch.refresh()
        watch.ahead += 2 * HOUR
        assert watch.requests() == {}
    extra.unlink()
    assert watch.requests() == {}


def test_every_file_is_new_where_the_landing_root_is_another(
    taken_in: Watch, tmp_path: Path
) -> None:
    deliver(tmp_path / "elsewhere", "first.json", **FIRST)
    lakehouse = taken_in.settings.lakehouse
    taken_in.settings = under(tmp_path, landing=f"{tmp_path}/elsewhere", lakehouse=lakehouse)
    assert taken_in.requests() == dict.fromkeys(FIRST, "1")


def test_emptied_lakehouse_starts_anew_under_another_run_key(
    watch: Watch, landing: Path, tmp_path: Path
) -> None:
    deliver(landing, "first.json", customer=FIRST["customer"])
    keys = []
    for _ in range(2):
        result = watch.tick()
        assert result.run_requests
        keys.append(result.run_requests[0].run_key)
        watch.refresh()
        assert watch.requests() == {}
        shutil.rmtree(tmp_path / "lakehouse")
    assert len(set(keys)) == 2


def test_garbled_cursor_is_none(watch: Watch, landing: Path) -> None:
    deliver(landing, "first.json", **FIRST)
    for cursor in ("x", "[]", '{"a": 1}'):
        watch.cursor = cursor
        assert watch.requests() == dict.fromkeys(FIRST, "1")


def test_refreshes_keep_the_least_time_between_them(
    tmp_path: Path, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(landing, "first.json", **FIRST)
    watch = watched(under(tmp_path, refresh_interval="15m"), monkeypatch)
    assert watch.requests()
    watch.refresh(*LANDING)
    deliver(landing, "second.json", customer=[customer(BOB)])
    assert "New files: 1; the next refresh is requested at" in watch.reason()
    watch.ahead += 901
    assert watch.requests() == {"customer": "1"}


# Refreshes cut short


def test_refresh_that_ended_after_the_landing_tables_is_asked_for_again(
    watch: Watch, landing: Path
) -> None:
    watch.tables = TABLES
    deliver(landing, "first.json", **FIRST)
    assert watch.requests()
    watch.refresh(*LANDING, "quarantine")
    [again] = watch.tick().run_requests or ()
    assert again.tags["tables"] == "customer_trusted, device_ownership"
    assert "did not come to: customer_trusted" in watch.reason()
    watch.ahead += 301
    assert watch.requests()
    assert refresh(watch.settings, watch.instance).success
    assert "No new landing files; 3 taken in." in watch.reason()


def test_file_held_back_is_no_news_and_forgotten_once_it_is_removed(
    watch: Watch, landing: Path
) -> None:
    deliver(landing, "first.json", **FIRST)
    assert watch.requests()
    watch.refresh(*LANDING)
    bad = write(landing, "step_trainer", "bad.json", "garbage")
    assert watch.requests()
    watch.refresh(*LANDING)
    assert "1 held back by a check of step_trainer_landing" in watch.reason()
    bad.unlink()
    [request] = watch.tick().run_requests or ()
    assert request.tags["tables"] == "step_trainer_landing"
    watch.refresh(*LANDING)
    assert watch.reason() == "No new landing files; 3 taken in."


def test_table_that_was_dropped_for_breaking_consent_is_asked_for_again_after_a_pause(
    watch: Watch, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch.tables = TABLES
    deliver(landing, "first.json", **FIRST)
    assert refresh(watch.settings, watch.instance).success
    deliver(landing, "second.json", customer=[customer(BOB, "e")], accelerometer=phone(BOB, 1))
    assert watch.requests()
    change_table(monkeypatch, "customer_trusted", consent=lambda customer_trusted: ibis.literal(1))
    assert not refresh(watch.settings, watch.instance).success
    monkeypatch.undo()
    assert watch.requests()
    assert "Tables that the last refresh did not come to: customer_trusted" in watch.reason()


# Observations


def test_sources_are_observed_where_their_files_change(watch: Watch, landing: Path) -> None:
    watch.tick()
    write(landing, "customer", "notes.txt", "x")
    path = write(landing, "customer", "a.json", json.dumps(customer(ANN)))
    os.utime(path, (1_000, 1_000))
    [seen] = watch.tick().asset_events
    assert seen.asset_key == dg.AssetKey("customer_files")
    found = {name: value.value for name, value in seen.metadata.items()}
    assert found | {"data_version": ""} == {
        "files": 1,
        "bytes": path.stat().st_size,
        "ignored_files": 1,
        "newest": 1_000.0,
        "data_version": "",
    }
    assert watch.tick().asset_events == []
    os.utime(path, (2_000, 2_000))
    [again] = watch.tick().asset_events
    versions = [event.metadata["data_version"].value for event in (seen, again)]
    assert len(set(versions)) == 2


# Waiting


@pytest.mark.parametrize(
    ("job", "status", "waits"),
    [
        ("refresh_lakehouse", "NOT_STARTED", True),
        ("refresh_lakehouse", "STARTING", True),
        ("refresh_lakehouse", "STARTED", True),
        ("__ASSET_JOB", "NOT_STARTED", True),
        ("another_job", "NOT_STARTED", False),
        ("refresh_lakehouse", "SUCCESS", False),
        ("refresh_lakehouse", "FAILURE", False),
    ],
)
def test_burst_waits_for_a_run_that_has_not_begun_or_just_did(
    watch: Watch, landing: Path, job: str, status: str, waits: bool
) -> None:
    watch.run(job, dg.DagsterRunStatus[status])
    deliver(landing, "first.json", **FIRST)
    if waits:
        assert (
            watch.reason()
            == "A refresh is queued or at work; new files: 3, to come in with it or after it."
        )
        deliver(landing, "second.json", customer=[customer("bob@x.io")])
        assert (
            watch.reason()
            == "A refresh is queued or at work; new files: 4, to come in with it or after it."
        )
    else:
        assert watch.requests() == dict.fromkeys(FIRST, "1")


def test_burst_waits_for_a_run_in_the_queue_however_long(
    watch: Watch, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def records(wanted: dg.RunsFilter) -> list[Any]:
        run = SimpleNamespace(job_name="refresh_lakehouse")
        queued = dg.DagsterRunStatus.QUEUED in wanted.statuses and not wanted.updated_after
        return [SimpleNamespace(dagster_run=run)] if queued else []

    # Dagster puts no run into its queue without a code location.
    monkeypatch.setattr(watch.instance, "get_run_records", records)
    deliver(landing, "first.json", **FIRST)
    watch.ahead = HOUR
    assert "new files: 3, to come in" in watch.reason()


def test_run_whose_process_is_gone_is_not_waited_for(watch: Watch, landing: Path) -> None:
    for status in (dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED):
        watch.run("refresh_lakehouse", status)
    deliver(landing, "first.json", **FIRST)
    watch.ahead = HOUR
    assert watch.requests() == dict.fromkeys(FIRST, "1")


def test_burst_waits_for_a_refresh_at_work(taken_in: Watch) -> None:
    landing = Path(taken_in.settings.landing_root)
    deliver(landing, "second.json", customer=[customer("bob@x.io")])
    with open_lakehouse(taken_in.settings).locked(print):
        assert (
            taken_in.reason()
            == "A refresh is queued or at work; new files: 1, to come in with it or after it."
        )
    assert taken_in.requests() == {"customer": "1"}


def test_files_that_are_still_arriving_are_waited_for_but_not_for_long(
    watch: Watch, landing: Path
) -> None:
    watch.ahead = 0
    deliver(landing, "first.json", **FIRST)
    assert "New files: 3, and more may be on their way" in watch.reason()
    watch.ahead = sensor.STILL_ARRIVING
    assert watch.look().run_requests
    watch.ahead = 0
    waited = time.time() - sensor.WAITED_ENOUGH - 1
    os.utime(landing / "customer" / "landing" / "first.json", (waited, waited))
    assert watch.requests() == dict.fromkeys(FIRST, "1")


def test_file_of_the_future_is_not_waited_for(watch: Watch, landing: Path) -> None:
    path = write(landing, "customer", "a.json", json.dumps(customer(ANN)))
    os.utime(path, (time.time() + HOUR,) * 2)
    assert watch.requests() == {"customer": "1"}


def test_files_left_unread_are_requested_again_with_growing_pauses(
    watch: Watch, landing: Path
) -> None:
    deliver(landing, "first.json", **FIRST)
    requested, keys = [], set()
    for minute in (0, 0.9, 1, 2, 5.9, 6, 20.9, 21, 30, 80.9, 81, 140.9, 141):
        watch.ahead = 100 + 60 * minute
        if minute == 30:
            assert "Files left unread by the last refresh: 3" in watch.reason()
        for request in watch.tick().run_requests or []:
            requested.append(minute)
            keys.add(request.run_key)
    assert requested == [0, 1, 6, 21, 81, 141]
    assert len(keys) == len(requested)


def test_new_file_does_not_wait_for_those_left_unread(watch: Watch, landing: Path) -> None:
    deliver(landing, "first.json", **FIRST)
    assert watch.requests() == dict.fromkeys(FIRST, "1")
    assert "left unread by the last refresh: 3" in watch.reason()
    deliver(landing, "second.json", customer=[customer("bob@x.io")])
    assert watch.requests()["customer"] == "2"
    # What was left over of that is no reason to hurry.
    (landing / "customer" / "landing" / "second.json").unlink()
    watch.tick()
    assert "left unread by the last refresh: 3" in watch.reason()


# Held back


@pytest.fixture
def held_back(watch: Watch, landing: Path) -> Path:
    """A file of readings that is held back; another one was taken in with it."""
    deliver(landing, "first.json", step_trainer=FIRST["step_trainer"])
    garbage = write(landing, "step_trainer", "garbage.json", "upload failed\n")
    watch.refresh("step_trainer_landing")
    return garbage


@pytest.mark.usefixtures("held_back")
def test_file_that_is_held_back_is_counted_and_not_requested_but_one_beside_it_is(
    watch: Watch, landing: Path
) -> None:
    assert watch.reason() == (
        "No new landing files; 1 taken in, 1 held back by a check of step_trainer_landing."
    )

    deliver(landing, "second.json", step_trainer=device("d", 2))
    assert watch.requests() == {"step_trainer": "1"}


def test_removing_the_file_at_fault_asks_for_a_refresh_that_forgets_it(
    watch: Watch, held_back: Path
) -> None:
    watch.tick()
    held_back.unlink()
    [request] = watch.tick().run_requests or ()
    assert request.tags["tables"] == "step_trainer_landing"
    watch.refresh("step_trainer_landing")
    assert watch.reason() == "No new landing files; 1 taken in."


def test_mending_the_file_at_fault_lets_it_in(watch: Watch, held_back: Path) -> None:
    watch.tick()
    held_back.write_text(json.dumps(device("d", 2)[0]))
    assert watch.requests() == {"step_trainer": "1"}
    watch.refresh("step_trainer_landing")
    assert watch.reason() == "No new landing files; 2 taken in."


def test_files_of_a_refresh_cut_short_before_its_checks_are_requested(
    watch: Watch, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(landing, "first.json", customer=[customer(ANN)])

    def cut_short(*_: object) -> Iterator[object]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(landing_tables, "conclude", cut_short)
        watch.refresh()
    candidate = Catalog(open_lakehouse(watch.settings).storage).candidate("customer_landing")
    assert candidate
    assert watch.requests() == {"customer": "1"}
    watch.refresh()
    assert watch.reason() == "No new landing files; 1 taken in."


# Faults


def forbid(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let a folder be one that may not be read, for whoever runs the tests."""
    folder.mkdir(parents=True, exist_ok=True)
    scan = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    patch.setattr(os, "scandir", scandir)


def test_unreadable_source_fails_the_tick_in_a_sentence(
    watch: Watch, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = landing / "customer" / "landing" / "2024"
    forbid(closed, monkeypatch)
    with pytest.raises(LakehouseError) as caught:
        watch.tick()
    assert str(caught.value).startswith(f"{closed} may not be read")
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_unreadable_source_stops_no_other_and_is_as_new_as_before_once_it_is_mended(
    taken_in: Watch, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    landing = Path(taken_in.settings.landing_root)
    deliver(landing, "second.json", **FIRST | {"customer": [customer("bob@x.io")]})
    before = json.loads(taken_in.cursor or "")
    with monkeypatch.context() as patch:
        forbid(landing / "customer" / "landing", patch)
        assert taken_in.requests() == {"accelerometer": "1", "step_trainer": "1"}
    assert f"{landing}/customer/landing may not be read" in capfd.readouterr().err
    after = json.loads(taken_in.cursor or "")
    assert before["observed"]["customer"] == after["observed"]["customer"]
    assert "customer" not in after["requested"]
    assert taken_in.requests() == dict.fromkeys(FIRST, "1")


def test_file_that_goes_while_files_are_listed_is_no_fault(watch: Watch, landing: Path) -> None:
    path = write(landing, "customer", "a.json", json.dumps(customer(ANN)))
    path.with_name("gone.json").symlink_to("nowhere")
    assert watch.requests() == {"customer": "1"}


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (LakehouseError("The catalog is elsewhere."), "The catalog is elsewhere."),
        (KeyError(1), "1"),
    ],
)
def test_catalog_at_fault_fails_the_tick_and_a_mistake_in_the_program_is_told_as_it_is(
    taken_in: Watch, monkeypatch: pytest.MonkeyPatch, fault: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr(Catalog, "find", fail)
    with pytest.raises(type(fault)) as caught:
        taken_in.tick()
    assert str(caught.value) == said


def test_refused_listing_of_a_bucket_stops_no_other_source(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = aws.folder()
    deliver(folder / "landing", "first.json", **FIRST)
    with FaultProxy(aws.s3.endpoint) as proxy:
        proxy.when(lambda _, path, __: "customer%2Flanding" in path, access_denied())
        watch = watched(under(folder, s3_endpoint=proxy.endpoint), monkeypatch)
        assert watch.requests() == {"accelerometer": "1", "step_trainer": "1"}
        said = capfd.readouterr().err
        assert f"AWS refused ListObjectsV2 {folder}/landing/customer/landing/" in said
        proxy.clear()
        assert watch.requests() == dict.fromkeys(FIRST, "1")


# All of it


def test_whatever_the_order_of_deliveries_ticks_and_runs_every_file_comes_in_and_no_run_is_idle(
    watch: Watch, landing: Path
) -> None:
    chance = random.Random(2023)
    delivered: dict[str, set[str]] = {source: set() for source in FIRST}
    queued: list[str] = []

    def arrive() -> None:
        for _ in range(chance.randint(1, 3)):
            source = chance.choice(list(FIRST))
            number = sum(map(len, delivered.values()))
            objects = {
                "customer": [customer(f"{number}@x.io")],
                "accelerometer": phone(ANN, number),
                "step_trainer": device("d", number),
            }
            name = f"{chance.random()}.json"
            deliver(landing, name, **{source: objects[source]})
            moment = time.time() - chance.choice([0, 50, HOUR])
            os.utime(landing / source / "landing" / name, (moment, moment))
            delivered[source].add(f"{source}/landing/{name}")

    def look() -> None:
        watch.ahead = chance.choice([0, 4, 10, 100])
        if watch.tick().run_requests:
            queued.append(watch.run("refresh_lakehouse", dg.DagsterRunStatus.NOT_STARTED))

    def execute() -> None:
        if queued:
            assert any(watch.refresh(*LANDING).values())
            watch.instance.delete_run(queued.pop())

    for _ in range(30):
        chance.choice([arrive, look, look, execute])()
    execute()
    watch.ahead = 120  # past every wait for more
    if watch.requests():
        assert any(watch.refresh(*LANDING).values())
    assert watch.requests() == {}
    for source, files in delivered.items():
        rows = read_table(f"{source}_landing", settings=watch.settings).source_file
        assert sorted(rows.to_pyarrow().to_pylist()) == sorted(files)
