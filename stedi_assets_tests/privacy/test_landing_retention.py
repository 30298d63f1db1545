"""Landing data go when they are older than their retention, and the tables after them follow."""

from __future__ import annotations

import io
import json
import time
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console

from stedi_assets.cli.refresh import refresh as refresh_by_command
from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.catalog import PublishConflictError
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.ledger import LEDGER, Entry, read_ledger
from stedi_assets.lakehouse.removal import Expired, Removal, Taken
from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.privacy.holds import hold
from stedi_assets.privacy.retention import vacuum
from stedi_assets.read import read_table
from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.commands import isolate, stedi
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    DERIVED,
    at,
    catalog_of,
    counts,
    customer,
    deliver,
    device,
    phone,
    refresh,
    under,
    write,
)

if TYPE_CHECKING:
    from stedi_assets.lakehouse.vacuum import Vacuumed
    from stedi_assets.settings import Settings
    from stedi_assets_tests.conftest import Lakehouses

DI = "di@x.io"
NOW = timedelta(0)
LONG_AGO = at(0) + 30 * 86_400_000
"""When the first files land; the others do now."""

GONE = {
    "step_trainer": Expired(rows=39, unreadable=1, files=2),
    "accelerometer": Expired(rows=31),
    "customer": Expired(rows=2, unreadable=1, files=1),
}


def make(folder: Path) -> None:
    """Ann and Bob consent, Cy does not; what all of them deliver twice is old at first."""
    landing = folder / "landing"
    deliver(
        landing,
        "old.json",
        customer=[
            customer(ANN, "d", lastupdatedate=1),
            customer(ANN, "d", lastupdatedate=2),
            customer(BOB, "e", lastupdatedate=1),
            customer(CY, "f", lastupdatedate=1, sharewithresearchasofdate=None),
        ],
        accelerometer=[
            *phone(ANN, *range(10)),
            *phone(BOB, *range(20, 30)),
            *phone(CY, *range(40, 50), 60, 70),  # at 60 he is on Ann's device
        ],
        step_trainer=[
            *device("d", *range(10)),
            *device("e", *range(20, 30)),
            *device("f", *range(40, 50)),
        ],
    )
    deliver(landing, "again.json", step_trainer=[{"serialnumber": "d"}, *device("z", *range(9))])
    write(landing, "customer", "bob.json", json.dumps({"email": BOB, "lastupdatedate": "soon"}))
    write(landing, "customer", "di.json", json.dumps({"email": DI, "lastupdatedate": "soon"}))
    settings = settings_of(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time_ns", lambda: LONG_AGO * 1_000_000)
        refresh(settings)
    deliver(
        landing,
        "new.json",
        customer=[customer(BOB, "e", lastupdatedate=3)],
        accelerometer=[*phone(ANN, *range(100, 110)), *phone(BOB, *range(120, 130))],
        step_trainer=[*device("d", *range(100, 110), 60), *device("e", *range(120, 130))],
    )
    refresh(settings)


def settings_of(folder: Path, **values: Any) -> Settings:
    return under(folder, max_quarantine_share=0.5, **values)


@pytest.fixture
def folder(lakehouses: Lakehouses) -> Path:
    return lakehouses.as_made(make)


@pytest.fixture
def settings(folder: Path) -> Settings:
    return settings_of(folder, landing_retention="365d")


def clean(settings: Settings, **how: Any) -> Vacuumed:
    lakehouse = open_lakehouse(settings)
    with lakehouse.locked(print):
        return vacuum(lakehouse, settings, NOW, **how)


def files(folder: Path) -> set[str]:
    found = (folder / "landing").rglob("*.json")
    return {f"{path.parts[-3]}/{path.name}" for path in found}


def rows(settings: Settings) -> dict[str, Counter[str]]:
    return {
        name: Counter(map(repr, read_table(name, settings=settings).to_pyarrow().to_pylist()))
        for name in counts(settings)
    }


def entries(settings: Settings, table: str) -> dict[str, Entry]:
    published = catalog_of(settings).published(table)
    assert published
    ledger = read_ledger(published.properties[LEDGER], catalog_of(settings).io)
    return {entry.path.rpartition("/")[2]: entry for entry in ledger}


@pytest.mark.usefixtures("derive_small_data")
def test_what_is_old_goes_and_all_tables_follow(settings: Settings, folder: Path) -> None:
    before = rows(settings)
    vacuumed = clean(settings)
    assert vacuumed.expired == GONE
    after = rows(settings)
    for table in DERIVED:
        is_landing = table.name.startswith("device_")
        assert is_landing or after[table.name] <= before[table.name], table.name
    phones = read_table("accelerometer_landing", settings=settings).to_pandas()
    assert sorted(phones.timestamp - at(0)) == [60, *range(100, 110), *range(120, 130)]
    training = read_table("machine_learning_curated", settings=settings).to_pandas()
    assert len(training) == 20
    made = {
        each.name: published.properties["made"].partition(":")[0]
        for each in DERIVED
        if (published := catalog_of(settings).published(each.name))
    }
    assert made["step_trainer_trusted"] == "from what changed"
    # Nothing is left to do, lands a second time, or is another one in a full computation.
    output = io.StringIO()
    assert refresh_by_command(settings, Console(file=output), full=True)
    assert rows(settings) == after
    assert clean(settings).expired == dict.fromkeys(GONE, Expired())


def test_files_of_which_nothing_is_left_are_deleted_and_known(
    settings: Settings, folder: Path
) -> None:
    old = (folder / "landing/step_trainer/landing/old.json").read_bytes()
    before = files(folder)
    clean(settings)
    assert before - files(folder) == {
        "step_trainer/old.json",
        "step_trainer/again.json",
        "customer/bob.json",
    }
    entry = entries(settings, "step_trainer_landing")["old.json"]
    assert (entry.objects, entry.rows, entry.expired) == (30, 0, 30)
    for name in ("old.json", "renamed.json"):
        (folder / "landing/step_trainer/landing" / name).write_bytes(old)
    kept = counts(settings)
    assert refresh(settings).success
    assert counts(settings) == kept


def test_dry_run_says_what_would_go_and_changes_nothing(settings: Settings, folder: Path) -> None:
    def stored() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*.[jp]*") if path.is_file()}

    before = stored()
    vacuumed = clean(settings, dry_run=True)
    assert vacuumed.expired == GONE
    assert "; of customer 2 rows, 1 unreadable objects and 1 landing files" in str(vacuumed)
    assert stored() == before


def test_job_says_what_went(settings: Settings) -> None:
    job = lakehouse_definitions(settings).resolve_job_def("vacuum_lakehouse")
    result = job.execute_in_process()
    events = result.events_for_node("vacuum")
    [output] = [event.step_output_data for event in events if event.is_successful_output]
    assert {name: value.value for name, value in output.metadata.items()} == {
        f"landing data of {source}": str(went) for source, went in GONE.items()
    }


def test_the_same_vacuum_does_what_is_left_after_a_kill(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out = Removal.take_out

    def killed(self: Removal, name: str, *how: Any, **options: Any) -> Taken | None:
        if name == "accelerometer_landing":
            raise KeyboardInterrupt
        return take_out(self, name, *how, **options)

    before = counts(settings)
    with monkeypatch.context() as patch:
        patch.setattr(Removal, "take_out", killed)
        with pytest.raises(KeyboardInterrupt):
            clean(settings)
    left = counts(settings)
    assert left["step_trainer_landing"] == 21  # evidence goes after what it is evidence for
    assert left["accelerometer_landing"] == before["accelerometer_landing"]
    again = clean(settings).expired
    assert again == GONE | {"step_trainer": Expired()}
    assert counts(settings)["machine_learning_curated"] == 20


def test_nothing_goes_while_it_cannot_be_told_whose_a_device_is(settings: Settings) -> None:
    published = catalog_of(settings).published("customer_landing")
    assert published
    before = counts(settings)
    Path(published.files[0]).unlink()
    with pytest.raises(LakehouseError, match=r"customer_landing.* is missing"):
        clean(settings)
    after = counts(settings)
    for name in ("step_trainer_landing", "accelerometer_landing", "customer_landing"):
        assert after[name] == before[name]


def test_mistake_in_it_keeps_no_older_state(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise RuntimeError("a mistake")

    monkeypatch.setattr(Removal, "take_out", fails)
    with pytest.raises(RuntimeError, match="a mistake"):
        clean(settings.model_copy(update={"retention": NOW}))
    assert len(catalog_of(settings).state("machine_learning_curated").changes) == 1


def test_what_is_of_somebody_held_stays(settings: Settings, folder: Path) -> None:
    assert hold(BOB, open_lakehouse(settings), settings, print)
    before = entries(settings, "customer_landing")["bob.json"]
    assert clean(settings).expired["customer"].unreadable == 0
    assert "customer/bob.json" in files(folder)
    assert entries(settings, "customer_landing")["bob.json"] == before


def test_rebuild_makes_no_table_of_what_went(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "accelerometer_trusted"
    clean(settings.model_copy(update={"retention": NOW}))
    kept = counts(settings)
    isolate(monkeypatch, folder)
    monkeypatch.setenv("STEDI_LANDING", settings.landing_root)
    monkeypatch.setenv("STEDI_LANDING_RETENTION", "365d")
    monkeypatch.setenv("STEDI_MAX_QUARANTINE_SHARE", "0.5")
    # Its file is there, as a reading of it is evidence.
    assert entries(settings, "accelerometer_landing")["old.json"].expired == 31
    assert stedi(monkeypatch, "rebuild", "--yes").code == 0
    assert counts(settings) == kept
    assert {each.rows for each in catalog_of(settings).state(name).all_snapshots} == {kept[name]}


def test_table_that_others_write_to_is_left_for_the_next_night(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_out = Removal.take_out

    def beaten(self: Removal, name: str, *how: Any, **options: Any) -> Taken | None:
        if name == "step_trainer_landing":
            raise PublishConflictError(name)
        return take_out(self, name, *how, **options)

    before = counts(settings)
    with monkeypatch.context() as patch:
        patch.setattr(Removal, "take_out", beaten)
        with pytest.raises(LakehouseError, match=r"step_trainer_landing.*of customer 2 rows"):
            clean(settings.model_copy(update={"retention": NOW}))
    after = counts(settings)
    assert after["accelerometer_landing"] == before["accelerometer_landing"]
    assert after["customer_landing"] == before["customer_landing"] - 2
    assert len(catalog_of(settings).state("machine_learning_curated").changes) == 1


def test_file_that_is_another_one_now_or_may_not_be_deleted_stays(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = folder / "landing/step_trainer/landing/again.json"
    changed.write_text(changed.read_text() + "\n")
    erase = LocalStorage.erase

    def refused(self: LocalStorage, location: str) -> None:
        if "/customer/landing/" in location:
            raise PermissionError(13, "Permission denied", location)
        erase(self, location)

    monkeypatch.setattr(LocalStorage, "erase", refused)
    before = files(folder)
    expired = clean(settings).expired
    assert before - files(folder) == {"step_trainer/old.json"}
    assert str(expired["customer"]).endswith("0 landing files (1 more may not be deleted)")
    monkeypatch.undo()
    assert clean(settings).expired["customer"] == Expired(files=1)


def test_of_a_table_of_which_all_is_old_nothing_is_left(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_two_years = time.time_ns() + 730 * 86_400_000_000_000
    monkeypatch.setattr(time, "time_ns", lambda: in_two_years)
    clean(settings)
    left = counts(settings)
    assert (left["step_trainer_landing"], left["accelerometer_landing"]) == (0, 0)
    assert (left["customer_landing"], left["quarantine"]) == (3, 1)  # who decides, and suspends
    assert left["customer_trusted"] == 2
    assert files(folder) == {"customer/old.json", "customer/new.json", "customer/di.json"}
    assert set(clean(settings).expired.values()) == {Expired()}
