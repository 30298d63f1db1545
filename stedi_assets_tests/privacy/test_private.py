"""What is on this machine is for its owner alone, whatever others allow."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.support import customer, publish, under

RUN = """
import os, sys
os.umask(0)
from stedi_assets.cli.main import main
sys.argv = ["stedi", *sys.argv[1:]]
main()
"""


def stedi(folder: Path, *words: str) -> None:
    given = {"STEDI_LAKEHOUSE": f"{folder}/lakehouse", "STEDI_RETENTION": "0d"}
    environment = {k: v for k, v in os.environ.items() if not k.startswith("STEDI_")} | given
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def modes(folder: Path) -> dict[str, int]:
    """Of all below a folder that others than its owner can get at, what they may do."""
    found = {str(path): stat.S_IMODE(path.lstat().st_mode) for path in [folder, *folder.rglob("*")]}
    return {path: mode for path, mode in found.items() if mode & 0o077}


def test_commands_write_for_their_owner_alone(tmp_path: Path) -> None:
    stedi(tmp_path, "sample", "--customers", "30", "--files", "1")
    stedi(tmp_path, "refresh")
    stedi(tmp_path, "report", str(tmp_path / "report.html"))
    stedi(tmp_path, "vacuum", "--older-than", "0m")
    assert modes(tmp_path / "lakehouse") == {}
    assert modes(tmp_path / "report.html") == {}
    assert (tmp_path / "lakehouse/pseudonym.key").exists()
    assert list((tmp_path / "lakehouse/warehouse").rglob("*.parquet"))


@pytest.fixture
def open_to_all(tmp_path: Path) -> Path:
    """A lakehouse that was made with other rights."""
    publish(under(tmp_path, landing=None), "customer_trusted", [customer("a@x.io")])
    folder = tmp_path / "lakehouse"
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o777 if path.is_dir() else 0o666)
    (folder / "run.sh").touch(0o755)
    (folder / "pseudonym.key").touch()
    (folder / "pseudonym.key").chmod(0o644)
    (tmp_path / "others").touch()
    (tmp_path / "others").chmod(0o644)
    (folder / "link").symlink_to(tmp_path / "others")
    return folder


def test_lakehouse_that_others_could_read_is_shut_by_the_next_run(open_to_all: Path) -> None:
    before = os.umask(0)
    try:
        with open_lakehouse(under(open_to_all.parent, landing=None)).locked(print):
            (open_to_all / "new").touch()
        (open_to_all / "later").touch()
    finally:
        os.umask(before)
    # A person has to know that others could read the key; a link's own mode says nothing.
    left = {Path(path).name for path in modes(open_to_all)}
    assert left == {"later", "pseudonym.key", "link"}
    assert stat.S_IMODE((open_to_all / "run.sh").stat().st_mode) == 0o700
    assert stat.S_IMODE((open_to_all.parent / "others").stat().st_mode) == 0o644
