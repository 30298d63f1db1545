"""Every trusted and curated table against the oracle on any landing data, and the checks on it."""

import pytest
from hypothesis import HealthCheck, given, settings

from stedi_assets.settings import Settings
from stedi_assets.tables.accounts import KEPT
from stedi_assets_tests.oracle import COLUMNS, compute, sort_rows
from stedi_assets_tests.strategies import Landing, landings
from stedi_assets_tests.support import KEY, Pipeline, person_of, subject_id, time_shift

pytestmark = pytest.mark.slow  # Many examples, each with all tables.

NOT_TOO_SLOW = [HealthCheck.too_slow]


@pytest.fixture(
    scope="module",
    params=[("any", "exact"), ("from_consent_date", "exact"), ("from_consent_date", "shifted")],
    ids="-".join,
)
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    scope, times = request.param
    return Pipeline(Settings.load(consent_scope=scope, times=times, pseudonym_key=KEY))


@given(landing=landings())
@settings(max_examples=100, deadline=None, suppress_health_check=NOT_TOO_SLOW)
def test_tables_hold_exactly_the_rows_of_the_oracle(pipeline: Pipeline, landing: Landing) -> None:
    wanted = compute(*landing, pipeline.settings.consent_scope)
    training = wanted["machine_learning_curated"]
    is_shifted = pipeline.settings.times == "shifted"
    wanted["machine_learning_curated"] = sort_rows(
        (subject_id(user), time + is_shifted * time_shift(user), *row)
        for user, time, *row in training
    )
    columns = COLUMNS | {
        "machine_learning_curated": pipeline.schemas["machine_learning_curated"].names
    }
    made = pipeline.run(*as_landed(landing))
    for table, rows in wanted.items():
        assert sort_rows(tuple(row[c] for c in columns[table]) for row in made[table]) == rows, (
            table
        )


@given(landing=landings())
@settings(max_examples=30, deadline=None, suppress_health_check=NOT_TOO_SLOW)
def test_right_tables_violate_no_rule_and_balance_every_account(
    pipeline: Pipeline, landing: Landing
) -> None:
    landed = as_landed(landing)
    made = pipeline.run(*landed)
    assert pipeline.violations() == {}
    del made["device_matches"]  # it has no account
    accounts = pipeline.accounts()
    assert {name: account.get(KEPT, 0) for name, account in accounts.items()} == {
        name: len(rows) for name, rows in made.items()
    }
    sources = "customer_trusted", "accelerometer_trusted", "step_trainer_trusted"
    rows_in = [sum(accounts[name].values()) for name in sources]
    assert rows_in == [len(objects) for objects in landed[:3]]


def as_landed(landing: Landing) -> Landing:
    """Rows of the landing tables: the objects that say whose they are, each in one way."""
    readings = [
        {**reading, "serialnumber": None} if reading.get("user") else reading
        for reading in landing.accelerometer
    ]
    return Landing(
        customers=[record for record in landing.customers if person_of(record.get("email"))],
        accelerometer=[row for row in readings if row.get("user") or row.get("serialnumber")],
        step_trainer=[reading for reading in landing.step_trainer if reading.get("serialnumber")],
        quarantine=landing.quarantine,
    )
