"""The README's tables come from the contracts and the settings.

`python -m stedi_assets_tests.test_readme` writes them anew.
"""

import re
from datetime import timedelta
from inspect import getdoc
from pathlib import Path

from stedi_assets.settings import PROJECT, Settings
from stedi_assets.tables import TABLES
from stedi_assets.tables.policy import Policy

README = PROJECT / "README.md"


def tables() -> str:
    lines = ["| zone | table | what it holds | columns |", "|---|---|---|---|"]
    for definition in TABLES:
        table, contract = definition.table(Policy()), definition.contract
        columns = ", ".join(f"*{c.name}*" if c.personal else c.name for c in table.columns)
        doc = " ".join((getdoc(contract) or "").split())
        lines.append(f"| {table.zone} | {table.name} | {doc} | {columns} |")
    return "\n".join(lines)


def settings() -> str:
    lines = ["| variable | means | default |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if name == "lakehouse":
            default = f"{Path(default).relative_to(PROJECT)}/ in the project"
        elif name == "landing":
            default = "landing/ in the lakehouse"
        elif isinstance(default, timedelta):
            default = f"{default.days}d" if default else "0m"
        shown = {None: "", True: "true", False: "false"}.get(default, default)
        lines.append(f"| STEDI_{name.upper()} | {field.description} | {shown} |")
    return "\n".join(lines)


def with_tables(readme: str) -> str:
    for mark, block in (("tables", tables()), ("settings", settings())):
        pattern = rf"(<!-- {mark} -->\n).*?(<!-- /{mark} -->)"
        readme = re.sub(pattern, rf"\1{block}\n\2", readme, flags=re.DOTALL)
    return readme


def test_readme_lists_the_tables_and_settings_as_they_are() -> None:
    readme = README.read_text()
    assert readme == with_tables(readme), "run python -m stedi_assets_tests.test_readme"


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text()))
