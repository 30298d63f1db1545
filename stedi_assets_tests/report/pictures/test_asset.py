"""The asset of the report, and lakehouses with little in them."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import pytest
from typer.testing import CliRunner

from stedi_assets.cli.main import app
from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.defs.report import REPORT
from stedi_assets.report.charts import Theme, svg
from stedi_assets.report.figures import Bars, History
from stedi_assets.report.page import page
from stedi_assets.report.pictures import Picture, pictures
from stedi_assets.report.status import status
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.report.pictures.support import DATA, LANDING, assert_secret, drawn, numbers
from stedi_assets_tests.support import (
    ANN,
    BOB,
    KEY,
    TABLES,
    customer,
    deliver,
    refresh,
    under,
    write,
)


def observed(run: dg.ExecuteInProcessResult) -> Iterator[dg.AssetObservation]:
    for event in run.all_events:
        if event.event_type == dg.DagsterEventType.ASSET_OBSERVATION:
            yield event.asset_observation_data.asset_observation


def test_asset_writes_the_page_into_the_lakehouse(
    run: dg.ExecuteInProcessResult, settings: Settings, html: str
) -> None:
    [made] = run.asset_materializations_for_node(REPORT)
    assert made.metadata["location"].value == f"{settings.lakehouse}/report/report.html"
    assert made.metadata["pictures"].value == html.count("<figure>")


def test_report_opens_in_the_ui_with_what_the_page_shows(
    run: dg.ExecuteInProcessResult, made: dict[str, Picture], html: str
) -> None:
    [report] = run.asset_materializations_for_node(REPORT)
    markdown = report.metadata["report"]
    assert isinstance(markdown, dg.MarkdownMetadataValue)
    text = str(markdown.value)
    assert drawn(text) == drawn(html)[1::2]
    assert all(f"**{title}**" in text.replace("\\", "") for title in made)
    assert all(f"| {table} |" in text for table in TABLES)
    assert_secret(text)


def test_each_table_gets_its_first_picture_as_an_observation(
    run: dg.ExecuteInProcessResult, made: dict[str, Picture], html: str
) -> None:
    of_page = dict(zip(made, drawn(html)[1::2], strict=True))  # after the dark one of each
    found = {note.asset_key.to_user_string(): note for note in observed(run)}
    assert set(found) == set(TABLES)
    for table, note in found.items():
        titles = [title for title, picture in made.items() if table in picture.tables]
        assert list(note.metadata) == ["all pictures"]
        assert str(note.description).replace("\\", "").startswith(f"**{titles[0]}**")
        assert drawn(str(note.description)) == [of_page[titles[0]]]


def test_nothing_of_a_person_is_in_events(run: dg.ExecuteInProcessResult) -> None:
    for note in observed(run):
        assert_secret(f"{note.description}{[value.value for value in note.metadata.values()]}")


def test_what_is_not_published_is_absent_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    settings = under(tmp_path)
    found, absent = pictures(open_lakehouse(settings))
    assert found == []
    assert all("not been published yet" in picture.reason for picture in absent)
    assert not Path(settings.lakehouse).exists()
    assert "Nothing is published yet" in page(status(settings), [], absent)


def test_empty_tables_are_told_of_and_not_drawn(tmp_path: Path) -> None:
    deliver(tmp_path / "landing", "a.json", customer=[customer(ANN)])
    settings = under(tmp_path)
    refresh(settings, only=LANDING)
    _, absent = pictures(open_lakehouse(settings))
    reasons = {picture.title: picture.reason for picture in absent}
    assert reasons["Readings over time"] == "No readings have landed yet."
    assert reasons["Quarantine by reason"] == "Nothing is in quarantine."
    assert reasons["Devices by proof of ownership"] == (
        "device_ownership has not been published yet."
    )


def test_nothing_but_zeros_can_be_drawn() -> None:
    for none in (Bars("devices", {"withheld": 0}), History((datetime.now(UTC),), (0,))):
        ElementTree.fromstring(svg(none, Theme.LIGHT))


def test_rows_are_told_of_each_refresh_that_published(tmp_path: Path) -> None:
    settings = under(tmp_path, landing=None)
    landing = Path(settings.landing_root)
    for name, email in (("a.json", ANN), ("b.json", BOB)):
        deliver(landing, name, customer=[customer(email)])
        refresh(settings, only=LANDING)
    # Customers that can be read are published, whatever lies beside them: here none.
    write(landing, "customer", "c.json", "unreadable\n")
    refresh(settings, only=LANDING)
    found, _ = pictures(open_lakehouse(settings))
    [history] = [picture.numbers for picture in found if "customer_landing" in picture.tables]
    assert isinstance(history, History)
    assert history.rows == (1, 2, 2)


def test_real_delivery_gives_the_expected_numbers(tmp_path: Path) -> None:
    if not DATA.is_dir():
        pytest.skip(f"the real deliveries are not here: {DATA} is no folder")
    expected = json.loads((DATA / "expected.json").read_text(encoding="utf-8"))["stedi-2023"]["any"]
    settings = under(tmp_path, landing=str(DATA / "stedi-2023"))
    refresh(settings)
    made = {picture.title: picture for picture in pictures(open_lakehouse(settings))[0]}
    funnel = numbers(made, "From customers to the training set").counts
    assert funnel["consenting"] == expected["customer_trusted"]
    assert funnel["with readings"] == expected["customers_curated"]
    devices = numbers(made, "Devices by proof of ownership").counts
    assert None in devices.values() or sum(devices.values()) == 956
    over_time = numbers(made, "Readings over time")
    assert over_time.outside == 0
    assert sum(over_time.counts["accelerometer"]) == expected["accelerometer_landing"]
    assert sum(over_time.counts["step trainer"]) == expected["step_trainer_landing"]
    per_person = numbers(made, "Readings per person in the training set")
    shown = sum(per_person.counts) + per_person.outside
    assert 0 < shown <= funnel["in the training set"]
    assert per_person.left_out == (shown < funnel["in the training set"])
    for title in ("Distance from object", "Acceleration along x", "Acceleration along z"):
        found = numbers(made, title)
        values = sum(found.counts) + found.outside + found.missing
        assert values == expected["machine_learning_curated"]


def test_report_is_made_when_missing_and_after_a_refresh_and_not_again(tmp_path: Path) -> None:
    definitions = lakehouse_definitions(under(tmp_path, landing=None))
    instance = dg.DagsterInstance.ephemeral()
    requested = []

    def look(cursor: Any) -> Any:
        result = dg.evaluate_automation_conditions(definitions, instance, cursor=cursor)
        requested.append(result.total_requested)
        return result.cursor

    def materialize(*names: str) -> None:
        for name in names:
            instance.report_runless_asset_event(dg.AssetMaterialization(name))

    cursor = look(None)  # there are no tables yet
    materialize(*TABLES)
    cursor = look(cursor)
    materialize(REPORT)
    instance.report_runless_asset_event(dg.AssetObservation(TABLES[0]))
    cursor = look(look(cursor))
    materialize("machine_learning_curated")
    look(look(cursor))
    assert requested == [0, 1, 0, 0, 1, 0]

    instance = dg.DagsterInstance.ephemeral()
    materialize(*TABLES)
    look(None)  # tables were refreshed before Dagster looked
    assert requested[-1] == 1


def test_command_writes_the_page_and_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STEDI_LAKEHOUSE", str(tmp_path / "lakehouse"))
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY)
    without = CliRunner().invoke(app, ["report"])
    assert (without.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "refresh the lakehouse first" in without.output
    settings = Settings.load()
    deliver(Path(settings.landing_root), "a.json", customer=[customer(ANN)])
    refresh(settings, only=LANDING)
    done = CliRunner().invoke(app, ["report"])
    assert str(tmp_path / "report.html") in done.output
    assert "Rows of customer_landing" in (tmp_path / "report.html").read_text(encoding="utf-8")
