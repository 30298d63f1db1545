"""Under a new key everybody has another subject_id, and nothing of the old ones is left."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from stedi_assets.cli.main import app
from stedi_assets.privacy import rotation
from stedi_assets.privacy.key import subject_key
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.rotation import rotate_key
from stedi_assets.privacy.scan import Finder, scan
from stedi_assets.privacy.training_sets import TRAINING_SET, tag_training_set, training_sets
from stedi_assets.read import read_table
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings, SettingsError
from stedi_assets.tables.identity import subject_id
from stedi_assets_tests.refresh.pipeline.support import FIRST
from stedi_assets_tests.support import ANN, BOB, deliver, phone, refresh, under

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lakehouse with a key of its own, a tagged training set and a newer one."""
    deliver(tmp_path / "landing", "first.json", **FIRST)
    settings = under(tmp_path, pseudonym_key=None)
    assert refresh(settings).success
    lakehouse = open_lakehouse(settings)
    tag_training_set(lakehouse.catalog, lakehouse.published(TRAINING_SET))
    deliver(tmp_path / "landing", "next.json", accelerometer=phone(ANN, 5))
    assert refresh(settings).success
    return settings


def rows(settings: Settings) -> list[dict[str, Any]]:
    """The rows of the training set, in an order of their own: read from files, they have none."""
    found = read_table(TRAINING_SET, settings=settings).to_pyarrow().to_pylist()
    return sorted(found, key=str)


def without_ids(found: Iterable[dict[str, Any]]) -> list[str]:
    return sorted(str({**row, "subject_id": None}) for row in found)


def ids_of(settings: Settings) -> set[str]:
    return {subject_id(person, policy_of(settings)) for person in (ANN, BOB)}


def is_left(words: set[str], settings: Settings) -> bool:
    storage = open_lakehouse(settings).storage
    return bool(scan(storage, [storage.root], Finder(words)).found)


def test_everybody_gets_another_id_and_nothing_is_left_of_the_old_ones(settings: Settings) -> None:
    old_key, old_ids, before = subject_key(settings), ids_of(settings), rows(settings)
    assert {row["subject_id"] for row in before} <= old_ids
    assert is_left(old_ids, settings)
    rotated = rotate_key(open_lakehouse(settings), settings)
    after = rows(settings)
    assert rotated.rows == len(after) == len(before)
    assert without_ids(after) == without_ids(before)
    assert {row["subject_id"] for row in after} <= ids_of(settings)
    assert not ids_of(settings) & old_ids
    assert not is_left(old_ids | {old_key}, settings)
    assert training_sets(settings).empty
    assert refresh(settings).success
    assert rows(settings) == after


def test_what_was_cut_short_can_be_repeated(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_ids = ids_of(settings)

    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    for step in ("remake", "expire_holding"):
        monkeypatch.setattr(rotation, step, killed)
        with pytest.raises(RuntimeError, match="killed"):
            rotate_key(open_lakehouse(settings), settings)
        old_ids |= ids_of(settings)
        monkeypatch.undo()
    rotate_key(open_lakehouse(settings), settings)
    assert not is_left(old_ids - ids_of(settings), settings)
    assert {row["subject_id"] for row in rows(settings)} <= ids_of(settings)


def test_key_that_is_set_has_to_be_a_new_one(settings: Settings) -> None:
    same = settings.model_copy(update={"pseudonym_key": SecretStr(subject_key(settings))})
    before = rows(same)
    with pytest.raises(SettingsError, match="still the key of all training sets"):
        rotate_key(open_lakehouse(same), same)
    assert rows(same) == before
    assert not training_sets(same).empty
    new = settings.model_copy(update={"pseudonym_key": SecretStr("0f1e2d3c4b5a6978" * 4)})
    rotate_key(open_lakehouse(new), new)
    assert {row["subject_id"] for row in rows(new)} <= ids_of(new)


def test_old_sets_go_though_a_refresh_under_the_new_key_was_first(settings: Settings) -> None:
    old_ids = ids_of(settings)
    new = settings.model_copy(update={"pseudonym_key": SecretStr("0f1e2d3c4b5a6978" * 4)})
    assert refresh(new).success
    assert is_left(old_ids, new)
    rotate_key(open_lakehouse(new), new)
    assert not is_left(old_ids, new)
    assert training_sets(new).empty
    with pytest.raises(SettingsError, match="still the key of all training sets"):
        rotate_key(open_lakehouse(new), new)


def test_key_that_is_given_is_taken_up_again_after_a_kill(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    old_ids = ids_of(settings)
    new = settings.model_copy(update={"pseudonym_key": SecretStr("0f1e2d3c4b5a6978" * 4)})

    def killed(*_: object) -> None:
        raise RuntimeError("killed")

    monkeypatch.setattr(rotation, "expire_holding", killed)
    with pytest.raises(RuntimeError, match="killed"):
        rotate_key(open_lakehouse(new), new)
    monkeypatch.undo()
    rotate_key(open_lakehouse(new), new)
    assert not is_left(old_ids, new)


def test_command_says_what_it_did(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lakehouse", "landing"):
        monkeypatch.setenv(f"STEDI_{name.upper()}", getattr(settings, name))
    said = CliRunner().invoke(app, ["rotate-key"], input="n\n")
    assert said.exit_code == 1
    assert len(training_sets(settings)) == 1
    said = CliRunner().invoke(app, ["rotate-key", "--yes"])
    assert said.exit_code == 0
    assert "are published under a new key. Deleted 1 tagged sets" in " ".join(said.output.split())
