"""New landing files are requested once."""

import json
import os
import shutil
import time
from pathlib import Path

import dagster as dg
import ibis
import pytest

from stedi_assets.read import read_table
from stedi_assets.tables import TABLES
from stedi_assets_tests.defs.sensors.landing.support import FIRST, HOUR, LANDING, Watch, watched
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


def test_refresh_that_ended_after_the_landing_tables_is_asked_for_again(
    watch: Watch, landing: Path
) -> None:
    watch.tables = TABLES
    deliver(landing, "first.json", **FIRST)
    assert watch.requests()
    watch.refresh(*LANDING, "quarantine")
    [again] = watch.tick().run_requests or ()
    assert again.tags["tables"] == "customer_trusted, device_matches"
    assert "did not reach: customer_trusted" in watch.reason()
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
    assert "Tables that the last refresh did not reach: customer_trusted" in watch.reason()


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
