"""Ctrl-C and SIGTERM, whenever they come: one sentence, and a run that is canceled."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from threading import Timer

import dagster as dg
import duckdb
import pytest

from stedi_assets.cli import main
from stedi_assets.cli.history import instance_of
from stedi_assets.cli.interrupts import SENTENCE
from stedi_assets_tests.commands import deliver_people, isolate, stedi
from stedi_assets_tests.support import under

COPYING = 4
"""Processes that copy what steps print: one for each stream, and one that watches each of them."""

SIGNALS = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])


@pytest.fixture
def environment(tmp_path: Path) -> Mapping[str, str]:
    return {**os.environ, "STEDI_LAKEHOUSE": str(tmp_path / "lakehouse")}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a lakehouse with files to take in."""
    isolate(monkeypatch, tmp_path)
    deliver_people(tmp_path / "lakehouse/landing")
    return tmp_path


def start(
    words: list[str], environment: Mapping[str, str], *, start_new_session: bool = False
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "stedi_assets", *words],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=start_new_session,
    )


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """Wait until it has ended; what it printed to standard output, and to standard error."""
    try:
        return process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise


def wait_until_the_project_is_loaded(pid: int) -> None:
    """Wait until the command has begun to load; before, signals are Python's own."""
    maps = Path(f"/proc/{pid}/maps")
    if not maps.exists():
        pytest.skip("There is no /proc here.")
    while "_json" not in maps.read_text():  # a module of the command's, and not of Python's start
        time.sleep(0.005)


@SIGNALS
@pytest.mark.parametrize("seconds", [0.0, 0.2, 1.0])
def test_signal_is_a_sentence_whenever_it_comes(
    tmp_path: Path, environment: Mapping[str, str], seconds: float, number: signal.Signals
) -> None:
    process = start(["sample", str(tmp_path / "much"), "--customers", "300000"], environment)
    wait_until_the_project_is_loaded(process.pid)
    time.sleep(seconds)
    process.send_signal(number)
    out, err = ended(process)
    assert (process.returncode, out, err) == (128 + number, "", f"{SENTENCE}\n")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@SIGNALS
def test_signal_while_a_question_waits_is_a_sentence(
    project: Path, environment: Mapping[str, str], number: signal.Signals
) -> None:
    process = start(["rebuild"], environment)
    assert process.stdout
    while (character := process.stdout.read(1)) not in {"?", ""}:
        pass
    assert character
    process.send_signal(number)
    _, err = ended(process)
    assert (process.returncode, err) == (128 + number, f"{SENTENCE}\n")


def test_question_that_nobody_answers_is_a_sentence(
    project: Path, environment: Mapping[str, str]
) -> None:
    process = start(["rebuild"], environment)
    _, err = process.communicate("", timeout=60)
    assert (process.returncode, err) == (1, "Nobody answered; with --yes it does not ask.\n")


# In a refresh


def test_ctrl_c_at_a_terminal_is_a_sentence_although_all_processes_get_it(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    words = ["sample", "--customers", "3000", "--files", "1"]
    start(words, environment).communicate(timeout=120)
    process = start(["refresh"], environment, start_new_session=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.parent.exists():
        pytest.skip("There is no /proc here.")
    while process.poll() is None and len(children.read_text().split()) < COPYING:
        time.sleep(0.01)
    time.sleep(0.3)  # Python has to have begun in each of them
    os.killpg(process.pid, signal.SIGINT)
    _, err = ended(process)
    assert (process.returncode, err) == (130, f"{SENTENCE}\n")


def in_a_step(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)


def in_a_query(*_: object, **__: object) -> None:
    Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    end = time.monotonic() + 60
    while time.monotonic() < end:  # DuckDB ends the part that a thread works on, so they are short
        duckdb.sql("SELECT sum(range) FROM range(5000000)").fetchall()


def in_an_error_that_is_another(*_: object, **__: object) -> None:
    with suppress(BaseException):
        in_a_step()
    raise ImportError("cannot import name sentinel")


def swallowed(*_: object, **__: object) -> None:
    with suppress(BaseException):
        in_a_step()


@pytest.mark.parametrize(
    ("place", "what", "code"),
    [
        ("lakehouse.landing.ingest.Ingest.stage", in_a_step, 130),
        ("lakehouse.landing.ingest.Ingest.stage", in_a_query, 143),
        ("refresh.land.check_files", in_a_query, 143),
        ("refresh.gate.check_contract", in_a_query, 143),
        ("lakehouse.landing.ingest.Ingest.stage", in_an_error_that_is_another, 130),
        ("refresh.land.check_files", swallowed, 130),
    ],
)
def test_run_that_a_signal_ends_is_canceled(
    project: Path, monkeypatch: pytest.MonkeyPatch, place: str, what: object, code: int
) -> None:
    monkeypatch.setattr(f"stedi_assets.{place}", what)
    said = stedi(monkeypatch, "refresh")
    assert (said.code, said.err) == (code, f"{SENTENCE}\n")
    assert "Traceback" not in said.out
    with instance_of(under(project, landing=None)) as instance:
        [run] = instance.get_runs()
        failures = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    assert (run.status, failures) == (dg.DagsterRunStatus.CANCELED, [])  # nobody is alerted


@SIGNALS
@pytest.mark.parametrize(
    "place", ["cli.refresh.look_ahead", "lakehouse.lakehouse.Lakehouse.locked"]
)
def test_signal_before_a_run_begins_leaves_none_in_the_history(
    project: Path, monkeypatch: pytest.MonkeyPatch, place: str, number: signal.Signals
) -> None:
    monkeypatch.setattr(f"stedi_assets.{place}", lambda *_: os.kill(os.getpid(), number))
    said = stedi(monkeypatch, "refresh")
    assert (said.code, said.err) == (128 + number, f"{SENTENCE}\n")
    with instance_of(under(project, landing=None)) as instance:
        assert instance.get_runs() == []


def test_signal_that_a_library_swallows_ends_the_work_soon(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stedi_assets.sample.landing_files.draw_people", swallowed)
    monkeypatch.setattr("stedi_assets.sample.landing_files.draw_readings", lambda *_: None)
    said = stedi(monkeypatch, "sample", str(project / "other"))
    assert (said.code, said.out, said.err) == (130, "", f"{SENTENCE}\n")
    assert not list((project / "other").rglob("*.json"))


def test_signal_in_a_destructor_is_not_lost(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Deleted:
        def __del__(self) -> None:
            in_a_step()

    def look(_: object) -> None:
        Deleted()
        time.sleep(5)
        raise AssertionError("It went on.")

    monkeypatch.setattr("stedi_assets.report.status.status", look)
    said = stedi(monkeypatch, "status")
    assert (said.code, said.err) == (130, f"{SENTENCE}\n")


@pytest.mark.parametrize("milliseconds", [0, 1, 2, 4])
def test_signal_that_comes_twice_is_a_sentence_too(
    tmp_path: Path, environment: Mapping[str, str], milliseconds: int
) -> None:
    process = start(["sample", str(tmp_path / "much"), "--customers", "300000"], environment)
    wait_until_the_project_is_loaded(process.pid)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    time.sleep(milliseconds / 1000)
    process.send_signal(signal.SIGINT)
    printed, said = ended(process)
    assert (printed, said, process.returncode) == ("", f"{SENTENCE}\n", 130)


def test_second_signal_while_the_first_ends_the_command_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run() -> int:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)
        return 1

    monkeypatch.setattr(main, "_run", run)
    try:
        with pytest.raises(SystemExit, match="130"):
            main.main()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    assert capsys.readouterr().err == f"{SENTENCE}\n"
