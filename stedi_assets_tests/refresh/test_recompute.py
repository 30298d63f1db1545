"""The proof: tables computed in full beside what is published, or what was derived from changes."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import ibis
import ibis.expr.types as ir
import pytest

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.defs.run_failures import failed_checks
from stedi_assets.lakehouse.changes.change import Change, Rows
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.query import Query
from stedi_assets.lakehouse.state import TableState
from stedi_assets.refresh import method
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    DERIVED,
    catalog_of,
    change_table,
    customer,
    deliver,
    device,
    phone,
    refresh,
    snapshots,
    under,
)

TIMES = range(0, 60, 2)

OF_ITS_FILE = {"landed_at", "source_file"}

Fault = Callable[[Rows[ir.Table], Lakehouse], Rows[ir.Table]]


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A refreshed lakehouse that derives what changes, however little there is."""
    monkeypatch.setattr("stedi_assets.refresh.method.FEW_BYTES", 0)
    people = {"ann": ANN, "bob": BOB, "cy": CY}
    deliver(
        tmp_path / "landing",
        "first.json",
        customer=[
            customer(email, f"dev-{name}", phone="1", lastupdatedate=1)
            for name, email in people.items()
        ],
        accelerometer=[row for email in people.values() for row in phone(email, *TIMES)],
        step_trainer=[row for name in people for row in device(f"dev-{name}", *TIMES)],
    )
    found = under(tmp_path)
    assert refresh(found).success
    return found


def deliver_more(settings: Settings) -> None:
    """Three more readings of Ann, and a newer record of Bob."""
    deliver(
        Path(settings.landing_root),
        "second.json",
        customer=[customer(BOB, "dev-bob", phone="2", lastupdatedate=9)],
        accelerometer=phone(ANN, 100, 102, 104),
        step_trainer=device("dev-ann", 100, 102, 104),
    )


def recompute(
    settings: Settings, instance: dg.DagsterInstance | None = None
) -> dg.ExecuteInProcessResult:
    """Run the nightly job in this process."""
    job = lakehouse_definitions(settings).resolve_job_def("recompute_lakehouse")
    made = instance or dg.DagsterInstance.ephemeral()
    return job.execute_in_process(instance=made, raise_on_error=False)


def proofs(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    """What the check says of each table."""
    return {
        found.asset_key.path[-1]: found
        for found in result.get_asset_check_evaluations()
        if found.check_name == "recomputed"
    }


def failed(result: dg.ExecuteInProcessResult) -> set[tuple[str, str]]:
    return {
        (found.asset_key.path[-1], found.check_name)
        for found in result.get_asset_check_evaluations()
        if not found.passed
    }


def rows(settings: Settings, table: str) -> list[tuple[Any, ...]]:
    """The published rows of a table, in an order that shows how often each is there."""
    found = open_lakehouse(settings).table(table).to_pyarrow().to_pylist()
    kept = [{k: v for k, v in row.items() if k not in OF_ITS_FILE} for row in found]
    return sorted((tuple(sorted(row.items())) for row in kept), key=str)


def parquet(settings: Settings) -> set[Path]:
    return {*Path(settings.lakehouse).rglob("*.parquet")}


def right_rows(folder: Path, settings: Settings, table: str) -> list[tuple[Any, ...]]:
    """The rows of a table that is made at once from the same landing files."""
    found = under(folder, landing=settings.landing_root)
    assert refresh(found).success
    return rows(found, table)


def plant(patch: pytest.MonkeyPatch, table: str, fault: Fault) -> None:
    """Let what is derived of a table be wrong."""
    derive = method.derive

    def derived(
        state: TableState, query: Query, changes: Mapping[str, Change], lakehouse: Lakehouse
    ) -> Rows[ir.Table]:
        found = derive(state, query, changes, lakehouse)
        assert state.published
        return fault(found, lakehouse) if state.published.table == table else found

    patch.setattr("stedi_assets.refresh.stage.derive", derived)


def repeat_one_for_another(found: Rows[ir.Table], lakehouse: Lakehouse) -> Rows[ir.Table]:
    """Lose an added row, and have another one twice, so that the counts still add up."""
    assert found.added is not None
    ordered = found.added.order_by(found.added.columns)
    others = ordered.limit(2, offset=1)
    twice = ibis.union(others, ordered.limit(1, offset=1), distinct=False)
    return Rows(lakehouse.engine.immediate.hold(Query.of(twice)), found.removed)


def keep_what_is_gone(found: Rows[ir.Table], lakehouse: Lakehouse) -> Rows[ir.Table]:
    """Keep a removed row instead of the one that took its place."""
    assert lakehouse.engine.immediate.held_rows(found.removed) == 1
    return Rows()


FAULTS: Mapping[str, Fault] = {
    "accelerometer_trusted": repeat_one_for_another,
    "customer_trusted": keep_what_is_gone,
}


@pytest.mark.parametrize("when", ["at once", "later"])
@pytest.mark.parametrize("table", FAULTS)
def test_full_run_finds_what_was_derived_wrongly_and_publishes_what_is_right(
    tmp_path: Path,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    when: str,
) -> None:
    deliver_more(settings)
    with monkeypatch.context() as patch, dg.DagsterInstance.ephemeral() as instance:
        plant(patch, table, FAULTS[table])
        if when == "later":
            ordinary = refresh(settings)
            assert ordinary.success
            assert not failed(ordinary)  # nothing else finds it
        result = recompute(settings, instance)
        assert result.success  # the tables after it are made
        alerted = failed_checks(instance, result.run_id)
    assert failed(result) == {(table, "recomputed")}
    assert [(failure.table, failure.rule) for failure in alerted] == [(table, "recomputed")]
    said = proofs(result)[table]
    assert said.severity is dg.AssetCheckSeverity.ERROR
    counts = {name: said.metadata[name].value for name in ("only_before", "only_full")}
    assert counts == {"only_before": 1, "only_full": 1}
    assert "as refreshes made it: 1; only in a full computation" in alerted[0].sentence
    assert rows(settings, table) == right_rows(tmp_path / "other", settings, table)
    state = catalog_of(settings).state(table)
    assert state.candidate is None
    assert state.published
    assert state.published.properties["made"] == "anew: a full computation gave other rows"
    again = recompute(settings)
    assert (again.success, failed(again)) == (True, set())


def test_full_run_that_finds_the_same_rows_publishes_nothing_and_leaves_no_file(
    settings: Settings,
) -> None:
    before, files = snapshots(settings), parquet(settings)
    result = recompute(settings)
    assert (result.success, failed(result)) == (True, set())
    assert (snapshots(settings), parquet(settings)) == (before, files)
    said = {name: found.description for name, found in proofs(result).items()}
    assert said.keys() == {table.name for table in DERIVED}
    assert said["accelerometer_trusted"] == "A full computation gave the same rows: 90."
    assert all(state.candidate is None for state in catalog_of(settings).tables().values())


def test_full_run_takes_in_what_is_new_and_compares_what_it_derived(settings: Settings) -> None:
    deliver_more(settings)
    result = recompute(settings)
    assert (result.success, failed(result)) == (True, set())
    said = proofs(result)["accelerometer_trusted"].description
    assert said == "A full computation gave the same rows: 93."
    published = catalog_of(settings).published("accelerometer_trusted")
    assert published
    assert published.properties["made"].startswith("from what changed: ")
    [made] = result.asset_materializations_for_node("accelerometer_trusted")
    assert made.metadata["how"].value == published.properties["made"]
    before = snapshots(settings)
    assert refresh(settings).success
    assert snapshots(settings) == before


def test_ordinary_refresh_says_that_nothing_was_compared(settings: Settings) -> None:
    deliver_more(settings)
    for result in (refresh(settings), refresh(settings)):
        found = proofs(result)
        assert found.keys() == {table.name for table in DERIVED}
        assert all(proof.passed for proof in found.values())
        assert {str(proof.description).partition(":")[0] for proof in found.values()} == {
            "Not compared in this run"
        }


def test_first_run_has_nothing_to_compare(tmp_path: Path) -> None:
    deliver(tmp_path / "landing", "a.json", customer=[customer(ANN)])
    result = recompute(under(tmp_path))
    assert (result.success, failed(result)) == (True, set())
    said = proofs(result)["customer_trusted"].description
    assert said == "Nothing to compare: it was made anew just now."


def all_rows_violate(accelerometer_trusted: ir.Table) -> ir.IntegerScalar:
    """Every row is one that nobody may have."""
    return accelerometer_trusted.count()


def test_failed_audit_of_what_is_published_stops_the_run_and_stays_red(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, files = snapshots(settings), parquet(settings)
    with dg.DagsterInstance.ephemeral() as instance:
        with monkeypatch.context() as patch:
            change_table(patch, "accelerometer_trusted", consent=all_rows_violate)
            result = recompute(settings, instance)
        assert not result.success
        assert failed(result) == {("accelerometer_trusted", "consent")}
        assert "machine_learning_curated" not in proofs(result)
        [found] = failed_checks(instance, result.run_id)
        assert "90 violations" in found.sentence
        assert "They are in what is published." in found.sentence
        assert (snapshots(settings), parquet(settings)) == (before, files)
        assert failed(refresh(settings, instance)) == {("accelerometer_trusted", "consent")}
        assert recompute(settings, instance).success
        assert refresh(settings, instance).success


def test_failed_audit_of_what_was_derived_deletes_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_more(settings)
    change_table(monkeypatch, "accelerometer_trusted", serial_numbers=all_rows_violate)
    before = snapshots(settings)["accelerometer_trusted"]
    assert refresh(settings).success is False
    result = recompute(settings)
    assert failed(result) == {("accelerometer_trusted", "serial_numbers")}
    assert snapshots(settings)["accelerometer_trusted"] == before
    assert catalog_of(settings).candidate("accelerometer_trusted") is None


def test_full_result_that_a_check_holds_back_waits_and_is_published_when_the_check_passes(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, held_back = "accelerometer_trusted", {("accelerometer_trusted", "completeness")}
    deliver_more(settings)
    with monkeypatch.context() as patch:
        plant(patch, table, FAULTS[table])
        assert refresh(settings).success
    wrong = rows(settings, table)
    with monkeypatch.context() as patch:
        change_table(patch, table, account=nothing_is_accounted_for)
        assert failed(recompute(settings)) == held_back | {(table, "recomputed")}
        assert failed(refresh(settings)) == held_back
        assert rows(settings, table) == wrong
    assert refresh(settings).success
    assert rows(settings, table) == right_rows(tmp_path / "other", settings, table) != wrong


def nothing_is_accounted_for(accelerometer_landing: ir.Table) -> ir.Table:
    """No row is kept or withheld."""
    none = accelerometer_landing.limit(0)
    return none.select(outcome=ibis.literal("kept"), rows=ibis.literal(0, "int64"))


def test_derived_rows_are_audited_in_full(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was wrong before is found, though what changed is right."""

    def old_rows_violate(accelerometer_trusted: ir.Table) -> ir.IntegerScalar:
        """Rows of before."""
        found = accelerometer_trusted.filter(accelerometer_trusted.timestamp < 1_655_564_400_050)
        rows: ir.IntegerScalar = found.agg(rows=found.count()).rows.sum()
        return rows

    deliver_more(settings)
    change_table(monkeypatch, "accelerometer_trusted", serial_numbers=old_rows_violate)
    result = recompute(settings)
    [found] = [f for f in result.get_asset_check_evaluations() if not f.passed]
    assert (found.check_name, found.metadata["violations"].value) == ("serial_numbers", 75)
