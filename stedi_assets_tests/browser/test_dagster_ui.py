"""What people do in Dagster's UI, done by a browser in the order people do it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from stedi_assets.sample.landing_files import Sample, write_sample
from stedi_assets.settings import Settings
from stedi_assets_tests.browser.dagster_ui import CHROMIUM, DagsterUI, browser, dagster_dev
from stedi_assets_tests.browser.location import MISTAKE
from stedi_assets_tests.graph import BLOCKING_CHECKS, GROUPS, OTHER_CHECKS
from stedi_assets_tests.support import TABLES, snapshots

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="There is no Chromium: install Debian's package chromium."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dagster")


@pytest.fixture(scope="module")
def ui(folder: Path) -> Iterator[DagsterUI]:
    """Dagster's UI on a lakehouse without tables and landing files."""
    with dagster_dev(folder) as address, browser() as page:
        yield DagsterUI(address, page)


@pytest.fixture(scope="module")
def by_itself(ui: DagsterUI, folder: Path) -> str:
    """The run that started once landing files were dropped."""
    write_sample(folder / "lakehouse" / "landing", Sample(customers=40))
    run = ui.run_launched(by="landing_files")
    ui.wait_for_end(run, "SUCCESS")
    return run


@pytest.fixture(scope="module")
def materialized(ui: DagsterUI, by_itself: str) -> str:
    """The run of a press on Materialize all."""
    run = ui.materialize_all()
    ui.wait_for_end(run, "SUCCESS")
    return run


@pytest.fixture(scope="module")
def published(folder: Path, materialized: str) -> dict[str, int]:
    """Snapshots of the tables before a mistake came into a rule."""
    return snapshots(Settings.load(lakehouse=folder / "lakehouse"))


@pytest.fixture(scope="module")
def violated(ui: DagsterUI, folder: Path, published: dict[str, int]) -> str:
    """The run of a press on Materialize all after a mistake came into the rule of customers."""
    (folder / MISTAKE).touch()
    ui.reload_definitions()
    run = ui.materialize_all()
    ui.wait_for_end(run, "FAILURE")
    return run


def test_lineage_shows_every_table_and_source(ui: DagsterUI) -> None:
    ui.open_lineage()
    for table in GROUPS:
        name = re.compile(rf"^({table}|{table[:7]}\w*…\w*{table[-5:]})$")  # long ones are shortened
        expect(ui.page.locator("svg").get_by_text(name).first).to_be_visible()


def test_landing_files_start_a_run_by_themselves(ui: DagsterUI, by_itself: str) -> None:
    ui.open("/assets/machine_learning_curated")
    expect(ui.page.get_by_text("1,800").first).to_be_visible()  # rows


@pytest.mark.parametrize("table", TABLES)
def test_every_check_is_green(ui: DagsterUI, materialized: str, table: str) -> None:
    checks = BLOCKING_CHECKS[table] | OTHER_CHECKS[table]
    ui.open(f"/assets/{table}?view=checks")
    expect(ui.page.get_by_text("Succeeded", exact=True)).to_have_count(len(checks))
    for check in checks:
        expect(ui.page.get_by_text(check, exact=True).first).to_be_visible()
    expect(ui.page.get_by_text("Failed", exact=True)).to_have_count(0)


def test_table_shows_where_its_columns_come_from(ui: DagsterUI, materialized: str) -> None:
    ui.open("/assets/machine_learning_curated")
    chain = ui.page.get_by_text("accelerometer_trusted.x ← accelerometer_landing.x")
    expect(chain.first).to_be_visible()


def test_table_leads_to_its_pictures(ui: DagsterUI, materialized: str) -> None:
    ui.open("/assets/customers_curated")
    ui.page.get_by_role("link", name="Pictures").click()
    picture = ui.page.get_by_role("img", name="40 customers, 20 consenting")
    expect(picture.first).to_be_visible(timeout=60_000)  # the report is made after the tables
    assert picture.first.evaluate("image => image.naturalWidth") > 100


def test_failed_check_is_red_and_names_the_rows(ui: DagsterUI, violated: str) -> None:
    ui.open("/assets/customer_trusted?view=checks")
    expect(ui.page.get_by_text("Failed", exact=True).first).to_be_visible()
    ui.page.get_by_text("consent", exact=True).first.click()
    expect(ui.page.get_by_text("customer_trusted: 20 violations.").first).to_be_visible()


def test_tables_after_a_failed_check_are_not_made(
    ui: DagsterUI, folder: Path, published: dict[str, int], violated: str
) -> None:
    ui.open(f"/runs/{violated}")
    # The page shows the last events; those of the first tables are further up.
    for table in ("step_trainer_trusted", "machine_learning_curated"):
        said = re.compile(f"Dependencies for step {table} (failed|were not executed)")
        expect(ui.page.get_by_text(said).first).to_be_visible()
    assert snapshots(Settings.load(lakehouse=folder / "lakehouse")) == published
