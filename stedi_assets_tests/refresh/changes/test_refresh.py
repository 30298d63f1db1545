"""A refresh that derives tables from what changed publishes what a computation of all would."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
import pytest

from stedi_assets.defs.checks import FROM_FILES
from stedi_assets.lakehouse.changes.change import UnderivableError
from stedi_assets.lakehouse.changes.derive import Derivation
from stedi_assets.lakehouse.staging import files_with_change
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.lakehouse.engines.spark.conftest import sail  # noqa: F401  (a fixture)
from stedi_assets_tests.refresh.pipeline.support import FIRST
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    DERIVED,
    blocking,
    catalog_of,
    change_table,
    customer,
    deliver,
    device,
    phone,
    refresh,
    under,
)

NEXT: dict[str, dict[str, list[dict[str, Any]]]] = {
    "readings of old people, some of them late": {
        "accelerometer": phone(ANN, 10, 11) + phone(BOB, 19),
        "step_trainer": device("d", 10, 11) + device("e", 19),
    },
    "a reading delivered again": {
        "accelerometer": phone(ANN, 3, 3),
        "step_trainer": device("d", 3),
    },
    "somebody withdraws": {
        "customer": [
            customer(BOB, "e", registrationdate=2, sharewithresearchasofdate=None),
        ],
    },
    "somebody consents": {
        "customer": [customer(CY, "f", registrationdate=3)],
    },
    "a device gets another owner, and a claim that two make": {
        "accelerometer": phone(CY, *range(60, 95)),
        "step_trainer": device("e", *range(60, 95)),
        "customer": [customer(ANN, "f", registrationdate=1)],
    },
    "readings without a user": {
        "accelerometer": phone(None, 12, 13, serialnumber="d") + phone(None, 45, serialnumber="f"),
        "step_trainer": device("d", 12, 13),
    },
    "somebody new, and somebody else on a device": {
        "customer": [customer("new@x.io", "n", registrationdate=1)],
        "accelerometer": phone("new@x.io", *range(100, 106)) + phone(CY, 15),
        "step_trainer": device("n", *range(100, 106)) + device("d", 15),
    },
}
"""Deliveries, one after the other."""


pytestmark = pytest.mark.usefixtures("derive_small_data")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A lakehouse that has taken in the first delivery."""
    deliver(tmp_path / "landing", "first.json", **FIRST)
    settings = under(tmp_path)
    assert refresh(settings).success
    return settings


def published(settings: Settings) -> dict[str, Snapshot]:
    states = {table.name: catalog_of(settings).published(table.name) for table in DERIVED}
    return {name: snapshot for name, snapshot in states.items() if snapshot}


def methods(settings: Settings) -> dict[str, str]:
    """How each table was made, without the numbers."""
    return {
        name: snapshot.properties["made"].partition(":")[0]
        for name, snapshot in published(settings).items()
    }


def rows(settings: Settings) -> dict[str, Counter[str]]:
    """The rows of each table, read by the embedded engine."""
    lakehouse = open_lakehouse(settings.model_copy(update={"engine": "duckdb"}))
    return {
        name: Counter(map(repr, lakehouse.open(snapshot).to_pyarrow().to_pylist()))
        for name, snapshot in published(settings).items()
    }


def accounts(settings: Settings) -> dict[str, dict[str, int]]:
    catalog = catalog_of(settings)
    found = {name: catalog.state(name).account for name in published(settings)}
    return {name: {k: n for k, n in account.items() if n} for name, account in found.items()}


def assert_as_made_anew(settings: Settings, folder: Path) -> None:
    """The rows and accounts are those of a lakehouse that is made from empty."""
    anew = under(folder, **settings.model_dump(exclude_unset=True, exclude={"lakehouse"}))
    assert refresh(anew).success
    assert rows(settings) == rows(anew)
    assert accounts(settings) == accounts(anew)


@pytest.mark.parametrize("scope", ["any", "from_consent_date"])
def test_deliveries_one_after_the_other_give_what_all_at_once_give(
    scope: str, tmp_path: Path
) -> None:
    landing = tmp_path / "landing"
    deliver(landing, "first.json", **FIRST)
    settings = under(tmp_path / "a", landing=str(landing), consent_scope=scope)
    assert refresh(settings).success
    for number, objects in enumerate(NEXT.values()):
        deliver(landing, f"{number}.json", **objects)
        assert refresh(settings).success
    assert "from what changed" in methods(settings).values()
    assert_as_made_anew(settings, tmp_path / "b")


@pytest.mark.parametrize("name", NEXT)
def test_delivery_is_derived(name: str, settings: Settings, tmp_path: Path) -> None:
    before = published(settings)
    deliver(tmp_path / "landing", "next.json", **NEXT[name])
    assert refresh(settings).success
    now = published(settings)
    changed = {table for table in now if now[table].id != before[table].id}
    assert changed
    assert {methods(settings)[table] for table in changed} == {"from what changed"}
    for table in changed:
        added, removed = (int(now[table].properties[f"{k}-rows"]) for k in ("added", "removed"))
        assert now[table].rows == before[table].rows + added - removed


def test_table_whose_rows_stay_keeps_their_id_and_those_made_from_it_are_left_alone(
    settings: Settings, tmp_path: Path
) -> None:
    before = published(settings)
    deliver(tmp_path / "landing", "next.json", accelerometer=phone(CY, 70))
    assert refresh(settings).success
    now = published(settings)
    assert now["accelerometer_trusted"].id != before["accelerometer_trusted"].id
    assert now["accelerometer_trusted"].rows_id == before["accelerometer_trusted"].rows_id
    assert now["accelerometer_trusted"].files == before["accelerometer_trusted"].files
    for table in ("customers_curated", "machine_learning_curated"):
        assert now[table] == before[table]


def test_consent_of_a_table_whose_rows_stay_is_looked_at_whenever_customers_change(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everybody(machine_learning_curated: ir.Table, customer_landing: ir.Table) -> Any:
        """Rows, all of which break this rule."""
        return machine_learning_curated.count()

    change_table(monkeypatch, "machine_learning_curated", consent=everybody)
    deliver(tmp_path / "landing", "phone.json", accelerometer=phone(CY, 70))
    assert refresh(settings).success
    deliver(tmp_path / "landing", "customer.json", customer=[customer(CY, "f", phone="1")])
    result = refresh(settings)
    assert not result.success
    assert blocking(result) == ["consent"]


def test_only_files_with_rows_that_are_gone_are_written_anew(
    settings: Settings, tmp_path: Path
) -> None:
    deliver(tmp_path / "landing", "ann.json", accelerometer=phone(ANN, 10, 11))
    assert refresh(settings).success
    both = set(published(settings)["accelerometer_trusted"].files)
    assert len(both) == 2
    deliver(tmp_path / "landing", "bob.json", **NEXT["somebody withdraws"])
    assert refresh(settings).success
    now = set(published(settings)["accelerometer_trusted"].files)
    assert len(now & both) == 1
    assert len(now) == 2


def test_setting_that_changed_makes_tables_anew(settings: Settings, tmp_path: Path) -> None:
    dated = settings.model_copy(update={"consent_scope": "from_consent_date"})
    deliver(tmp_path / "landing", "next.json", **NEXT["readings of old people, some of them late"])
    assert refresh(dated).success
    made = published(dated)["accelerometer_trusted"].properties["made"]
    assert made == "anew: its rule, its contract or a setting changed"
    assert_as_made_anew(dated, tmp_path / "b")


def test_what_cannot_be_derived_is_made_anew_and_says_so(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Derivation) -> None:
        raise UnderivableError("Sample cannot be derived")

    monkeypatch.setattr(Derivation, "rows", refuse)
    deliver(tmp_path / "landing", "next.json", **NEXT["somebody withdraws"])
    assert refresh(settings).success
    made = published(settings)["accelerometer_trusted"].properties["made"]
    assert re.fullmatch(r"anew: Sample cannot be derived \(\d+ of \d+ rows changed\)", made)
    monkeypatch.undo()
    assert_as_made_anew(settings, tmp_path / "b")


def test_rows_that_do_not_add_up_are_dropped_and_the_table_made_anew(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "stedi_assets.refresh.stage.files_with_change",
        lambda *given: files_with_change(*given)[:-1],
    )
    deliver(tmp_path / "landing", "next.json", accelerometer=phone(ANN, 10))
    assert refresh(settings).success
    made = published(settings)["accelerometer_trusted"].properties["made"]
    assert made.startswith("anew: its files and what was derived of them do not add up")
    assert_as_made_anew(settings, tmp_path / "b")


@pytest.mark.slow
def test_spark_derives_the_same(tmp_path: Path, sail: str) -> None:  # noqa: F811
    landing, some = tmp_path / "landing", (*FROM_FILES, "customer_trusted", "accelerometer_trusted")
    deliver(landing, "first.json", **FIRST)
    settings = under(tmp_path / "a", landing=str(landing), engine="spark", spark_conf=sail)
    assert refresh(settings, only=some).success
    deliver(landing, "next.json", **NEXT["readings of old people, some of them late"])
    deliver(landing, "withdrawal.json", **NEXT["somebody withdraws"])
    assert refresh(settings, only=some).success
    assert set(methods(settings).values()) == {"from what changed"}
    duckdb = under(tmp_path / "b", landing=str(landing))
    assert refresh(duckdb, only=some).success
    assert rows(settings) == rows(duckdb)
    assert accounts(settings) == accounts(duckdb)
