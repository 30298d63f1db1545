"""A rule's SQL is its fingerprint: it is the same in each process, or tables are made in vain."""

import os
import subprocess
import sys

COMPILE = """
import ibis
from inspect import signature
from stedi_assets.assets import RULES
from stedi_assets.schemas import contracts, table_of
from stedi_assets.settings import Settings

given = {name: ibis.table(table_of(model).types, name=name) for name, model in contracts().items()}
given["settings"] = Settings.load(pseudonym_key="a key for tests, of 32 characters or more")
for rule in RULES:
    print(ibis.to_sql(rule(**{name: given[name] for name in signature(rule).parameters})))
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
