"""The sample with every known defect: all objects are accounted for."""

import contextlib
import json
import re
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stedi_assets.lakehouse.landing.ledger import Content, LandingFolder
from stedi_assets.read import read_table
from stedi_assets.sample.landing_files import Sample, SampleSummary, write_sample
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.refresh.pipeline.support import (
    FALL_OF_CONSENT,
    FIRST_COUNTS,
    SOURCES,
    after_first_refresh,
    changed,
    copy,
    failed_checks,
    quarantined,
)
from stedi_assets_tests.support import (
    ANN,
    KEY,
    TABLES,
    at,
    catalog_of,
    counts,
    customer,
    deliver,
    on_this_machine,
    refresh,
    snapshots,
    under,
    write,
)


class SampleRun:
    """A refresh over the sample with every defect."""

    def __init__(self, folder: Path, local: Path, home: Path) -> None:
        sample = Sample(
            customers=200,
            files=3,
            shared_serials=True,
            changing_consent=True,
            malformed=True,
            late_readings=True,
        )
        self.local, self.home = local, home
        self.summary: SampleSummary = write_sample(local, sample)
        copy(local, folder / "landing")
        self.settings = under(folder, max_quarantine_share=0.0)
        with dg.DagsterInstance.ephemeral() as instance:
            self.strict = refresh(self.settings, instance)
            self.events = list(instance.all_logs(self.strict.run_id))
        self.settings = under(folder, max_quarantine_share=1.0)
        with dg.DagsterInstance.local_temp(str(home)) as instance:
            self.result = refresh(self.settings, instance)
            self.events += instance.all_logs(self.result.run_id)


@pytest.fixture(scope="module")
def sample(new_folder: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> SampleRun:
    return SampleRun(new_folder(), *map(tmp_path_factory.mktemp, ("sample", "dagster")))


def test_sample_with_every_defect_is_published(sample: SampleRun) -> None:
    evaluations = sample.result.get_asset_check_evaluations()
    failed = [found for found in evaluations if not found.passed]
    # People whom unreadable records name are suspended, which is said.
    assert {found.severity for found in failed} <= {dg.AssetCheckSeverity.WARN}
    assert sample.result.success


@pytest.mark.parametrize("source", SOURCES)
def test_every_object_of_the_sample_is_landed_or_quarantined(
    sample: SampleRun, source: str
) -> None:
    rows = [row for row in quarantined(sample.settings) if row["source"] == source]
    landed = counts(sample.settings)[SOURCES[source]]
    assert (landed, len(rows)) == (
        sample.summary.objects[source],
        sample.summary.unreadable[source],
    )


@pytest.mark.parametrize("table", TABLES)
def test_duckdbs_iceberg_reader_sees_what_is_published(
    sample: SampleRun, table: str, read_iceberg: IcebergReader
) -> None:
    def key(row: dict[str, Any]) -> str:
        return json.dumps(row, sort_keys=True)

    published = read_table(table, settings=sample.settings).to_pyarrow().to_pylist()
    seen = read_iceberg(catalog_of(sample.settings).metadata_location(table))
    assert seen
    assert sorted(seen, key=key) == sorted(published, key=key)


PERSONAL = re.compile(
    r'"(?:email|user|customername|phone|serialnumber)"\s*:\s*("(?:[^"\\]|\\.){6,}?")', re.IGNORECASE
)


def personal_values(landing: Path) -> set[str]:
    """E-mails, names, phones and serial numbers in the landing files, wherever in these."""
    values: set[str] = set()
    for path in landing.rglob("*.json*"):
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = zlib.decompressobj(wbits=31).decompress(content)
        found = PERSONAL.findall(content.decode("utf-8", "replace"))
        values |= {json.loads(text, strict=False).strip().lower() for text in found}
    return values


def stored(home: Path) -> Iterator[str]:
    """All that a Dagster instance keeps below a folder, as text."""
    for path in filter(Path.is_file, home.rglob("*")):
        yield path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".db":  # where a long text may be in pieces
            with contextlib.closing(sqlite3.connect(path)) as database:
                yield from database.iterdump()


def test_nothing_personal_is_in_what_dagster_stores(sample: SampleRun) -> None:
    personal = personal_values(sample.local)
    landed = read_table("customer_landing", settings=sample.settings).to_pyarrow().to_pylist()
    assert {record["email"].strip().lower() for record in landed} <= personal
    assert {record["customername"].lower() for record in landed} <= personal
    assert {record["phone"] for record in landed} <= personal
    devices = read_table("step_trainer_landing", settings=sample.settings).serialnumber
    assert set(devices.to_pyarrow().to_pylist()) <= personal
    assert len(personal) > 700

    events = map(dg.serialize_value, sample.events)
    log = [json.dumps(json.loads(e), ensure_ascii=False).lower() for e in events]
    assert any("new objects are unreadable" in entry for entry in log)
    assert any("audit_seconds" in entry for entry in log)
    assert any("where_rows_went" in entry for entry in log)
    kept = "\n".join(stored(sample.home)).lower()
    assert all(told in kept for told in ("where_rows_went", "\\u2022", "refresh_lakehouse"))
    whole = "\n".join(log) + kept.replace("\\\\", "\\")
    escaped = {json.dumps(value)[1:-1] for value in personal}
    assert [value for value in (*personal, *escaped, KEY) if value in whole] == []


@on_this_machine
@after_first_refresh
def test_consent_column_renamed_upstream_warns_and_takes_effect(
    settings: Settings, landing: Path
) -> None:
    renamed = [
        {"email": f"p{i}@x.io", "researchConsent": at(5), "registrationDate": at(1)}
        for i in range(100)
    ]
    deliver(landing, "renamed.json", customer=renamed)
    result = refresh(settings)
    warnings = [found for found in result.get_asset_check_evaluations() if not found.passed]
    assert result.success
    assert {found.severity for found in warnings} == {dg.AssetCheckSeverity.WARN}
    assert any("sharewithresearchasofdate" in (found.description or "") for found in warnings)
    assert counts(settings) == FIRST_COUNTS | {"customer_landing": 103}


@on_this_machine
@after_first_refresh
def test_withdrawal_beside_unreadable_records_takes_effect_and_the_check_is_red(
    settings: Settings, landing: Path
) -> None:
    withdrawn = customer(ANN, "d", lastupdatedate=2, sharewithresearchasofdate=None)
    deliver(landing, "withdrawal.json", customer=[withdrawn])
    write(landing, "customer", "junk.json", "upload failed\n" * 9)
    result = refresh(settings)
    assert ("customer_landing", "readable") in failed_checks(result)
    assert counts(settings) == FIRST_COUNTS | {
        "customer_landing": 4,
        "quarantine": 9,
        "customer_trusted": 1,
        "accelerometer_trusted": 10,
        "customers_curated": 1,
        "step_trainer_trusted": 10,
        "machine_learning_curated": 10,
    }


@on_this_machine
@after_first_refresh
@pytest.mark.parametrize(
    "spelled", [ANN, ANN.upper(), f"\u200b{ANN}\u00a0"], ids=["plain", "capitals", "invisible"]
)
def test_unreadable_record_suspends_its_person_until_a_readable_one_lands(
    settings: Settings, landing: Path, spelled: str
) -> None:
    garbled = customer(spelled, "d") | {"lastupdatedate": "yesterday"}
    deliver(landing, "garbled.json", customer=[garbled])
    refresh(settings)
    without_ann = FIRST_COUNTS | {
        "quarantine": 1,
        "customer_trusted": 1,
        "accelerometer_trusted": 10,
        "customers_curated": 1,
        "step_trainer_trusted": 10,
        "machine_learning_curated": 10,
    }
    assert counts(settings) == without_ann
    deliver(landing, "readable.json", customer=[customer(ANN, "d", registrationdate=1)])
    refresh(settings)
    assert counts(settings) == FIRST_COUNTS | {"customer_landing": 4, "quarantine": 1}


@on_this_machine
@after_first_refresh
def test_trouble_with_one_source_does_not_keep_a_withdrawal_from_the_others(
    settings: Settings, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshots(settings)
    withdrawn = {"email": ANN, "registrationDate": at(99), "lastUpdateDate": at(99)}
    deliver(landing, "withdrawn.json", customer=[withdrawn])
    growing = write(landing, "step_trainer", "growing.json", "")
    examine = LandingFolder.examine

    def grow_while_read(folder: LandingFolder, paths: list[str]) -> list[Content]:
        found = examine(folder, paths)
        if "step_trainer/landing/growing.json" in paths:
            growing.write_text(growing.read_text() + "\n")
        return found

    monkeypatch.setattr(LandingFolder, "examine", grow_while_read)
    result = refresh(settings)
    readable = ("step_trainer_landing", "readable")
    assert failed_checks(result) == [readable, *FALL_OF_CONSENT]
    assert "step_trainer_landing" not in changed(before, settings)
    assert ANN not in set(read_table("customer_trusted", settings=settings).email.to_pandas())
    assert ANN not in set(read_table("accelerometer_trusted", settings=settings).user.to_pandas())
