"""The settings, read from the environment."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from stedi_assets.settings import Settings, SettingsError
from stedi_assets_tests.settings.support import KEY, SECRET, said
from stedi_assets_tests.support import PROJECT


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
        ("STEDI_LANDING_RETENTION", "a year", "such as 12h or 7d"),
        ("STEDI_LANDING_RETENTION", "customers=365d", "one each of customer, accelerometer"),
        ("STEDI_LANDING_RETENTION", "customer=365d, 90d", "write one duration"),
        ("STEDI_LANDING_RETENTION", "customer=365d, customer=90d", "write one duration"),
        ("STEDI_LANDING_RETENTION", "step_trainer=", "such as 12h or 7d"),
        ("STEDI_LANDING_RETENTION", "0d", "nothing would stay"),
        ("STEDI_REFUSED_RETENTION", "0d", "greater than"),
        ("STEDI_REFUSED_RETENTION", "soon", "such as 12h or 7d"),
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


def test_landing_data_stay_for_ever_by_default() -> None:
    settings = Settings.load()
    assert (settings.landing_ages, settings.refused_retention) == ({}, None)


def test_landing_data_stay_as_long_for_all_sources_or_for_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    year, quarter = timedelta(days=365), timedelta(days=90)
    monkeypatch.setenv("STEDI_LANDING_RETENTION", "365d")
    monkeypatch.setenv("STEDI_REFUSED_RETENTION", "90d")
    settings = Settings.load()
    assert settings.landing_ages == dict.fromkeys(
        ("customer", "accelerometer", "step_trainer"), year
    )
    assert settings.refused_retention == quarter
    monkeypatch.setenv("STEDI_LANDING_RETENTION", " accelerometer = 90d,step_trainer=365d")
    assert Settings.load().landing_ages == {"accelerometer": quarter, "step_trainer": year}


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
        Settings.load().threads = 2


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
