"""Refreshes after random deliveries, holds and settings: the nightly proof finds no difference."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from stedi_assets.privacy.holds import hold, release
from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.lakehouse.engines.spark.conftest import sail  # noqa: F401  (a fixture)
from stedi_assets_tests.refresh.test_recompute import proofs, recompute
from stedi_assets_tests.strategies import EMAILS, Landing, deliver_drawn, landings
from stedi_assets_tests.support import DERIVED, blocking, refresh, under, write

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("derive_small_data")]

SWITCHES: tuple[dict[str, Any], ...] = (
    {},
    {},
    {},
    {"consent_scope": "from_consent_date"},
    {"times": "shifted"},
    {"pseudonymize": False},
    {"pseudonym_key": "another key for tests, of 32 characters or more"},
)
"""Settings that tables depend on; mostly none is another than by default."""

ANYTHING_GOES = {"max_quarantine_share": 1.0, "max_consent_fall": 1.0}


@dataclass(frozen=True)
class Step:
    """What happens before a refresh, and the settings of it."""

    landing: Landing
    again: bool
    held: str | None
    switch: dict[str, Any]


@st.composite
def sequences(draw: st.DrawFn) -> list[Step]:
    """A first delivery, and others with a part of what such a one may hold."""
    shares = [None, *draw(st.lists(st.sampled_from([2, 4, 8]), min_size=1, max_size=2))]
    return [
        Step(
            Landing(
                *(
                    [row for row in rows if share is None or draw(st.integers(1, share)) == 1]
                    for rows in draw(landings())
                )
            ),
            again=draw(st.integers(0, 3)) == 0,
            held=draw(st.none() | st.sampled_from(EMAILS)) if share else None,  # no tables yet
            switch=draw(st.sampled_from(SWITCHES)),
        )
        for share in shares
    ]


def assert_as_computed_in_full(steps: Sequence[Step], folder: Path, **engine: Any) -> None:
    """Refresh after each step, then compute all tables in full beside what is published."""
    (folder / "landing").mkdir()
    held: str | None = None
    for number, step in enumerate(steps):
        given = under(folder, **ANYTHING_GOES, **engine, **step.switch)
        _deliver(Path(given.landing_root), f"{number}.json", step.landing)
        if step.again and number:
            _deliver(Path(given.landing_root), f"{number}-again.json", steps[number - 1].landing)
        lakehouse = open_lakehouse(given)
        if held:
            release(held, lakehouse, given, print)
        if held := step.held:
            hold(held, lakehouse, given, print)
        result = refresh(given)
        assert result.success, blocking(result)
    result = recompute(given)
    assert result.success, blocking(result)
    assert [found.passed for found in proofs(result).values()] == [True] * len(DERIVED)


def _deliver(landing: Path, name: str, given: Landing) -> None:
    deliver_drawn(landing, name, given)
    broken = [
        json.dumps({"email": row["person"]})[:-1] + ', "phone": }\n'
        for row in given.quarantine
        if row["source"] == "customer"
    ]
    write(landing, "customer", f"broken-{name}", "".join(broken))


EACH_TAKES_SECONDS = settings(
    deadline=None,
    phases=[Phase.generate],  # a smaller sequence would take minutes to find
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)


@given(steps=sequences())
@settings(EACH_TAKES_SECONDS, max_examples=3)  # of which the first is as small as can be
def test_what_refreshes_made_is_what_a_computation_in_full_makes(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    assert_as_computed_in_full(steps, tmp_path_factory.mktemp("lakehouse"))


@given(steps=sequences())
@settings(EACH_TAKES_SECONDS, max_examples=2)
def test_the_same_on_spark(
    tmp_path_factory: pytest.TempPathFactory,
    sail: str,  # noqa: F811
    steps: list[Step],
) -> None:
    folder = tmp_path_factory.mktemp("lakehouse")
    assert_as_computed_in_full(steps, folder, engine="spark", spark_conf=sail)
