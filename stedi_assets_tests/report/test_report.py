"""The pictures of a lakehouse, their page, and the asset that makes them."""

import base64
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import dagster as dg
import pytest
from typer.testing import CliRunner

from stedi_assets import read_table
from stedi_assets.cli.main import app
from stedi_assets.definitions import lakehouse_definitions
from stedi_assets.defs.report import REPORT, report_asset
from stedi_assets.report.charts import Theme, svg
from stedi_assets.report.figures import Bars, Histogram, History, Timeline
from stedi_assets.report.page import page
from stedi_assets.report.pictures import Absent, Picture, pictures
from stedi_assets.report.status import status
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    KEY,
    SHARED,
    TABLES,
    counts,
    customer,
    deliver,
    device,
    phone,
    refresh,
    under,
    write,
)

DATA = SHARED
DEE, EVE, FAY = "dee@x.io", "eve@x.io", "fay@x.io"
HOUR = 3_600_000
NOON = 1_682_942_400_000  # 2023-05-01 12:00 UTC, a Monday
ANNS, BOBS, DEES = (range(NOON + start, NOON + start + 10) for start in (0, 100, HOUR))

# Ann alone comes all the way to the training set.
CUSTOMERS = [
    customer(ANN, "SN-ANN", customername="Ann Archer", phone="+1-555-0101"),
    customer(f" {ANN.upper()} ", "SN-ANN", customername="Ann Archer", phone="+1-555-0101"),
    customer(BOB, "SN-BOB", sharewithresearchasofdate=None, customername="Bob Baker"),
    customer(CY, customername="Cy Cooper"),  # without readings
    customer(DEE, customername="Dee Dyer"),  # without a device
    customer(EVE, "SN-EVE", customername="Eve Ellis"),  # with a device, without a phone
]
PHONES = [*phone(ANN, *ANNS, x=0.5), *phone(BOB, *BOBS), *phone(DEE, *DEES)]
DEVICES = [
    *device("SN-ANN", *ANNS, distancefromobject=200.0),
    *device("SN-BOB", *BOBS),
    *device("SN-EVE", NOON + 2 * HOUR),
    *device("SN-NOBODY", NOON + 2 * HOUR),
]
LANDING = TABLES[:4]
SECRETS = [ANN, BOB, CY, DEE, EVE, FAY, "Archer", "Baker", "555-0101", "SN-", "not read"]


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A refreshed lakehouse that tests only look at."""
    folder = tmp_path_factory.mktemp("folder")
    landing = folder / "landing"
    deliver(landing, "a.json", customer=CUSTOMERS, accelerometer=PHONES, step_trainer=DEVICES)
    write(landing, "customer", "bad.json", f'{{"email": "{FAY}", not read\n')
    settings = under(folder, max_quarantine_share=1)
    assert refresh(settings).success
    return settings


@pytest.fixture(scope="module")
def made(settings: Settings) -> dict[str, Picture]:
    found, absent = pictures(open_lakehouse(settings))
    assert absent == []
    return {picture.title: picture for picture in found}


@pytest.fixture(scope="module")
def run(settings: Settings) -> dg.ExecuteInProcessResult:
    return dg.materialize(
        [report_asset(settings)], resources={"lakehouse": open_lakehouse(settings)}
    )


@pytest.fixture(scope="module")
def html(run: dg.ExecuteInProcessResult, settings: Settings) -> str:
    return Path(settings.lakehouse, "report", "report.html").read_text(encoding="utf-8")


def numbers(made: dict[str, Picture], title: str) -> Any:
    return made[title].numbers


def drawn(text: str) -> list[str]:
    """The pictures that a page or a note holds, as SVG."""
    found = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", text)
    return [base64.b64decode(picture).decode() for picture in found]


def assert_secret(text: str) -> None:
    """Nothing of a person is in the text or in its pictures."""
    for part in (text, *drawn(text)):
        assert [secret for secret in SECRETS if secret.lower() in part.lower()] == []


# Numbers


def test_funnel_counts_people_at_each_step(made: dict[str, Picture]) -> None:
    picture = made["From customers to the training set"]
    assert isinstance(picture.numbers, Bars)
    assert list(picture.numbers.counts.items()) == [
        ("customers", 5),
        ("consenting", 4),
        ("with readings", 2),
        ("with a proven device", 1),
        ("in the training set", 1),
    ]
    assert picture.sentence.startswith("Of 5 customers 4 (80%) consent to research, and 1 are")


def test_devices_are_counted_by_proof(made: dict[str, Picture]) -> None:
    found = numbers(made, "Devices by proof of ownership")
    assert found.counts == {"shared_readings": 2, "sole_claim": 1, "withheld": 1}


def test_readings_are_counted_by_hour_and_source(made: dict[str, Picture]) -> None:
    found = numbers(made, "Readings over time")
    assert isinstance(found, Timeline)
    assert found.counts == {"accelerometer": (20, 10, 0), "step trainer": (20, 0, 2)}


def test_distributions_are_those_of_the_training_set(made: dict[str, Picture]) -> None:
    found = numbers(made, "Distance from object")
    assert isinstance(found, Histogram)
    assert (found.edges, found.counts) == ((199.5, 200.5), (10,))
    assert numbers(made, "Acceleration along x").edges == (0.0, 1.0)
    people = numbers(made, "Readings per person in the training set")
    assert (people.edges, people.counts) == ((9.5, 10.5), (1,))


def test_quarantine_is_counted_by_source_and_reason(made: dict[str, Picture]) -> None:
    [(reason, rows)] = numbers(made, "Quarantine by reason").counts.items()
    assert (reason.split(":")[0], rows) == ("customer", 1)


def test_rows_of_each_table_are_those_published(
    made: dict[str, Picture], settings: Settings
) -> None:
    for table, rows in counts(settings).items():
        found = numbers(made, f"Rows of {table}")
        assert isinstance(found, History)
        assert found.rows == (rows,), table


def test_each_picture_is_for_the_tables_it_says_something_of(made: dict[str, Picture]) -> None:
    shown = {
        table: [title for title, picture in made.items() if table in picture.tables]
        for table in TABLES
    }
    funnel, distance = "From customers to the training set", "Distance from object"
    axes = [f"Acceleration along {axis}" for axis in "xyz"]
    wanted = {
        "customer_trusted": [funnel],
        "customers_curated": [funnel],
        "device_ownership": ["Devices by proof of ownership"],
        "accelerometer_landing": ["Readings over time"],
        "step_trainer_landing": ["Readings over time"],
        "step_trainer_trusted": [distance],
        "accelerometer_trusted": axes,
        "machine_learning_curated": [
            funnel,
            "Readings per person in the training set",
            distance,
            *axes,
        ],
        "quarantine": ["Quarantine by reason"],
    }
    assert shown == {table: [*wanted.get(table, []), f"Rows of {table}"] for table in TABLES}


# Pictures


def test_pictures_are_well_formed_and_small_in_both_themes(
    html: str, made: dict[str, Picture]
) -> None:
    images = drawn(html)
    assert len(images) == 2 * len(made)
    for image in images:
        ElementTree.fromstring(image)
        assert len(image) < 40_000
    for theme in Theme:
        background = f"fill: {theme.value.background}"
        assert sum(background in image for image in images) >= len(made)


def test_same_numbers_give_the_same_picture(made: dict[str, Picture]) -> None:
    over_time = made["Readings over time"].numbers
    assert svg(over_time, Theme.LIGHT) == svg(over_time, Theme.LIGHT)


def test_text_of_a_picture_is_text_with_separators() -> None:
    image = svg(Bars("people", {"customers": 1_234_567}), Theme.DARK).decode()
    texts = "".join(ElementTree.fromstring(image).itertext())
    assert "1,234,567" in texts
    assert "people" in texts


def test_alternative_text_tells_the_numbers(made: dict[str, Picture]) -> None:
    alt = made["Devices by proof of ownership"].alt
    assert alt.startswith("Bar chart: Devices by proof of ownership. Of 4 devices 2 have an owner")


# The page


class Page(HTMLParser):
    """What a page is made of; fails where an element is closed that is not open."""

    VOID = {"meta", "img", "source", "br", "link"}  # noqa: RUF012

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def all(self, *tags: str) -> list[dict[str, str | None]]:
        return [attributes for tag, attributes in self.found if tag in tags]


def test_page_is_well_formed_and_says_what_its_pictures_show(
    html: str, made: dict[str, Picture]
) -> None:
    found = Page(html)
    [root], images = found.all("html"), found.all("img")
    assert root["lang"] == "en"
    assert [image["alt"] for image in images] == [picture.alt for picture in made.values()]
    assert len(found.all("source")) == len(found.all("figure")) == len(images)
    headings = [tag for tag, _ in found.found if re.fullmatch("h[1-6]", tag)]
    assert headings[:3] == ["h1", "h2", "h2"]
    assert set(headings[3:]) == {"h3"}
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in found.all(
        "meta"
    )


def test_page_needs_nothing_but_itself(html: str) -> None:
    found = Page(html)
    assert found.all("script", "link", "iframe", "object") == []
    addresses = [
        attributes[name]
        for _, attributes in found.found
        for name in ("src", "srcset", "href")
        if name in attributes
    ]
    assert {str(address).split(";", maxsplit=1)[0] for address in addresses} == {
        "data:image/svg+xml"
    }
    assert "http" not in re.sub(r"data:image/\S+", "", html)


def test_page_tells_the_state_of_the_lakehouse(html: str, settings: Settings) -> None:
    for entry in status(settings)["tables"]:
        assert entry["table"] in html
        assert str(entry["published"]["snapshot"]) in html
    assert "Consent scope: any" in html


def test_nothing_of_a_person_is_on_the_page(html: str, settings: Settings) -> None:
    assert_secret(html)
    [subject] = read_table("machine_learning_curated", settings=settings).subject_id.to_pandas()[:1]
    assert subject not in html


def test_what_a_page_is_given_stays_text(settings: Settings) -> None:
    found = page(status(settings), [], [Absent("<script>", "Nothing & nobody.")])
    assert "&lt;script&gt;: Nothing &amp; nobody." in found


# The asset


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


def test_each_table_gets_its_pictures_as_an_observation(
    run: dg.ExecuteInProcessResult, made: dict[str, Picture], html: str
) -> None:
    of_page = dict(zip(made, drawn(html)[1::2], strict=True))  # after the dark one of each
    found = {note.asset_key.to_user_string(): note for note in observed(run)}
    assert set(found) == set(TABLES)
    for table, note in found.items():
        titles = [title for title, picture in made.items() if table in picture.tables]
        assert list(note.metadata) == titles[1:]
        for title, value in note.metadata.items():
            assert drawn(str(value.value)) == [of_page[title]]
        assert str(note.description).startswith(f"**{titles[0]}**")
        assert drawn(str(note.description)) == [of_page[titles[0]]]


def test_nothing_of_a_person_is_in_events(run: dg.ExecuteInProcessResult) -> None:
    for note in observed(run):
        assert_secret(f"{note.description}{[value.value for value in note.metadata.values()]}")


# Other lakehouses


def test_what_is_not_published_is_absent_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    settings = under(tmp_path)
    found, absent = pictures(open_lakehouse(settings))
    assert found == []
    assert all("not been published yet" in picture.reason for picture in absent)
    assert not Path(settings.lakehouse).exists()
    assert "Nothing is published yet" in page(status(settings), found, absent)


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
    assert sum(numbers(made, "Devices by proof of ownership").counts.values()) == 956
    over_time = numbers(made, "Readings over time")
    assert over_time.outside == 0
    assert sum(over_time.counts["accelerometer"]) == expected["accelerometer_landing"]
    assert sum(over_time.counts["step trainer"]) == expected["step_trainer_landing"]
    per_person = numbers(made, "Readings per person in the training set")
    assert sum(per_person.counts) + per_person.outside == funnel["in the training set"]
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
