"""The commands for people's rights, as a data-protection officer uses them."""

import io
import json
import sys
from pathlib import Path

import pytest

from stedi_assets_tests.commands import deliver_people, isolate, stedi
from stedi_assets_tests.conftest import Lakehouses

ANN = "ann@x.io"


def make(folder: Path) -> None:
    deliver_people(folder / "lakehouse/landing")
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        assert stedi(patch, "refresh").code == 0


@pytest.fixture
def folder(lakehouses: Lakehouses, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a refreshed lakehouse of Ann and Bob."""
    folder = lakehouses.as_made(make)
    isolate(monkeypatch, folder)
    return folder


def files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, as it is now."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}


def test_what_is_held_about_a_person_is_shown_and_nothing_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    before = files(folder)
    said = stedi(monkeypatch, "person", " Ann@X.io")
    assert files(folder) == before
    assert (said.code, said.err) == (0, "")
    assert f"{ANN}, used: their latest record consents to research since 2022-06-18" in said.out
    for shown in ("dev-ann", "shared_readings", "customer/landing/", "machine_learning_curated"):
        assert shown in said.out
    assert "bob" not in said.out


def test_who_does_not_consent_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = stedi(monkeypatch, "person", "bob@x.io").out
    assert "bob@x.io, not used: their latest record has no research consent." in said
    assert "machine_learning_curated" not in said


def test_address_can_come_from_standard_input(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO("ANN@x.io\n"))
    assert json.loads(stedi(monkeypatch, "person", "-", "--json").out)["person"] == ANN


def test_export_is_a_copy_for_its_owner_alone(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = folder / "ann.json"
    said = stedi(monkeypatch, "person", ANN, "--export", str(target))
    assert said.code == 0
    assert "1 customer records, 12 readings, 1 serial numbers, 0 unreadable objects" in said.out
    assert ANN not in said.text
    copy = json.loads(target.read_text())
    assert [len(copy[f"{source}_landing"]) for source in ("accelerometer", "step_trainer")] == [
        6,
        6,
    ]
    assert target.stat().st_mode & 0o077 == 0


def test_of_a_stranger_nothing_is_held(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(folder)
    for words in ([], ["--json"], ["--export", str(folder / "dee.json")]):
        said = stedi(monkeypatch, "person", "dee@x.io", *words)
        assert (said.code, said.out) == (1, "")
        assert said.err.startswith("No table has anything about this address:")
        assert "dee" not in said.err
    assert files(folder) == before


def test_who_is_held_before_anything_landed_may_be_misspelled(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stedi(monkeypatch, "hold", "dee@x.io")
    assert (said.code, said.out) == (1, "")
    assert said.err.startswith("Nobody has this address here. It is held all the same,")
    assert "dee" not in said.err
    again = stedi(monkeypatch, "hold", "dee@x.io")
    assert (again.code, again.out) == (0, "This person is held already.\n")
    assert stedi(monkeypatch, "release", "dee@x.io").code == 0


def test_empty_address_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = stedi(monkeypatch, "person", " ")
    assert (said.code, said.out, said.err) == (1, "", "The e-mail address is empty.\n")


def test_unforeseen_error_does_not_repeat_the_address(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(ANN)

    monkeypatch.setattr("stedi_assets.privacy.access.find_people", fail)
    said = stedi(monkeypatch, "person", ANN)
    assert said.code == 1
    assert "stedi_assets person EMAIL" in said.err
    assert ANN not in said.text


def test_hold_and_release_say_what_comes_next(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stedi(monkeypatch, "hold", " Ann@x.io")
    assert (said.code, said.err) == (0, "")
    assert said.out == (
        "Held. The next refresh takes them out of every table that is used: stedi refresh.\n"
    )
    assert stedi(monkeypatch, "hold", ANN).out == "This person is held already.\n"
    told = stedi(monkeypatch, "person", ANN).out
    assert f"{ANN}, used until the next refresh, then not: held: their data is kept" in told
    assert "what is published has it still" in told
    assert "customer_trusted" in stedi(monkeypatch, "refresh").out
    assert "Held: 1 people, whose data is kept and used" in stedi(monkeypatch, "status").out
    told = stedi(monkeypatch, "person", ANN).out
    assert f"{ANN}, not used: held: their data is kept and used nowhere until they are" in told
    assert "Withdrawals, the oldest first" in told
    released = stedi(monkeypatch, "release", ANN)
    assert (released.code, released.out.partition(".")[0]) == (0, "Released")
    told = stedi(monkeypatch, "person", ANN).out
    assert f"{ANN}, not used until the next refresh, then used: their latest record" in told
    again = stedi(monkeypatch, "release", ANN)
    assert (again.code, again.out, again.err) == (1, "", "This person is not held.\n")


def test_nobody_is_held_where_there_are_no_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, tmp_path)
    said = stedi(monkeypatch, "hold", ANN)
    assert said.code == 1
    assert said.err == "No tables yet: refresh the lakehouse first (stedi refresh).\n"


def test_withdrawals_are_listed_and_name_nobody(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert stedi(monkeypatch, "withdrawals").out.startswith("0 withdrawals: ")
    assert stedi(monkeypatch, "hold", ANN).code == 0
    said = stedi(monkeypatch, "withdrawals")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("1 withdrawals: 1 wait for the next refresh, 0 are gone ")
    assert ANN not in said.out
    assert stedi(monkeypatch, "refresh").code == 0
    [entry] = json.loads(stedi(monkeypatch, "withdrawals", "--json").out)
    assert (entry["why"], entry["vacuumed_at"], entry["training_sets"]) == ("held", None, [])
    assert entry["landed_at"] < entry["took_effect_at"]
