"""The command at a terminal: narrow, without colours, interrupted, with nobody reading on."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

import pyte
import pytest

from stedi_assets.cli import main
from stedi_assets_tests.commands import Answer, deliver_people, isolate, stedi
from stedi_assets_tests.support import TABLES, refresh, under

COMMANDS = (
    "refresh",
    "rebuild",
    "status",
    "vacuum",
    "show",
    "report",
    "person",
    "forget",
    "hold",
    "release",
    "withdrawals",
    "sample",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    deliver_people(folder / "lakehouse/landing")
    assert refresh(under(folder, landing=None), only=["customer_landing"]).success
    return folder


@pytest.fixture
def environment(place: Path) -> Mapping[str, str]:
    return {**os.environ, "STEDI_LAKEHOUSE": str(place / "lakehouse")}


def run(
    words: str, environment: Mapping[str, str], **given: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stedi_assets", *words.split()],
        env={**environment, **given},
        capture_output=True,
        text=True,
        check=False,
    )


def screen_of(words: str, environment: Mapping[str, str]) -> list[str]:
    """The lines on a terminal of 80 columns once the command has ended."""
    terminal, theirs = os.openpty()
    command = subprocess.Popen(
        [sys.executable, "-m", "stedi_assets", *words.split()],
        env={**environment, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "60"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    screen = pyte.Screen(80, 60)
    stream = pyte.ByteStream(screen)
    with suppress(OSError):  # nobody has it open any more
        while output := os.read(terminal, 1 << 16):
            stream.feed(output)
    os.close(terminal)
    assert command.wait() == 0
    return [line.rstrip() for line in screen.display]


def test_each_table_has_a_line_of_its_own_on_a_terminal(
    tmp_path: Path, environment: Mapping[str, str]
) -> None:
    deliver_people(tmp_path / "landing")
    lines = screen_of("refresh", {**environment, "STEDI_LAKEHOUSE": str(tmp_path)})
    made = [line for line in lines if "checks" in line and "published" in line]
    assert len(made) == len(TABLES)
    assert all(line.startswith(TABLES) for line in made)
    assert not [line for line in lines if "starting" in line or "auditing" in line]
    seconds = [float(number) for line in made for number in re.findall(r"([\d.]+) s ", line)]
    [(total, rest)] = re.findall(r"([\d.]+) s, ([\d.]+) s of it to start", " ".join(lines))
    assert sum(seconds) + float(rest) == pytest.approx(float(total), abs=0.1)


def test_help_shows_no_type_of_what_is_there_or_not(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, place)
    for command in ("", *COMMANDS):
        shown = stedi(monkeypatch, *command.split(), "--help").out
        assert "--help" in shown
        assert "bool" not in shown
        assert "--no-" not in shown


def test_version_is_that_of_the_package(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, place)
    assert stedi(monkeypatch, "--version").out == f"stedi {version('stedi-assets')}\n"


@pytest.mark.parametrize("width", ["40", "1"])
def test_help_and_errors_fit_any_terminal(
    place: Path, monkeypatch: pytest.MonkeyPatch, width: str
) -> None:
    isolate(monkeypatch, place)
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("NO_COLOR", "1")
    assert stedi(monkeypatch, "--help").code == 0
    for command in COMMANDS:
        assert stedi(monkeypatch, command, "--help").code == 0
        wrong = stedi(monkeypatch, command, "--nonsense")
        assert (wrong.code, "Traceback" in wrong.text) == (2, False)
    for words in (["status"], ["show", "customer_landing"], ["vacuum", "--dry-run"]):
        assert stedi(monkeypatch, *words).code == 0
    assert stedi(monkeypatch, "show", "nothing\x1b[31m").code == 1


def test_terminal_that_knows_ascii_alone_is_written_to(environment: Mapping[str, str]) -> None:
    shown = run("show customer_landing", environment, PYTHONIOENCODING="ascii", NO_COLOR="1")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert r"\u2022" in shown.stdout


def test_mistyped_name_reaches_the_terminal_without_control_codes(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    isolate(monkeypatch, place)
    for words in (["show", "\x1b[31m"], ["show", "customer_landing", "--snapshot", "\x1b[31m"]):
        said = stedi(monkeypatch, *words)
        assert (said.code, "\x1b[31m" in said.err) == (1, False)


@pytest.mark.parametrize(
    "words",
    [
        ["show", "customer_landing", "--limit", "9" * 30],
        ["sample", "--files", "9" * 30],
        ["sample", "--seed", "9" * 40],
        ["sample", "--customers", "9" * 30],
    ],
)
def test_absurd_option_is_a_sentence(
    place: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    isolate(monkeypatch, place)
    said = stedi(monkeypatch, *words)
    assert said.code in {1, 2}
    assert "Traceback" not in said.text


# What was not foreseen


@pytest.fixture
def broken(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Answer]:
    """What is said where a mistake in the program meets somebody's data."""
    isolate(monkeypatch, place)

    def look(_: object) -> None:
        raise KeyError("ann@x.io")

    monkeypatch.setattr("stedi_assets.report.status.status", look)
    yield stedi(monkeypatch, "status")


def test_unforeseen_error_is_one_sentence_without_its_message(broken: Answer) -> None:
    assert broken.code == 1
    [line] = broken.err.splitlines()
    assert line.startswith("It stopped with KeyError at stedi_assets")
    assert line.endswith("python -X dev -m stedi_assets status shows all of it.")
    assert "ann@x.io" not in broken.text


def test_development_mode_shows_all_of_it(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, place)
    monkeypatch.setattr("stedi_assets.report.status.status", lambda _: {"": ""}["ann@x.io"])
    monkeypatch.setattr(main, "_DEVELOPING", True)
    with pytest.raises(KeyError):
        stedi(monkeypatch, "status")


# Pipes


@pytest.mark.parametrize("words", ["status", "status --json", "--help"])
def test_closed_pipe_says_nothing(environment: Mapping[str, str], words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    process = subprocess.run(
        [sys.executable, "-m", "stedi_assets", *words.split()],
        env=environment,
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert process.stderr == b""


def test_output_that_cannot_be_written_is_a_sentence(environment: Mapping[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        process = subprocess.run(
            [sys.executable, "-m", "stedi_assets", "status"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert process.returncode == 1
    assert process.stderr.count("\n") == 1
    assert "no space left" in process.stderr.lower()


# Odd consoles, and odd input


@pytest.mark.parametrize("words", ["status", "show customer_landing", "--help", "refresh nope"])
def test_console_of_windows_shows_what_it_can(environment: Mapping[str, str], words: str) -> None:
    said = subprocess.run(
        [sys.executable, "-m", "stedi_assets", *words.split()],
        env={**environment, "PYTHONIOENCODING": "cp1252", "PYTHONUTF8": "0", "LANG": "C"},
        capture_output=True,
        check=False,
    )
    text = (said.stdout + said.stderr).decode("cp1252")
    assert "Traceback" not in text
    assert r"\u" not in text
    assert said.returncode == (1 if "nope" in words else 0)


@pytest.mark.parametrize("words", ["status", "show customer_landing", "--help", "refresh nope"])
def test_without_colours_there_are_no_control_codes(
    environment: Mapping[str, str], words: str
) -> None:
    said = run(words, environment, NO_COLOR="1", FORCE_COLOR="")
    assert "\x1b" not in said.stdout + said.stderr


@pytest.mark.parametrize(
    "words",
    [
        ["show", ""],
        ["show", "../x"],
        ["show", "customer_landing", "--snapshot", ""],
        ["show", "customer_landing", "--snapshot", "-1"],
        ["show", "customer_landing", "--snapshot", "9" * 40],
        ["show", "customer_landing", "--snapshot", "\uff11"],
        ["vacuum", "--older-than", ""],
        ["refresh", ""],
        ["report", "{folder}"],
        ["report", "{file}/x.html"],
        ["report", "{folder}/missing/x.html"],
        ["sample", "{file}", "--customers", "1"],
        ["sample", "{file}/x", "--customers", "1"],
        ["sample", "s3://nowhere/x", "--customers", "1"],
    ],
)
def test_mistake_is_one_sentence(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    isolate(monkeypatch, place)
    file = tmp_path / "file"
    file.touch()
    said = stedi(monkeypatch, *(word.format(folder=tmp_path, file=file) for word in words))
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert "not foreseen" not in said.err


@pytest.mark.parametrize("command", ["status", "refresh", "show customer_landing", "vacuum"])
def test_copied_lakehouse_says_how_to_go_on(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    shutil.copytree(place / "lakehouse", tmp_path / "lakehouse")
    isolate(monkeypatch, tmp_path)
    said = stedi(monkeypatch, *command.split())
    assert (said.code, said.out, said.err.count("\n")) == (1, "", 1)
    assert "make all tables anew from the landing files: stedi rebuild." in said.err


def test_where_no_terminal_reads_it_a_sentence_stays_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "long" / "way" / ("folder" * 12)
    done = run(f"sample {folder} --customers 1 --files 1", os.environ)
    assert len(done.stdout.splitlines()) == 1
    assert str(folder) in done.stdout
