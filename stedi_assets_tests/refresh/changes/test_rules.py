"""What is derived from changes is what a computation of the whole gives, for all tables."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stedi_assets.tables.policy import ConsentScope, Policy, Times
from stedi_assets_tests.refresh.changes.states import States
from stedi_assets_tests.strategies import Landing, landings
from stedi_assets_tests.support import KEY
from stedi_assets_tests.tables.test_properties import as_landed

pytestmark = pytest.mark.slow  # Many examples, each with all tables.


@st.composite
def sequences(draw: st.DrawFn) -> list[Landing]:
    """Landing data at one time after another: much of it stays, some comes and some goes."""
    states = [as_landed(draw(landings()))]
    for _ in range(draw(st.integers(1, 2))):
        further = as_landed(draw(landings()))
        states.append(
            Landing(
                *(
                    [row for row in old if draw(st.integers(0, 15))]
                    + [row for row in new if draw(st.integers(0, 3)) == 0]
                    for old, new in zip(states[-1], further, strict=True)
                )
            )
        )
    return states


@pytest.mark.parametrize(("scope", "times"), [("any", "exact"), ("from_consent_date", "shifted")])
@given(states=sequences())
@settings(
    max_examples=4,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
def test_changes_give_the_tables_checks_and_accounts_of_the_whole(
    scope: ConsentScope,
    times: Times,
    tmp_path_factory: pytest.TempPathFactory,
    states: list[Landing],
) -> None:
    policy = Policy(consent_scope=scope, times=times, subject_key=lambda: KEY)
    tables = States(policy, tmp_path_factory.mktemp("lakehouse"))
    for landing in states:
        tables.derive(landing)
