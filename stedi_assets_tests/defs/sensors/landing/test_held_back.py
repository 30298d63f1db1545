"""Files that are held back are no news."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.refresh import land as landing_tables
from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.defs.sensors.landing.support import FIRST, Watch
from stedi_assets_tests.support import (
    ANN,
    customer,
    deliver,
    device,
    write,
)


@pytest.fixture
def held_back(watch: Watch, landing: Path) -> Path:
    """A file of readings that is held back; another one was taken in with it."""
    deliver(landing, "first.json", step_trainer=FIRST["step_trainer"])
    garbage = write(landing, "step_trainer", "garbage.json", "upload failed\n")
    watch.refresh("step_trainer_landing")
    return garbage


@pytest.mark.usefixtures("held_back")
def test_file_that_is_held_back_is_counted_and_not_requested_but_one_beside_it_is(
    watch: Watch, landing: Path
) -> None:
    assert watch.reason() == (
        "No new landing files; 1 taken in, 1 held back by a check of step_trainer_landing."
    )

    deliver(landing, "second.json", step_trainer=device("d", 2))
    assert watch.requests() == {"step_trainer": "1"}


def test_removing_the_file_at_fault_asks_for_a_refresh_that_forgets_it(
    watch: Watch, held_back: Path
) -> None:
    watch.tick()
    held_back.unlink()
    [request] = watch.tick().run_requests or ()
    assert request.tags["tables"] == "step_trainer_landing"
    assert "Tables whose held-back files were removed: step_trainer_landing." in watch.reason()
    watch.refresh("step_trainer_landing")
    assert watch.reason() == "No new landing files; 1 taken in."


def test_mending_the_file_at_fault_lets_it_in(watch: Watch, held_back: Path) -> None:
    watch.tick()
    held_back.write_text(json.dumps(device("d", 2)[0]))
    assert watch.requests() == {"step_trainer": "1"}
    watch.refresh("step_trainer_landing")
    assert watch.reason() == "No new landing files; 2 taken in."


def test_files_of_a_refresh_cut_short_before_its_checks_are_requested(
    watch: Watch, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver(landing, "first.json", customer=[customer(ANN)])

    def cut_short(*_: object) -> Iterator[object]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(landing_tables, "publish_or_hold_back", cut_short)
        watch.refresh()
    candidate = Catalog(open_lakehouse(watch.settings).storage).candidate("customer_landing")
    assert candidate
    assert watch.requests() == {"customer": "1"}
    watch.refresh()
    assert watch.reason() == "No new landing files; 1 taken in."
