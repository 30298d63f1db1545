"""The contracts: what breaks them is found and counted, and said without the data."""

from __future__ import annotations

import math
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pytest

from stedi_assets import tables as definitions
from stedi_assets.lakehouse.table import Zone
from stedi_assets.tables.breaches import breaches
from stedi_assets.tables.contract import table_of
from stedi_assets.tables.curated.machine_learning_curated import MachineLearningCuratedIdentified
from stedi_assets.tables.pandera_model import broken_requirements
from stedi_assets.tables.policy import Policy
from stedi_assets_tests.support import DAY_ONE

NAN, INF = math.nan, math.inf
MAX = 1.7976931348623157e308
SECRET = "carol-4711@x.io"
TURN_OF_2000 = 946_684_799_999, 946_684_800_000
"""The last millisecond that is no time, and the first that is one."""
CONTRACTS = {table.name: table.contract for table in definitions.TABLES} | {
    "identified": MachineLearningCuratedIdentified,
}
TABLES = {name: table_of(contract) for name, contract in CONTRACTS.items()}
COLUMNS = [(name, column) for name, table in TABLES.items() for column in table.columns]
ARROW = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64()}
FLAWLESS: dict[str, dict[str, Any]] = {
    # What the type alone does not give.
    "accelerometer_landing": {"serialnumber": [None] * 5},
    "quarantine": {"source": ["customer", "accelerometer", "step_trainer"] + ["customer"] * 2},
    "device_ownership": {"basis": ["shared_readings", "sole_claim"] + ["sole_claim"] * 3},
}
VALUES: dict[str, list[Any]] = {
    "string": [letter * 32 for letter in "abcde"],
    "int64": [DAY_ONE + time for time in range(5)],
    "float64": [0.0, -1.5, MAX, -MAX, 5e-324],
}


def rows(name: str, **planted: list[Any]) -> ir.Table:
    """Five rows that fulfil the contract, but for what is planted."""
    columns = {c.name: VALUES[c.type] for c in TABLES[name].columns}
    columns |= FLAWLESS.get(name, {}) | planted
    types = TABLES[name].types
    return ibis.memtable(
        pa.table({key: pa.array(v, ARROW[types[key]]) for key, v in columns.items()})
    )


def broken_by(name: str, table: ir.Table) -> dict[str, int]:
    return breaches(CONTRACTS[name], table, lambda query: query.expression.to_pyarrow())


def found(name: str, **planted: list[Any]) -> dict[str, int]:
    return broken_by(name, rows(name, **planted))


def ids(value: Any) -> str | None:
    return getattr(value, "name", None)


# Contracts


CUSTOMER = ("serialnumber", "birthday", "customername", "email", "phone")
LANDING = ("customer_landing", "accelerometer_landing", "step_trainer_landing")
TIMES = ("timestamp", "sensorreadingtime", "landed_at")


def test_contracts_name_the_eleven_tables_in_the_order_data_flows() -> None:
    assert [table.name for table in definitions.TABLES] == [
        "customer_landing",
        "accelerometer_landing",
        "step_trainer_landing",
        "quarantine",
        "customer_trusted",
        "accelerometer_trusted",
        "customers_curated",
        "device_matches",
        "device_ownership",
        "step_trainer_trusted",
        "machine_learning_curated",
    ]
    identified = Policy(pseudonymize=False)
    assert [table.table(identified).name for table in definitions.TABLES] == list(CONTRACTS)[:-1]


def test_every_table_and_column_is_described() -> None:
    for table in TABLES.values():
        assert len(table.description) > 30
    for _, column in COLUMNS:
        assert len(column.description) > 5


def test_columns_are_lower_case_as_glue_wants_them() -> None:
    assert all(column.name == column.name.lower() for _, column in COLUMNS)


def test_times_say_their_unit() -> None:
    for _, column in COLUMNS:
        if column.name in TIMES or column.name.endswith("date"):
            assert (column.type, "epoch milliseconds" in column.description) == ("int64", True)


def test_landing_tables_say_where_and_when_a_row_came_from() -> None:
    for name in (*LANDING, "quarantine"):
        assert TABLES[name].types.keys() >= {"source_file", "landed_at"}
        assert TABLES[name].zone is Zone.LANDING


def test_landing_tables_with_an_email_say_whose_a_row_is() -> None:
    assert [name for name, table in TABLES.items() if "person" in table.types] == [
        "customer_landing",
        "accelerometer_landing",
        "quarantine",
    ]
    required = {name: not c.nullable for name, c in COLUMNS if c.name == "person"}
    assert required == {
        "customer_landing": True,
        "accelerometer_landing": False,
        "quarantine": False,
    }


def test_times_of_landing_files_must_be_plausible_and_those_they_need_be_there() -> None:
    plausible = {(name, c.name): c.nullable for name, c in COLUMNS if c.is_time and name in LANDING}
    dates = "registration", "lastupdate", "sharewithresearchasof", "sharewithpublicasof"
    assert plausible == {
        **{("customer_landing", f"{date}date"): True for date in (*dates, "sharewithfriendsasof")},
        ("accelerometer_landing", "timestamp"): False,
        ("step_trainer_landing", "sensorreadingtime"): False,
    }


@pytest.mark.parametrize(
    ("name", "personal"),
    {
        "customer_landing": (*CUSTOMER, "person"),
        "accelerometer_landing": ("user", "serialnumber", "person"),
        "step_trainer_landing": ("serialnumber",),
        "quarantine": ("raw", "person"),
        "customer_trusted": CUSTOMER,
        "accelerometer_trusted": ("user", "serialnumber"),
        "customers_curated": CUSTOMER,
        "device_matches": ("serialnumber", "user"),
        "device_ownership": ("serialnumber", "email"),
        "step_trainer_trusted": ("serialnumber",),
        "machine_learning_curated": (),
        "identified": ("user", "serialnumber"),
    }.items(),
)
def test_columns_that_point_to_a_person_are_personal(name: str, personal: tuple[str, ...]) -> None:
    assert set(TABLES[name].personal_columns) == set(personal)


def test_training_set_names_a_person_only_when_told_to() -> None:
    training = ["subject_id", "sensorreadingtime", "distancefromobject", "x", "y", "z"]
    assert list(TABLES["machine_learning_curated"].types) == training
    assert list(TABLES["identified"].types) == [*training, "user", "serialnumber"]


def test_fingerprint_changes_with_the_contract_only() -> None:
    assert all(table_of(CONTRACTS[name]) == table for name, table in TABLES.items())
    training, identified = TABLES["machine_learning_curated"], TABLES["identified"]
    assert training.fingerprint != identified.fingerprint


# Breaches


@pytest.mark.parametrize("name", CONTRACTS)
def test_rows_that_fulfil_the_contract_break_nothing(name: str) -> None:
    assert found(name) == {}


@pytest.mark.parametrize("name", CONTRACTS)
def test_no_rows_break_nothing(name: str) -> None:
    assert broken_by(name, rows(name).limit(0)) == {}


@pytest.mark.parametrize(("name", "column"), COLUMNS, ids=ids)
def test_null_breaks_the_contract_where_a_value_is_required(name: str, column: Any) -> None:
    nulls = VALUES[column.type][:2] + [None] * 3
    if column.nullable:
        assert f"{column.name}: not null" not in found(name, **{column.name: nulls})
    else:
        assert found(name, **{column.name: nulls})[f"{column.name}: not null"] == 3


@pytest.mark.parametrize(
    ("name", "column"), [(n, c) for n, c in COLUMNS if c.type == "float64"], ids=ids
)
def test_not_a_number_and_infinity_break_the_contract(name: str, column: Any) -> None:
    broken = found(name, **{column.name: [NAN, INF, -INF, 1.0, None]})
    assert sum(broken.values()) == 3
    assert all(rule.startswith(f"{column.name}: ") for rule in broken)


EDGES: dict[str, list[Any]] = {
    "string": ["", "a", "a" * 31, "a" * 32, "a" * 33, "sole_claim", "customer", None],
    "int64": [-1, 0, 1, *TURN_OF_2000, DAY_ONE, None],
    "float64": [NAN, INF, -INF, MAX, -MAX, 0.0, None],
}


@pytest.mark.parametrize(("name", "column"), COLUMNS, ids=ids)
def test_rows_that_pandera_finds_broken_are_never_passed(name: str, column: Any) -> None:
    for value in EDGES[column.type]:
        table = rows(name, **{column.name: [value, *VALUES[column.type][:4]]})
        assert broken_by(name, table) == broken_requirements(CONTRACTS[name], table), value


NEVER_REPEATED = {
    "customer_trusted": "email",
    "customers_curated": "email",
    "device_ownership": "serialnumber",
}


@pytest.mark.parametrize(("name", "column"), NEVER_REPEATED.items())
def test_repeated_key_breaks_the_contract_with_the_number_of_its_rows(
    name: str, column: str
) -> None:
    assert found(name, **{column: ["a", "b", "b", "b", "c"]}) == {f"{column}: unique": 3}


@pytest.mark.parametrize(
    ("name", "planted", "rule", "number"),
    [
        ("customer_landing", {"email": ["", "", "a", "b", "c"]}, "email: ", 2),
        ("customer_trusted", {"email": ["", "a", "b", "c", "d"]}, "email: ", 1),
        ("customer_landing", {"person": ["", "", "", "b", "c"]}, "person: ", 3),
        (
            "customer_trusted",
            {"sharewithresearchasofdate": [0, 1, *TURN_OF_2000, DAY_ONE]},
            "sharewithresearchasofdate: ",
            3,
        ),
        ("customers_curated", {"sharewithresearchasofdate": [0] * 5}, "sharewith", 5),
        ("customer_landing", {"registrationdate": [0, 1, 2, None, DAY_ONE]}, "registr", 3),
        ("accelerometer_landing", {"timestamp": [0, -1, *TURN_OF_2000, DAY_ONE]}, "timestamp", 3),
        ("step_trainer_landing", {"sensorreadingtime": [1_655_564_400] * 5}, "sensorreading", 5),
        ("step_trainer_landing", {"serialnumber": ["", "a", "b", "c", "d"]}, "serialnumber: ", 1),
        ("step_trainer_trusted", {"serialnumber": ["", "a", "b", "c", "d"]}, "serialnumber: ", 1),
        ("accelerometer_trusted", {"user": [""] * 5}, "user: ", 5),
        ("quarantine", {"source": ["customers", "", "customer", "customer", "x"]}, "source: ", 3),
        ("quarantine", {"position": [-1, 0, 1, 2, 3]}, "position: ", 1),
        ("quarantine", {"reason": ["", "", "", "", "x"]}, "reason: ", 4),
        ("device_matches", {"matched": [-1, 0, 1, 2, 3]}, "matched: ", 2),
        ("device_matches", {"user": ["", "", "a", "b", "c"]}, "user: ", 2),
        ("device_ownership", {"basis": ["sole_claim"] * 3 + ["claim", "SOLE_CLAIM"]}, "basis: ", 2),
        ("device_ownership", {"readings": [0, 1, 2, 3, 4]}, "readings: ", 1),
        ("device_ownership", {"matched": [-1, 0, 1, 2, 3]}, "matched: ", 1),
        ("device_ownership", {"runner_up_matched": [-1, -2, 0, 0, 0]}, "runner_up_matched: ", 2),
        ("device_ownership", {"email": ["", "a", "b", "c", "d"]}, "email: ", 1),
        (
            "machine_learning_curated",
            {"subject_id": [SECRET, "a" * 31, "a" * 33, "a" * 32, "b" * 32]},
            "subject_id: ",
            3,
        ),
    ],
)
def test_value_outside_its_rule_breaks_the_contract(
    name: str, planted: dict[str, list[Any]], rule: str, number: int
) -> None:
    broken = found(name, **planted)
    assert list(broken.values()) == [number]
    assert next(iter(broken)).startswith(rule)


def test_reading_has_a_user_or_a_serial_number_and_never_both() -> None:
    broken = found(
        "accelerometer_landing",
        user=["a", "b", None, None, "c"],
        serialnumber=["s", None, "s", None, "s"],
    )
    assert broken == {"user or serialnumber is there, never both": 3}


def test_all_broken_rules_are_named_at_once() -> None:
    broken = found(
        "accelerometer_landing",
        user=[None] * 5,
        timestamp=[None, *VALUES["int64"][:4]],
        x=[NAN] * 5,
        source_file=[None, None, "a", "b", "c"],
    )
    assert sorted(rule.partition(":")[0] for rule in broken) == [
        "source_file",
        "timestamp",
        "user or serialnumber is there, never both",
        "x",
    ]
    assert sorted(broken.values()) == [1, 2, 5, 5]


@pytest.mark.parametrize("name", CONTRACTS)
def test_columns_must_be_those_of_the_contract(name: str) -> None:
    table, first = rows(name), TABLES[name].columns[0]
    wrong = {"string": "int64", "int64": "string", "float64": "int64"}[first.type]
    retyped = table.mutate(**{first.name: ibis.null(wrong)})
    assert broken_by(name, table.drop(first.name)) == {f"{first.name}: column is missing": 0}
    assert broken_by(name, table.mutate(surplus=1)) == {"surplus: column is not in the contract": 0}
    assert broken_by(name, retyped) == {f"{first.name}: is {wrong} instead of {first.type}": 0}


@pytest.mark.parametrize("name", CONTRACTS)
def test_what_is_said_holds_no_value_of_the_data(name: str) -> None:
    planted: dict[str, list[Any]] = {
        "string": [SECRET] * 4 + [None],
        "int64": [-4711] * 4 + [None],
        "float64": [INF] * 4 + [4711.5],
    }
    said = str(found(name, **{c.name: planted[c.type] for c in TABLES[name].columns}))
    assert "not null" in said
    assert "carol" not in said
    assert "4711" not in said
