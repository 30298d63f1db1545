"""Files of this machine that survive a loss of power and that only their owner may read."""

import io
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import cast
from uuid import uuid4

from pyiceberg.io import FileIO, InputFile, InputStream, OutputFile, OutputStream

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS = 0o077
"""The permissions of group and others."""

KEY_ENDING = ".key"


class LocalFileIO(FileIO):
    """Reads, writes and deletes files; what was written is on the disk once it is closed.

    A catalog must not refer to a file that a loss of power takes away again.
    """

    def new_input(self, location: str) -> "LocalFile":
        """The file, to read it."""
        return LocalFile(location)

    def new_output(self, location: str) -> "LocalFile":
        """The file, to write it."""
        return LocalFile(location)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete the file, if it exists."""
        Path(location if isinstance(location, str) else location.location).unlink(missing_ok=True)


class LocalFile(InputFile, OutputFile):
    """A file of this machine."""

    def __len__(self) -> int:
        """Its bytes."""
        return Path(self.location).stat().st_size

    def exists(self) -> bool:
        """Whether it is there."""
        return Path(self.location).exists()

    def open(self, seekable: bool = True) -> InputStream:
        """Open it for reading.

        Raises:
            FileNotFoundError: It is not there.
        """
        return cast("InputStream", Path(self.location).open("rb"))

    def create(self, overwrite: bool = False) -> OutputStream:
        """Open it for writing; its folder is made if it is missing.

        Raises:
            FileExistsError: It exists, and `overwrite` is false.
        """
        path = Path(self.location)
        make_folder(path.parent)
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if overwrite else os.O_EXCL)
        return cast("OutputStream", _Durable(path, os.open(path, flags, FILE_MODE)))

    def to_input_file(self) -> "LocalFile":
        """The same file, to read it."""
        return self


class _Durable(io.BufferedWriter):
    def __init__(self, path: Path, descriptor: int) -> None:
        super().__init__(io.FileIO(descriptor, "wb"))
        self._folder = path.parent

    def close(self) -> None:
        if self.closed:
            return
        try:
            self.flush()
            os.fsync(self.fileno())
        finally:
            super().close()
        _sync(self._folder)


def make_folder(folder: Path) -> None:
    """Make a folder if it is missing, and those above it, for their owner alone."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(mode=FOLDER_MODE, exist_ok=True)
    _sync(folder.parent)


def replace(path: Path, text: str) -> None:
    """Write a file anew: whoever reads it meanwhile sees either the old text or the new one."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    with LocalFile(str(temporary)).create() as file:
        file.write(text.encode())
    rename(temporary, path)


def rename(written: Path, path: Path) -> None:
    """Let a file that is whole take the place of another."""
    written.replace(path)
    _sync(path.parent)


def settle(files: Iterable[str], root: Path) -> None:
    """Make sure that files below `root` which others wrote survive a loss of power, too."""
    folders: set[Path] = set()
    for path in map(Path, files):
        with path.open("rb") as file:
            keep_private(path)
            os.fsync(file.fileno())
        folders |= {folder for folder in path.parents if folder.is_relative_to(root)}
    for folder in folders:
        _sync(folder)


def make_private(folder: Path) -> None:
    """Let only its owner read a folder and what is in it, except links and other users' files.

    The folder itself comes last: where it is private already, nobody else gets at what is in it.
    A key that others could read stays as it is: a person has to look at it.
    """
    if not folder.is_dir() or not folder.stat().st_mode & OTHERS:
        return
    for parent, folders, files in os.walk(folder, topdown=False):
        for name in (*folders, *files):
            if name.endswith(KEY_ENDING):
                continue
            keep_private(Path(parent, name))
    keep_private(folder)


def keep_private(path: Path) -> None:
    """Take all permissions on a file or folder of ours from group and others."""
    mode = path.lstat().st_mode
    if mode & OTHERS and not path.is_symlink():
        with suppress(PermissionError):  # it is somebody else's file
            path.chmod(mode & ~OTHERS & 0o7777)


def _sync(folder: Path) -> None:
    """Make sure that the names in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
