"""What the Dagster UI shows of each table: before its first run, and after."""

import json
import linecache
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import ibis.expr.types as ir
import pytest

from stedi_assets.defs.metadata import lineage_metadata
from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.settings import Settings
from stedi_assets.tables import definition, version_of
from stedi_assets.tables.contract import table_of
from stedi_assets.tables.lineage import Lineage
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.trusted.customer_trusted import CUSTOMER_TRUSTED
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    DERIVED,
    TABLES,
    catalog_of,
    change_table,
    counts,
    customer,
    deliver,
    device,
    phone,
    refresh,
    snapshots,
    table_named,
    under,
    write,
)

RULED = [table.name for table in DERIVED]
ACCOUNTED = [table.name for table in DERIVED if table.account]
LANDING = ["customer_landing", "accelerometer_landing", "step_trainer_landing"]
SOURCES = [f"{table.removesuffix('_landing')}_files" for table in LANDING]
WITHOUT_CONSENT = 1_666_987_654_321
"""A number, and a time, that only stands in the data of people without consent."""


# Before the first run


@pytest.fixture(scope="module")
def specs() -> dict[str, dg.AssetSpec]:
    definitions = lakehouse_definitions(Settings.load())
    return {spec.key.to_user_string(): spec for spec in definitions.resolve_all_asset_specs()}


@pytest.mark.parametrize("name", [*SOURCES, *TABLES])
def test_every_asset_has_an_owner_and_says_its_zone_and_whether_it_is_personal(
    specs: dict[str, dg.AssetSpec], name: str
) -> None:
    spec = specs[name]
    personal = name in SOURCES or bool(table_named(name).personal_columns)
    zone = "landing" if name in SOURCES else table_named(name).zone.value
    tags = {key: value for key, value in spec.tags.items() if not key.startswith("dagster/")}
    assert list(spec.owners) == ["team:data-platform"]
    assert tags == {"zone": zone, "personal-data": "yes" if personal else "no"}
    assert {type(value) for value in tags.values()} == {str}  # Dagster stores no other
    assert spec.kinds


@pytest.mark.parametrize("name", TABLES)
def test_description_and_links_lead_to_the_rule_and_the_contract(
    specs: dict[str, dg.AssetSpec], name: str
) -> None:
    spec, contract = specs[name], definition(name).contract
    assert (spec.description or "").startswith(table_of(contract).description)
    assert f"`{contract.__name__}` in `stedi_assets.tables." in (spec.description or "")
    found = spec.metadata["dagster/code_references"].code_references
    lines = {
        link.label: linecache.getline(link.file_path, link.line_number).strip() for link in found
    }
    assert lines["contract"].startswith(f"class {contract.__name__}(")
    if name in RULED:
        assert lines["rule"].startswith(f"def {name}(")
        assert f"`{name}` in `stedi_assets.tables." in (spec.description or "")
    else:
        assert lines["rule"].startswith("def stage")


# After refreshes


@dataclass(frozen=True)
class Shown:
    """What is shown of each table after a refresh, of each of its checks, and all of the log."""

    metadata: dict[str, Mapping[str, Any]]
    tags: dict[str, Mapping[str, str]]
    checks: dict[tuple[str, str], tuple[bool, str | None, Mapping[str, Any]]]
    text: str

    @classmethod
    def after(cls, result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> "Shown":
        metadata: dict[str, Mapping[str, Any]] = {}
        tags: dict[str, Mapping[str, str]] = {}
        checks: dict[tuple[str, str], tuple[bool, str | None, Mapping[str, Any]]] = {}
        log = instance.all_logs(result.run_id)
        for entry in log:
            if made := entry.asset_materialization:
                metadata[made.asset_key.path[-1]] = values(made.metadata)
                tags[made.asset_key.path[-1]] = made.tags or {}
        for seen in result.get_asset_check_evaluations():
            key = seen.asset_key.path[-1], seen.check_name
            checks[key] = seen.passed, seen.description, values(seen.metadata)
        return cls(metadata, tags, checks, "\n".join(dg.serialize_value(entry) for entry in log))


def values(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


@dataclass(frozen=True)
class Runs:
    settings: Settings
    counts: dict[str, int]
    snapshots: dict[str, int]
    first: Shown
    unchanged: Shown
    rejected: Shown


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    folder = tmp_path_factory.mktemp("shown")
    nobody = dict.fromkeys("xyz", WITHOUT_CONSENT)
    deliver(
        folder / "landing",
        "first.json",
        customer=[
            customer(ANN, "d", customername="Ann Onymous"),
            customer(ANN, "d", lastupdatedate=5),
            customer(BOB, "e", registrationdate=7),
            customer(CY, "f", sharewithresearchasofdate=None, registrationdate=WITHOUT_CONSENT),
        ],
        accelerometer=[
            *phone(ANN, *range(10), x=0.25),
            *phone(BOB, *range(20, 26)),
            *phone(CY, *range(40, 50), **nobody),
        ],
        step_trainer=[
            *device("d", *range(10)),
            *device("e", *range(20, 27)),
            *device("f", *range(40, 50), distancefromobject=WITHOUT_CONSENT),
        ],
    )
    broken = "".join(json.dumps(line) + "\n" for line in phone(CY, 60, y="far"))
    write(folder / "landing", "accelerometer", "broken.json", broken)
    settings = under(folder, max_quarantine_share=1.0)
    with dg.DagsterInstance.ephemeral() as instance:
        first = Shown.after(refresh(settings, instance), instance)
        published, rows = snapshots(settings), counts(settings)
        unchanged = Shown.after(refresh(settings, instance), instance)
        deliver(folder / "landing", "second.json", customer=[customer("dee@x.io", "g")])
        with pytest.MonkeyPatch.context() as patch:
            change_table(patch, "customer_trusted", consent=everybody_violates)
            only = ["customer_landing", "customer_trusted"]
            rejected = Shown.after(refresh(settings, instance, only), instance)
        yield Runs(settings, rows, published, first, unchanged, rejected)


def everybody_violates(customer_trusted: ir.Table) -> ir.IntegerScalar:
    """Customers."""
    return customer_trusted.count()


@pytest.mark.parametrize("table", TABLES)
def test_table_shows_its_state_what_it_took_and_where_it_comes_from(
    runs: Runs, specs: dict[str, dg.AssetSpec], table: str
) -> None:
    shown = runs.first.metadata[table]
    assert shown["dagster/row_count"] == runs.counts[table]
    assert shown["snapshot"] == str(runs.snapshots[table])
    assert all(shown[name] >= 0 for name in ("seconds", "audit_seconds", "publish_seconds"))
    columns = list(table_named(table).types)
    assert set(shown["dagster/column_lineage"].deps_by_column) == set(columns)
    assert all(f"| {column} | ←" in shown["lineage"] for column in columns)
    definitions = lakehouse_definitions(runs.settings)
    [spec] = [s for s in definitions.resolve_all_asset_specs() if s.key == specs[table].key]
    assert spec.metadata["dagster/uri"] == catalog_of(runs.settings).state(table).location


@pytest.mark.parametrize("table", [*LANDING, *ACCOUNTED])
def test_rows_in_are_rows_kept_and_rows_withheld(runs: Runs, table: str) -> None:
    shown = runs.first.metadata[table]
    rows = {
        label: int(number.replace(",", ""))
        for label, number in re.findall(r"\| ([^|]+) \| ([\d,]+) \|", shown["where_rows_went"])
    }
    withheld = sum(number for label, number in rows.items() if label.startswith("withheld: "))
    assert rows["in"] == rows["kept"] + withheld
    assert (rows["kept"], withheld) == (runs.counts[table], shown["rows_withheld"])


def test_reasons_for_what_is_withheld_are_named(runs: Runs) -> None:
    went = {
        name: shown["where_rows_went"]
        for name, shown in runs.first.metadata.items()
        if "where_rows_went" in shown
    }
    assert "| withheld: quarantined | 1 |" in went["accelerometer_landing"]
    assert "| withheld: older record of the same person | 1 |" in went["customer_trusted"]
    assert "| withheld: no research consent | 10 |" in went["accelerometer_trusted"]
    assert "| withheld: no phone reading at that time | 1 |" in went["machine_learning_curated"]


def cells(preview: str) -> list[list[str]]:
    """A previewed table's header and rows."""
    header, _, *rows = [line[2:-2].split(" | ") for line in preview.splitlines()]
    return [header, *rows]


@pytest.mark.parametrize(
    ("table", "measured"),
    [
        ("accelerometer_trusted", {"x", "y", "z"}),
        ("step_trainer_trusted", {"distancefromobject"}),
        ("machine_learning_curated", {"distancefromobject", "x", "y", "z"}),
    ],
)
def test_preview_shows_what_was_measured_and_neither_whose_nor_when(
    runs: Runs, table: str, measured: set[str]
) -> None:
    header, *rows = cells(runs.first.metadata[table]["preview"])
    assert header == list(table_named(table).types)
    assert len(rows) == min(5, runs.counts[table])
    for row in rows:
        told = {name for name, cell in zip(header, row, strict=True) if cell != "•••"}
        assert told == measured


@pytest.mark.parametrize("table", ["customer_trusted", "customers_curated"])
def test_no_row_of_customers_is_shown(runs: Runs, table: str) -> None:
    preview = runs.first.metadata[table]["preview"]
    assert preview == f"All its columns tell of a person; `stedi show {table}` shows some rows."


@pytest.mark.parametrize("table", [*LANDING, "quarantine", "device_matches", "device_ownership"])
def test_no_row_of_the_landing_zone_is_shown(runs: Runs, table: str) -> None:
    preview = runs.first.metadata[table]["preview"]
    assert preview.startswith("No rows are shown:")
    assert f"`stedi show {table}`" in preview


def test_nothing_of_people_without_consent_is_in_the_event_log(runs: Runs) -> None:
    for shown in (runs.first, runs.unchanged, runs.rejected):
        assert "where_rows_went" in shown.text
        leaks = [
            text for text in (str(WITHOUT_CONSENT), ANN, BOB, CY, "Onymous") if text in shown.text
        ]
        assert leaks == []


@pytest.mark.parametrize("table", TABLES)
def test_unchanged_table_shows_what_was_shown_when_it_was_published(runs: Runs, table: str) -> None:
    before, now = dict(runs.first.metadata[table]), dict(runs.unchanged.metadata[table])
    for name in ("seconds", "how", "new_files"):  # what the refresh did, not what is published
        before.pop(name, None), now.pop(name, None)
    assert set(now) == set(before)
    assert {name for name in now if now[name] != before[name]} <= {"audit_seconds"}


def test_unchanged_table_repeats_what_its_checks_found(runs: Runs) -> None:
    assert set(runs.unchanged.checks) == set(runs.first.checks)
    looked_again = {"files", "suspended", "anomalies", "recomputed", "all_files"}
    for (table, check), (passed, sentence, numbers) in runs.first.checks.items():
        again = runs.unchanged.checks[table, check]
        assert again[:2] == (passed, sentence)
        if check not in looked_again:
            assert again[2] == {**numbers, "unchanged": True}, (table, check)


def test_candidate_that_is_held_back_is_no_materialization(runs: Runs) -> None:
    assert runs.rejected.metadata["customer_landing"]["audit_seconds"] >= 0
    assert "customer_trusted" not in runs.rejected.metadata
    passed, _, numbers = runs.rejected.checks["customer_trusted", "consent"]
    assert not passed
    assert numbers["candidate_rows"] == runs.counts["customer_trusted"] + 1


def test_versions_say_what_a_table_was_made_from(runs: Runs) -> None:
    specs = {
        spec.key.path[-1]: spec
        for spec in lakehouse_definitions(runs.settings).resolve_all_asset_specs()
    }
    for name, tags in runs.first.tags.items():
        assert tags["dagster/code_version"] == specs[name].code_version
        assert tags["dagster/data_version"] == str(runs.snapshots[name])
        for table in definition(name).inputs:
            made_from = tags[f"dagster/input_data_version/{table}"]
            assert made_from == runs.first.tags[table]["dagster/data_version"]
    assert versions(runs.unchanged) == versions(runs.first)


def versions(shown: Shown) -> dict[str, dict[str, str]]:
    return {
        table: {name: tag for name, tag in tags.items() if "version" in name}
        for table, tags in shown.tags.items()
    }


@pytest.mark.parametrize(
    ("table", "changed"),
    [
        ("accelerometer_trusted", {"consent_scope": "from_consent_date"}),
        ("machine_learning_curated", {"pseudonymize": False}),
    ],
)
def test_code_version_changes_with_the_rule_and_not_with_the_key(
    table: str, changed: dict[str, Any]
) -> None:
    assert version_of(definition(table), Policy(**changed)) != version_of(
        definition(table), Policy()
    )
    keyed = Policy(subject_key=lambda: "another key, also of more than 32 characters")
    assert version_of(definition(table), keyed) == version_of(definition(table), Policy())


def test_rule_that_lineage_cannot_read_costs_a_warning_and_not_the_table(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def customer_trusted(customer_landing: ir.Table) -> ir.Table:
        """A rule that looks at the data, as none should."""
        raise RuntimeError(ANN)

    lineage = Lineage([replace(CUSTOMER_TRUSTED, rule=customer_trusted)], Policy())
    assert lineage_metadata(lineage, "customer_trusted") == {}
    assert "customer_trusted: where its columns come from is not shown" in caplog.text
    assert ANN not in caplog.text
