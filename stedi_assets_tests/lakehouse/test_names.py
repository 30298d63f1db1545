"""No name of a landing file reaches a terminal, a log or a webhook as it is."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.landing.ledger import LandingFolder
from stedi_assets.read import read_table
from stedi_assets_tests.commands import Answer, deliver_people, isolate, stedi
from stedi_assets_tests.support import refresh, under, write

NAME = "ann@x.io-8015551212-\x1b[31m"
RAW = ("ann@x.io", "8015551212", "\x1b[31m", "\\u001b[31m")
UNREADABLE = '{"user": 7}\n' * 5
RIGHT = '{"user": "ann@x.io", "timestamp": 1655564500000, "x": 0.5, "y": 1.0, "z": 1.0}\n'

Stedi = Callable[..., Answer]


@pytest.fixture
def landing(tmp_path: Path) -> Path:
    landing = tmp_path / "lakehouse/landing"
    deliver_people(landing)
    return landing


@dataclass(frozen=True)
class Place:
    """A lakehouse with files of every awkward name, and what the first refresh of it said."""

    folder: Path
    first: Answer


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("place")
    landing = folder / "lakehouse/landing"
    # A history on the disk, to be searched.
    (folder / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    deliver_people(landing)
    write(landing, "accelerometer", f"{NAME}.json", UNREADABLE)
    write(landing, "accelerometer", f"{NAME}.tmp", "")
    write(landing, "customer", f"c-{NAME}.json", '{"email": 1}\n')
    write(
        landing, "customer", "red.json", '{"email": "q@x.io", "customerName": "\\u001b[31mRed"}\n'
    )
    with suppress(OSError):  # a file system may have names of UTF-8 alone
        (landing / "customer/landing" / os.fsdecode(b"caf\xe9.txt")).touch()
    with pytest.MonkeyPatch.context() as patch:
        isolate(patch, folder)
        return Place(folder, stedi(patch, "refresh"))


@pytest.fixture
def run(place: Place, monkeypatch: pytest.MonkeyPatch) -> Stedi:
    isolate(monkeypatch, place.folder)
    return lambda *words: stedi(monkeypatch, *words)


def assert_masked(text: str) -> None:
    assert "•••" in text or r"\u2022\u2022\u2022" in text
    assert not [raw for raw in RAW if raw in text]


def history(folder: Path) -> str:
    """All that Dagster kept of runs: events, and what processes wrote."""
    kept = [
        path.read_bytes().decode(errors="replace")
        for path in (folder / "lakehouse/history").rglob("*")
        if path.is_file()
    ]
    assert kept
    return "\n".join(kept)


def test_names_of_bad_ignored_and_changed_files_are_masked_everywhere(
    place: Place, run: Stedi
) -> None:
    assert place.first.code == 1
    landing = place.folder / "lakehouse/landing"
    write(landing, "accelerometer", f"{NAME}.json", RIGHT)
    write(landing, "customer", f"c-{NAME}.json", '{"email": 2}\n')
    changed = run("refresh")
    assert "changed after it was taken in" in changed.text
    for answer in (place.first, changed, run("status")):
        assert_masked(answer.text)
    assert_masked(str(json.loads(run("status", "--json").out)))
    shown = run("show", "accelerometer_landing", "--limit", "100").text
    assert not [raw for raw in RAW if raw in shown]
    assert_masked(history(place.folder))
    # The table itself has the name as it is.
    names = read_table("accelerometer_landing").select("source_file").distinct().to_pandas()
    assert [name for name in names.source_file if "801555" in name]


def test_values_reach_a_terminal_without_control_codes(run: Stedi) -> None:
    shown = run("show", "customer_landing", "--reveal", "--limit", "100").text
    assert "\\x1b[31mRed" in shown
    assert "\x1b" not in shown


def test_name_that_is_no_utf8_is_shown_with_its_bytes(place: Place, run: Stedi) -> None:
    if not (
        place.folder / "lakehouse/landing/customer/landing" / os.fsdecode(b"caf\xe9.txt")
    ).exists():
        pytest.skip("This file system has names of UTF-8 alone.")
    for answer in (place.first, run("status")):
        assert r"caf\xe9.txt" in answer.text


def test_name_of_a_file_that_goes_while_it_is_read_is_masked(
    landing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(landing, "customer", f"{NAME}.json", '{"email": "cy@x.io"}\n')
    settings, examine = under(tmp_path, landing=None), LandingFolder.examine

    def delete_before(folder: LandingFolder, paths: Sequence[str]) -> Any:
        path.unlink(missing_ok=True)
        return examine(folder, paths)

    with monkeypatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        patch.setattr(LandingFolder, "examine", delete_before)
        result = refresh(settings, instance, only=["customer_landing"])
        log = "\n".join(str(entry) for entry in instance.all_logs(result.run_id))
    assert "was deleted while it was read" in log
    assert_masked(log)


@pytest.fixture
def webhook() -> Iterator[tuple[str, list[str]]]:
    """A webhook, and what it was told."""
    told: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", told
    server.shutdown()


def test_webhook_is_told_masked_names(
    landing: Path, tmp_path: Path, webhook: tuple[str, list[str]]
) -> None:
    address, told = webhook
    write(landing, "accelerometer", f"{NAME}.json", UNREADABLE)
    settings = under(tmp_path, landing=None, webhook=address)
    definitions = lakehouse_definitions(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        result = refresh(settings, instance, only=["accelerometer_landing"])
        context = dg.build_run_status_sensor_context(
            sensor_name="alert_of_failed_checks",
            dagster_instance=instance,
            dagster_run=result.dagster_run,
            dagster_event=next(e for e in result.all_events if e.is_successful_output),
        )
        definitions.resolve_sensor_def("alert_of_failed_checks")(context)
    [message] = told
    assert_masked(json.loads(message)["text"])
