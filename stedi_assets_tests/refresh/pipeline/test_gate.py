"""A rule with a mistake: what the gate holds back, and what stays as it was."""

from collections.abc import Callable
from pathlib import Path

import ibis.expr.types as ir
import pytest

from stedi_assets.settings import Settings
from stedi_assets.tables.identity import owned_readings
from stedi_assets.tables.policy import Policy
from stedi_assets.tables.trusted import accelerometer_trusted as right
from stedi_assets_tests.refresh.pipeline.support import (
    SECOND,
    SECOND_COUNTS,
    after_first_refresh,
    changed,
    failed_checks,
)
from stedi_assets_tests.support import (
    catalog_of,
    change_table,
    counts,
    deliver,
    on_this_machine,
    refresh,
    snapshots,
)


def accelerometer_trusted(
    accelerometer_landing: ir.Table,
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
) -> ir.Table:
    """The rule with a mistake: the left join keeps the readings of everybody."""
    readings = owned_readings(accelerometer_landing, customer_landing)
    joined = readings.left_join(customer_trusted, readings.user == customer_trusted.email)
    return joined.select(*readings.columns)


@on_this_machine
@after_first_refresh
def test_table_that_breaks_a_rule_stays_at_its_last_good_snapshot_with_all_after_it(
    settings: Settings, landing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = snapshots(settings)
    deliver(landing, "second.json", **SECOND)
    with monkeypatch.context() as patch:
        change_table(patch, "accelerometer_trusted", rule=accelerometer_trusted)
        result = refresh(settings)
    assert not result.success
    assert ("accelerometer_trusted", "consent") in failed_checks(result)
    assert {table for table, _ in failed_checks(result)} == {"accelerometer_trusted"}
    assert changed(before, settings) == {
        "accelerometer_landing",
        "step_trainer_landing",
        "device_matches",
        "device_ownership",
    }
    # It held readings of people without consent.
    assert catalog_of(settings).candidate("accelerometer_trusted") is None

    result = refresh(settings)
    assert (result.success, failed_checks(result)) == (True, [])
    assert counts(settings) == SECOND_COUNTS
    assert catalog_of(settings).candidate("accelerometer_trusted") is None


@on_this_machine
def test_rejected_table_is_rejected_again_until_its_rule_is_mended(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    change_table(monkeypatch, "accelerometer_trusted", rule=accelerometer_trusted)
    for _ in range(2):
        result = refresh(settings)
        assert not result.success
        assert ("accelerometer_trusted", "consent") in failed_checks(result)
    assert "accelerometer_trusted" not in counts(settings)


@on_this_machine
@after_first_refresh
@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda table: table.drop("x"), "x: column is missing"),
        (lambda table: table.mutate(x=table.x.cast("string")), "x: is string instead of float64"),
    ],
    ids=["missing", "another type"],
)
def test_table_without_the_columns_of_its_contract_is_not_written(
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    wrong: Callable[[ir.Table], ir.Table],
    sentence: str,
) -> None:
    before = snapshots(settings)

    def rule(
        accelerometer_landing: ir.Table,
        customer_landing: ir.Table,
        customer_trusted: ir.Table,
        policy: Policy,
    ) -> ir.Table:
        return wrong(
            right.accelerometer_trusted(
                accelerometer_landing, customer_landing, customer_trusted, policy
            )
        )

    change_table(monkeypatch, "accelerometer_trusted", rule=rule)
    result = refresh(settings)
    assert not result.success
    assert failed_checks(result)[0] == ("accelerometer_trusted", "contract")
    said = [e.description for e in result.get_asset_check_evaluations() if not e.passed]
    assert said[0] is not None
    assert sentence in said[0]
    assert changed(before, settings) == set()
