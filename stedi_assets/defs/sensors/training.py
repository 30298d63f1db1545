"""Names each training set that is published, so that it can be read again."""

import dagster as dg

from stedi_assets.lakehouse.engines.duckdb import shared_engine
from stedi_assets.lakehouse.faults import in_a_sentence
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.privacy.training_sets import TRAINING_SET, tag_training_set
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings


def training_set_sensor(settings: Settings) -> dg.SensorDefinition:
    """Tags each snapshot of the training set that was published since it last looked.

    It looks at the table and not for materializations: those also come where a candidate was held
    back, or where nothing changed. The cursor is the snapshot that was handled last.
    """

    @dg.sensor(
        name="training_sets",
        description=f"Tags each published snapshot of {TRAINING_SET}, so that it stays readable.",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
    )
    def training_sets(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        with in_a_sentence():
            # Not Dagster's resource: that would wait until no refresh is running.
            lakehouse = open_lakehouse(settings)
            if lakehouse.is_locked():  # a tag would get in the way of a publication
                return dg.SensorResult(skip_reason="A refresh is at work.")
            state = lakehouse.catalog.find(TRAINING_SET) if lakehouse.storage.exists() else None
            new = state.published_since(int(context.cursor or 0)) if state else []
            if not new:
                return dg.SensorResult(skip_reason="No training set was published since.")
            tag = tag_training_set(lakehouse.catalog, new[0])  # one a tick: a tick has a minute
            return dg.SensorResult(
                skip_reason=f"Tagged {tag}.",  # it requests no run
                cursor=str(new[0].id),
                asset_events=[_observation(lakehouse, new[0], tag, settings)],
            )

    return training_sets


def _observation(
    lakehouse: Lakehouse, training_set: Snapshot, tag: str, settings: Settings
) -> dg.AssetObservation:
    # Never on Spark: its session would outlive the tick, and keep refreshes from the cores.
    engine = shared_engine(lakehouse.storage, settings.memory_limit, settings.threads)
    rows = engine.open(training_set.name, training_set.files, training_set.types)
    people = rows.subject_id.nunique().to_pyarrow().as_py()
    return dg.AssetObservation(
        TRAINING_SET,
        description=f"Training set {tag}",
        metadata={
            "rows": training_set.rows,
            "people": people,
            "snapshot": dg.MetadataValue.text(str(training_set.id)),
            "tag": tag,
            "read_it_again": dg.MetadataValue.md(
                "```python\n"
                "from stedi_assets import read_table\n\n"
                f'rows = read_table("{TRAINING_SET}", snapshot="{tag}").to_pandas()\n'
                "```"
            ),
        },
    )
