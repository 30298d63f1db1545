"""A landing folder of this machine: what in it may be opened, and nothing outside it.

Whoever may put a file there could put a link to any other file there, too.
"""

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from stedi_assets.lakehouse.names import is_hidden


def below(folder: str, root: str) -> Iterator[tuple[str, os.stat_result | None]]:
    """Paths below a folder, with the status of each file, or None if it must not be opened.

    Links that lead out of `root`, links to folders, and what is not a file must not be opened.
    Hidden folders are not entered.

    Raises:
        OSError: A folder cannot be read. If it was skipped, it would look like an empty one.
    """
    if not _is_inside(folder, root):
        if os.path.lexists(folder):
            yield folder, None
        return
    for parent, folders, names in os.walk(folder, onerror=refuse):
        skipped = [name for name in folders if _is_skipped(parent, name)]
        folders[:] = [name for name in folders if name not in skipped]
        for path in (os.path.join(parent, name) for name in skipped):
            yield path, None
        for path in (os.path.join(parent, name) for name in names):
            try:
                yield path, _look(path, root)
            except FileNotFoundError:  # renamed or deleted meanwhile
                continue


def open_below(location: str, root: str) -> BinaryIO:
    """Open a file, unless its path now leads out of the root, or to something else than a file.

    Raises:
        FileNotFoundError: It does, or the file is no longer there.
    """
    try:
        # A pipe that nobody writes to would keep an ordinary open waiting.
        descriptor = os.open(location, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ELOOP}:  # a socket, or links in a circle
            raise FileNotFoundError(2, "No such file", location) from None
        raise
    try:
        # The file that is open now must itself be inside the root, so a link that changes meanwhile
        # does not matter.
        opened, real = os.fstat(descriptor), os.path.realpath(location)
        if not (
            stat.S_ISREG(opened.st_mode)
            and _is_inside(real, root)
            and os.path.samestat(opened, os.lstat(real))
        ):
            raise FileNotFoundError(2, "No such file", location)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def _is_skipped(parent: str, name: str) -> bool:
    return is_hidden(name) or os.path.islink(os.path.join(parent, name))


def _look(path: str, root: str) -> os.stat_result | None:
    status = os.lstat(path)
    if stat.S_ISLNK(status.st_mode):
        if not _is_inside(path, root):
            return None
        try:
            status = os.stat(path)
        except OSError:  # a link to nothing, or in a circle
            return None
    return status if stat.S_ISREG(status.st_mode) else None


def _is_inside(path: str, root: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def refuse(error: OSError) -> None:
    """Raise an error that keeps a folder from being read; one that was deleted has no files."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
