"""A refreshed lakehouse, its pictures and its page."""

from pathlib import Path

import dagster as dg
import pytest

from stedi_assets.defs.report import report_asset
from stedi_assets.report.pictures import Picture, pictures
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.report.pictures.support import CUSTOMERS, DEVICES, FAY, PHONES
from stedi_assets_tests.support import (
    deliver,
    refresh,
    under,
    write,
)


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
