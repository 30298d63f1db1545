"""Writes which columns name a person, from the contracts, into deploy/lake_formation.yaml.

`python -m docs.lake_formation` writes it; with `--check` it only compares, and fails if the
template differs. What it writes is the end of the template.
"""

import argparse
import json
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from stedi_assets.lakehouse.table import Table
from stedi_assets.settings import PROJECT
from stedi_assets.tables import TABLES
from stedi_assets.tables.policy import Policy

TEMPLATE = PROJECT / "deploy/lake_formation.yaml"
_BY_HAND = "  # Lake Formation refuses changes of tags at the same time.\n"
"""The last line of the template that is not written."""


class Tagged(NamedTuple):
    """Columns of a table that get the same value of the tag."""

    table: str
    personal: str
    columns: tuple[str, ...]

    @property
    def resource(self) -> str:
        """What the template calls it."""
        words = (*self.table.split("_"), *(() if self.personal == "no" else (self.personal,)))
        return "".join(word.capitalize() for word in words)


def tagged(table: Table) -> Iterator[Tagged]:
    """The columns of a table by how personal its contract says they are."""
    personal = tuple(column.name for column in table.columns if column.personal)
    others = tuple(column.name for column in table.columns if not column.personal)
    if personal:
        yield Tagged(table.name, "yes", personal)
    yield Tagged(table.name, "row" if personal else "no", others)


def _association(tagged: Tagged, after: str) -> str:
    # Names are quoted: a column named y or no would be a boolean.
    tag = f'TagKey: !Ref Personal, TagValues: ["{tagged.personal}"]'
    return f"""  {tagged.resource}:
    Type: AWS::LakeFormation::TagAssociation
    DependsOn: {after}
    Properties:
      Resource:
        TableWithColumns:
          CatalogId: !Ref AWS::AccountId
          DatabaseName: !Ref DatabaseName
          Name: {tagged.table}
          ColumnNames: {json.dumps(tagged.columns)}
      LFTags:
        - {{CatalogId: !Ref AWS::AccountId, {tag}}}
"""


def written() -> str:
    """The template as it has to be."""
    by_hand = TEMPLATE.read_text().split(_BY_HAND)[0] + _BY_HAND
    all_tagged = [found for table in TABLES for found in tagged(table.table(Policy()))]
    order = ["Database", *(found.resource for found in all_tagged)]
    resources = [
        _association(found, after)
        for found, (after, _) in zip(all_tagged, pairwise(order), strict=True)
    ]
    return "\n".join((by_hand, *resources))


def main() -> None:
    """Write the template, or compare it."""
    parser = argparse.ArgumentParser(prog="python -m docs.lake_formation", description=__doc__)
    parser.add_argument("--check", action="store_true", help="only compare")
    check = parser.parse_args().check
    if TEMPLATE.read_text() == written():
        return
    if check:
        name = TEMPLATE.relative_to(PROJECT)
        parser.exit(1, f"Out of date: {name}. Run make docs, and commit what it writes.\n")
    TEMPLATE.write_text(written())


if __name__ == "__main__":
    main()
