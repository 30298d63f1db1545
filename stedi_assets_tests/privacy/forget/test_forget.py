"""People who were forgotten are in no byte of the lakehouse, and others are as they were."""

import hashlib
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from stedi_assets.lakehouse.storage.durable import LocalFile
from stedi_assets.lakehouse.vacuum import vacuum
from stedi_assets.privacy.forget import held
from stedi_assets.privacy.naming import Naming, held_in
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.privacy.withdrawal_ledger import Withdrawal, id_of, withdrawals
from stedi_assets.read import read_table
from stedi_assets.refresh.forgotten_rows import Rule
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.privacy.forget.support import (
    ANN,
    BOB,
    CY,
    DI,
    ED,
    LANDING,
    PEOPLE,
    SHARED_DEVICE,
    assert_forgotten,
    forget_people,
    names_of,
    places,
    record,
    rows_of,
    serial,
    times_of,
)
from stedi_assets_tests.support import (
    at,
    blocking,
    catalog_of,
    counts,
    deliver,
    device,
    phone,
    refresh,
    subject_id,
    under,
)


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


@pytest.mark.parametrize("scope", ["any", "from_consent_date"])
def test_both_scopes_of_consent(folder: Path, scope: str) -> None:
    settings = under(folder, consent_scope=scope)
    refresh(settings)
    before = rows_of(settings)
    assert forget_people(settings, DI).is_complete
    assert_forgotten(settings, folder, before, DI)


def test_thousands_of_devices_that_others_used_are_one_condition(settings: Settings) -> None:
    readings = {f"serial-{number}": (number, number + 1) for number in range(3000)}
    rows = read_table("step_trainer_landing", settings=settings)
    times = times_of(BOB)
    readings[serial(BOB)] = (at(times[0]), at(times[1]))
    rule = Rule({}, {}, readings).theirs("step_trainer_landing", rows)
    held_rows = held_in(rows, Naming(readings=readings))
    found = [rows.filter(each).count().to_pyarrow().as_py() for each in (rule, held_rows)]
    assert found == [4, 4]  # each was delivered twice


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
