"""The last check of a refresh: is everything that landed in the tables?"""

from collections.abc import Iterator

import dagster as dg

from stedi_assets.defs.checks import evaluations
from stedi_assets.defs.landing import LANDING_CHECKS
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.tables.landing.quarantine import QUARANTINE

ALL_FILES = "all_files"


def all_files_check() -> dg.AssetChecksDefinition:
    """A check that fails the run in which something that landed is held back.

    A landing table's own checks cannot: the step that they fail is one that the tables of people
    who withdrew wait for.
    """

    @dg.asset_check(
        asset=TRAINING_SET,
        name=ALL_FILES,
        additional_deps=[QUARANTINE.name],
        blocking=True,
        description="No check of the landing zone failed: nothing is held back. The table is "
        "published in any case, from what is not held back.",
    )
    def all_files(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        failed = list(_failed(context.instance))
        return dg.AssetCheckResult(
            passed=not failed,
            description="Made without some of what landed. What failed says what and why: "
            f"{', '.join(failed)}."
            if failed
            else "Made from all that landed.",
        )

    return all_files


def _failed(instance: dg.DagsterInstance) -> Iterator[str]:
    """The checks of the landing zone that failed when they were evaluated last."""
    for table, checks in LANDING_CHECKS.items():
        for check in checks:
            key = dg.AssetCheckKey(dg.AssetKey(table), check)
            last = next(evaluations(key, instance), None)
            if last and not last.passed and last.severity == dg.AssetCheckSeverity.ERROR:
                yield f"{check} of {table}"
