"""What could not be read is in quarantine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Land = Callable[..., Path]
from stedi_assets_tests.lakehouse.landing.ingest.support import FOLDER, TABLE, Lakehouse, readings


def test_quarantine_says_what_could_not_be_read_and_where(lakehouse: Lakehouse, land: Land) -> None:
    path = land("a.json", [*readings(1), {"serialNumber": "s"}])
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    [reject] = lakehouse.published("quarantine")
    assert reject.pop("landed_at")
    raw = '{"serialNumber": "s"}'
    assert reject == {
        "source": "step_trainer",
        "source_file": f"{FOLDER}/a.json",
        "position": path.read_text().index(raw),
        "raw": raw,
        "reason": "sensorreadingtime is missing",
        "person": None,
    }


def test_rejects_of_a_candidate_vanish_with_its_bad_file(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    bad = land("b.json", b"garbage\n")
    lakehouse.stage()
    assert [row["raw"] for row in lakehouse.quarantine() or ()] == ["garbage"]
    bad.unlink()
    lakehouse.stage()
    assert not lakehouse.quarantine()


def test_rejects_of_a_repaired_file_vanish_before_its_publication(
    lakehouse: Lakehouse, land: Land
) -> None:
    land("a.json", b"garbage\n")
    lakehouse.stage()
    lakehouse.quarantine()
    land("a.json", readings(1))
    lakehouse.refresh()
    assert not lakehouse.quarantine()
    assert lakehouse.times() == [1]


def test_rejects_of_published_files_stay(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", b"garbage\n")
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    land("b.json", [*readings(1), {}])
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    assert sorted(row["raw"] for row in lakehouse.published("quarantine")) == ["garbage", "{}"]
    assert lakehouse.quarantine() is None


def test_quarantine_of_nothing_is_an_empty_table(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    assert lakehouse.published("quarantine") == []
    assert lakehouse.quarantine() is None


def test_waiting_quarantine_is_used_again(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", b"garbage\n")
    lakehouse.stage()
    first = lakehouse.ingest.stage_quarantine([TABLE], "one")
    assert lakehouse.ingest.stage_quarantine([TABLE], "two") == first


def test_quarantine_does_not_wait_for_sources_that_never_landed(
    lakehouse: Lakehouse, land: Land
) -> None:
    land("a.json", b"garbage\n")
    lakehouse.refresh()
    staged = lakehouse.ingest.stage_quarantine([TABLE, "customer_landing"], "run")
    assert [row["raw"] for row in lakehouse.rows(staged)] == ["garbage"]
