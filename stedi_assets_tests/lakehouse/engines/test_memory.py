"""How much memory there is, by the system's files: of the machine, and of control groups."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from stedi_assets.lakehouse.engines.memory import available_memory

MACHINE = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
UNLIMITED = 0x7FFFFFFFFFFFF000
"""What version 1 of control groups says where there is no limit."""
V1, V2 = "sys/fs/cgroup/memory", "sys/fs/cgroup"


def system(root: Path, groups: str, limits: Mapping[str, object]) -> Path:
    """A folder with the files of a system: what `/proc/self/cgroup` says, and limits."""
    for name, content in {"proc/self/cgroup": groups, **limits}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{content}\n")
    return root


@pytest.mark.parametrize(
    ("groups", "limits", "expected"),
    [
        # In a container, version 2
        ("0::/", {f"{V2}/memory.max": 1 << 20}, 1 << 20),
        ("0::/", {f"{V2}/memory.max": "max"}, MACHINE),
        ("0::/", {f"{V2}/memory.max": MACHINE * 2}, MACHINE),
        # Groups in groups: the least of their limits holds
        ("0::/a/b", {f"{V2}/a/b/memory.max": "max", f"{V2}/a/memory.max": 3 << 20}, 3 << 20),
        ("0::/a/b", {f"{V2}/a/b/memory.max": 1 << 20, f"{V2}/a/memory.max": 3 << 20}, 1 << 20),
        ("0::/a/b", {f"{V2}/a/b/memory.max": 5 << 20, f"{V2}/a/memory.max": 3 << 20}, 3 << 20),
        ("0::/a/b", {f"{V2}/other/memory.max": 1 << 20}, MACHINE),
        # Version 1
        ("4:memory:/", {f"{V1}/memory.limit_in_bytes": 1 << 20}, 1 << 20),
        ("4:memory:/", {f"{V1}/memory.limit_in_bytes": UNLIMITED}, MACHINE),
        ("9:cpu,memory:/a", {f"{V1}/a/memory.limit_in_bytes": 2 << 20}, 2 << 20),
        ("3:cpu:/a", {f"{V1}/a/memory.limit_in_bytes": 2 << 20}, MACHINE),
        # The path is that outside of the container, whose own group is the root
        ("4:memory:/docker/4711", {f"{V1}/memory.limit_in_bytes": 1 << 20}, 1 << 20),
        ("0::/docker/4711", {f"{V2}/memory.max": 1 << 20}, 1 << 20),
        ("0::/../../a", {f"{V2}/memory.max": 1 << 20}, 1 << 20),
        # Both versions at once
        ("4:memory:/a\n1:cpu:/\n0::/", {f"{V1}/a/memory.limit_in_bytes": 2 << 20}, 2 << 20),
        # Neither says anything that can be read
        ("0::/", {}, MACHINE),
        ("0::/", {f"{V2}/memory.max": ""}, MACHINE),
    ],
)
def test_memory_is_the_least_of_the_machines_and_of_all_groups_around_the_process(
    tmp_path: Path, groups: str, limits: Mapping[str, object], expected: int
) -> None:
    assert available_memory(system(tmp_path, groups, limits)) == expected


def test_memory_is_the_machines_where_there_are_no_groups(tmp_path: Path) -> None:
    assert available_memory(tmp_path) == MACHINE
