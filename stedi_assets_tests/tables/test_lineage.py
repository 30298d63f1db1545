"""Column lineage, read off the rules; no engine and no data."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import ibis
import ibis.expr.types as ir
import pytest

from stedi_assets.defs.metadata import column_lineage
from stedi_assets.privacy.policy import policy_of
from stedi_assets.settings import Settings
from stedi_assets.tables import TABLES
from stedi_assets.tables.curated.customers_curated import CUSTOMERS_CURATED
from stedi_assets.tables.definition import TableDefinition
from stedi_assets.tables.lineage import Lineage
from stedi_assets.tables.policy import Policy
from stedi_assets_tests.support import under

Direct = dict[str, set[str]]


def direct(table: str, tables: tuple[TableDefinition, ...] = TABLES, **values: Any) -> Direct:
    """Names of the columns that each column is computed from."""
    found = Lineage(tables, Policy(**values)).of(table)
    return {column: {s.name for s in sources} for column, sources in found.columns.items()}


def same(table: str, columns: str) -> Direct:
    """Columns that are taken over as they are."""
    return {column: {f"{table}.{column}"} for column in columns.split()}


CUSTOMER = (
    "serialnumber sharewithpublicasofdate birthday registrationdate sharewithresearchasofdate "
    "customername email lastupdatedate phone sharewithfriendsasofdate"
)
TRAINING_SET = {
    "subject_id": {"device_ownership.email"},
    **same("step_trainer_trusted", "sensorreadingtime distancefromobject"),
    **same("accelerometer_trusted", "x y z"),
}
IDENTIFIED = {
    "user": {"accelerometer_trusted.user"},
    "serialnumber": {"step_trainer_trusted.serialnumber"},
}


@pytest.mark.parametrize(
    ("pseudonymize", "expected"), [(True, TRAINING_SET), (False, TRAINING_SET | IDENTIFIED)]
)
def test_training_set_takes_each_side_from_its_own_table(
    pseudonymize: bool, expected: Direct
) -> None:
    assert direct("machine_learning_curated", pseudonymize=pseudonymize) == expected


def test_customers_are_taken_over_whichever_record_decides() -> None:
    email = {"email": {"customer_landing.person"}}
    assert direct("customer_trusted") == same("customer_landing", CUSTOMER) | email
    assert direct("customers_curated") == same("customer_trusted", CUSTOMER)


@pytest.mark.parametrize("scope", ["any", "from_consent_date"])
def test_user_of_a_reading_may_come_from_a_claim_and_consent_is_no_source(scope: str) -> None:
    assert direct("accelerometer_trusted", consent_scope=scope) == {
        **same("accelerometer_landing", "timestamp x y z serialnumber"),
        "user": {"accelerometer_landing.person", "customer_landing.person"},
    }


def test_proof_of_ownership_is_computed_from_the_readings_it_counts() -> None:
    device = {"step_trainer_landing.serialnumber"}
    times = {"step_trainer_landing.sensorreadingtime", *device}
    users = {"accelerometer_landing.person", "customer_landing.person"}
    assert direct("device_matches") == {
        "serialnumber": device,
        "user": users,
        "matched": {*users, *times},
    }
    counted = {f"device_matches.{column}" for column in ("serialnumber", "user", "matched")}
    claimant = {"customer_landing.person"}
    assert direct("device_ownership") == {
        "serialnumber": device,
        "email": {*claimant, *counted, *times},
        "basis": {*counted, *times},
        "readings": times,
        "matched": {*counted, *times},
        "runner_up_matched": {*claimant, *counted, *times},
    }


def test_filters_and_joins_decide_rows_and_not_values() -> None:
    def rows(table: str, scope: Any) -> set[str]:
        found = Lineage(TABLES, Policy(scope)).of(table)
        return {source.name for source in found.rows}

    assert rows("step_trainer_trusted", "any") >= {
        "customers_curated.email",
        "device_ownership.email",
        "device_ownership.serialnumber",
        "step_trainer_landing.serialnumber",
        # Whose phone was there when.
        "accelerometer_landing.timestamp",
        "step_trainer_landing.sensorreadingtime",
    }
    for table in ("accelerometer_trusted", "step_trainer_trusted"):
        dates = {
            scope: any(name.endswith(".sharewithresearchasofdate") for name in rows(table, scope))
            for scope in ("any", "from_consent_date")
        }
        assert dates == {"any": False, "from_consent_date": True}
    assert "customer_landing.sharewithresearchasofdate" in rows("customer_trusted", "any")
    assert "quarantine.person" in rows("customer_trusted", "any")


def test_any_rule_tells_where_its_columns_come_from() -> None:
    def customers_curated(customer_trusted: ir.Table, accelerometer_trusted: ir.Table) -> ir.Table:
        """A rule with columns of every kind."""
        newest = ibis.row_number().over(
            group_by=customer_trusted.email, order_by=customer_trusted.lastupdatedate
        )
        readings = accelerometer_trusted.select("user", "x").group_by("user").agg(n=ibis._.count())
        joined = customer_trusted.select(
            email="email",
            phone="customername",
            birthday=ibis.literal("unknown"),
            registrationdate=customer_trusted.registrationdate + newest,
        ).join(readings, [("email", "user")])
        fewer = joined.select("email", "phone", "birthday", "registrationdate", lastupdatedate="n")
        return fewer.union(fewer.mutate(email=fewer.phone))

    changed = replace(CUSTOMERS_CURATED, rule=customers_curated)
    lineage = direct("customers_curated", (changed,))
    assert lineage == {
        "email": {"customer_trusted.email", "customer_trusted.customername"},
        "phone": {"customer_trusted.customername"},
        "birthday": set(),
        "registrationdate": {
            "customer_trusted.registrationdate",
            "customer_trusted.email",
            "customer_trusted.lastupdatedate",
        },
        "lastupdatedate": {"accelerometer_trusted.user", "accelerometer_trusted.x"},
    }
    text = Lineage((changed,), Policy()).markdown("customers_curated")
    assert "| birthday | the rule itself |" in text


def test_landing_columns_come_from_the_keys_of_that_name_and_the_file_itself() -> None:
    assert direct("step_trainer_landing") == {
        **same("step_trainer_files", "sensorreadingtime serialnumber distancefromobject"),
        "source_file": {"step_trainer_files.file path"},
        "landed_at": {"step_trainer_files.file arrival"},
    }
    assert direct("customer_landing")["person"] == {"customer_files.email"}
    assert direct("accelerometer_landing")["person"] == {"accelerometer_files.user"}
    assert direct("quarantine")["raw"] == {
        "customer_files.file text",
        "accelerometer_files.file text",
        "step_trainer_files.file text",
    }


CHOICES = list(itertools.product([True, False], ["any", "from_consent_date"]))


@pytest.mark.parametrize(("pseudonymize", "scope"), CHOICES)
def test_every_column_has_a_source_and_every_source_is_a_column(
    pseudonymize: bool, scope: Any
) -> None:
    policy = Policy(scope, pseudonymize)
    lineage = Lineage(TABLES, policy)
    columns = {table.name: set(table.table(policy).types) for table in TABLES}
    for table, names in columns.items():
        found = lineage.of(table)
        assert set(found.columns) == names
        for source in (*itertools.chain(*found.columns.values()), *found.rows):
            assert source.table.endswith("_files") or source.column in columns[source.table]
        assert [name for name, sources in found.columns.items() if not sources] == []


def test_dagster_gets_the_same_lineage() -> None:
    found = column_lineage(Lineage(TABLES, Policy()), "machine_learning_curated")
    assert set(found.deps_by_column) == set(TRAINING_SET)
    assert found.deps_by_column["x"] == [
        dg.TableColumnDep(dg.AssetKey("accelerometer_trusted"), "x")
    ]


def test_chain_is_told_back_to_the_landing_zone() -> None:
    text = Lineage(TABLES, Policy()).markdown("machine_learning_curated")
    rows = text.replace("\N{NO-BREAK SPACE}", " ").splitlines()
    assert "| x | ← accelerometer_trusted.x ← accelerometer_landing.x |" in rows
    assert (
        "| subject_id | ← device_ownership.email ← customer_landing.person, "
        "device_matches.matched, device_matches.serialnumber, device_matches.user, "
        "step_trainer_landing.sensorreadingtime, step_trainer_landing.serialnumber "
        "← accelerometer_landing.person, customer_landing.person, "
        "step_trainer_landing.sensorreadingtime, step_trainer_landing.serialnumber |"
    ) in rows
    assert rows[-1] == (
        "Rows are decided by accelerometer_trusted.timestamp, accelerometer_trusted.user, "
        "device_ownership.email, device_ownership.serialnumber, "
        "step_trainer_trusted.sensorreadingtime, step_trainer_trusted.serialnumber."
    )


@pytest.mark.parametrize(
    "settings",
    [
        lambda folder: under(folder, pseudonym_key=None),
        lambda _: Settings.load(deployment="aws", lakehouse="s3://acme-stedi/lakehouse"),
    ],
    ids=["local", "aws"],
)
def test_lineage_takes_no_secret_and_makes_none(
    tmp_path: Path, settings: Callable[[Path], Settings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("STEDI_PSEUDONYM_KEY", raising=False)
    (tmp_path / "landing").mkdir()
    lineage = Lineage(TABLES, policy_of(settings(tmp_path)))
    assert lineage.of("machine_learning_curated").columns
    assert not (tmp_path / "lakehouse").exists()
