"""Takes the pictures of `docs/`: `make screenshots`."""

from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import expect

from stedi_assets.sample.landing_files import Sample, write_sample
from stedi_assets_tests.browser.dagster_ui import DagsterUI, browser, dagster_dev
from stedi_assets_tests.support import PROJECT

DOCS = PROJECT / "docs"


def main() -> None:
    """Refresh sample data by way of the UI, and take pictures of it and of the report."""
    with TemporaryDirectory() as name, dagster_dev(Path(name)) as address, browser() as page:
        folder, ui = Path(name), DagsterUI(address, page)
        write_sample(folder / "lakehouse" / "landing", Sample(shared_serials=True))
        ui.wait_for_end(ui.run_launched(by="landing_files"), "SUCCESS")
        ui.wait_for_end(ui.run_launched(by="report_automation"), "SUCCESS")
        ui.open_lineage()
        page.wait_for_timeout(3_000)
        page.screenshot(path=DOCS / "lineage.png")
        page.set_viewport_size({"width": 1600, "height": 1000})
        ui.open("/assets/customers_curated?view=events")
        expect(page.get_by_role("img", name="consenting").first).to_be_visible()
        page.wait_for_timeout(1_000)
        page.screenshot(path=DOCS / "table.png")
        page.goto((folder / "lakehouse" / "report" / "report.html").as_uri())
        page.get_by_role("heading", name="Pictures").evaluate("heading => heading.scrollIntoView()")
        page.screenshot(path=DOCS / "report.png")


if __name__ == "__main__":
    main()
