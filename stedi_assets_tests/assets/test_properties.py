"""Every trusted and curated table against the oracle, on any landing data."""

from collections.abc import Iterator
from inspect import signature
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from ibis.backends.duckdb import Backend

from stedi_assets.definitions import RULES
from stedi_assets.schemas import contracts, table_of
from stedi_assets.settings import ConsentScope, Settings
from stedi_assets_tests.oracle import COLUMNS, Row, compute, sort_rows
from stedi_assets_tests.strategies import Landing, landings
from stedi_assets_tests.support import KEY, subject_id

TABLES = {name: table_of(contract) for name, contract in contracts(pseudonymize=True).items()}
SCHEMAS = {name: table.arrow_schema.remove_metadata() for name, table in TABLES.items()}


@pytest.fixture(scope="module")
def backend() -> Iterator[Backend]:
    connection = ibis.duckdb.connect(threads=1)
    yield connection
    connection.disconnect()


@pytest.mark.parametrize("scope", ["any", "from_consent_date"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(landing=landings())
def test_tables_hold_exactly_the_rows_of_the_oracle(
    backend: Backend, scope: ConsentScope, landing: Landing
) -> None:
    made = run_rules(backend, landing, Settings.load(consent_scope=scope, pseudonym_key=KEY))
    wanted = compute(landing.customers, landing.accelerometer, landing.step_trainer, scope)
    training = wanted["machine_learning_curated"]
    wanted["machine_learning_curated"] = sort_rows((subject_id(u), *row) for u, *row in training)
    assert made == wanted


def run_rules(backend: Backend, landing: Landing, settings: Settings) -> dict[str, list[Row]]:
    """Rows of each trusted and curated table, made from the tables made before it."""
    tables = {name: _table(name, rows) for name, rows in _landed(landing).items()}
    made = {}
    for rule in RULES:
        name, parameters = rule.__name__, signature(rule).parameters
        expression = rule(**{p: settings if p == "settings" else tables[p] for p in parameters})
        rows = backend.to_pyarrow(expression.select(*TABLES[name].types))
        assert rows.schema.equals(SCHEMAS[name])
        tables[name] = ibis.memtable(rows)
        columns = [c if c != "user" or c in TABLES[name].types else "subject_id" for c in COLUMNS[name]]
        made[name] = sort_rows(tuple(row[c] for c in columns) for row in rows.to_pylist())
    return made


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


def _table(name: str, rows: list[dict[str, Any]]) -> ir.Table:
    landed = [{**row, "source_file": "a.json"} for row in rows]
    return ibis.memtable(pa.Table.from_pylist(landed, schema=SCHEMAS[name]))
