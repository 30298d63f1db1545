"""A rule's SQL is its fingerprint: it is the same in each process, or tables are made in vain."""

import os
import subprocess
import sys
from collections.abc import Callable

import ibis
import pytest

from stedi_assets.lakehouse.query import Query
from stedi_assets.settings import SettingsError
from stedi_assets.tables import definition
from stedi_assets.tables.curated.machine_learning_curated import MACHINE_LEARNING_CURATED
from stedi_assets.tables.definition import query_of
from stedi_assets.tables.policy import Policy

COMPILE = """
import ibis
from stedi_assets.tables import TABLES
from stedi_assets.tables.definition import query_of
from stedi_assets.tables.policy import Policy

policy = Policy(subject_key=lambda: "a key for tests, of 32 characters or more")
tables = {table.name: ibis.table(table.table(policy).types, name=table.name) for table in TABLES}
for table in TABLES:
    if table.rule:
        print(query_of(table.rule, tables, policy).sql())
"""


def test_rules_compile_to_the_same_sql_in_each_process() -> None:
    compiled = {
        subprocess.run(
            [sys.executable, "-c", COMPILE],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in range(3)
    }
    assert len(compiled) == 1


TABLES_NOW = {
    name: ibis.table(definition(name).table(Policy()).types, name=f"{name}__1")
    for name in MACHINE_LEARNING_CURATED.inputs
}


def training_set(subject_key: Callable[[], str]) -> Query:
    rule = MACHINE_LEARNING_CURATED.rule
    assert rule
    return query_of(rule, TABLES_NOW, Policy(subject_key=subject_key))


def uncached(key: str) -> str:
    return str(ibis.to_sql(training_set(lambda: key).expression, dialect="duckdb"))


def test_sql_that_is_kept_is_that_of_its_key() -> None:
    keys = iter(["a" * 40, "b" * 40, "b" * 40])
    changing = training_set(lambda: next(keys))
    assert changing.sql() == uncached("a" * 40)
    assert changing.select(("subject_id",)).sql() != uncached("b" * 40)
    assert training_set(lambda: "a" * 40).sql() == uncached("a" * 40)
    assert training_set(lambda: "b" * 40).sql() == uncached("b" * 40)


def test_without_a_key_no_sql_is_given_out_that_was_made_with_one() -> None:
    def lost() -> str:
        raise SettingsError("The key is gone.")

    training_set(lambda: "c" * 40).sql()
    keyless = training_set(lost)
    for _ in range(2):
        with pytest.raises(SettingsError, match="is gone"):
            keyless.sql()
