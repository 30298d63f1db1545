"""Settings: what is wrong is said in a sentence, and the key is made once."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest

from stedi_assets.settings import Settings, SettingsError

SECRET = "hush-hush-4711"
KEY = "k" * 40


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting but a lakehouse of the test's own."""
    for name in os.environ:
        if name.startswith("STEDI_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("STEDI_LAKEHOUSE", str(tmp_path / "lakehouse"))


def test_without_settings_everything_is_local_and_pseudonymous(tmp_path: Path) -> None:
    settings = Settings.load()
    assert (settings.deployment, settings.engine, settings.consent_scope) == (
        "local",
        "duckdb",
        "any",
    )
    assert settings.pseudonymize
    assert settings.landing_root == str(tmp_path / "lakehouse" / "landing")


def test_default_lakehouse_is_in_the_project(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STEDI_LAKEHOUSE")
    assert Settings.load().lakehouse == str(Path(__file__).parents[1] / "lakehouse")


def test_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("STEDI_ENGINE", "STEDI_THREADS", "STEDI_PSEUDONYM_KEY", "STEDI_LANDING"):
        monkeypatch.setenv(name, "")
    assert Settings.load().threads is None


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("STEDI_DEPLOYMENT", "cloud", "local"),
        ("STEDI_ENGINE", "pandas", "duckdb"),
        ("STEDI_CONSENT_SCOPE", "all", "'any' or 'from_consent_date'"),
        ("STEDI_PSEUDONYMIZE", "perhaps", "true nor false"),
        ("STEDI_PSEUDONYM_KEY", SECRET, "32 characters or more"),
        ("STEDI_MAX_QUARANTINE_SHARE", "1.5", "less than or equal to 1"),
        ("STEDI_MAX_QUARANTINE_SHARE", "-0.1", "greater than or equal to 0"),
        ("STEDI_MAX_QUARANTINE_SHARE", "nan", "than or equal to"),
        ("STEDI_MAX_QUARANTINE_SHARE", "5%", "number"),
        ("STEDI_MEMORY_LIMIT", "lots", "4GB"),
        ("STEDI_MEMORY_LIMIT", "4", "4GB"),
        ("STEDI_MEMORY_LIMIT", "50%", "4GB"),
        ("STEDI_THREADS", "0", "greater than or equal to 1"),
        ("STEDI_THREADS", "many", "integer"),
        ("STEDI_LANDING", "/no/such/folder", "folder that holds customer/"),
        ("STEDI_LANDING", __file__, "folder that holds customer/"),
        ("STEDI_LANDING", "~nobody-4711/landing", "folder"),
        ("STEDI_LAKEHOUSE", "~nobody-4711/lakehouse", "folder"),
        ("STEDI_LAKEHOUSE", __file__, "folder"),
    ],
)
def test_wrong_value_gives_one_sentence_with_its_name_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, allowed: str
) -> None:
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY)
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    said = str(caught.value)
    assert re.fullmatch(rf"{name} [^\n]*\.", said)
    assert allowed in said
    assert KEY not in said


def test_each_wrong_value_gives_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEDI_THREADS", "0")
    monkeypatch.setenv("STEDI_ENGINE", "pandas")
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert sorted(line.split()[0] for line in str(caught.value).splitlines()) == [
        "STEDI_ENGINE",
        "STEDI_THREADS",
    ]


def test_value_of_the_key_is_never_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", SECRET)
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY)
    settings = Settings.load()
    assert (
        KEY not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    )


@pytest.mark.parametrize("value", ["4GB", "512MB", "1.5 GiB", "900KB", "2TB"])
def test_memory_limit_is_a_number_and_a_unit(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("STEDI_MEMORY_LIMIT", value)
    assert Settings.load().memory_limit == value


def test_relative_folders_stay_where_they_were(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("arrived").mkdir()
    monkeypatch.setenv("STEDI_LANDING", "arrived")
    monkeypatch.setenv("STEDI_LAKEHOUSE", "house")
    settings = Settings.load()
    monkeypatch.chdir("/")
    assert settings.landing_root == str(tmp_path / "arrived")
    assert settings.lakehouse == str(tmp_path / "house")


def test_home_is_written_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("STEDI_LAKEHOUSE", "~/house")
    assert Settings.load().lakehouse == str(tmp_path / "house")


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings.load().threads = 2  # type: ignore[misc]


# Key


def test_key_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    key = Settings.load().subject_key()
    path = tmp_path / "lakehouse" / "pseudonym.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_text().strip() == key
    assert len(key) >= 32
    assert Settings.load().subject_key() == key
    assert [found.name for found in path.parent.iterdir()] == ["pseudonym.key"]


def test_keys_of_two_lakehouses_differ(tmp_path: Path) -> None:
    one, two = (Settings.load(lakehouse=tmp_path / name) for name in ("one", "two"))
    assert one.subject_key() != two.subject_key()


def test_key_another_process_made_meanwhile_counts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = Settings.load()
    theirs = Settings.load().subject_key()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "exists", lambda _: False)
        assert settings.subject_key() == theirs
    assert len(list((tmp_path / "lakehouse").iterdir())) == 1


def test_key_that_is_set_wins_and_is_not_written(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Settings.load().subject_key()
    made = (tmp_path / "lakehouse" / "pseudonym.key").read_text()
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY)
    assert Settings.load().subject_key() == KEY
    assert (tmp_path / "lakehouse" / "pseudonym.key").read_text() == made


def test_empty_key_file_is_not_taken_for_a_key(tmp_path: Path) -> None:
    (tmp_path / "lakehouse").mkdir()
    (tmp_path / "lakehouse" / "pseudonym.key").touch()
    with pytest.raises(SettingsError, match=r"pseudonym\.key"):
        Settings.load().subject_key()
