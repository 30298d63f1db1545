"""With STEDI_PSEUDONYM_SCOPE=release nobody can link two training sets by `subject_id` or time."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from stedi_assets.privacy.access import what_is_held
from stedi_assets.privacy.naming import name_all
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.retention import tags_to_release, vacuum
from stedi_assets.privacy.risk import attacks
from stedi_assets.privacy.rotation import rotate_key
from stedi_assets.privacy.trace import UnknownRowError, trace
from stedi_assets.privacy.training_sets import TRAINING_SET, tag_training_set, training_sets
from stedi_assets.privacy.withdrawal_ledger import id_of, withdrawals
from stedi_assets.privacy.withdrawals import take_out
from stedi_assets.read import read_table
from stedi_assets.refresh import remake as remaking
from stedi_assets.refresh.explain import explain
from stedi_assets.refresh.remake import remake
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import duration
from stedi_assets.tables.curated.machine_learning_curated import MACHINE_LEARNING_CURATED
from stedi_assets_tests.privacy.forget.support import forget_people, places
from stedi_assets_tests.support import (
    ANN,
    BOB,
    KEY,
    at,
    blocking,
    catalog_of,
    customer,
    deliver,
    device,
    phone,
    refresh,
    release_key,
    snapshots,
    subject_id,
    time_shift,
    under,
)

if TYPE_CHECKING:
    from stedi_assets.lakehouse.state import Snapshot
    from stedi_assets.settings import Settings

ANNS, BOBS = range(6), range(20, 26)
NOW = duration("0m")


def two_sets(folder: Path, **values: Any) -> Settings:
    """A lakehouse with two tagged training sets that both have Ann and Bob."""
    deliver(
        folder / "landing",
        "first.json",
        customer=[customer(ANN, "anns", lastupdatedate=10), customer(BOB, "bobs")],
        accelerometer=[*phone(ANN, *ANNS), *phone(BOB, *BOBS)],
        step_trainer=[*device("anns", *ANNS), *device("bobs", *BOBS)],
    )
    settings = under(folder, **{"pseudonym_scope": "release", **values})
    assert refresh(settings).success
    tag(settings)
    deliver_more(settings)
    assert refresh(settings).success
    tag(settings)
    return settings


def deliver_more(settings: Settings, time: int = 20) -> None:
    """Another reading of Bob's phone."""
    readings = phone(BOB, time, x=float(time))
    deliver(Path(settings.landing_root), f"more-{time}.json", accelerometer=readings)


def tag(settings: Settings) -> str:
    catalog = catalog_of(settings)
    return tag_training_set(catalog, published(settings))


def published(settings: Settings) -> Snapshot:
    found = catalog_of(settings).published(TRAINING_SET)
    assert found
    return found


def key_of(settings: Settings, name: str | None = None, key: str = KEY) -> bytes:
    """The key of a tagged training set, or of the published one."""
    state = catalog_of(settings).state(TRAINING_SET)
    found = state.tagged(name) if name else state.published
    assert found
    return release_key(found.properties["release"], key)


def ids(settings: Settings, name: str | None = None) -> set[str]:
    rows = read_table(TRAINING_SET, name, settings=settings)
    return set(rows.subject_id.to_pyarrow().to_pylist())


def all_ids(settings: Settings, *people: str) -> list[str]:
    """Every pseudonym of these people, in every state that is there."""
    states = catalog_of(settings).state(TRAINING_SET).all_snapshots
    keys = {release_key(each.properties["release"]) for each in states}
    return [subject_id(person, key) for person in people for key in keys]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Two training sets, which no test changes; times are shifted."""
    return two_sets(tmp_path_factory.mktemp("kept"), times="shifted")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return two_sets(tmp_path)


def test_sets_cannot_be_linked_by_id_or_shifted_time(kept: Settings) -> None:
    one, two = training_sets(kept).tag
    keys = key_of(kept, one), key_of(kept, two)
    found = [ids(kept, each) for each in (one, two)]
    assert found == [{subject_id(person, key) for person in (ANN, BOB)} for key in keys]
    assert not found[0] & found[1]
    assert not (found[0] | found[1]) & {subject_id(person) for person in (ANN, BOB)}
    times = [
        sorted(
            read_table(TRAINING_SET, each, settings=kept)
            .filter(lambda rows, key=key: rows.subject_id == subject_id(ANN, key))
            .sensorreadingtime.to_pyarrow()
            .to_pylist()
        )
        for each, key in zip((one, two), keys, strict=True)
    ]
    assert times == [[at(time) + time_shift(ANN, key) for time in ANNS] for key in keys]
    assert not {*times[0]} & {*times[1]}


def test_key_is_in_no_file(kept: Settings) -> None:
    keys = [key_of(kept, each) for each in training_sets(kept).tag]
    words = [KEY, *(key.hex() for key in keys)]
    assert places(Path(kept.lakehouse), words, "scratch") == []


def test_row_of_each_set_is_traced(kept: Settings) -> None:
    for name in training_sets(kept).tag:
        key = key_of(kept, name)
        row = subject_id(BOB, key), at(20) + time_shift(BOB, key)
        found = trace(*row, kept, snapshot=name)
        second = name == training_sets(kept).tag.iloc[-1]
        assert set(found.source_file.str.split("/").str[-1]) == {
            "first.json",
            "more-20.json",  # lies there, whichever set is asked for
        }
        if second:
            assert trace(*row, kept).equals(found)
        else:
            with pytest.raises(UnknownRowError, match="as it is published now"):
                trace(*row, kept)


def test_who_is_in_a_set_is_told_of_each(kept: Settings) -> None:
    held = what_is_held(ANN, kept)
    found = {
        tuple(each["tags"]): (each["rows"], each["subject_id"])
        for each in held["tables"]
        if each["table"] == TRAINING_SET
    }
    assert found == {
        (name,): (len(ANNS), subject_id(ANN, key_of(kept, name)))
        for name in training_sets(kept).tag
    }
    assert held["subject_id"] == subject_id(ANN, key_of(kept))
    names = name_all([ANN], kept)[ANN].subject_ids
    assert {*names} == {subject_id(ANN), *all_ids(kept, ANN)}


def test_risk_is_told_of_each_set(kept: Settings) -> None:
    lakehouse = open_lakehouse(kept)
    for name in training_sets(kept).tag:
        tagged = lakehouse.catalog.state(TRAINING_SET).tagged(name)
        assert tagged
        found = {each.name: each for each in attacks(lakehouse, tagged, policy_of(kept))}
        assert found["times of their phone's readings"].named == 0
        assert found["seen walking within one day"].tried == 2


def test_nothing_new_makes_nothing(kept: Settings) -> None:
    before = snapshots(kept)
    *_, prospect = explain(open_lakehouse(kept), kept, policy_of(kept), [TRAINING_SET])
    assert not prospect.changes
    assert refresh(kept).success
    assert snapshots(kept) == before
    assert len(training_sets(kept)) == 2


def test_key_does_not_come_back_with_tags_removed_or_a_table_made_again(
    settings: Settings,
) -> None:
    catalog, known = catalog_of(settings), ids(settings)
    for name in training_sets(settings).tag:
        known |= ids(settings, name)
    assert len(known) == 4
    catalog.untag(TRAINING_SET, list(training_sets(settings).tag))
    deliver_more(settings, 21)
    *_, prospect = explain(open_lakehouse(settings), settings, policy_of(settings), [TRAINING_SET])
    assert prospect.changes
    assert refresh(settings).success
    assert "each training set has pseudonyms of its own" in published(settings).properties["made"]
    assert not ids(settings) & known
    known |= ids(settings)
    catalog_of(settings).drop(TRAINING_SET)
    assert refresh(settings).success
    assert len(ids(settings)) == 2
    assert not ids(settings) & known


def test_withdrawal_is_found_in_each_set_and_takes_each_away(settings: Settings) -> None:
    tags = tuple(training_sets(settings).tag)
    withdrawal = customer(ANN, lastupdatedate=20, sharewithresearchasofdate=None)
    deliver(Path(settings.landing_root), "withdrawal.json", customer=[withdrawal])
    assert refresh(settings).success
    assert ids(settings) == {subject_id(BOB, key_of(settings))}
    [entry] = withdrawals(open_lakehouse(settings), settings)
    assert entry.id == id_of(subject_id(ANN), policy_of(settings))
    assert entry.training_sets == tags
    at_once = settings.model_copy(update={"retention": NOW})
    assert tags_to_release(open_lakehouse(settings), settings).tags == (tags[0],)  # of one day
    by_hand = open_lakehouse(settings).catalog
    for number, name in enumerate(tags):
        tagged = by_hand.state(TRAINING_SET).tagged(name)
        assert tagged
        by_hand.tag(tagged, f"kept-{number}")
    release = tags_to_release(open_lakehouse(at_once), at_once)
    assert {*release.tags} == {*tags, "kept-0", "kept-1"}
    assert release.unknown == ()
    theirs = all_ids(settings, ANN)
    vacuum(open_lakehouse(settings), settings, NOW)
    [entry] = withdrawals(open_lakehouse(settings), settings)
    assert entry.vacuumed_at is None
    vacuum(open_lakehouse(at_once), at_once, NOW)
    [entry] = withdrawals(open_lakehouse(settings), settings)
    assert entry.vacuumed_at
    assert training_sets(settings).empty
    assert places(Path(settings.lakehouse) / "warehouse/curated", theirs) == []


def test_forgotten_person_is_in_no_set(settings: Settings) -> None:
    theirs, lakehouse = [subject_id(ANN), *all_ids(settings, ANN)], Path(settings.lakehouse)
    tags, bobs = list(training_sets(settings).tag), all_ids(settings, BOB)
    assert len(theirs) == 3
    # Who was killed while writing a set of another release left a file that no state has.
    stray = Path(published(settings).files[0]).with_name("stray.parquet")
    shutil.copy(published(settings).files[0], stray)
    certificate = forget_people(settings, ANN)
    assert certificate.is_complete
    assert {*certificate.training_sets} == {*tags}
    assert certificate.unknown_training_sets == []
    assert places(lakehouse, theirs) == []
    assert not stray.exists()
    assert list(training_sets(settings).tag) == tags
    for name in tags:
        assert ids(settings, name) == {subject_id(BOB, key_of(settings, name))}
        assert ids(settings, name) <= {*bobs}
    assert ids(settings) == {subject_id(BOB, key_of(settings))}
    assert not ids(settings) & {*bobs}


def test_rotated_key_leaves_no_id_of_any_release(settings: Settings) -> None:
    theirs = all_ids(settings, ANN, BOB)
    other = KEY[::-1]
    new = settings.model_copy(update={"pseudonym_key": SecretStr(other)})
    rotate_key(open_lakehouse(new), new)
    assert training_sets(new).empty
    assert ids(new) == {subject_id(person, key_of(new, key=other)) for person in (ANN, BOB)}
    assert places(Path(new.lakehouse), theirs) == []


def test_who_is_taken_out_of_a_set_leaves_it_the_ids_it_had(settings: Settings) -> None:
    before, key = published(settings), key_of(settings)
    withdrawal = customer(ANN, lastupdatedate=20, sharewithresearchasofdate=None)
    deliver(Path(settings.landing_root), "withdrawal.json", customer=[withdrawal])
    assert refresh(settings, only=["customer_landing", "quarantine"]).success
    reduced, faults = take_out(open_lakehouse(settings), policy_of(settings), "of a test")
    assert TRAINING_SET in reduced
    assert faults == {}
    assert published(settings).rows == before.rows - len(ANNS)
    assert ids(settings) == {subject_id(BOB, key)}
    assert key_of(settings) == key
    assert not blocking(refresh(settings))
    assert key_of(settings) != key


def test_set_that_waits_on_audit_is_not_made_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_more(settings, 21)
    others = [name for name in snapshots(settings) if name != TRAINING_SET]
    assert refresh(settings, only=others).success

    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(remaking, "audit_and_publish", killed)
    monkeypatch.setattr(remaking, "TABLES", (MACHINE_LEARNING_CURATED,))
    with pytest.raises(RuntimeError, match="killed"):
        remake(open_lakehouse(settings), policy_of(settings), "of a test", 0.0)
    monkeypatch.undo()
    waiting = catalog_of(settings).candidate(TRAINING_SET)
    assert waiting
    assert refresh(settings).success
    assert published(settings).id == waiting.id


def test_change_of_the_setting_makes_the_set_anew_once(settings: Settings) -> None:
    for_all = settings.model_copy(update={"pseudonym_scope": "all"})
    theirs = {subject_id(person) for person in (ANN, BOB)}
    for now, expected in ((for_all, theirs), (settings, None), (for_all, theirs)):
        before = snapshots(now)
        assert refresh(now).success
        after = snapshots(now)
        assert {name for name in after if after[name] != before[name]} == {TRAINING_SET}
        assert expected is None or ids(now) == expected
        assert refresh(now).success
        assert snapshots(now) == after
    tags = training_sets(settings).tag
    assert len({frozenset(ids(settings, name)) for name in tags} | {frozenset(theirs)}) == 3
    assert trace(subject_id(ANN), at(1), for_all).size
    assert trace(subject_id(ANN, key_of(settings, tags[0])), at(1), for_all, tags[0]).size
