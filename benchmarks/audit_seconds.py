"""Prints what the audits of the last run took, by table, as Dagster's history tells it.

To be started in the folder that holds `dagster.yaml`; the paths in there are relative to it.
"""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg


def main() -> None:
    """Print seconds by table as one line of JSON."""
    with dg.DagsterInstance.from_config(str(Path.cwd())) as instance:
        print(json.dumps(audit_seconds(instance)))


def audit_seconds(instance: dg.DagsterInstance) -> dict[str, float]:
    """Seconds that the audit of each table took in the last run.

    The checks of a table are one audit, and each of them carries its whole time.
    """
    [run] = instance.get_run_records(limit=1)
    events = instance.all_logs(
        run.dagster_run.run_id, of_type=dg.DagsterEventType.ASSET_CHECK_EVALUATION
    )
    checks = [entry.get_dagster_event().asset_check_evaluation_data for entry in events]
    return {
        check.asset_key.path[-1]: taken.value
        for check in checks
        if isinstance(taken := check.metadata.get("audit_seconds"), dg.FloatMetadataValue)
        and taken.value is not None
    }


if __name__ == "__main__":
    main()
