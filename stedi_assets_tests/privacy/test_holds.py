"""Who is held is used nowhere until they are released, and all of them is kept."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.holds import folder_of_holds, held_files, read_holds
from stedi_assets.privacy import holds
from stedi_assets.privacy.access import what_is_held
from stedi_assets.privacy.forget import forget
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.retention import vacuum
from stedi_assets.privacy.training_sets import tag_training_set
from stedi_assets.read import read_table
from stedi_assets.refresh.plan import out_of_date
from stedi_assets.report.status import status
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import duration
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    DERIVED,
    blocking,
    catalog_of,
    change_table,
    customer,
    deliver,
    device,
    on_this_machine,
    phone,
    refresh,
    subject_id,
    under,
)

if TYPE_CHECKING:
    from stedi_assets.settings import Settings

ANNS, BOBS = "annsdevice", "bobsdevice"
USED = {
    "customer_trusted": "email",
    "accelerometer_trusted": "user",
    "customers_curated": "email",
    "step_trainer_trusted": "serialnumber",
    "machine_learning_curated": "subject_id",
}
NAMES = {ANN, ANNS, subject_id(ANN)}


pytestmark = pytest.mark.usefixtures("derive_small_data")


def make(folder: Path) -> Settings:
    deliver(
        folder / "landing",
        "first.json",
        customer=[customer(ANN, ANNS), customer(BOB, BOBS), customer(CY, "third")],
        accelerometer=[*phone(ANN, *range(6)), *phone(BOB, *range(20, 26))],
        step_trainer=[*device(ANNS, *range(6)), *device(BOBS, *range(20, 26))],
    )
    settings = under(folder)
    assert refresh(settings).success
    return settings


@pytest.fixture
def settings(folder: Path) -> Settings:
    """A lakehouse of three people who consent."""
    return make(folder)


def hold(settings: Settings, email: str = ANN) -> bool:
    return holds.hold(email, open_lakehouse(settings), settings, print)


def release(settings: Settings, email: str = ANN) -> bool:
    return holds.release(email, open_lakehouse(settings), settings, print)


def anns(settings: Settings) -> dict[str, int]:
    """Rows of Ann's in each table whose data is used."""
    return {
        table: sum(
            value in NAMES for value in read_table(table, settings=settings)[column].to_list()
        )
        for table, column in USED.items()
    }


def rows(settings: Settings) -> dict[str, Counter[str]]:
    return {
        table.name: Counter(
            map(repr, read_table(table.name, settings=settings).to_pyarrow().to_pylist())
        )
        for table in DERIVED
    }


def methods(settings: Settings) -> set[str]:
    published = (catalog_of(settings).published(name) for name in USED)
    return {each.properties["made"].partition(":")[0] for each in published if each}


def test_hold_takes_a_person_out_of_all_that_is_used_and_release_brings_them_back(
    settings: Settings,
) -> None:
    before, full = rows(settings), anns(settings)
    assert all(full.values())
    assert hold(settings, " ANN@X.io")
    result = refresh(settings)
    assert (result.success, blocking(result)) == (True, [])
    assert anns(settings) == dict.fromkeys(USED, 0)
    assert methods(settings) == {"from what changed"}
    held = rows(settings)
    assert {name for name in before if held[name] != before[name]} == set(USED)
    assert all(held[name] <= before[name] for name in USED)
    assert len(read_table("accelerometer_landing", settings=settings).to_pyarrow()) == 12
    assert release(settings, "ann@x.io ")
    result = refresh(settings)
    assert (result.success, blocking(result)) == (True, [])
    assert rows(settings) == before
    assert methods(settings) == {"from what changed"}


@on_this_machine
def test_tables_are_as_a_computation_of_all_makes_them(settings: Settings, folder: Path) -> None:
    hold(settings)
    assert refresh(settings).success
    anew = under(folder, lakehouse=f"{folder}/anew")
    shutil.copytree(folder_of_holds(settings.lakehouse), folder_of_holds(anew.lakehouse))
    assert refresh(anew).success
    assert rows(anew) == rows(settings)


@on_this_machine
def test_whatever_a_held_person_says_does_not_release_them(
    settings: Settings, folder: Path
) -> None:
    hold(settings)
    again = customer(ANN, ANNS, lastupdatedate=50, sharewithresearchasofdate=40)
    deliver(folder / "landing", "later.json", customer=[again], accelerometer=phone(ANN, 6))
    assert refresh(settings).success
    assert not any(anns(settings).values())


@on_this_machine
def test_somebody_of_whom_nothing_has_landed_yet_can_be_held(
    settings: Settings, folder: Path
) -> None:
    assert hold(settings, "dee@x.io")
    deliver(folder / "landing", "dee.json", customer=[customer("Dee@x.io")])
    assert refresh(settings).success
    emails = read_table("customer_trusted", settings=settings).email.to_list()
    assert sorted(emails) == [ANN, BOB, CY]
    assert release(settings, "dee@x.io")
    assert refresh(settings).success
    assert "dee@x.io" in read_table("customer_trusted", settings=settings).email.to_list()


@on_this_machine
def test_hold_and_release_say_whether_anything_changed(settings: Settings) -> None:
    assert [hold(settings), hold(settings), hold(settings, BOB)] == [True, False, True]
    assert [release(settings, CY), release(settings), release(settings)] == [False, True, False]
    assert [each.person for each in read_holds(open_lakehouse(settings).storage)] == [BOB]
    assert hold(settings)


@on_this_machine
def test_tables_are_out_of_date_at_once_so_that_the_sensor_requests_a_refresh(
    settings: Settings,
) -> None:
    def behind() -> set[str]:
        return set(out_of_date(open_lakehouse(settings), policy_of(settings)).behind)

    assert behind() == set()
    hold(settings)
    assert behind() == {"customer_trusted"}
    release(settings)
    assert behind() == {"customer_trusted"}  # quarantine has another state, with the same rows


@on_this_machine
def test_status_counts_who_is_held_and_access_says_so(settings: Settings) -> None:
    assert status(settings)["held"] == 0
    hold(settings)
    assert status(settings)["held"] == 1
    held = what_is_held(ANN, settings)
    assert (held["held"], held["quarantine"]) == (True, [])
    assert (held["is_used"], held["will_be_used"]) == (True, False)  # no refresh was since
    assert held["why"] == (
        "held: their data is kept and used nowhere from the next refresh on; "
        "what is published has it still"
    )
    assert not what_is_held(BOB, settings)["held"]
    release(settings)
    held = what_is_held(ANN, settings)
    assert (held["is_used"], held["will_be_used"]) == (True, True)


@on_this_machine
def test_account_says_how_many_customers_are_held(settings: Settings) -> None:
    hold(settings)
    assert refresh(settings).success
    account = catalog_of(settings).state("customer_trusted").account
    assert account["held: their data is kept and used nowhere"] == 1
    assert account["kept"] == 2


@on_this_machine
def test_hold_that_was_cut_short_counts_at_the_next_refresh(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(holds, "_fill_quarantine", die)
        hold(settings)
    assert refresh(settings).success
    assert not any(anns(settings).values())
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(holds, "_fill_quarantine", die)
        release(settings)
    assert refresh(settings).success
    assert all(anns(settings).values())


@on_this_machine
def test_rule_that_fails_does_not_keep_who_is_held(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> None:
        raise MemoryError

    hold(settings)
    rule = DERIVED[0].rule
    assert rule and DERIVED[0].name == "customer_trusted"

    def broken(customer_landing: Any, quarantine: Any) -> Any:
        return rule(customer_landing, quarantine).mutate(email=None)

    change_table(monkeypatch, "customer_trusted", rule=broken)
    assert not refresh(settings).success
    assert not any(anns(settings).values())


@on_this_machine
def test_hold_outlives_tables_that_are_made_anew(settings: Settings, folder: Path) -> None:
    hold(settings)
    open_lakehouse(settings).storage.drop_catalog()
    again = under(folder)
    assert refresh(again).success
    assert not any(anns(again).values())


@on_this_machine
def test_address_that_is_no_text_is_refused_and_leaves_no_file(settings: Settings) -> None:
    with pytest.raises(ValueError, match="no text"):
        hold(settings, "ann\udcff@x.io")
    storage = open_lakehouse(settings).storage
    assert list(storage.files(folder_of_holds(storage.root))) == []


def test_before_there_are_tables_nobody_can_be_held(folder: Path) -> None:
    settings = under(folder, landing=None)
    with pytest.raises(LakehouseError, match="refresh the lakehouse first"):
        hold(settings)


@on_this_machine
def test_training_set_of_who_is_held_goes_as_if_they_had_withdrawn(settings: Settings) -> None:
    training_set = catalog_of(settings).published("machine_learning_curated")
    assert training_set
    tag = tag_training_set(catalog_of(settings), training_set)
    hold(settings)
    assert refresh(settings).success
    now = settings.model_copy(update={"retention": duration("0m")})
    removed = vacuum(open_lakehouse(settings), settings, duration("0m"))
    assert removed.tags == {}
    removed = vacuum(open_lakehouse(now), now, duration("0m"))
    assert removed.tags == {"machine_learning_curated": [tag]}


@on_this_machine
def test_released_hold_is_deleted_when_no_state_has_it(settings: Settings) -> None:
    hold(settings)
    hold(settings, BOB)
    release(settings)
    assert refresh(settings).success
    lakehouse = open_lakehouse(settings)
    folder = Path(folder_of_holds(settings.lakehouse))
    vacuum(lakehouse, settings, duration("0m"))
    assert len(list(folder.iterdir())) == 3  # states of the last days still have it
    now = settings.model_copy(update={"retention": duration("0m")})
    vacuum(lakehouse, now, duration("0m"))
    [file] = folder.iterdir()
    assert held_files(lakehouse.storage) == {str(file)}
    assert refresh(settings).success
    assert all(anns(settings).values())


@on_this_machine
def test_who_is_forgotten_is_held_no_longer(settings: Settings) -> None:
    hold(settings)
    hold(settings, BOB)
    assert refresh(settings).success
    lakehouse = open_lakehouse(settings)
    with lakehouse.locked(print):
        certificate = forget([ANN], lakehouse, settings)
    assert not certificate.looked_at.found
    assert [each.person for each in read_holds(lakehouse.storage)] == [BOB]
    assert len(list(Path(folder_of_holds(settings.lakehouse)).glob("*.parquet"))) == 1
    assert status(settings)["held"] == 1


@on_this_machine
def test_hold_that_is_damaged_lets_nobody_through(settings: Settings) -> None:
    hold(settings)
    assert refresh(settings).success
    [file] = Path(folder_of_holds(settings.lakehouse)).iterdir()
    file.write_bytes(b"damaged")
    refresh(settings)
    assert not any(anns(settings).values())
    with pytest.raises(LakehouseError, match="is damaged"):
        release(settings)
