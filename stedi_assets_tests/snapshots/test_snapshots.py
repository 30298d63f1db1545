"""A change of a table's SQL, or of what Dagster is told, shows in review."""

import pytest

from stedi_assets_tests.snapshots.make import FOLDER, snapshots


@pytest.fixture(scope="module")
def now() -> dict[str, str]:
    return snapshots()


def test_every_snapshot_is_there_and_no_other(now: dict[str, str]) -> None:
    kept = {path.name for pattern in ("*.sql", "*.json") for path in FOLDER.glob(pattern)}
    assert kept == set(now), "Write them anew with `make snapshots`, and look at the difference."


def test_snapshots_are_what_the_code_gives(now: dict[str, str]) -> None:
    for name, text in now.items():
        kept = (FOLDER / name).read_text(encoding="utf-8")
        assert text == kept, f"{name}: write it anew with `make snapshots`, and look at it."
