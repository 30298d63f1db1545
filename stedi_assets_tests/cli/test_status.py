"""What `stedi status` tells, on a terminal and to scripts."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pytest

from stedi_assets.privacy.training_sets import TRAINING_SET, tag_training_set
from stedi_assets.resources import open_lakehouse
from stedi_assets.tables.trusted.customer_trusted import customer_trusted
from stedi_assets_tests.commands import deliver_people, isolate, stedi
from stedi_assets_tests.support import TABLES, change_table, under

READING = {"user": "ann@x.io", "timestamp": 1_655_564_400_000, "x": 1.0, "y": 1.0, "z": 1.0}


@pytest.fixture
def landing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    isolate(monkeypatch, tmp_path)
    deliver_people(tmp_path / "lakehouse/landing")
    assert stedi(monkeypatch, "refresh").code == 0
    return tmp_path / "lakehouse/landing"


def tell(monkeypatch: pytest.MonkeyPatch) -> tuple[str, dict[str, Any]]:
    """What it prints, and what it tells scripts; nothing goes to stderr."""
    shown, told = stedi(monkeypatch, "status"), stedi(monkeypatch, "status", "--json")
    assert (shown.code, shown.err, told.code, told.err) == (0, "", 0, "")
    return shown.out, json.loads(told.out)


def test_table_that_waits_says_which_check_holds_it_back(
    landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rule(customer_landing: ir.Table, quarantine: ir.Table) -> ir.Table:
        return customer_trusted(customer_landing, quarantine).limit(0)

    change_table(monkeypatch, "customer_trusted", rule=rule)
    deliver_people(landing, "again.json")
    assert stedi(monkeypatch, "refresh").code == 1
    out, told = tell(monkeypatch)
    sentence = (
        "customer_trusted has 0 rows, its inputs account for 1. The rule or its account is wrong: "
        "report it."
    )
    [waiting] = [entry for entry in told["tables"] if entry["candidate"]]
    assert (waiting["table"], waiting["held_back_by"]) == (
        "customer_trusted",
        {"completeness": sentence},
    )
    snapshot = waiting["candidate"]["snapshot"]
    lines = out.splitlines()
    at = lines.index(f"Waiting on audit: customer_trusted, 0 rows, snapshot {snapshot}.")
    assert lines[at + 1] == f"  completeness: {sentence}"
    monkeypatch.undo()
    isolate(monkeypatch, landing.parent.parent)
    assert stedi(monkeypatch, "refresh").code == 0
    out, told = tell(monkeypatch)
    assert "Waiting" not in out
    assert all(entry["held_back_by"] == {} for entry in told["tables"])


def test_file_that_is_held_back_has_all_reasons_with_counts_and_places(
    landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = json.dumps(READING)
    lines = [good, "nonsense", good, json.dumps({**READING, "x": "ann@x.io"}), "more nonsense"]
    file = landing / "accelerometer/landing/bad.json"
    file.write_text("\n".join(lines) + "\n")
    refreshed = stedi(monkeypatch, "refresh")
    assert refreshed.code == 1
    lines_of = [each for each in refreshed.out.splitlines() if "accelerometer_landing " in each]
    assert lines_of[0].endswith(" unchanged")  # it took nothing in
    out, told = tell(monkeypatch)
    [held_back] = told["held_back"]
    assert (held_back["objects"], held_back["unreadable"]) == (5, 3)
    most, other = held_back["reasons"]
    assert (most["objects"], most["first"]) == (2, len(good) + 1)
    assert (other["objects"], other["first"]) == (1, sum(len(each) + 1 for each in lines[:3]))
    assert held_back["reason"] == most["reason"]
    assert f"bad.json, 3 of 5 objects unreadable, mostly “{most['reason']}”.\n" in out
    for reason in (most, other):
        place = f"{reason['reason']}, first at byte {reason['first']}"
        assert f"  {reason['objects']} of them: {place}\n" in out
    for text in ("nonsense", "ann@x.io"):
        assert text not in out + json.dumps(told)


def test_ignored_files_and_suspended_people_are_told(
    landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = landing / "customer/landing"
    for number in range(12):
        (folder / f"notes-{number:02}.txt").touch()
    (folder / "z.json").write_text(json.dumps({"email": "ann@x.io", "registrationDate": "soon"}))
    stedi(monkeypatch, "refresh")
    out, told = tell(monkeypatch)
    assert (len(told["ignored"]), told["suspended"]) == (12, 1)
    assert "Ignored, as they are not landing files: 12 (customer/landing/notes-00.txt, " in out
    assert "notes-09.txt and 2 more).\n" in out
    assert "Suspended: 1 people" in out
    assert "ann" not in out


def test_training_sets_say_when_they_were_made_and_go(
    landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = open_lakehouse(under(tmp_path, landing=None)).catalog
    states = []
    for refreshes in range(2):
        published = catalog.published(TRAINING_SET)
        assert published
        tag_training_set(catalog, published)
        states.append(published)
        deliver_people(landing, f"more-{refreshes}.json")
        stedi(monkeypatch, "rebuild", "--yes")
    out, told = tell(monkeypatch)
    first, second = told["training_sets"]
    assert [first["snapshot"], second["snapshot"]] == [state.id for state in states]
    assert first["at"] == states[0].committed_at.isoformat(timespec="seconds")
    assert first["due"][:10] > first["at"][:10]  # the second of the day took its place
    assert second["due"] is None
    [line] = [each for each in out.splitlines() if second["tag"] in each]
    assert line.split()[-1] == "kept"


def test_narrow_terminal_keeps_the_rows(landing: Path) -> None:
    for width in ("40", "80"):
        said = subprocess.run(
            [sys.executable, "-m", "stedi_assets", "status"],
            env={**os.environ, "COLUMNS": width},
            capture_output=True,
            text=True,
            check=True,
        )
        lines = [line.rstrip() for line in said.stdout.splitlines()]
        # In a pipe a sentence stays in one line; only tables are as wide as is asked for.
        assert max(len(line) for line in lines if line.startswith(" ")) <= int(width)
        for table in TABLES:
            [line] = [each for each in lines if each.split()[:1] == [table]]
            assert line.split()[1].isdecimal()
            assert "…" not in line
