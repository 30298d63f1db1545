"""Imports run downward only, from Dagster to how tables are stored; see ARCHITECTURE.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

from stedi_assets_tests.support import PROJECT

FLOORS = """
    cli glue_job
    definitions
    defs
    report sample
    privacy
    refresh
    read
    resources
    settings
    tables
    lakehouse
    lakehouse.landing
    lakehouse.engines
    lakehouse.catalog
    lakehouse.storage
    lakehouse.state
    lakehouse.manifests lakehouse.query
    lakehouse.faults
    lakehouse.names lakehouse.table lakehouse.dialect lakehouse.duckdb_sql lakehouse.progress
"""
"""From the top down; a module stands on the floor of the longest name that it begins with."""

WITH_DAGSTER = {"defs", "cli", "definitions", "resources", "glue_job", "lakehouse.engines.glue"}
"""Where Dagster may be imported: above all floors that work without it, and to launch Glue jobs."""

FLOOR = {
    part: floor for floor, line in enumerate(FLOORS.split("\n")) for part in line.strip().split()
}
PACKAGE = PROJECT / "stedi_assets"
MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """A module's name in the package."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """All that a module imports, also inside functions and for types alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str:
    """The part of the package that a module belongs to."""
    parts = [part for part in FLOOR if f"{module}.".startswith(f"{part}.")]
    return max(parts, key=len, default="")


def test_imports_run_downward() -> None:
    upward = []
    for path in MODULES:
        module = name_of(path)
        for imported in imports_of(path):
            if part := part_of(imported.removeprefix("stedi_assets.")):
                own = part_of(module)
                if own and part != own and FLOOR[part] <= FLOOR[own]:
                    upward.append(f"{module} imports {imported}")
    assert upward == []


def test_every_module_has_a_floor() -> None:
    homeless = {name_of(path) for path in MODULES if not part_of(name_of(path))}
    assert homeless == {"__init__", "__main__"}  # what people import, and what the command starts


def test_every_name_of_a_floor_is_a_module() -> None:
    assert set(FLOOR) - {name_of(path) for path in MODULES} == set()


def test_dagster_is_known_at_the_top_alone() -> None:
    knowing = {
        name_of(path)
        for path in MODULES
        if any(imported.startswith("dagster") for imported in imports_of(path))
    }
    assert {module for module in knowing if not part_in(module, WITH_DAGSTER)} == set()


def part_in(module: str, parts: set[str]) -> bool:
    """Whether a module is one of these parts, or in one."""
    return any(f"{module}.".startswith(f"{part}.") for part in parts)
