"""Refreshes that are cut short, and files that change meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.landing import reader as reader_module
from stedi_assets.lakehouse.landing.ledger import LandingFileError, LandingFolder
from stedi_assets.lakehouse.landing.reader import LandingReader
from stedi_assets_tests.support import refuse

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stedi_assets.lakehouse.landing.ledger import Listing
    from stedi_assets.lakehouse.landing.reader import Parsed

    Land = Callable[..., Path]
from stedi_assets_tests.lakehouse.landing.ingest.support import FOLDER, TABLE, Lakehouse, readings


def test_refresh_killed_before_its_commit_neither_loses_nor_repeats(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1, 2))
    lakehouse.refresh()
    land("b.json", [*readings(3), {}])
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "stage", killed)
        with pytest.raises(KeyboardInterrupt):
            lakehouse.stage()
    assert lakehouse.times() == [1, 2]
    assert lakehouse.catalog.candidate(TABLE) is None
    lakehouse.refresh()
    lakehouse.refresh_quarantine()
    assert lakehouse.times() == [1, 2, 3]
    assert len(lakehouse.published("quarantine")) == 1


def test_refresh_killed_before_it_publishes_neither_loses_nor_repeats(
    lakehouse: Lakehouse, land: Land
) -> None:
    land("a.json", readings(1, 2))
    lakehouse.stage()
    assert lakehouse.published() == []
    lakehouse.refresh()
    assert lakehouse.times() == [1, 2]
    assert lakehouse.refresh().candidate is None


def killed(*_: Any) -> None:
    raise KeyboardInterrupt


def test_waiting_candidate_is_used_again_where_nothing_changed(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1))
    first = lakehouse.stage("one")
    monkeypatch.setattr(LandingReader, "parse", None)
    second = lakehouse.stage("two")
    assert second == first


CHANGES = ["file added", "file changed", "file changed in place", "file removed"]


@pytest.mark.parametrize("change", CHANGES)
def test_waiting_candidate_is_made_anew_where_files_changed(
    lakehouse: Lakehouse, land: Land, change: str
) -> None:
    land("a.json", readings(1))
    path = land("b.json", readings(2))
    lakehouse.stage()
    if change == "file added":
        land("c.json", readings(3))
    elif change == "file changed":
        land("b.json", readings(4, 5))
    elif change == "file changed in place":
        land("b.json", readings(4))
    else:
        path.unlink()
    expected = dict(zip(CHANGES, ([1, 2, 3], [1, 4, 5], [1, 4], [1]), strict=True))[change]
    found = lakehouse.refresh()
    assert found.changed == ()
    assert lakehouse.times(found.candidate) == expected
    assert lakehouse.times() == expected


def test_waiting_candidate_goes_when_its_only_file_does(lakehouse: Lakehouse, land: Land) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    path = land("b.json", readings(2))
    lakehouse.stage()
    path.unlink()
    found = lakehouse.stage()
    assert found.candidate is None
    assert lakehouse.catalog.candidate(TABLE) is None
    assert [entry.path for entry in found.entries] == [f"{FOLDER}/a.json"]


class MeddledReader(LandingReader):
    """A reader during whose work something happens to a file."""

    meddle: Any

    def parse(self, paths: Sequence[str], folder: str, rejects: str) -> Parsed:
        parsed = super().parse(paths, folder, rejects)
        if f"{FOLDER}/a.json" in paths:
            self.meddle()
        return parsed


@pytest.mark.parametrize(
    ("meddle", "said"),
    [
        (lambda path: path.write_text(f"{path.read_text()}{{}}\n"), "changed"),
        (lambda path: path.unlink(), "deleted"),
    ],
)
def test_file_that_changes_while_it_is_read_waits_and_no_other_does(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch, meddle: Any, said: str
) -> None:
    land("b.json", readings(2))
    lakehouse.refresh()
    path = land("a.json", readings(1))
    land("c.json", readings(3))
    meddling = staticmethod(lambda: meddle(path))
    monkeypatch.setattr(MeddledReader, "meddle", meddling, raising=False)
    with monkeypatch.context() as patch:
        patch.setattr(reader_module, "LandingReader", MeddledReader)
        landed = lakehouse.refresh()
    assert list(landed.waiting) == [f"{FOLDER}/a.json"]
    assert said in landed.waiting[f"{FOLDER}/a.json"]
    assert lakehouse.times() == [2, 3]
    land("a.json", readings(4))
    assert lakehouse.refresh().waiting == {}
    assert lakehouse.times() == [2, 3, 4]


def test_file_deleted_right_after_it_was_listed_is_all_that_is_not_taken_in(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1))
    lakehouse.refresh()
    path = land("b.json", readings(2))

    def list_and_delete(*arguments: Any) -> Listing:
        found = list_files(*arguments)
        path.unlink(missing_ok=True)
        return found

    list_files = LandingFolder.listing
    monkeypatch.setattr(LandingFolder, "listing", list_and_delete)
    landed = lakehouse.stage()
    assert landed.candidate is None
    [(waiting, said)] = landed.waiting.items()
    assert waiting == f"{FOLDER}/b.json"
    assert said.endswith(f"{FOLDER}/b.json was deleted while it was read.")


def test_file_that_cannot_be_read_waits_and_no_other_does(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1))
    land("b.json", readings(2))
    with monkeypatch.context() as patch:
        refuse(patch, "b.json")
        landed = lakehouse.refresh()
        assert list(landed.waiting) == [f"{FOLDER}/b.json"]
        assert lakehouse.times() == [1]
        assert lakehouse.refresh().candidate is None
    assert lakehouse.refresh().waiting == {}
    assert lakehouse.times() == [1, 2]


def test_table_is_not_made_anew_without_a_file_that_cannot_be_read(
    lakehouse: Lakehouse, land: Land, monkeypatch: pytest.MonkeyPatch
) -> None:
    land("a.json", readings(1))
    land("b.json", readings(2))
    lakehouse.refresh()
    refuse(monkeypatch, "b.json")
    with pytest.raises(LandingFileError, match=r"b\.json may not be read"):
        lakehouse.ingest.stage("step_trainer", lakehouse.table, "run", anew=True)
