"""Of each withdrawal the ledger says when it landed, took effect, and was gone for good."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pydantic import SecretStr

from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.privacy import holds
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.retention import vacuum
from stedi_assets.privacy.training_sets import tag_training_set
from stedi_assets.privacy.withdrawal_ledger import Withdrawal, folder_of_ledger, id_of, withdrawals
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import duration
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    KEY,
    catalog_of,
    customer,
    deliver,
    device,
    phone,
    refresh,
    subject_id,
    under,
)

if TYPE_CHECKING:
    from stedi_assets.settings import Settings

NOW = duration("0m")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lakehouse of three people who consent; Ann and Bob are in a tagged training set."""
    deliver(
        tmp_path / "landing",
        "first.json",
        customer=[
            customer(email, serial, lastupdatedate=10)
            for email, serial in ((ANN, "anns"), (BOB, "bobs"), (CY, None))
        ],
        accelerometer=[*phone(ANN, *range(6)), *phone(BOB, *range(20, 26))],
        step_trainer=[*device("anns", *range(6)), *device("bobs", *range(20, 26))],
    )
    settings = under(tmp_path)
    assert refresh(settings).success
    training_set = catalog_of(settings).published("machine_learning_curated")
    assert training_set
    tag_training_set(catalog_of(settings), training_set)
    return settings


def withdraw(folder: Path, *emails: str) -> None:
    records = [
        customer(email, lastupdatedate=20, sharewithresearchasofdate=None) for email in emails
    ]
    deliver(folder / "landing", f"withdrawal-{len(emails)}.json", customer=records)


def found(settings: Settings) -> dict[str, Withdrawal]:
    """What the ledger says, by person."""
    people = {id_of(subject_id(each), policy_of(settings)): each for each in (ANN, BOB, CY)}
    entries = withdrawals(open_lakehouse(settings), settings)
    assert len({each.id for each in entries}) == len(entries)
    return {people[each.id]: each for each in entries}


def clean(settings: Settings, retention: str = "0m") -> None:
    settings = settings.model_copy(update={"retention": duration(retention)})
    vacuum(open_lakehouse(settings), settings, NOW)


def milliseconds() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


def test_withdrawal_landed_took_effect_and_was_gone(settings: Settings, tmp_path: Path) -> None:
    assert found(settings) == {}
    began = milliseconds()
    withdraw(tmp_path, ANN, CY)
    assert refresh(settings).success
    ended = milliseconds()
    entries = found(settings)
    assert entries.keys() == {ANN, CY}
    [tag] = catalog_of(settings).state("machine_learning_curated").tags
    assert entries[ANN].training_sets == (tag.name,)
    assert entries[CY].training_sets == ()
    for entry in entries.values():
        assert entry.why == "withdrew"
        assert entry.landed_at and entry.took_effect_at
        assert began <= entry.landed_at <= entry.took_effect_at <= ended
        assert entry.vacuumed_at is None
    clean(settings, "7d")
    assert found(settings) == entries  # older states still have them
    clean(settings)
    gone = found(settings)
    assert all((gone[each].vacuumed_at or 0) >= ended for each in (ANN, CY))
    assert gone[ANN].training_sets == (tag.name,)
    assert gone[ANN].took_effect_at == entries[ANN].took_effect_at
    clean(settings)
    assert found(settings) == gone


def test_withdrawal_that_landed_and_took_no_effect_yet_is_told(
    settings: Settings, tmp_path: Path
) -> None:
    withdraw(tmp_path, BOB)
    assert refresh(settings, only=["customer_landing", "quarantine"]).success
    [entry] = found(settings).values()
    assert (entry.why, entry.took_effect_at) == ("withdrew", None)
    assert entry.landed_at
    assert refresh(settings).success
    [after] = found(settings).values()
    assert after.took_effect_at and after.took_effect_at > entry.landed_at
    assert after.landed_at == entry.landed_at


def test_why_somebody_is_used_no_longer_is_told(settings: Settings, tmp_path: Path) -> None:
    holds.hold(ANN, open_lakehouse(settings), settings, print)
    broken = {"email": BOB, "sharewithresearchasofdate": True}
    deliver(tmp_path / "landing", "broken.json", customer=[broken])
    refresh(settings)  # the check of readable records is red
    holds.release(ANN, open_lakehouse(settings), settings, print)
    assert refresh(settings).success
    assert {each: entry.why for each, entry in found(settings).items()} == {
        ANN: "held",
        BOB: "suspended",
    }


def test_ledger_names_nobody(settings: Settings, tmp_path: Path) -> None:
    withdraw(tmp_path, ANN)
    assert refresh(settings).success
    clean(settings)
    [file] = Path(folder_of_ledger(settings.lakehouse)).iterdir()
    content = file.read_bytes()
    assert id_of(subject_id(ANN), policy_of(settings)).encode() in content
    assert ANN.encode() not in content
    assert subject_id(ANN).encode() not in content


def test_ledger_that_is_damaged_keeps_no_data(settings: Settings, tmp_path: Path) -> None:
    withdraw(tmp_path, ANN)
    assert refresh(settings).success
    clean(settings, "7d")
    [file] = Path(folder_of_ledger(settings.lakehouse)).iterdir()
    file.write_bytes(b"damaged")
    with pytest.raises(LakehouseError, match="is damaged"):
        clean(settings)
    state = catalog_of(settings).state("customer_trusted")
    assert [each.rows for each in state.all_snapshots] == [2]


def test_under_another_key_nobody_is_said_to_be_gone(settings: Settings, tmp_path: Path) -> None:
    withdraw(tmp_path, ANN)
    assert refresh(settings).success
    clean(settings, "7d")
    other = settings.model_copy(update={"pseudonym_key": SecretStr(KEY[::-1])})
    assert refresh(other).success
    with pytest.raises(LakehouseError, match="under another key"):  # of the tagged set
        clean(other)
    [entry] = found(settings).values()
    assert (entry.took_effect_at is None, entry.vacuumed_at) == (False, None)
