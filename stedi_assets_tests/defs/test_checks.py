"""The evaluations of a check that the history of runs remembers."""

import dagster as dg

from stedi_assets.defs.checks import evaluations


def test_last_ten_evaluations_come_newest_first() -> None:
    numbers = iter(range(12))

    @dg.asset_check(asset="readings")
    def is_whole() -> dg.AssetCheckResult:
        return dg.AssetCheckResult(passed=True, metadata={"number": next(numbers)})

    history = dg.DagsterInstance.ephemeral()
    job = dg.define_asset_job("only_checks", dg.AssetSelection.all_asset_checks())
    run = dg.Definitions(asset_checks=[is_whole], jobs=[job]).resolve_job_def("only_checks")
    for _ in range(12):
        assert run.execute_in_process(instance=history).success
    key = dg.AssetCheckKey(dg.AssetKey("readings"), "is_whole")
    found = [evaluation.metadata["number"].value for evaluation in evaluations(key, history)]
    assert found == [*range(11, 1, -1)]
