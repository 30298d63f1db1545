"""Files that cannot be read, and withdrawals beside them."""

import json
from pathlib import Path

import pytest

from stedi_assets.settings import Settings
from stedi_assets_tests.refresh.pipeline.support import SECOND, SECOND_COUNTS, failed_checks
from stedi_assets_tests.support import (
    counts,
    deliver,
    device,
    on_this_machine,
    refresh,
    snapshots,
    under,
    write,
)


@pytest.fixture
def garbage(landing: Path) -> Path:
    """A file of the second delivery, mostly unreadable."""
    deliver(landing, "second.json", **SECOND)
    good = json.dumps(device("d", 11)[0])
    text = f"{good}\nupload failed\nupload failed\nupload failed\n"
    return write(landing, "step_trainer", "third.json", text)


def test_file_with_too_many_unreadable_objects_is_held_back_alone(
    settings: Settings, garbage: Path
) -> None:
    result = refresh(settings)
    assert failed_checks(result) == [("step_trainer_landing", "readable")]
    assert counts(settings) == SECOND_COUNTS
    assert not result.success
    found = next(e for e in result.get_asset_check_evaluations() if not e.passed)
    assert found.description is not None
    assert f"step_trainer/landing/{garbage.name}: 3 of 4" in found.description


@on_this_machine
def test_removing_the_unreadable_file_heals(settings: Settings, garbage: Path) -> None:
    assert failed_checks(refresh(settings)) == [("step_trainer_landing", "readable")]
    garbage.unlink()
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == SECOND_COUNTS


@on_this_machine
def test_mending_the_unreadable_file_heals(settings: Settings, garbage: Path) -> None:
    assert failed_checks(refresh(settings)) == [("step_trainer_landing", "readable")]
    garbage.write_text("")
    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == SECOND_COUNTS


@on_this_machine
def test_allowing_more_unreadable_objects_publishes_the_readable_ones(
    settings: Settings, garbage: Path, folder: Path
) -> None:
    assert failed_checks(refresh(settings)) == [("step_trainer_landing", "readable")]
    assert garbage.exists()
    result = refresh(under(folder, max_quarantine_share=0.8))
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == SECOND_COUNTS | {
        "step_trainer_landing": 32,
        "step_trainer_trusted": 22,
        "quarantine": 3,
    }
    after = snapshots(settings)
    assert refresh(settings).success  # what is in stays in, under the old setting too
    assert snapshots(settings) == after
