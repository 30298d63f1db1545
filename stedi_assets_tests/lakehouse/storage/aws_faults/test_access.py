"""Landing files that come and go, and places that may not be read or written."""

import pytest

from stedi_assets_tests.aws_servers import Identity
from stedi_assets_tests.conftest import Aws, IcebergReader
from stedi_assets_tests.fault_proxy import (
    Exchange,
    FaultProxy,
    access_denied,
)
from stedi_assets_tests.lakehouse.storage.aws_faults.support import (
    LANDING,
    US,
    Person,
    Site,
    assert_whole,
    land,
    s3,
    said,
)
from stedi_assets_tests.refresh.pipeline.support import FIRST_COUNTS
from stedi_assets_tests.support import (
    ANN,
    counts,
    customer,
    device,
    phone,
)


@pytest.mark.usefixtures("impatient")
def test_file_deleted_between_listing_and_reading_is_told_and_nothing_half_loaded(
    aws: Aws, site: Site, read_iceberg: IcebergReader
) -> None:
    site.deliver("short-lived.json", {"accelerometer": phone(ANN, 99)})
    path = "landing/accelerometer/landing/short-lived.json"

    def delete(_: Exchange) -> None:
        (site.folder / path).unlink()

    site.s3.when(s3("GET", "short-lived"), delete, times=1)
    result = land(site.settings)
    assert result.success
    assert said(result) == {
        "accelerometer_landing": "1 file is not readable now, and not taken in. "
        f"{site.folder}/{path} was deleted while it was read. Refresh again when they "
        "can be read."
    }
    assert counts(site.direct) == {table: FIRST_COUNTS[table] for table in LANDING}
    result = land(site.settings)
    assert (result.success, said(result)) == (True, {})
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)


@pytest.mark.usefixtures("impatient")
def test_file_replaced_between_listing_and_reading_is_told_and_nothing_half_loaded(
    site: Site,
) -> None:
    def replace(_: Exchange) -> None:
        site.deliver("first.json", {"accelerometer": phone(ANN, 98, 99)})

    site.s3.when(s3("GET", "accelerometer/landing/first"), replace, times=1)
    told = said(land(site.settings))["accelerometer_landing"]
    assert "accelerometer/landing/first.json changed while it was read" in told
    assert counts(site.direct)["accelerometer_landing"] == 0
    assert land(site.settings).success
    assert counts(site.direct)["accelerometer_landing"] == 2


def let_in(
    aws: Aws, patch: pytest.MonkeyPatch, name: str, *denied: str, action: str = "s3:*"
) -> None:
    """Sign as somebody who may do everything but an action below some prefixes."""
    allowed = {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::*"}
    below = [f"arn:aws:s3:::{prefix.removeprefix('s3://')}*" for prefix in denied]
    policy = {
        "Version": "2012-10-17",
        "Statement": [allowed, {"Effect": "Deny", "Action": action, "Resource": below}],
    }
    identity = aws.s3.allow(Identity(name, f"the secret of {name}", policy))
    patch.setenv("AWS_ACCESS_KEY_ID", identity.access_key)
    patch.setenv("AWS_SECRET_ACCESS_KEY", identity.secret_key)


def test_landing_files_that_may_not_be_read_wait_and_no_others_do(
    aws: Aws, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = f"{site.folder}/landing/step_trainer/landing/"
    site.deliver("second.json", {"step_trainer": device("d", 77)})
    with monkeypatch.context() as as_somebody:
        let_in(aws, as_somebody, "no-first", f"{folder}first")
        told = said(land(site.settings))
    assert told == {
        "step_trainer_landing": "1 file is not readable now, and not taken in. "
        f"AWS refused GetObject {folder}first.json: the credentials lack a permission. "
        "deploy/lakehouse.yaml has what each role needs. Refresh again when they can be read."
    }
    landed = {table: FIRST_COUNTS[table] for table in LANDING}
    assert counts(site.direct) == landed | {"step_trainer_landing": 1}
    assert land(site.direct).success
    landed["step_trainer_landing"] += 1
    assert counts(site.direct) == landed


def test_landing_folder_that_may_not_be_listed_does_not_keep_the_command_from_the_others(
    waiting: Site, stedi: Person
) -> None:
    waiting.deliver("third.json", {"accelerometer": phone(ANN, 500)})
    before = counts(waiting.direct)
    waiting.s3.when(s3("GET", "landing%2Fcustomer", US), access_denied())
    code, printed = stedi(waiting.settings, "refresh")
    assert code == 1
    sentence = f"AWS refused ListObjectsV2 {waiting.folder}/landing/customer/landing/:"
    assert sentence.replace(" ", "") in printed.replace(" ", "")
    after = counts(waiting.direct)
    for table in ("accelerometer_landing", "accelerometer_trusted"):
        assert after[table] > before[table]


def test_zone_that_may_not_be_written_keeps_its_tables_back_with_all_after_them(
    aws: Aws, site: Site, monkeypatch: pytest.MonkeyPatch, read_iceberg: IcebergReader
) -> None:
    others = ("customer_trusted", "accelerometer_trusted", "customers_curated")
    zone = f"{site.settings.lakehouse}/warehouse/curated/"
    with monkeypatch.context() as as_somebody:
        let_in(aws, as_somebody, "no-curated", zone, action="s3:PutObject")
        told = said(land(site.settings, *others))
    assert set(told) == {"customers_curated"}
    assert told["customers_curated"].startswith(f"AWS refused PutObject {zone}customers_curated/")
    assert "lack a permission" in told["customers_curated"]
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    assert land(site.direct, *others).success
    assert counts(site.direct) == {table: FIRST_COUNTS[table] for table in (*LANDING, *others)}


def test_files_that_may_not_be_deleted_keep_a_table_back(
    aws: Aws, monkeypatch: pytest.MonkeyPatch, proxies: tuple[FaultProxy, FaultProxy]
) -> None:
    site = Site(aws.folder(), *proxies)
    # Of nobody's rows the engine writes an empty file, which nobody is to find.
    site.deliver("refuses.json", {"customer": [customer(ANN, sharewithresearchasofdate=None)]})
    with monkeypatch.context() as as_somebody:
        prefix = f"{site.settings.lakehouse}/warehouse/"
        let_in(aws, as_somebody, "no-delete", prefix, action="s3:DeleteObject")
        told = said(land(site.settings, "customer_trusted"))
    assert set(told) == {"customer_trusted"}
    assert told["customer_trusted"].startswith(f"AWS refused DeleteObject {prefix}")
    assert land(site.direct, "customer_trusted").success
    landed = dict.fromkeys((*LANDING, "customer_trusted"), 0) | {"customer_landing": 1}
    assert counts(site.direct) == landed
