"""What of a landing folder is read: its files, whatever they are called, and nothing else."""

from __future__ import annotations

import gzip
import os
import socket
from typing import TYPE_CHECKING

import pytest

from stedi_assets.lakehouse.landing.ledger import LandingFolder
from stedi_assets.lakehouse.names import original, readable
from stedi_assets_tests.lakehouse.conftest import storage_in

if TYPE_CHECKING:
    from pathlib import Path

SECRET = b'{"secret": 1}'


@pytest.fixture
def landing(folder: Path) -> LandingFolder:
    return LandingFolder(f"{folder}/landing", storage_in(folder))


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """The landing folder of a source on this machine."""
    path = tmp_path / "landing/customer/landing"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def local(tmp_path: Path, here: Path) -> LandingFolder:
    return LandingFolder(str(tmp_path / "landing"), storage_in(tmp_path))


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    path = tmp_path / "secret.json"
    path.write_bytes(SECRET)
    return path


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / "landing/customer/landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"{}")


def found(landing: LandingFolder) -> tuple[list[str], list[str]]:
    """Names that are read, and names that are ignored, below the source's folder."""
    listing = landing.listing("customer")
    begin = "customer/landing/"
    files = [file.path.removeprefix(begin) for file in listing.files]
    assert set(listing.modified) == {file.path for file in listing.files}
    return files, [path.removeprefix(begin) for path in listing.ignored]


def test_endings_of_landing_files_count_in_any_case_of_letters(
    landing: LandingFolder, folder: Path
) -> None:
    good = ["a.json", "b.JSONL", "c.NdJson", "d.json.gz", "e.jsonl.GZ", "f.ndjson.gz", "x/y.json"]
    bad = ["g.csv", "h.json.zip", "i.gz", "json"]
    put(folder, *good, *bad)
    assert found(landing) == (good, bad)


def test_hidden_files_and_all_in_hidden_folders_are_ignored(
    landing: LandingFolder, folder: Path
) -> None:
    put(folder, ".a.json", "_b.json", "_temporary/0/c.json", ".git/d.json", "x/_y/e.json", "f.json")
    files, ignored = found(landing)
    assert files == ["f.json"]
    assert len(ignored) == 5
    assert {path.split("/")[0] for path in ignored} == {
        ".a.json",
        "_b.json",
        "_temporary",
        ".git",
        "x",
    }


def test_hidden_folder_above_the_landing_root_does_not_matter(tmp_path: Path) -> None:
    put(tmp_path / ".hidden", "a.json")
    root = tmp_path / ".hidden/landing"
    assert found(LandingFolder(str(root), storage_in(tmp_path)))[0] == ["a.json"]


def test_source_without_a_folder_has_no_files(landing: LandingFolder) -> None:
    assert found(landing) == ([], [])


# Links


def test_link_to_a_file_of_the_landing_root_is_followed(
    local: LandingFolder, here: Path, tmp_path: Path
) -> None:
    target = tmp_path / "landing/archive.json"
    target.write_bytes(b"{}")
    (here / "a.json").symlink_to(target)
    assert found(local) == (["a.json"], [])
    with local.open("customer/landing/a.json") as file:
        assert file.read() == b"{}"


def test_link_out_of_the_landing_root_is_ignored_and_never_opened(
    local: LandingFolder, here: Path, outside: Path
) -> None:
    (here / "a.json").symlink_to(outside)
    (here / "b.json").symlink_to("../../../secret.json")
    (here / "c.json").symlink_to("nowhere.json")
    assert found(local) == ([], ["a.json", "b.json", "c.json"])
    for name in ("a.json", "b.json", "c.json"):
        with pytest.raises(FileNotFoundError):
            local.open(f"customer/landing/{name}")


def test_links_to_folders_and_in_circles_are_ignored(
    local: LandingFolder, here: Path, tmp_path: Path
) -> None:
    (here / "a").mkdir()
    (here / "a/file.json").write_bytes(b"{}")
    (here / "again").symlink_to(here / "a")
    (here / "up").symlink_to(here)
    (here / "outside").symlink_to(tmp_path)
    (here / "x.json").symlink_to("y.json")
    (here / "y.json").symlink_to("x.json")
    assert found(local) == (["a/file.json"], ["again", "outside", "up", "x.json", "y.json"])


def test_landing_folder_of_a_source_may_be_a_link_inside_the_root_only(
    local: LandingFolder, here: Path, tmp_path: Path
) -> None:
    put(tmp_path, "a.json")
    here.rename(tmp_path / "landing/customer/before")
    here.symlink_to("before")
    assert found(local) == (["a.json"], [])
    here.unlink()
    (tmp_path / "landing/customer/before").rename(tmp_path / "elsewhere")
    here.symlink_to(tmp_path / "elsewhere")
    assert local.listing("customer").ignored == ("customer/landing",)


def test_file_that_became_a_link_out_of_the_root_is_not_opened(
    local: LandingFolder, here: Path, outside: Path
) -> None:
    (here / "a.json").write_bytes(b"{}")
    assert found(local)[0] == ["a.json"]
    (here / "a.json").unlink()
    (here / "a.json").symlink_to(outside)
    with pytest.raises(FileNotFoundError):
        local.open("customer/landing/a.json")


def test_folder_that_became_a_link_out_of_the_root_is_not_gone_into(
    local: LandingFolder, here: Path, tmp_path: Path
) -> None:
    put(tmp_path, "x/a.json")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/a.json").write_bytes(SECRET)
    (here / "x/a.json").unlink()
    (here / "x").rmdir()
    (here / "x").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError):
        local.open("customer/landing/x/a.json")


# What is no file


def test_pipes_sockets_and_folders_are_never_opened(
    local: LandingFolder, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(here / "pipe.json")
    (here / "folder.json").mkdir()
    with socket.socket(socket.AF_UNIX) as made:
        with monkeypatch.context() as patch:
            patch.chdir(here)  # the path as a whole is too long for a socket
            made.bind("socket.json")
        assert found(local) == ([], ["pipe.json", "socket.json"])
    for name in ("pipe.json", "folder.json", "socket.json"):
        with pytest.raises(FileNotFoundError):
            local.open(f"customer/landing/{name}")


def test_folder_that_cannot_be_read_is_said(
    local: LandingFolder, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "shut").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("shut"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(PermissionError, match="shut"):
        local.listing("customer")


# Names


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (b"plain.json", "plain.json"),
        ("größe.json".encode(), "größe.json"),
        (b"caf\xe9.json", r"caf\xe9.json"),
        (rb"back\slash.json", r"back\\slash.json"),
        (rb"not\xe9.json", r"not\\xe9.json"),
        (b"\\\xe9\\\\.json", r"\\\xe9\\\\.json"),
    ],
)
def test_name_has_one_spelling_and_the_file_is_found_by_it(
    local: LandingFolder, here: Path, name: bytes, text: str
) -> None:
    with open(os.fsencode(here) + b"/" + name, "wb") as file:
        file.write(gzip.compress(b"{}"))
    assert found(local) == ([text], [])
    text.encode()
    assert original(readable(os.fsdecode(name))) == os.fsdecode(name)
    with local.open(f"customer/landing/{text}") as opened:
        assert gzip.decompress(opened.read()) == b"{}"
