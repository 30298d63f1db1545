"""A rule's SQL is its fingerprint: it is the same in each process, or tables are made in vain."""

import os
import subprocess
import sys

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
