"""Writes what pages say of tables, columns and settings, from the code.

`python -m docs.generate` writes it; with `--check` it only compares, and fails if a page differs.
In a page, what is written stands between `<!-- name -->` and `<!-- /name -->`.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from stedi_assets.lakehouse.table import Zone
from stedi_assets.settings import PROJECT, Settings
from stedi_assets.tables import TABLES, definition
from stedi_assets.tables.contract import Field, columns_of, exactly_one
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.policy import Policy

DOCS = Path(__file__).parent
TRAINING_SET = "machine_learning_curated"


def tables() -> str:
    """A section for each table: what it holds, its columns, and what they must be."""
    return "\n\n".join(map(_section, TABLES))


def _section(definition: TableDefinition) -> str:
    table, known = definition.table(Policy()), columns_of(definition.contract)
    rows = [
        (
            f"*{name}*" if field.personal else name,
            type_,
            field.unit or "",
            field.description,
            "; ".join(_demands(field)),
        )
        for name, (type_, field) in known.items()
    ]
    parts = [
        f"### {table.name}",
        table.description,
        f"Zone: {table.zone}.",
        _table(("column", "type", "unit", "what it is", "must be"), rows),
        *([f"In each row: {exactly_one(table.one_of)}."] if table.one_of else []),
    ]
    return "\n\n".join(parts)


def _demands(field: Field) -> Iterator[str]:
    """What the contract asks of a column's values."""
    if not field.nullable:
        yield "not null"
    if field.unique:
        yield "unique"
    for check, bound in field.checks.items():
        yield _demand(check, bound, field)


def _demand(check: str, bound: Any, field: Field) -> str:
    match check, bound:
        case "ge", least:
            return "2000 or later" if field.is_time else f"{least} or more"
        case "in_range", {"max_value": most} if most > 1e300:  # noqa: PLR2004  (the largest double)
            return "finite"
        case "isin", allowed:
            return " or ".join(f"`{value}`" for value in allowed)
        case "str_length", {"min_value": least, "max_value": most} if least == most:
            return f"{least} characters"
        case "str_length", {"min_value": 1}:
            return "not empty"
    raise ValueError(f"The documentation has no words for the check {check}.")


def columns() -> str:
    """The columns of a training set, for data scientists."""
    training_set = definition(TRAINING_SET)
    rows = [
        (name, type_, field.unit or "", field.description, "yes" if field.nullable else "no")
        for name, (type_, field) in columns_of(training_set.contract).items()
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


def record() -> str:
    """What tables keep of people, for the record of processing."""
    rows = []
    for table in TABLES:
        zone = table.table(Policy()).zone
        columns_ = columns_of(table.contract).items()
        personal = [name for name, (_, field) in columns_ if field.personal]
        rows.append((table.name, zone, ", ".join(personal) or "none", _KEPT[zone]))
    return _table(("table", "zone", "columns that lead to a person", "kept"), rows)


_KEPT = {
    Zone.LANDING: "until the person is forgotten, or by age (STEDI_LANDING_RETENTION)",
    Zone.TRUSTED: "while they consent, and STEDI_RETENTION longer",
    Zone.CURATED: "while they consent, and STEDI_RETENTION longer",
}


BLOCKS: dict[str, tuple[str, Callable[[], str]]] = {
    "tables.md": ("tables", tables),
    "settings.md": ("settings", settings),
    "data-scientists.md": ("columns", columns),
    "privacy.md": ("record", record),
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
