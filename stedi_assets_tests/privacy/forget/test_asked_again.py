"""Forgotten people stay out when they are delivered again, and can be asked for again."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.privacy.forget_work import Work
from stedi_assets.read import read_table
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.privacy.forget.support import (
    ANN,
    BOB,
    DI,
    ED,
    LANDING,
    KilledError,
    assert_forgotten,
    deliver_people,
    forget_people,
    of_others,
    places,
    record,
    rows_of,
    serial,
    theirs,
)
from stedi_assets_tests.support import (
    blocking,
    counts,
    customer,
    deliver,
    device,
    phone,
    refresh,
    subject_id,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable

DAY = 86_400_000
NOTHING = {"customer": 0, "accelerometer": 0, "step_trainer": 0}


def test_what_is_delivered_again_is_taken_into_no_table(settings: Settings, folder: Path) -> None:
    before = rows_of(settings)
    forget_people(settings, ANN)
    deliver_people(folder / LANDING, ANN, name="again.json", phone="new")
    deliver(folder / LANDING, "more.json", customer=[record(ANN) | {"email": ANN.upper()}])
    broken = json.dumps({**record(ANN), "lastupdatedate": "soon"})
    write(folder / LANDING, "customer", "broken-again.json", broken)
    assert blocking(refresh(settings)) == []
    assert theirs(settings, ANN) == NOTHING
    assert_forgotten(settings, folder, before, ANN)
    again = entry_of(settings, "accelerometer/landing/again.json")
    assert (again.objects, again.rows, again.forgotten) == (10, 0, 10)


def entry_of(settings: Settings, path: str) -> Any:
    from stedi_assets.refresh.plan import ledgers_of  # noqa: PLC0415

    lakehouse = open_lakehouse(settings)
    ledgers = ledgers_of(lakehouse.catalog, lakehouse.storage, settings)
    table = f"{path.partition('/')[0]}_landing"
    return next(entry for entry in ledgers.entries(table) if entry.path == path)


def test_a_rebuild_leaves_them_out(settings: Settings, folder: Path) -> None:
    before = rows_of(settings)
    forget_people(settings, BOB)
    from stedi_assets.defs.landing import REBUILD  # noqa: PLC0415
    from stedi_assets.defs.project import lakehouse_definitions  # noqa: PLC0415

    job = lakehouse_definitions(settings).resolve_job_def("refresh_lakehouse")
    tags = {REBUILD: "customer,accelerometer,step_trainer"}
    job.execute_in_process(raise_on_error=False, tags=tags)
    assert theirs(settings, BOB) == NOTHING
    after, expected = rows_of(settings), of_others(before, BOB)
    assert after["machine_learning_curated"] == expected["machine_learning_curated"]
    assert after["quarantine"] == expected["quarantine"]


def test_who_registers_again_counts_again(settings: Settings, folder: Path) -> None:
    """From then on: what is older stays out, and what cannot be read suspends them."""
    forget_people(settings, BOB)
    now = max(entry.landed_at for entry in [entry_of(settings, "customer/landing/first.json")])
    since = now + DAY // 2
    old, new = [1, 2, 3], [since + 1, since + 2]
    deliver(
        folder / LANDING,
        "new.json",
        customer=[record(BOB, 1), record(BOB, since, sharewithresearchasofdate=since)],
        accelerometer=[*phone(BOB, *old), *phone(BOB, *new)],
    )
    refresh(settings)
    assert theirs(settings, BOB) == {"customer": 1, "accelerometer": 2, "step_trainer": 0}
    assert counts(settings)["customer_trusted"] == 2
    withdrawal = record(BOB, since, lastupdatedate=since + 5, sharewithresearchasofdate=None)
    del withdrawal["registrationdate"]
    deliver(folder / LANDING, "withdrawal.json", customer=[withdrawal])
    refresh(settings)
    assert theirs(settings, BOB)["customer"] == 2
    assert BOB not in set(read_table("customer_trusted", settings=settings).to_pandas().email)


def still_found(folder: Path, email: str) -> Path:
    """A file that nobody takes apart, so that a certificate is not complete."""
    note = folder / "lakehouse/note.txt"
    note.write_text(f"write to {email}")
    return note


@pytest.fixture
def days_ago(monkeypatch: pytest.MonkeyPatch) -> "Callable[[int], None]":
    """Lets forget take another time for the present one."""
    now = time.time_ns() // 1_000_000

    def go(days: int) -> None:
        monkeypatch.setattr(Work, "now", staticmethod(lambda: now - days * DAY))

    return go


def test_asked_again_readings_of_the_next_owner_of_a_device_stay(
    settings: Settings, folder: Path, days_ago: "Callable[[int], None]"
) -> None:
    note = still_found(folder, ANN)
    days_ago(3)
    assert not forget_people(settings, ANN).is_complete
    new = "next@people.io"
    now = time.time_ns() // 1_000_000
    times = [now - 1000 * number for number in range(12)]
    deliver(
        folder / LANDING,
        "next.json",
        customer=[customer(new, serial(ANN), registrationdate=times[-1])],
        accelerometer=phone(new, *times),
        step_trainer=device(serial(ANN), *times, *range(5)),
    )
    refresh(settings)
    assert theirs(settings, ANN) == {"customer": 0, "accelerometer": 0, "step_trainer": 12}
    before = rows_of(settings)
    days_ago(0)
    assert not forget_people(settings, ANN).is_complete
    note.unlink()
    assert forget_people(settings, ANN).is_complete
    assert rows_of(settings) == before
    deliver(folder / LANDING, "later.json", step_trainer=device(serial(ANN), *times, now - 500))
    refresh(settings)
    assert theirs(settings, ANN)["step_trainer"] == 12 + 13
    assert places(folder, [ANN, subject_id(ANN)], LANDING) == []


def test_who_registers_again_before_the_command_is_repeated_counts_again(
    settings: Settings, folder: Path, days_ago: "Callable[[int], None]"
) -> None:
    note = still_found(folder, ANN)
    days_ago(3)
    assert not forget_people(settings, ANN).is_complete
    note.unlink()
    days_ago(0)
    assert forget_people(settings, ANN).is_complete
    since = time.time_ns() // 1_000_000 - 2 * DAY
    deliver(folder / LANDING, "new.json", customer=[record(ANN, since)])
    refresh(settings)
    assert theirs(settings, ANN)["customer"] == 1
    # Asked for once more, that goes, too.
    assert forget_people(settings, ANN).is_complete
    assert theirs(settings, ANN) == NOTHING


def test_asked_again_for_one_of_several_the_others_stay_as_they_are(
    settings: Settings, folder: Path, days_ago: "Callable[[int], None]"
) -> None:
    still_found(folder, ANN)
    days_ago(3)
    assert not forget_people(settings, ANN, BOB, landing_files=True).is_complete
    days_ago(0)
    since = time.time_ns() // 1_000_000 - DAY
    deliver(folder / LANDING, "new.json", customer=[record(BOB, since)])
    refresh(settings)
    certificate = forget_people(settings, ANN, landing_files=True)
    assert certificate.people == 1
    assert theirs(settings, BOB)["customer"] == 1


def test_what_names_them_is_kept_as_long_as_a_file_could_not_be_searched(
    settings: Settings, folder: Path
) -> None:
    kept = folder / "lakehouse/warehouse/landing/forgotten/being-forgotten.json"
    broken = folder / "lakehouse/broken.parquet"
    broken.write_bytes(b"PAR1 and no more")
    assert not forget_people(settings, ANN).is_complete
    assert kept.exists()
    broken.unlink()
    assert forget_people(settings, ANN).is_complete
    assert not kept.exists()


def test_asked_again_what_others_have_too_is_counted_once(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = {"customername": "Common Name", "phone": "110"}
    same = [record(DI, 9, **name), record(ED, 9, **name)]
    deliver(folder / LANDING, "same.json", customer=same)
    refresh(settings)

    def killed(*_: Any) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "publish", killed)
        with pytest.raises(KilledError):
            forget_people(settings, DI)
    assert forget_people(settings, DI).not_searched_for == 2
