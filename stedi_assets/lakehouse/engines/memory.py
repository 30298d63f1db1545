"""How much memory there is: the machine's, or what its container may have of it."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath

_ROOT = Path("/")
_GROUPS = "proc/self/cgroup"

_V2 = "sys/fs/cgroup", "memory.max"
_V1 = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
"""Where the groups are, and the file of each with its limit. Where version 1 has none, it says a
number larger than any memory."""


def available_memory(root: Path = _ROOT) -> int:
    """Bytes of the machine, or of the container or any group around it if that is less.

    Args:
        root: Folder in which the system's files `proc` and `sys` are.
    """
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *_limits(root)])


def _limits(root: Path) -> Iterator[int]:
    """What the control groups of this process say, those of version 1 and of version 2."""
    try:
        groups = (root / _GROUPS).read_text().splitlines()
    except OSError:  # there are none, as on macOS
        return
    for group in groups:
        _, controllers, path = group.split(":", 2)
        if controllers and "memory" not in controllers.split(","):
            continue
        mounted, file = _V1 if controllers else _V2
        # In a container the path may be the one outside, and the container's own group the root.
        own = PurePosixPath(path.lstrip("/"))
        for folder in (own, *own.parents):
            with suppress(OSError, ValueError):  # no such file, or `max`: there is no limit
                yield int((root / mounted / folder / file).read_text())
