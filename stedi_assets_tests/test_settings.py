"""Settings: what is wrong is said in a sentence, and the key is made once."""

from __future__ import annotations

import os
import re
import stat
from datetime import timedelta
from pathlib import Path

import pytest

from stedi_assets.privacy.key import make_missing_key, subject_key
from stedi_assets.settings import Settings, SettingsError
from stedi_assets_tests.support import PROJECT

SECRET = "hush-hush-4711"
KEY = "of tests, so everybody may know it"


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
    assert Settings.load().lakehouse == str(PROJECT / "lakehouse")


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
        ("STEDI_RETENTION", "7", "such as 12h or 7d"),
        ("STEDI_RETENTION", "-1d", "such as 12h or 7d"),
        ("STEDI_RETENTION", "forever", "such as 12h or 7d"),
        ("STEDI_LAKEHOUSE", "s3://acme/stedi", "STEDI_DEPLOYMENT=aws"),
        ("STEDI_LANDING", "s3://acme/stedi", "STEDI_DEPLOYMENT=aws"),
        ("STEDI_DATABASE", "Stedi", "small letters, digits and underscores"),
        ("STEDI_S3_ENDPOINT", "localhost:9000", "https://s3.example.com"),
        ("STEDI_S3_ENCRYPTION", "SSE", "'AES256' or 'aws:kms'"),
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


@pytest.mark.parametrize("value", ["12h", "7d", "90m", "2w", "0d"])
def test_retention_is_a_number_and_a_unit(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("STEDI_RETENTION", value)
    units = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
    assert Settings.load().retention == timedelta(**{units[value[-1]]: int(value[:-1])})


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


@pytest.mark.parametrize("address", ["hooks.example.com/x", "ftp://hooks.example.com/x"])
def test_webhook_is_an_address_and_no_message_shows_it(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("STEDI_WEBHOOK", "https://hooks.example.com/services/T0/secret?a=b")
    assert "secret" not in repr(Settings.load())
    monkeypatch.setenv("STEDI_WEBHOOK", address)
    assert address not in said()
    assert said().startswith(
        "STEDI_WEBHOOK is wrong: write an address that begins with https:// or http://"
    )


@pytest.mark.parametrize("address", ["dagster.example.com", "https://", "https://example.com/"])
def test_webserver_is_an_address_that_a_path_can_follow(
    monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    monkeypatch.setenv("STEDI_WEBSERVER", "https://example.com/dagster")
    Settings.load()
    monkeypatch.setenv("STEDI_WEBSERVER", address)
    assert said().startswith("STEDI_WEBSERVER is wrong; write an address such as https://")


# AWS


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Settings of a lakehouse on AWS."""
    monkeypatch.setenv("STEDI_DEPLOYMENT", "aws")
    monkeypatch.setenv("STEDI_LAKEHOUSE", "s3://acme/stedi")
    return monkeypatch


def said() -> str:
    """What is wrong with the settings: one sentence."""
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert re.fullmatch(r"STEDI_[^\n]*\.", str(caught.value))
    return str(caught.value)


@pytest.mark.usefixtures("aws")
def test_on_aws_nothing_but_the_lakehouse_need_be_set() -> None:
    settings = Settings.load()
    assert (settings.lakehouse, settings.landing_root) == (
        "s3://acme/stedi",
        "s3://acme/stedi/landing",
    )
    assert settings.database == "stedi"
    assert settings.s3_endpoint is settings.glue_endpoint is settings.s3_encryption is None


@pytest.mark.parametrize(
    ("address", "means"),
    [
        ("s3://acme", "s3://acme"),
        ("s3://acme/", "s3://acme"),
        ("s3://acme-data-1/a/b c/", "s3://acme-data-1/a/b c"),
        ("s3://acme/day=1/x+y", "s3://acme/day=1/x+y"),
        ("s3://acme/.a/..b/c.d", "s3://acme/.a/..b/c.d"),
        ("s3://acme.data/x", "s3://acme.data/x"),
    ],
)
def test_address_on_s3_is_a_bucket_or_a_prefix(
    aws: pytest.MonkeyPatch, address: str, means: str
) -> None:
    aws.setenv("STEDI_LAKEHOUSE", address)
    aws.setenv("STEDI_LANDING", address)
    settings = Settings.load()
    assert (settings.lakehouse, settings.landing_root) == (means, means)


@pytest.mark.parametrize("name", ["STEDI_LAKEHOUSE", "STEDI_LANDING"])
@pytest.mark.parametrize(
    "address",
    [
        "/data/stedi",
        "stedi",
        "s3://",
        "s3:///stedi",
        "s3://Acme/stedi",
        "s3a://acme/stedi",
        "s3://acme/*",
        "s3://acme/stedi?",
        "s3://acme/#stedi",
        "s3://acme/a%20b",
        "s3://acme/[a]",
        "s3://-acme/stedi",
        "s3://acme/a\\b",
        "s3://acme/a//b",
        "s3://acme/./a",
        "s3://acme/a/..",
    ],
)
def test_what_is_no_address_on_s3_is_refused_on_aws(
    aws: pytest.MonkeyPatch, name: str, address: str
) -> None:
    aws.setenv(name, address)
    assert said().startswith(
        f"{name} is wrong: with STEDI_DEPLOYMENT=aws it has to be set to s3://bucket/prefix"
    )


def test_aws_takes_a_lakehouse_on_s3(aws: pytest.MonkeyPatch) -> None:
    aws.delenv("STEDI_LAKEHOUSE")
    assert "with STEDI_DEPLOYMENT=aws it has to be set to s3://bucket/prefix" in said()


@pytest.mark.parametrize("name", ["STEDI_S3_ENDPOINT", "STEDI_GLUE_ENDPOINT"])
@pytest.mark.parametrize(
    "address", ["localhost:9000", "ftp://store", "https://", "https://store/bucket", "https://a b"]
)
def test_endpoint_is_an_address(aws: pytest.MonkeyPatch, name: str, address: str) -> None:
    aws.setenv(name, "http://127.0.0.1:9000")
    Settings.load()
    aws.setenv(name, address)
    assert said().startswith(f"{name} is wrong; write an address such as https://")


@pytest.mark.parametrize("name", ["Stedi", "stedi-data", "stedi.data", "stedi data", "s" * 256])
def test_database_has_a_name_that_every_reader_can_write(
    aws: pytest.MonkeyPatch, name: str
) -> None:
    aws.setenv("STEDI_DATABASE", "stedi_2")
    assert Settings.load().database == "stedi_2"
    aws.setenv("STEDI_DATABASE", name)
    assert said() == "STEDI_DATABASE is wrong; write small letters, digits and underscores."


@pytest.mark.parametrize(
    ("encryption", "key", "fits"),
    [
        ("", "", True),
        ("AES256", "", True),
        ("aws:kms", "alias/aws/s3", True),
        ("aws:kms", "", False),
        ("", "alias/aws/s3", False),
        ("AES256", "alias/aws/s3", False),
    ],
)
def test_kms_and_its_key_go_together(
    aws: pytest.MonkeyPatch, encryption: str, key: str, fits: bool
) -> None:
    aws.setenv("STEDI_S3_ENCRYPTION", encryption)
    aws.setenv("STEDI_S3_KMS_KEY", key)
    if fits:
        assert (Settings.load().s3_encryption or "", Settings.load().s3_kms_key or "") == (
            encryption,
            key,
        )
    else:
        assert said() == "STEDI_S3_ENCRYPTION=aws:kms and STEDI_S3_KMS_KEY go together."


# Key


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
