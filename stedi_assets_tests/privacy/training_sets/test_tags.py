"""The sensor tags each training set that is published."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import dagster as dg
import duckdb
import pytest

from stedi_assets.defs.sensors.training import training_set_sensor
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.privacy.training_sets import TRAINING_SET, tag_training_set
from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    at,
    catalog_of,
    publish,
    stage,
)

if TYPE_CHECKING:
    from stedi_assets.settings import Settings
from stedi_assets_tests.privacy.training_sets.support import rows_of, tags


class Ticks:
    """Evaluates the sensor as the daemon does, handing on its cursor."""

    def __init__(self, settings: Settings) -> None:
        self._sensor = training_set_sensor(settings)
        self.cursor: str | None = None

    def __call__(self) -> list[dict[str, Any]]:
        """Metadata of the observations that a tick gives."""
        with dg.DagsterInstance.ephemeral() as instance:
            context = dg.build_sensor_context(instance=instance, cursor=self.cursor)
            result = self._sensor.evaluate_tick(context)
        self.cursor = result.cursor
        events = result.asset_events
        assert all(event.asset_key == dg.AssetKey(TRAINING_SET) for event in events)
        return [{k: v.value for k, v in event.metadata.items()} for event in events]


@pytest.fixture
def tick(settings: Settings) -> Ticks:
    return Ticks(settings)


def test_sensor_runs_unless_somebody_stops_it(settings: Settings) -> None:
    sensor = training_set_sensor(settings)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    assert sensor.minimum_interval_seconds == 30


def test_before_the_first_training_set_nothing_happens(settings: Settings, tick: Ticks) -> None:
    assert (tick(), tick.cursor) == ([], None)
    assert not open_lakehouse(settings).storage.exists()


def test_sensor_starts_no_spark(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object) -> None:
        raise AssertionError("Java was started")

    pytest.importorskip("pyspark", reason="pyspark is not installed: pip install -e '.[spark]'")
    monkeypatch.setattr("dagster_pyspark.resources.spark_session_from_config", start)
    publish(settings, TRAINING_SET, rows_of(ANN, 1))
    [seen] = Ticks(settings.model_copy(update={"engine": "spark"}))()
    assert seen["people"] == 1


def test_published_training_set_is_tagged_with_its_day(settings: Settings, tick: Ticks) -> None:
    published = publish(settings, TRAINING_SET, [*rows_of(ANN, 1, 2), *rows_of(BOB, 3)])
    [seen] = tick()
    tag = f"training-{published.committed_at:%Y-%m-%d}"
    assert tags(settings) == {tag: published.id}
    assert seen | {"read_it_again": ""} == {
        "rows": 3,
        "people": 2,
        "snapshot": str(published.id),
        "tag": tag,
        "read_it_again": "",
    }


def test_observation_tells_how_to_read_that_set_again(
    settings: Settings, tick: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(settings, TRAINING_SET, rows_of(ANN, 1, 2))
    [seen] = tick()
    publish(settings, TRAINING_SET, rows_of(ANN, 1, 2, 3))
    monkeypatch.setenv("STEDI_LAKEHOUSE", settings.lakehouse)
    code = seen["read_it_again"].removeprefix("```python\n").removesuffix("```")
    names: dict[str, Any] = {}
    exec(code, names)
    assert list(names["rows"].sensorreadingtime) == [at(1), at(2)]


def test_every_training_set_published_between_two_ticks_is_tagged(
    settings: Settings, tick: Ticks
) -> None:
    publish(settings, TRAINING_SET, rows_of(ANN, 1))
    tick()
    new = [publish(settings, TRAINING_SET, rows_of(ANN, time)).id for time in (2, 3)]
    for snapshot in new:
        assert [seen["snapshot"] for seen in tick()] == [str(snapshot)]
    assert list(tags(settings).values())[1:] == new


def test_tick_without_news_does_nothing(settings: Settings, tick: Ticks) -> None:
    publish(settings, TRAINING_SET, rows_of(ANN, 1))
    tick()
    before = tags(settings), tick.cursor
    assert tick() == []
    assert (tags(settings), tick.cursor) == before


def test_second_training_set_of_a_day_is_numbered(settings: Settings, tick: Ticks) -> None:
    first = publish(settings, TRAINING_SET, rows_of(ANN, 1))
    tick()
    second = publish(settings, TRAINING_SET, [])  # empty ones are training sets too
    if first.committed_at.date() != second.committed_at.date():
        pytest.skip("it is midnight")
    [seen] = tick()
    assert list(tags(settings).values()) == [first.id, second.id]
    assert (seen["tag"][-2:], seen["rows"], seen["people"]) == ("-2", 0, 0)


def test_candidate_that_is_held_back_gets_no_tag(settings: Settings, tick: Ticks) -> None:
    publish(settings, TRAINING_SET, rows_of(ANN, 1))
    tick()
    stage(settings, TRAINING_SET, rows_of(CY, 1))
    assert tick() == []
    assert len(tags(settings)) == 1


def test_tag_that_is_there_is_used_though_the_cursor_was_lost(
    settings: Settings, tick: Ticks
) -> None:
    publish(settings, TRAINING_SET, rows_of(ANN, 1))
    first, before = tick(), tags(settings)
    tick.cursor = None
    assert tick() == first
    assert tags(settings) == before


def test_tag_of_somebody_else_does_not_count(settings: Settings, tick: Ticks) -> None:
    catalog_of(settings).tag(publish(settings, TRAINING_SET, rows_of(ANN, 1)), "my-model")
    [seen] = tick()
    assert set(tags(settings)) == {"my-model", seen["tag"]}


def test_day_is_that_on_which_the_snapshot_was_made_in_utc(settings: Settings) -> None:
    published = publish(settings, TRAINING_SET, rows_of(ANN, 1))
    late = replace(published, committed_at=datetime(2026, 11, 21, 23, 59, tzinfo=UTC))
    assert tag_training_set(catalog_of(settings), late) == "training-2026-11-21"


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (LakehouseError("The catalog is away."), "The catalog is away."),
        (duckdb.BinderException(f"no {ANN}"), "The engine failed with BinderException."),
    ],
)
def test_fault_is_said_in_a_sentence_and_the_next_tick_makes_up_for_it(
    settings: Settings,
    tick: Ticks,
    monkeypatch: pytest.MonkeyPatch,
    fault: Exception,
    sentence: str,
) -> None:
    def fail(*_: object) -> None:
        raise fault

    publish(settings, TRAINING_SET, rows_of(ANN, 1))
    context = dg.build_sensor_context(cursor="7")
    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "tag", fail)
        with pytest.raises(LakehouseError) as raised:
            training_set_sensor(settings)(context)
    assert str(raised.value).startswith(sentence)
    assert ANN not in str(raised.value)
    assert raised.value.__suppress_context__
    assert context.cursor == "7"
    assert len(tick()) == 1
