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

from stedi_assets.definitions import lakehouse_definitions
from stedi_assets.defs.metadata import lineage_metadata
from stedi_assets.settings import Settings
from stedi_assets.tables import definition
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
    """What is shown of each table after a refresh: all of it, and what came after the audit."""

    metadata: dict[str, Mapping[str, Any]]
    observed: dict[str, Mapping[str, Any]]
    text: str

    @classmethod
    def after(cls, result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> "Shown":
        metadata: dict[str, Mapping[str, Any]] = {}
        observed: dict[str, Mapping[str, Any]] = {}
        log = instance.all_logs(result.run_id)
        for entry in log:
            if made := entry.asset_materialization:
                metadata[made.asset_key.path[-1]] = values(made.metadata)
            if seen := entry.asset_observation:
                observed[seen.asset_key.path[-1]] = values(seen.metadata)
        for name, told in observed.items():
            metadata[name] = {**metadata[name], **told}
        return cls(metadata, observed, "\n".join(dg.serialize_value(entry) for entry in log))


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
    assert shown["snapshot"] == shown["published_snapshot"] == str(runs.snapshots[table])
    assert all(shown[name] >= 0 for name in ("seconds", "audit_seconds", "publish_seconds"))
    columns = list(table_named(table).types)
    assert set(shown["dagster/column_lineage"].deps_by_column) == set(columns)
    assert all(f"| {column} | ←" in shown["lineage"] for column in columns)
    definitions = lakehouse_definitions(runs.settings)
    [spec] = [s for s in definitions.resolve_all_asset_specs() if s.key == specs[table].key]
    assert spec.metadata["dagster/uri"] == catalog_of(runs.settings).state(table).location


@pytest.mark.parametrize("table", [*LANDING, *RULED])
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


@pytest.mark.parametrize("table", [*LANDING, "quarantine", "device_ownership"])
def test_no_row_of_the_landing_zone_is_shown(runs: Runs, table: str) -> None:
    preview = runs.first.metadata[table]["preview"]
    assert preview.startswith("No rows are shown:")
    assert f"`stedi show {table}`" in preview


def test_nothing_of_people_without_consent_is_in_the_event_log(runs: Runs) -> None:
    for shown in (runs.first, runs.unchanged, runs.rejected):
        assert "published_snapshot" in shown.text
        leaks = [
            text for text in (str(WITHOUT_CONSENT), ANN, BOB, CY, "Onymous") if text in shown.text
        ]
        assert leaks == []


@pytest.mark.parametrize("table", TABLES)
def test_unchanged_table_shows_what_was_shown_when_it_was_published(runs: Runs, table: str) -> None:
    before, now = runs.first.metadata[table], runs.unchanged.metadata[table]
    assert runs.first.observed.get(table) == runs.unchanged.observed.get(table)
    told = ("snapshot", "published_snapshot", "preview", "where_rows_went", "lineage", "bytes")
    assert {name: now.get(name) for name in told} == {name: before.get(name) for name in told}


def test_what_came_of_an_audit_is_shown_of_published_tables_only(runs: Runs) -> None:
    assert runs.rejected.metadata["customer_landing"]["audit_seconds"] >= 0
    held_back = runs.rejected.metadata["customer_trusted"]
    assert held_back["dagster/row_count"] == runs.counts["customer_trusted"] + 1
    assert held_back["lineage"]
    told = {"published_snapshot", "audit_seconds", "where_rows_went", "preview"}
    assert told & set(held_back) == set()


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
