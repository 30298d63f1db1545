"""The key of subject_id: set, or made once for a lakehouse."""

from __future__ import annotations

import re
import stat
from pathlib import Path

import pytest

from stedi_assets.privacy.key import make_missing_key, subject_key
from stedi_assets.settings import Settings, SettingsError
from stedi_assets_tests.settings.support import KEY, said
from stedi_assets_tests.support import PROJECT


def key_of(settings: Settings) -> str:
    """The key of subject_id, which a refresh makes where there is none."""
    make_missing_key(settings)
    return subject_key(settings)


@pytest.mark.usefixtures("aws")
def test_key_is_not_made_on_aws() -> None:
    with pytest.raises(SettingsError, match=r"^STEDI_PSEUDONYM_KEY is not set\. On AWS .*\.$"):
        key_of(Settings.load())


def test_key_that_is_set_counts_on_aws(aws: pytest.MonkeyPatch) -> None:
    aws.setenv("STEDI_PSEUDONYM_KEY", KEY)
    assert key_of(Settings.load()) == KEY


def test_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    key = key_of(Settings.load())
    path = tmp_path / "lakehouse" / "pseudonym.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == key
    assert len(key) >= 32
    assert key_of(Settings.load()) == key
    assert [found.name for found in path.parent.iterdir()] == ["pseudonym.key"]


def test_keys_of_two_lakehouses_differ(tmp_path: Path) -> None:
    one, two = (Settings.load(lakehouse=tmp_path / name) for name in ("one", "two"))
    assert key_of(one) != key_of(two)


def test_key_another_process_made_meanwhile_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings.load()
    theirs = key_of(Settings.load())
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda _: False)
        assert key_of(settings) == theirs
    assert len(list((tmp_path / "lakehouse").iterdir())) == 1


def test_key_that_is_set_wins_and_is_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    key_of(Settings.load())
    made = (tmp_path / "lakehouse" / "pseudonym.key").read_text()
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY)
    assert key_of(Settings.load()) == KEY
    assert (tmp_path / "lakehouse" / "pseudonym.key").read_text() == made


def test_empty_key_file_is_not_taken_for_a_key(tmp_path: Path) -> None:
    (tmp_path / "lakehouse").mkdir()
    (tmp_path / "lakehouse" / "pseudonym.key").touch()
    with pytest.raises(SettingsError, match=r"pseudonym\.key"):
        key_of(Settings.load())


WEAK = {
    "k" * 40: "fewer than 8 different characters",
    "0000000000000000000000000000001234": "fewer than 8 different characters",
    "password" * 5: "fewer than 8 different characters",
    "correct-horse!" * 3: "a pattern that repeats",
    "abcdefghijklmnopqrstuvwxyz012345": "a run such as abcdef or 012345",
    "zyxwvutsrqponmlkjihgfedcba987654": "a run such as abcdef or 012345",
    "0123456789" * 4: "a pattern that repeats",
}


@pytest.mark.parametrize("key", WEAK)
def test_key_that_is_easily_guessed_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, key: str
) -> None:
    path = tmp_path / "lakehouse/pseudonym.key"
    path.parent.mkdir()
    path.write_text(key)
    path.chmod(0o600)
    with pytest.raises(SettingsError, match=rf"key that is easily guessed, .*{WEAK[key]}"):
        key_of(Settings.load())
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", key)
    assert said().startswith("STEDI_PSEUDONYM_KEY is wrong: it is easily guessed, ")
    assert WEAK[key] in said()
    assert key not in said()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    key, path = key_of(Settings.load()), tmp_path / "lakehouse/pseudonym.key"
    path.chmod(mode)
    with pytest.raises(SettingsError, match=f"chmod 600 {path}") as raised:
        key_of(Settings.load())
    assert key not in str(raised.value)
    path.chmod(0o600)
    assert key_of(Settings.load()) == key


def test_lost_key_is_not_replaced_where_there_are_training_sets(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = tmp_path / "lakehouse/warehouse/curated/machine_learning_curated"
    (folder / "metadata").mkdir(parents=True)  # as before the first training set
    key, path = key_of(Settings.load()), tmp_path / "lakehouse/pseudonym.key"
    (folder / "data").mkdir()
    (folder / "data/1.parquet").touch()
    path.unlink()
    with pytest.raises(SettingsError, match=r"restore it from a backup.*stedi rebuild --new-key"):
        key_of(Settings.load())
    assert not path.exists()
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", key)
    assert key_of(Settings.load()) == key


def test_settings_that_messages_name_exist() -> None:
    package = PROJECT / "stedi_assets"
    named = {
        name
        for source in package.rglob("*.py")
        for name in re.findall(r"STEDI_[A-Z0-9_]*[A-Z0-9]", source.read_text())
    }
    assert len(named) > 10
    assert named <= {f"STEDI_{name.upper()}" for name in Settings.model_fields}


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("STEDI_RETENSION", "; did you mean STEDI_RETENTION?"),
        ("STEDI_QWERTZUIOP", "; docs/settings.md lists them all."),
    ],
)
def test_misspelt_setting_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, hint: str) -> None:
    monkeypatch.setenv(name, "3d")
    with pytest.raises(SettingsError) as raised:
        Settings.load()
    assert str(raised.value) == f"There is no setting {name}{hint}"
