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
    """Paths below a folder, with what each file is like, or nothing where it is not to be opened.

    Not opened are links that lead out of `root`, links to folders, and what is no file. What is
    in hidden folders is not looked at.

    Raises:
        OSError: A folder cannot be read: passed over, it would look like an empty one.
    """
    if not _is_inside(folder, root):
        if os.path.lexists(folder):
            yield folder, None
        return
    for parent, folders, names in os.walk(folder, onerror=refuse):
        passed = [name for name in folders if _is_passed(parent, name)]
        folders[:] = [name for name in folders if name not in passed]
        for path in (os.path.join(parent, name) for name in passed):
            yield path, None
        for path in (os.path.join(parent, name) for name in names):
            try:
                yield path, _look(path, root)
            except FileNotFoundError:  # renamed or deleted meanwhile
                continue


def open_below(location: str, root: str) -> BinaryIO:
    """Open a file, unless its path leads out of the root, or to no file, by now.

    Raises:
        FileNotFoundError: It does, or the file is not there any more.
    """
    try:
        # A pipe that nobody writes to would keep an ordinary open waiting.
        descriptor = os.open(location, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in {errno.ENXIO, errno.ELOOP}:  # a socket, or links in a circle
            raise FileNotFoundError(2, "No such file", location) from None
        raise
    try:
        # What is open now is looked for, without links, inside the root: a link that is changed
        # meanwhile does not matter.
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


def _is_passed(parent: str, name: str) -> bool:
    return is_hidden(name) or os.path.islink(os.path.join(parent, name))


def _look(path: str, root: str) -> os.stat_result | None:
    found = os.lstat(path)
    if stat.S_ISLNK(found.st_mode):
        if not _is_inside(path, root):
            return None
        try:
            found = os.stat(path)
        except OSError:  # a link to nothing, or in a circle
            return None
    return found if stat.S_ISREG(found.st_mode) else None


def _is_inside(path: str, root: str) -> bool:
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def refuse(error: OSError) -> None:
    """Raise what keeps a folder from being read; one that is gone has no files."""
    if not isinstance(error, FileNotFoundError | NotADirectoryError):
        raise error
