"""What went wrong, for the person who can mend it.

Each fault is one sentence, without data or secrets: the engine's messages may quote rows, and those
of AWS name access keys.
"""

import errno
import re
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from stedi_assets.lakehouse.names import display_name, printable

WAY_BACK = "restore it from a backup, or make all tables anew from the landing files: stedi rebuild"
_PACKAGE = Path(__file__).parent.parent


class LakehouseError(RuntimeError):
    """Something that a person can mend; the message says what and how.

    Attributes:
        is_damage: Whether a file of the lakehouse is missing or cannot be understood.
    """

    is_damage = False


class DamagedError(LakehouseError):
    """A file of a table is missing or cannot be read; what other tables hold is not affected."""

    is_damage = True

    def __init__(self, place: str, *, missing: bool = False) -> None:
        """Name the file, or say which file of a table it is."""
        self._place, self._missing = place, missing
        what = "is missing" if missing else "is damaged"
        # The names of tables' files are ours.
        name = printable(place) if "/warehouse/" in place else display_name(place)
        super().__init__(f"{name} {what}: {WAY_BACK}.")

    def __reduce__(self) -> tuple[object, ...]:
        """Spark sends the errors of its tasks to the driver."""
        return partial(DamagedError, self._place, missing=self._missing), ()


@contextmanager
def damaged(place: str, *, unless: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """If reading a file of the lakehouse fails, say that the file is damaged.

    Libraries raise nearly every kind of error for damaged files.

    Args:
        place: The file, or the table it belongs to; a missing file is named by the error itself.
        unless: Errors that say something else.
    """
    try:
        yield
    except unless:
        raise
    except FileNotFoundError as error:
        raise DamagedError(named_in(error) or place, missing=True) from error
    except Exception as error:
        if explain(error):
            raise
        raise DamagedError(place) from error


@dataclass(frozen=True)
class Explanation:
    """What an error means.

    Attributes:
        sentence: What went wrong, and what to do.
        is_damage: Whether a file of the lakehouse is missing or cannot be understood.
        is_transient: Whether trying again can help.
    """

    sentence: str
    is_damage: bool = False
    is_transient: bool = False


Explainer = Callable[[BaseException], Explanation | None]
"""Explains the errors of one library; None for all others."""

_explainers: list[Explainer] = []


def register(explainer: Explainer) -> None:
    """Let a storage or an engine explain the errors of the libraries that it uses."""
    _explainers.append(explainer)


def explain(error: BaseException) -> str | None:
    """Say what an error means; None if it is a mistake in the program.

    The causes of an error are looked at, too: libraries wrap those of others.
    """
    explanation = _explanation(error)
    return explanation.sentence if explanation else None


def is_damage(error: BaseException) -> bool:
    """Whether a file of the lakehouse is missing or cannot be understood."""
    explanation = _explanation(error)
    return explanation is not None and explanation.is_damage


def is_transient(error: BaseException) -> bool:
    """Whether trying again can help: AWS was busy or out of reach."""
    explanation = _explanation(error)
    return explanation is not None and explanation.is_transient


def _explanation(error: BaseException) -> Explanation | None:
    return next(filter(None, map(_explain, chain(error))), None)


def sentence(error: BaseException) -> str | None:
    """Like `explain`, but also explains errors about any other file, for a terminal or the UI."""
    if explanation := explain(error):
        return explanation
    if isinstance(error, OSError) and error.filename:
        return f"{display_name(str(error.filename))}: {error.strerror}."
    return None


def unforeseen(error: BaseException) -> str:
    """Say where an unforeseen error came from, but not its message, which may quote data."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if Path(frame.filename).is_relative_to(_PACKAGE)]
    place = ours[-1] if ours else frames[-1] if frames else None
    where = f" at {_shortened(place.filename)}:{place.lineno}" if place else ""
    return f"It stopped with {type(error).__name__}{where}, which was not foreseen."


def _shortened(file: str) -> str:
    path = Path(file)
    return str(path.relative_to(_PACKAGE.parent) if path.is_relative_to(_PACKAGE) else path.name)


@contextmanager
def in_a_sentence() -> Iterator[None]:
    """Raise known errors with their sentence alone."""
    try:
        yield
    except LakehouseError as error:
        error.__suppress_context__ = True
        raise
    except Exception as error:
        if message := sentence(error):
            raise LakehouseError(message) from None
        raise


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error, its cause, the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


def _explain(error: BaseException) -> Explanation | None:
    if isinstance(error, LakehouseError):
        return Explanation(str(error), error.is_damage)
    if explanation := next(filter(None, (explainer(error) for explainer in _explainers)), None):
        return explanation
    match error:
        case OSError():
            return _explain_file(error)
        case MemoryError():
            return Explanation(
                "This machine has no memory left: give it more, or stop what else needs it."
            )
    return None


# Files of this machine

NO_SPACE = (
    "There is no space left on the disk for {place}; what is published stays: make space, and try "
    "again."
)
READ_ONLY = "{place} cannot be written: its disk or file system is read-only."
_DENIED = "{place} may not be read or written by the user who runs this: give them the permission."
_DISK = "The disk of {place} fails (input/output error): check it."
_MANY = "Too many files are open to open {place}: raise the limit (ulimit -n)."
_CODES = {
    errno.ENOSPC: NO_SPACE,
    errno.EDQUOT: NO_SPACE,
    errno.EROFS: READ_ONLY,
    errno.EACCES: _DENIED,
    errno.EPERM: _DENIED,
    errno.EIO: _DISK,
    errno.EMFILE: _MANY,
    errno.ENFILE: _MANY,
}
WORDS = {
    "No space left on device": NO_SPACE,
    "Disk quota exceeded": NO_SPACE,
    "Read-only file system": READ_ONLY,
    "Permission denied": _DENIED,
    "Operation not permitted": _DENIED,
    "Input/output error": _DISK,
    "Too many open files": _MANY,
}
"""The same for libraries that say it in words alone."""

_QUOTED = re.compile(
    r"""(?:file|pattern|path|directory)\s(['"])((?:/|s3://).+?)\1""", re.DOTALL | re.IGNORECASE
)
"""A file in a library's message; what else is in quotes may be data."""


def _explain_file(error: OSError) -> Explanation | None:
    denied = _DENIED if isinstance(error, PermissionError) else None
    template = _CODES.get(error.errno or 0) or denied
    return Explanation(about_file(template, error)) if template else None


def about_file(template: str, error: BaseException) -> str:
    """Fill one of the sentences above with the file that an error names."""
    named = named_in(error)
    filled = template.format(place=display_name(named) if named else "a file")
    return filled[0].upper() + filled[1:]


def named_in(error: BaseException) -> str | None:
    """The file that an error names."""
    if isinstance(error, OSError) and error.filename:
        return str(error.filename)
    match = _QUOTED.search(str(error))
    return match[2] if match else None
