"""Writes what pages say of tables, columns and settings, from the code.

`python -m docs.generate` writes it; with `--check` it only compares, and fails if a page differs.
In a page, what is written stands between `<!-- name -->` and `<!-- /name -->`.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from stedi_assets.settings import PROJECT, Settings
from stedi_assets.tables import TABLES, definition
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.policy import Policy

DOCS = Path(__file__).parent
TRAINING_SET = "machine_learning_curated"


def tables() -> str:
    """A section for each table: what it holds, its columns, and what they must be."""
    return "\n\n".join(map(_section, TABLES))


def _section(definition: TableDefinition) -> str:
    schema, table = definition.contract.to_schema(), definition.table(Policy())
    rows = [
        (
            f"*{column.name}*" if column.personal else column.name,
            column.type,
            known.metadata["unit"] or "",
            known.description,
            "; ".join(_demands(known)),
        )
        for column in table.columns
        for known in [schema.columns[column.name]]
    ]
    parts = [
        f"### {table.name}",
        table.description,
        f"Zone: {table.zone}.",
        _table(("column", "type", "unit", "what it is", "must be"), rows),
        *(f"In each row: {check.name}." for check in schema.checks),
    ]
    return "\n\n".join(parts)


def _demands(column: Any) -> Iterator[str]:
    """What the contract asks of a column's values."""
    if not column.nullable:
        yield "not null"
    if column.unique:
        yield "unique"
    yield from (_demand(check, column) for check in column.checks)


def _demand(check: Any, column: Any) -> str:
    match check.name, check.statistics:
        case "greater_than_or_equal_to", {"min_value": least}:
            return "2000 or later" if column.metadata["is_time"] else f"{least} or more"
        case "in_range", {"max_value": most} if most > 1e300:  # noqa: PLR2004  (the largest double)
            return "finite"
        case "isin", {"allowed_values": allowed}:
            return " or ".join(f"`{value}`" for value in allowed)
        case "str_length", {"min_value": 1, "max_value": None}:
            return "not empty"
        case "str_length", {"min_value": least, "max_value": most} if least == most:
            return f"{least} characters"
    return str(check.error)


def columns() -> str:
    """The columns of a training set, for data scientists."""
    training_set = definition(TRAINING_SET)
    known = training_set.contract.to_schema().columns
    rows = [
        (
            column.name,
            column.type,
            known[column.name].metadata["unit"] or "",
            known[column.name].description,
            "yes" if column.nullable else "no",
        )
        for column in training_set.table(Policy()).columns
    ]
    return _table(("column", "type", "unit", "what it is", "may be missing"), rows)


def settings() -> str:
    """All settings, with their meaning and default."""
    rows = [
        (f"STEDI_{name.upper()}", str(field.description), _default(name, field.default))
        for name, field in Settings.model_fields.items()
    ]
    return _table(("variable", "means", "default"), rows)


def _default(name: str, value: Any) -> str:
    if name == "lakehouse":
        return f"{Path(value).relative_to(PROJECT)}/ in the project"
    if name == "landing":
        return "landing/ in the lakehouse"
    if isinstance(value, timedelta):
        return f"{value.days}d" if value else "0m"
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "tables.md": ("tables", tables),
    "settings.md": ("settings", settings),
    "data-scientists.md": ("columns", columns),
}
"""The pages, each with the block in it that is written, and what writes it."""


def written(page: str) -> str:
    """A page as it has to be."""
    name, block = BLOCKS[page]
    begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
    before, rest = (DOCS / page).read_text().split(begin)
    _, after = rest.split(end)
    return f"{before}{begin}{block()}\n{end}{after}"


def outdated() -> list[str]:
    """Names of the pages that are not as the code says."""
    return [page for page in BLOCKS if (DOCS / page).read_text() != written(page)]


def main() -> None:
    """Write the pages, or compare them."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    found = outdated()
    if check and found:
        named = ", ".join(f"docs/{page}" for page in found)
        parser.exit(1, f"Out of date: {named}. Run make docs, and commit what it writes.\n")
    for page in found:
        (DOCS / page).write_text(written(page))


if __name__ == "__main__":
    main()
