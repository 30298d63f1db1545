"""A source or a catalog that cannot be read."""

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.read import read_table
from stedi_assets_tests.conftest import Aws
from stedi_assets_tests.defs.sensors.landing.support import FIRST, HOUR, LANDING, Watch, watched
from stedi_assets_tests.fault_proxy import FaultProxy, access_denied
from stedi_assets_tests.support import (
    ANN,
    customer,
    deliver,
    device,
    phone,
    under,
    write,
)


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
