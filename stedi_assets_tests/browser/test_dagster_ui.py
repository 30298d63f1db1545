"""What people do in Dagster's UI, done by a browser in the order people do it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from stedi_assets.sample import Sample, write_sample
from stedi_assets_tests.browser.dagster_ui import CHROMIUM, DagsterUI, browser, dagster_dev
from stedi_assets_tests.browser.location import MISTAKE
from stedi_assets_tests.support import TABLES
from stedi_assets_tests.test_definitions import BLOCKING_CHECKS, GROUPS, OTHER_CHECKS

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="There is no Chromium: install Debian's package chromium."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dagster")


@pytest.fixture(scope="module")
def ui(folder: Path) -> Iterator[DagsterUI]:
    """Dagster's UI on a lakehouse without tables or landing files."""
    with dagster_dev(folder) as address, browser() as page:
        yield DagsterUI(address, page)


@pytest.fixture(scope="module")
def by_itself(ui: DagsterUI, folder: Path) -> str:
    """The run that started when landing files were dropped."""
    write_sample(folder / "lakehouse" / "landing", Sample(customers=40))
    run = ui.newest_run(launched_by="landing_files")
    ui.wait_for_end(run, "SUCCESS")
    return run


@pytest.fixture(scope="module")
def materialized(ui: DagsterUI, by_itself: str) -> str:
    """The run of a press on Materialize all."""
    run = ui.materialize_all()
    ui.wait_for_end(run, "SUCCESS")
    return run


@pytest.fixture(scope="module")
def violated(ui: DagsterUI, folder: Path, materialized: str) -> str:
    """A run after a mistake came into a rule, and a customer who refuses."""
    (folder / MISTAKE).touch()
    ui.reload_definitions()
    run = ui.materialize_all()
    ui.wait_for_end(run, "FAILURE")
    return run


def test_lineage_shows_every_table_and_source(ui: DagsterUI) -> None:
    ui.open_lineage(GROUPS.values())
    for table in GROUPS:
        expect(ui.page.get_by_text(table, exact=True).first).to_be_visible()


def test_dropped_landing_files_start_a_run(ui: DagsterUI, by_itself: str) -> None:
    ui.open("/assets/machine_learning_curated")
    expect(ui.page.get_by_text("Row count")).to_be_visible()


@pytest.mark.parametrize("table", TABLES)
def test_every_check_is_green_after_materialize_all(
    ui: DagsterUI, materialized: str, table: str
) -> None:
    ui.open(f"/assets/{table}?view=checks")
    for check in BLOCKING_CHECKS[table] | OTHER_CHECKS[table]:
        expect(ui.page.get_by_text(check, exact=True).first).to_be_visible()
    expect(ui.page.get_by_text("Succeeded")).to_have_count(
        len(BLOCKING_CHECKS[table] | OTHER_CHECKS[table]) + 1  # and the one that is open
    )
    expect(ui.page.get_by_text("Failed")).to_have_count(0)
