"""Every trusted and curated table against the oracle, on any landing data; and the checks on it."""

from collections.abc import Callable
from inspect import signature
from typing import Any

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings

from stedi_assets.accounting import ACCOUNTS, KEPT
from stedi_assets.checks import CONSENT, SERIAL_NUMBERS
from stedi_assets.definitions import RULES
from stedi_assets.schemas import contracts, table_of
from stedi_assets.settings import ConsentScope, Settings
from stedi_assets_tests.oracle import COLUMNS, Row, compute, sort_rows
from stedi_assets_tests.strategies import Landing, landings
from stedi_assets_tests.support import KEY, subject_id

TABLES = [table_of(contract) for contract in contracts(pseudonymize=True).values()]
ARROW = {table.name: table.arrow_schema.remove_metadata() for table in TABLES}

hundred_landings = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


class Pipeline:
    """The rules on an in-memory DuckDB; compiled once, as that takes longer than to run them."""

    def __init__(self, scope: ConsentScope) -> None:
        self.scope = scope
        self._backend = ibis.duckdb.connect(threads=1)
        self._given: dict[str, Any] = {
            table.name: self._backend.create_table(table.name, schema=ibis.schema(table.types))
            for table in TABLES
        }
        self._given["settings"] = Settings.load(consent_scope=scope, pseudonym_key=KEY)
        self._rules = {rule.__name__: self._compile(rule) for rule in RULES}
        self._checks = {
            rule: self._compile(rule) for rule in (*CONSENT.values(), *SERIAL_NUMBERS.values())
        }
        self._accounts = {name: self._compile(account) for name, account in ACCOUNTS.items()}

    def _compile(self, rule: Callable[..., Any]) -> str:
        expression = rule(**{name: self._given[name] for name in signature(rule).parameters})
        if rule in RULES:
            expression = expression.select(*ARROW[rule.__name__].names)
        return ibis.to_sql(expression, dialect="duckdb")

    def run(self, landing: Landing) -> dict[str, list[Row]]:
        """Rows of each trusted and curated table, made from the tables made before it."""
        for name, objects in _landed(landing).items():
            self._backend.con.register("landed", pa.Table.from_pylist(objects, schema=ARROW[name]))
            self._backend.con.execute(f"CREATE OR REPLACE TABLE {name} AS FROM landed")
        made = {}
        for name, rule in self._rules.items():
            self._backend.con.execute(f"CREATE OR REPLACE TABLE {name} AS {rule}")
            table = self._backend.con.table(name).to_arrow_table()
            assert table.schema.equals(ARROW[name])
            columns = [_OURS.get((name, column), column) for column in COLUMNS[name]]
            made[name] = sort_rows(tuple(row[c] for c in columns) for row in table.to_pylist())
        return made

    def violations(self) -> dict[str, int]:
        """What each consent and serial-number rule finds in the tables of the last run."""
        return {rule.__name__: self._fetch(sql)[0][0] for rule, sql in self._checks.items()}

    def accounts(self) -> dict[str, dict[str, int]]:
        """Rows by outcome, for each table of the last run."""
        return {name: dict(self._fetch(sql)) for name, sql in self._accounts.items()}

    def _fetch(self, sql: str) -> list[Any]:
        return self._backend.con.execute(sql).fetchall()


_OURS = {("machine_learning_curated", "user"): "subject_id"}


def _landed(landing: Landing) -> dict[str, list[dict[str, Any]]]:
    """Rows of the landing tables: the objects that say whose they are, each in one way."""
    readings = [
        {**reading, "serialnumber": None} if reading.get("user") else reading
        for reading in landing.accelerometer
    ]
    return {
        "customer_landing": [c for c in landing.customers if (c.get("email") or "").strip()],
        "accelerometer_landing": [r for r in readings if r.get("user") or r.get("serialnumber")],
        "step_trainer_landing": [r for r in landing.step_trainer if r.get("serialnumber")],
    }


@pytest.fixture(scope="module", params=["any", "from_consent_date"])
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    return Pipeline(request.param)


@given(landing=landings())
@hundred_landings
def test_tables_hold_exactly_the_rows_of_the_oracle(pipeline: Pipeline, landing: Landing) -> None:
    sources = landing.customers, landing.accelerometer, landing.step_trainer
    wanted = compute(*sources, pipeline.scope)
    training = wanted["machine_learning_curated"]
    wanted["machine_learning_curated"] = sort_rows((subject_id(u), *row) for u, *row in training)
    assert pipeline.run(landing) == wanted


@given(landing=landings())
@hundred_landings
def test_right_tables_violate_no_rule_and_balance_every_account(
    pipeline: Pipeline, landing: Landing
) -> None:
    made = pipeline.run(landing)
    assert not any(pipeline.violations().values())
    accounts = pipeline.accounts()
    kept = {name: outcomes.get(KEPT, 0) for name, outcomes in accounts.items()}
    assert kept == {name: len(rows) for name, rows in made.items()}
    for source, objects in _landed(landing).items():
        assert sum(accounts[source.replace("landing", "trusted")].values()) == len(objects)
