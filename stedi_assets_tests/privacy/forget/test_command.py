"""`stedi forget` as a person uses it."""

import io
import sys
from pathlib import Path

import pytest

from stedi_assets.read import read_table
from stedi_assets_tests.commands import isolate, stedi
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.privacy.forget.support import (
    ANN,
    BOB,
    CY,
    PEOPLE,
    deliver_people,
    names_of,
    places,
)
from stedi_assets_tests.support import customer, deliver, refresh, under

LANDING = "lakehouse/landing"


def make(folder: Path) -> None:
    deliver_people(folder / LANDING, *PEOPLE)
    assert refresh(under(folder, landing=None)).success


@pytest.fixture
def folder(lakehouses: Lakehouses, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = lakehouses.as_made(make)
    isolate(monkeypatch, folder)
    return folder


def test_command_shows_asks_forgets_and_certifies(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = stedi(monkeypatch, "forget", ANN, "--dry-run")
    assert (told.code, "accelerometer_landing                10 rows" in told.out) == (0, True)
    monkeypatch.setattr(sys, "stdin", io.StringIO("n\n"))
    assert stedi(monkeypatch, "forget", ANN).code == 1
    assert places(folder, names_of(ANN), LANDING)
    (folder / "requests.txt").write_text(f"\n {BOB.upper()}\n")
    (folder / "requests.txt").chmod(0o600)
    monkeypatch.setattr(sys, "stdin", io.StringIO(f"{CY}\n"))
    words = [ANN, "-", "--file", str(folder / "requests.txt"), "--yes"]
    done = stedi(monkeypatch, "forget", *words)
    assert done.code == 0
    assert "Forgotten: 3 people." in done.out
    assert "3 landing files" in done.err
    assert "Certificate 1 is in" in done.out
    (folder / "requests.txt").unlink()
    assert places(folder, names_of(ANN, BOB, CY), LANDING) == []
    assert not any(word in done.text for word in names_of(ANN, BOB, CY))
    again = stedi(monkeypatch, "forget", ANN, "--yes")
    assert (again.code, "No table has a row of theirs." in again.out) == (0, True)


def test_address_that_nobody_has_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = folder / "requests.txt"
    requests.write_text(f"zoe@people.io\n{ANN}\nZOE@people.io\n")
    requests.chmod(0o600)
    several = stedi(monkeypatch, "forget", "--file", str(requests), "--dry-run")
    assert several.code == 0
    assert "Of 1 of 2 addresses no table has anything" in several.err
    assert "accelerometer_landing                10 rows" in several.out
    alone = stedi(monkeypatch, "forget", "zoe@people.io", "--yes")
    assert alone.code == 0
    assert "see how they are spelled. What lands of them is kept out." in alone.err
    assert "zoe" not in alone.text
    # Files that did not land yet, or are held back, may have them.
    deliver(folder / LANDING, "zoe.json", customer=[customer("zoe@people.io")])
    settings = under(folder, landing=None)
    assert refresh(settings).success
    people = read_table("customer_landing", settings=settings).select("person").to_pyarrow()
    assert "zoe@people.io" not in people["person"].to_pylist()
    requests.chmod(0o640)
    refused = stedi(monkeypatch, "forget", "--file", str(requests), "--yes")
    assert (refused.code, refused.out) == (1, "")
    assert refused.err == "The file of requests is open to others: run chmod 600 on it.\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "Give an address"),
        (["\u200b "], "is empty"),
        (["--file", "missing.txt"], "cannot be read: No such file"),
        (["--file", "empty.txt"], "no address in the file"),
        (["--file", "/dev/null"], "is open to others"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], sentence: str
) -> None:
    monkeypatch.chdir(folder)
    Path("empty.txt").write_text("\n")
    Path("empty.txt").chmod(0o600)
    said = stedi(monkeypatch, "forget", *words, "--yes")
    assert (said.code, sentence in said.err) == (1, True)
