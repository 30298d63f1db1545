"""The tags of Lake Formation: which columns name a person."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from docs import lake_formation
from stedi_assets_tests.cloudformation import ACCOUNT, Template
from stedi_assets_tests.deploy.support import AUDITOR, TABLES

STACK = Template(lake_formation.TEMPLATE.read_text(), {}, {"Personal": "stedi-personal"})
ASSOCIATIONS = {
    name: (STACK.properties(name), resource.get("DependsOn"))
    for name, resource in STACK.resources("AWS::LakeFormation::TagAssociation").items()
}


def value(association: dict[str, Any]) -> str:
    """The value that an association gives to the tag."""
    (tag,) = association["LFTags"]
    assert (tag["CatalogId"], tag["TagKey"]) == (ACCOUNT, "stedi-personal")
    (value,) = tag["TagValues"]
    return str(value)


COLUMNS = {
    (resource["Name"], column): value(association)
    for association, _ in ASSOCIATIONS.values()
    for resource in [association["Resource"].get("TableWithColumns")]
    if resource
    for column in resource["ColumnNames"]
}


def test_template_is_as_the_contracts_say() -> None:
    assert lake_formation.TEMPLATE.read_text() == lake_formation.written(), "run make docs"


def test_template_that_is_out_of_date_is_named_and_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    template = tmp_path / "deploy/lake_formation.yaml"
    template.parent.mkdir()
    right = lake_formation.TEMPLATE.read_text()
    template.write_text(right.replace('"email", ', ""))
    monkeypatch.setattr(lake_formation, "PROJECT", tmp_path)
    monkeypatch.setattr(lake_formation, "TEMPLATE", template)

    monkeypatch.setattr(sys, "argv", ["lake_formation", "--check"])
    with pytest.raises(SystemExit) as stopped:
        lake_formation.main()
    assert stopped.value.code == 1
    assert "deploy/lake_formation.yaml. Run make docs" in capsys.readouterr().err

    monkeypatch.setattr(sys, "argv", ["lake_formation"])
    lake_formation.main()
    assert template.read_text() == right


def test_each_column_of_each_table_is_tagged_once() -> None:
    named = Counter(
        (resource["Name"], column)
        for association, _ in ASSOCIATIONS.values()
        for resource in [association["Resource"].get("TableWithColumns")]
        if resource
        for column in resource["ColumnNames"]
    )
    assert named == Counter((table.name, name) for table in TABLES for name in table.types)


def test_columns_that_name_a_person_are_tagged_so() -> None:
    for column in ("email", "phone", "customername", "birthday", "serialnumber"):
        assert COLUMNS["customers_curated", column] == "yes"
    assert COLUMNS["quarantine", "raw"] == "yes"
    assert COLUMNS["customers_curated", "registrationdate"] == "row"


def test_only_the_training_set_names_nobody() -> None:
    open_tables = {table for (table, _), personal in COLUMNS.items() if personal == "no"}
    assert open_tables == {"machine_learning_curated"}


def test_what_no_contract_knows_is_closed() -> None:
    association, _ = ASSOCIATIONS["Database"]
    assert association["Resource"] == {"Database": {"CatalogId": ACCOUNT, "Name": "stedi"}}
    assert value(association) == "yes"


def test_tags_are_put_on_one_after_the_other() -> None:
    names = list(ASSOCIATIONS)
    assert [after for _, after in ASSOCIATIONS.values()] == [None, *names[:-1]]


def test_reader_selects_only_where_nobody_is_named() -> None:
    assert not STACK.resources("AWS::LakeFormation::PrincipalPermissions")
    asked = Template(
        lake_formation.TEMPLATE.read_text(), {"ReaderArn": AUDITOR}, {"Personal": "stedi-personal"}
    )
    assert set(asked.resources("AWS::LakeFormation::PrincipalPermissions")) == {"Read"}
    grant = asked.properties("Read")
    assert grant["Principal"] == {"DataLakePrincipalIdentifier": AUDITOR}
    assert grant["Resource"]["LFTagPolicy"]["Expression"] == [
        {"TagKey": "stedi-personal", "TagValues": ["no"]}
    ]
    assert (grant["Permissions"], grant["PermissionsWithGrantOption"]) == (
        ["DESCRIBE", "SELECT"],
        [],
    )
