"""People who were forgotten are in no byte of the lakehouse, and others are as they were."""

import hashlib
import json
import time
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.storage.durable import LocalFile
from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.lakehouse.vacuum import vacuum
from stedi_assets.privacy import naming
from stedi_assets.privacy.forget import held
from stedi_assets.privacy.forget_work import Work
from stedi_assets.privacy.naming import Naming, held_in
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET, tag_training_set
from stedi_assets.privacy.withdrawal_ledger import Withdrawal, id_of, withdrawals
from stedi_assets.read import read_table
from stedi_assets.refresh.forgotten_rows import Rule
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.privacy.forget.support import (
    ANN,
    BOB,
    CY,
    DI,
    ED,
    PEOPLE,
    SHARED_DEVICE,
    Rows,
    deliver_people,
    forget_people,
    names_of,
    of_others,
    places,
    record,
    rows_of,
    serial,
    times_of,
    words_of,
)
from stedi_assets_tests.support import (
    at,
    blocking,
    catalog_of,
    counts,
    customer,
    deliver,
    device,
    phone,
    refresh,
    subject_id,
    under,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Callable

LANDING = "landing"
DAY = 86_400_000


def make(folder: Path) -> None:
    """A lakehouse with several states: a tag, two refreshes, quarantine that names several."""
    deliver_people(folder / LANDING, *PEOPLE)
    settings = under(folder)
    assert refresh(settings).success
    published = catalog_of(settings).published(TRAINING_SET)
    assert published
    tag_training_set(catalog_of(settings), published)
    deliver_people(folder / LANDING, ANN, BOB, name="second.json", lastupdatedate=5)
    broken = json.dumps({**record(CY), "lastupdatedate": "soon"})
    both = f'{{"email": "{ANN}", "email": "{ED}", "phone": "{words_of(ANN)["phone"]}"'
    write(folder / LANDING, "customer", "broken.json", f"{broken}\n{both}")
    lost = f'{{"serialnumber": "{serial(ANN)}", "distancefromobject": 1.0}}\n'
    fine = [*device(serial(BOB), *range(150, 180))]
    text = lost + "".join(json.dumps(one) + "\n" for one in fine)
    write(folder / LANDING, "step_trainer", "broken.json", text)
    assert set(blocking(refresh(settings))) == {"readable", "all_files"}


@pytest.fixture
def folder(lakehouses: Lakehouses) -> Path:
    return lakehouses.as_made(make)


@pytest.fixture
def settings(folder: Path) -> Settings:
    return under(folder)


def assert_forgotten(settings: Settings, folder: Path, before: Rows, *emails: str) -> None:
    """Nothing of these people is anywhere, and all else is as before."""
    assert places(folder, names_of(*emails), LANDING) == []
    after, expected = rows_of(settings), of_others(before, *emails)
    # What names others, too, stays without its text: it suspends these.
    assert after["quarantine"] >= expected["quarantine"]
    for row in after.pop("quarantine") - expected.pop("quarantine"):
        assert (json.loads(row)["raw"], json.loads(row)["person"]) == ("", ED)
    assert after == expected


def test_who_was_forgotten_is_in_no_byte_and_others_are_as_they_were(
    settings: Settings, folder: Path
) -> None:
    before = rows_of(settings)
    assert places(folder, names_of(ANN, CY), LANDING)
    certificate = forget_people(settings, ANN.upper(), f" {CY}\u200b")
    assert certificate.is_complete
    assert_forgotten(settings, folder, before, ANN, CY)
    assert certificate.rows["customer_landing"] == 3
    assert certificate.landing_files_left == 8
    result = refresh(settings)
    assert blocking(result) == []
    assert_forgotten(settings, folder, before, ANN, CY)


def test_a_full_computation_gives_the_same_tables(settings: Settings, folder: Path) -> None:
    forget_people(settings, ANN, CY)
    after = rows_of(settings)
    recomputed = refresh_in_full(settings)
    assert rows_of(settings) == after
    assert recomputed


def refresh_in_full(settings: Settings) -> bool:
    from stedi_assets.defs.project import lakehouse_definitions  # noqa: PLC0415

    job = lakehouse_definitions(settings).resolve_job_def("recompute_lakehouse")
    result = job.execute_in_process(raise_on_error=False)
    found = {
        e.asset_key.path[-1]: e.passed
        for e in result.get_asset_check_evaluations()
        if e.check_name == "recomputed"
    }
    assert len(found) == 7
    return all(found.values())


def test_somebody_whom_something_unreadable_names_too_stays_suspended(settings: Settings) -> None:
    def trusted() -> set[str]:
        return set(read_table("customer_trusted", settings=settings).to_pandas().email)

    assert trusted() == {BOB, DI}  # Ann, Cy and Ed are suspended
    forget_people(settings, ANN)
    assert refresh(settings).success
    assert trusted() == {BOB, DI}


def test_tagged_training_set_is_made_anew_under_its_tag(settings: Settings) -> None:
    [tag] = [each.name for each in catalog_of(settings).state(TRAINING_SET).tags]

    def tagged() -> Counter[tuple[Any, ...]]:
        rows = read_table(TRAINING_SET, snapshot=tag, settings=settings)
        return Counter(map(tuple, rows.to_pandas().to_numpy()))

    before = tagged()
    [made_at] = [each.made_at for each in catalog_of(settings).state(TRAINING_SET).tags]
    certificate = forget_people(settings, BOB)
    assert certificate.training_sets == [tag]
    assert tagged() == Counter({r: n for r, n in before.items() if r[0] != subject_id(BOB)})
    assert sum(before.values()) - sum(tagged().values()) == 10
    [again] = catalog_of(settings).state(TRAINING_SET).tags
    assert (again.name, again.made_at, again.rows) == (tag, made_at, sum(tagged().values()))


def test_set_under_another_key_is_named_as_nobody_can_tell_whom_it_holds(
    settings: Settings, folder: Path
) -> None:
    other = under(folder, pseudonym_key="another key, of 32 characters or more")
    certificate = forget_people(other, BOB)
    [tag] = [each.name for each in catalog_of(settings).state(TRAINING_SET).tags]
    assert certificate.unknown_training_sets == [tag]
    assert not certificate.is_complete
    assert forget_people(settings, BOB).is_complete
    assert places(folder, names_of(BOB), LANDING) == []


def test_a_set_made_anew_keeps_its_place_in_the_retention(settings: Settings, folder: Path) -> None:
    """Bob, who withdrew, is in the set, too: with its tag it can go as if nobody was forgotten."""
    withdrawal = record(BOB, lastupdatedate=20, sharewithresearchasofdate=None)
    deliver(folder / LANDING, "withdrawal.json", customer=[withdrawal])
    refresh(settings)
    state = catalog_of(settings).state(TRAINING_SET)
    [tag] = state.tags
    numbers = [snapshot.id for _, snapshot in state.changes]
    replaced, _ = state.changes[numbers.index(tag.snapshot_id) + 1]
    forget_people(settings, DI)
    forget_people(settings, ED)
    [again] = catalog_of(settings).state(TRAINING_SET).tags
    assert again.snapshot_id != tag.snapshot_id
    catalog_of(settings).untag(TRAINING_SET, [tag.name])
    retention = datetime.now(UTC) - replaced
    lakehouse = open_lakehouse(settings).storage
    for more, expired in ((timedelta(minutes=1), 0), (timedelta(0), 1)):
        removed = vacuum(lakehouse, retention + more, timedelta(0), dry_run=True)
        assert removed.snapshots.get(TRAINING_SET, 0) == expired


def test_withdrawals_of_others_are_noted_before_their_states_go(
    settings: Settings, folder: Path
) -> None:
    withdrawal = record(BOB, lastupdatedate=20, sharewithresearchasofdate=None)
    deliver(folder / LANDING, "withdrawal.json", customer=[withdrawal])
    refresh(settings)

    def noted() -> list[Withdrawal]:
        return withdrawals(open_lakehouse(settings), settings)

    policy = policy_of(settings)
    before = noted()
    bob, di = (id_of(subject_id(one), policy) for one in (BOB, DI))
    assert bob in {each.id for each in before}
    forget_people(settings, DI)
    assert noted() == before
    assert di not in {each.id for each in before}
    refresh(settings)
    assert noted() == before


def test_a_file_that_cannot_be_read_just_now_is_not_deleted(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a writer that was killed left goes, what is whole stays."""
    state = catalog_of(settings).state("customer_trusted")
    older = next(each for each in state.all_snapshots if each != state.published and each.files)
    healthy = Path(older.files[0])
    cut_off = healthy.with_name("cut-off.parquet")
    cut_off.write_bytes(healthy.read_bytes()[:-20])
    original, failures = LocalFile.open, iter(range(4))

    def open_(file: LocalFile, seekable: bool = True) -> Any:
        if file.location == older.files[0] and next(failures, None) in {0, 1, 2}:
            raise OSError("Connection reset by peer")
        return original(file, seekable)

    monkeypatch.setattr(LocalFile, "open", open_)
    with pytest.raises(OSError, match="reset"):  # the second time fails, too
        forget_people(settings, "nobody@people.io")
    assert cut_off.exists()
    certificate = forget_people(settings, "nobody@people.io")
    assert (certificate.is_complete, certificate.files) == (True, 1)
    assert (healthy.exists(), cut_off.exists()) == (True, False)


def test_dry_run_counts_and_changes_nothing(settings: Settings, folder: Path) -> None:
    def content() -> dict[str, bytes]:
        return {str(p): p.read_bytes() for p in folder.rglob("*") if p.is_file()}

    before = content()
    rows = held([ANN], open_lakehouse(settings), settings)
    assert rows == {
        "customer_landing": 2,
        "accelerometer_landing": 20,
        "step_trainer_landing": 20,
        "quarantine": 2,
        "customer_trusted": 0,
        "accelerometer_trusted": 0,
        "customers_curated": 0,
        "device_matches": 1,
        "device_ownership": 1,
        "step_trainer_trusted": 0,
        "machine_learning_curated": 0,
    }
    assert content() == before


def test_of_somebody_of_whom_nothing_is_held_nothing_goes(settings: Settings, folder: Path) -> None:
    before, states = rows_of(settings), counts(settings)
    certificate = forget_people(settings, "nobody@people.io")
    assert (certificate.is_complete, set(certificate.rows.values())) == (True, {0})
    assert (certificate.snapshots, certificate.files, certificate.training_sets) == (0, 0, [])
    assert (rows_of(settings), counts(settings)) == (before, states)


def test_certificates_are_a_chain_and_name_nobody(settings: Settings, folder: Path) -> None:
    for one in (ANN, BOB):
        forget_people(settings, one)
    first, second = sorted((folder / "lakehouse/certificates").iterdir())
    assert json.loads(first.read_text())["previous"] is None
    digest = hashlib.sha256(first.read_bytes()).hexdigest()
    assert json.loads(second.read_text())["previous"] == digest
    assert json.loads(second.read_text())["complete"] is True
    assert places(folder / "lakehouse/certificates", names_of(*PEOPLE)) == []


def test_what_others_have_too_is_not_searched_for(settings: Settings, folder: Path) -> None:
    name = {"customername": "Common Name", "phone": "110"}
    deliver(
        folder / LANDING,
        "same.json",
        customer=[record(DI, 9, **name), record(ED, 9, **name), record(BOB, 9, phone="x 110 y")],
    )
    refresh(settings)
    certificate = forget_people(settings, DI)
    assert (certificate.is_complete, certificate.not_searched_for) == (True, 2)


def test_only_readings_that_were_theirs_go_of_a_device_that_others_used(
    settings: Settings, folder: Path
) -> None:
    """Di was on it at six times, Ed at other six, both at two."""
    deliver(
        folder / LANDING,
        "shared.json",
        accelerometer=[*phone(DI, *range(1000, 1008)), *phone(ED, *range(1006, 1014))],
        step_trainer=device(SHARED_DEVICE, *range(1000, 1014)),
    )
    refresh(settings)
    forget_people(settings, DI)
    left = read_table("step_trainer_landing", settings=settings).to_pandas()
    times = set(left[left.serialnumber == SHARED_DEVICE].sensorreadingtime)
    assert times == {at(time) for time in range(1006, 1014)}
    # Delivered again, they stay out.
    deliver(folder / LANDING, "again.json", step_trainer=device(SHARED_DEVICE, *range(1000, 1008)))
    refresh(settings)
    again = read_table("step_trainer_landing", settings=settings).to_pandas()
    again = again[again.source_file.str.endswith("again.json")]
    assert set(again.sensorreadingtime) == {at(1006), at(1007)}


# What lands later


def theirs(settings: Settings, email: str) -> dict[str, int]:
    rows = {
        name: read_table(name, settings=settings).to_pandas()
        for name in ("customer_landing", "accelerometer_landing", "step_trainer_landing")
    }
    return {
        "customer": int((rows["customer_landing"].person == email).sum()),
        "accelerometer": int((rows["accelerometer_landing"].person == email).sum()),
        "step_trainer": int((rows["step_trainer_landing"].serialnumber == serial(email)).sum()),
    }


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


@pytest.mark.parametrize("scope", ["any", "from_consent_date"])
def test_both_scopes_of_consent(folder: Path, scope: str) -> None:
    settings = under(folder, consent_scope=scope)
    refresh(settings)
    before = rows_of(settings)
    assert forget_people(settings, DI).is_complete
    assert_forgotten(settings, folder, before, DI)


# Asked again


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


def test_thousands_of_devices_that_others_used_are_one_condition(settings: Settings) -> None:
    readings = {f"serial-{number}": (number, number + 1) for number in range(3000)}
    rows = read_table("step_trainer_landing", settings=settings)
    times = times_of(BOB)
    readings[serial(BOB)] = (at(times[0]), at(times[1]))
    rule = Rule({}, {}, readings).theirs("step_trainer_landing", rows)
    held_rows = held_in(rows, Naming(readings=readings))
    found = [rows.filter(each).count().to_pyarrow().as_py() for each in (rule, held_rows)]
    assert found == [4, 4]  # each was delivered twice


# Killed


class KilledError(BaseException):
    """Nothing after it is done."""


STEPS: list[tuple[Any, str, int, bool]] = [
    (LocalStorage, "replacing", 1, False),  # what names them
    (LocalStorage, "replacing", 2, False),  # the list
    (Catalog, "stage", 2, True),
    (Catalog, "publish", 1, True),  # step_trainer_landing
    (Catalog, "publish", 3, False),  # customer_landing
    (Catalog, "publish", 4, False),  # quarantine
    (Catalog, "publish", 5, True),
    (Catalog, "publish", 11, False),  # machine_learning_curated
    (Catalog, "replace_tagged", 1, False),
    (Catalog, "replace_tagged", 1, True),
    (LocalStorage, "erase", 1, False),
    (LocalStorage, "erase", 30, True),
    (LocalStorage, "replacing", 3, False),  # the certificate
    (naming, "keep", 2, False),  # what names them, no longer kept
]


@pytest.mark.parametrize(("owner", "method", "call", "is_done"), STEPS)
def test_the_same_command_does_what_is_left_after_a_kill(  # noqa: PLR0913, PLR0917
    settings: Settings,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    method: str,
    call: int,
    is_done: bool,
) -> None:
    before = rows_of(settings)
    original: Callable[..., Any] = getattr(owner, method)
    calls = 0

    def killed(*args: Any, **how: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != call:
            return original(*args, **how)
        if is_done:
            original(*args, **how)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, killed)
        with pytest.raises(KilledError):
            forget_people(settings, ANN, BOB)
    assert forget_people(settings, ANN, BOB.upper()).is_complete
    assert_forgotten(settings, folder, before, ANN, BOB)
    assert not list((folder / "lakehouse/warehouse/landing/forgotten").glob("being*"))


def test_many_at_once(tmp_path: Path) -> None:
    people = [f"person{number}@many.io" for number in range(300)]
    readings = [(one, range(1000 * number, 1000 * number + 6)) for number, one in enumerate(people)]
    deliver(
        tmp_path / LANDING,
        "a.json",
        customer=[record_of(one) for one in people],
        accelerometer=[row for one, times in readings for row in phone(one, *times)],
        step_trainer=[row for one, times in readings for row in device(f"d-{one}", *times)],
    )
    settings = under(tmp_path)
    assert refresh(settings).success
    certificate = forget_people(settings, *people[:299])
    assert certificate.is_complete
    rows = {name: number for name, number in counts(settings).items() if number}
    assert {name: rows[name] for name in ("customer_landing", "customer_trusted")} == {
        "customer_landing": 1,
        "customer_trusted": 1,
    }
    assert rows["machine_learning_curated"] == 6
    assert places(tmp_path, people[:299], LANDING) == []


def record_of(email: str) -> dict[str, Any]:
    return {
        "email": email,
        "serialnumber": f"d-{email}",
        "customername": f"Name of {email}",
        "registrationdate": at(1),
        "sharewithresearchasofdate": at(1),
    }


def test_times_of_people_are_apart() -> None:
    """So that nobody's phone is at another's device by chance."""
    assert len({time for one in PEOPLE for time in times_of(one)}) == 10 * len(PEOPLE)
