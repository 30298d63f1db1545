"""What several test modules share: small deliveries, the rules on DuckDB, runs in this process."""

import hashlib
import hmac
import json
import os
import shutil
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO
from uuid import uuid4

import dagster as dg
import ibis
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import StaticTable

from stedi_assets import tables as definitions
from stedi_assets.defs import project as loaded_by_dagster
from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.landing.ledger import LandingFolder
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.table import Table
from stedi_assets.privacy.policy import policy_of
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings
from stedi_assets.tables import definition
from stedi_assets.tables.definition import apply
from stedi_assets.tables.policy import Policy

PROJECT = Path(__file__).parents[1]
SHARED = PROJECT.parent / "shared" / "data"
"""Real landing data; tests that need it are skipped where it is absent."""

KEY = "a key for tests, of 32 characters or more"
TABLES = (
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
)
DERIVED = tuple(table for table in definitions.TABLES if table.rule)
"""The tables that are made from other tables."""

ANN, BOB, CY = "ann@x.io", "bob@x.io", "cy@x.io"

on_this_machine = pytest.mark.parametrize("new_folder", ["local"], indirect=True)
"""For a test of what no deployment can change: once is enough, and S3 takes its time."""

Objects = Iterable[Mapping[str, Any]]
Rows = list[dict[str, Any]]


def subject_id(email: str, key: str | bytes = KEY) -> str:
    """The pseudonym of a normalised e-mail, worked out without the package."""
    return _keyed_hash(email, key, b"inner", b"outer")[:32]


def time_shift(email: str, key: str | bytes = KEY) -> int:
    """By how much the times of a person are shifted, worked out without the package."""
    digits = _keyed_hash(email, key, b"inner of times", b"outer of times")[:9]
    return int(digits[::-1], 16)


def release_key(release: str, key: str = KEY) -> bytes:
    """The key of a release with pseudonyms of its own, worked out without the package."""
    return hmac.new(key.encode(), f"release {release}".encode(), hashlib.sha256).digest()


def _keyed_hash(email: str, key: str | bytes, *uses: bytes) -> str:
    secret = key.encode() if isinstance(key, str) else key
    inner, outer = (hmac.new(secret, use, hashlib.sha256).hexdigest() for use in uses)
    nested = outer + hashlib.sha256((inner + email).encode()).hexdigest()
    return hashlib.sha256(nested.encode()).hexdigest()


# Landing objects


EARLIEST = 946_684_800_000
"""2000-01-01 in epoch milliseconds: what is earlier is no time of a landing file."""

DAY_ONE = 1_655_564_400_000
"""Tests count their times from here, in milliseconds: 0, 1, 2 would be times of no landing file."""

FIRST_DELIVERY, SECOND_DELIVERY = DAY_ONE + 1_000_000, DAY_ONE + 2_000_000
"""When rows landed that did not come from a file: the first one unless told otherwise."""


def at(time: int) -> int:
    """A time in epoch milliseconds, given as one or as milliseconds from `DAY_ONE`."""
    return time if time >= EARLIEST else DAY_ONE + time


def customer(email: str, serialnumber: str | None = None, **fields: Any) -> dict[str, Any]:
    """A customer record, consenting since millisecond 1 unless told otherwise.

    Dates are counted from `DAY_ONE`.
    """
    record = {"email": email, "serialnumber": serialnumber, "sharewithresearchasofdate": 1}
    return {
        key: at(value) if key.endswith("date") and type(value) is int else value
        for key, value in (record | fields).items()
    }


def phone(user: str | None, *times: int, **fields: Any) -> Rows:
    """Accelerometer readings of a user, at times counted from `DAY_ONE`."""
    reading = {"user": user, "x": 0.0, "y": 0.0, "z": 0.0} | fields
    return [{**reading, "timestamp": at(time)} for time in times]


def device(serialnumber: str, *times: int, **fields: Any) -> Rows:
    """Sensor readings of a device, at times counted from `DAY_ONE`."""
    reading = {"serialnumber": serialnumber, "distancefromobject": 1.0} | fields
    return [{**reading, "sensorreadingtime": at(time)} for time in times]


def unreadable(*people: str, landed_at: int = SECOND_DELIVERY, **fields: Any) -> dict[str, Any]:
    """A row of quarantine, of a customer object that names these people by their one spelling."""
    return {
        "source": "customer",
        "position": 0,
        "raw": "{",
        "reason": "not valid JSON",
        "landed_at": landed_at,
        "person": "\x1f".join(people) or None,
    } | fields


def as_ingested(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a landing table with what an ingest adds to it, where the test did not give it."""
    email = row.get("email") or row.get("user")
    added = {"person": person_of(email), "source_file": "a.json", "landed_at": FIRST_DELIVERY}
    return {**added, **row}


def person_of(email: str | None) -> str | None:
    """The one spelling of an e-mail, worked out without the package."""
    visible = "".join(sign for sign in email or "" if unicodedata.category(sign) != "Cf")
    lower = unicodedata.normalize("NFC", visible).lower()
    return unicodedata.normalize("NFC", lower).strip() or None


# The rules by themselves


class Pipeline:
    """The rules on an in-memory DuckDB; compiled once, as that takes longer than to run them."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._policy = policy_of(settings)
        tables = [table.table(self._policy) for table in definitions.TABLES]
        self.schemas = {table.name: table.arrow_schema.remove_metadata() for table in tables}
        backend = ibis.duckdb.connect(threads=1)
        self._connection = backend.con
        self._tables = {
            table.name: backend.create_table(table.name, schema=ibis.schema(table.types))
            for table in tables
        }
        self._rules, self._checks, self._accounts = {}, {}, {}
        for table in DERIVED:
            self._rules[table.name] = self._compile(table.rule, self.schemas[table.name].names)
            if table.account:
                self._accounts[table.name] = self._compile(table.account)
            for check in ("consent", "serial_numbers"):
                if violations := getattr(table, check):
                    self._checks[f"{check} of {table.name}"] = self._compile(violations)

    def _compile(self, function: Any, columns: Sequence[str] = ()) -> str:
        expression = apply(function, self._tables, self._policy)
        chosen = expression.select(*columns) if columns else expression
        return str(ibis.to_sql(chosen, dialect="duckdb"))

    def run(
        self,
        customers: Objects = (),
        accelerometer: Objects = (),
        step_trainer: Objects = (),
        quarantine: Objects = (),
    ) -> dict[str, Rows]:
        """Make every table from the rows of the landing tables, each from those made before it.

        Of these rows what an ingest adds need not be given: `person`, `source_file`, `landed_at`.
        """
        landed = {
            "customer_landing": customers,
            "accelerometer_landing": accelerometer,
            "step_trainer_landing": step_trainer,
            "quarantine": quarantine,
        }
        for name, objects in landed.items():
            rows = pa.Table.from_pylist(list(map(as_ingested, objects)), self.schemas[name])
            self._connection.register("landed", rows)
            self.execute(f"CREATE OR REPLACE TABLE {name} AS FROM landed")
        for name in self._rules:
            self.make(name)
        return {name: self._rows(name) for name in self._rules}

    def make(self, name: str) -> None:
        """Make a table from those it is made from, as they are."""
        self.execute(f"CREATE OR REPLACE TABLE {name} AS {self._rules[name]}")

    def _rows(self, name: str) -> Rows:
        table = self._connection.table(name).to_arrow_table()
        assert table.schema.equals(self.schemas[name])
        rows: Rows = table.to_pylist()
        return rows

    def execute(self, sql: str) -> list[Any]:
        """Run SQL on the tables of the last run."""
        rows: list[Any] = self._connection.execute(sql).fetchall()
        return rows

    def violations(self) -> dict[str, int]:
        """What each consent and serial-number rule finds in the tables, where it finds any."""
        found = {check: self.execute(sql)[0][0] for check, sql in self._checks.items()}
        return {check: violations for check, violations in found.items() if violations}

    def accounts(self) -> dict[str, dict[str, int]]:
        """Rows of each table's input by outcome, as far as there are any."""
        accounts = {name: self.execute(sql) for name, sql in self._accounts.items()}
        return {
            name: {outcome: rows for outcome, rows in outcomes if rows}
            for name, outcomes in accounts.items()
        }


# Whole runs


def under(folder: Path, **values: Any) -> Settings:
    """Settings of a test's lakehouse: below a folder of this machine, or below an S3 prefix."""
    given = {
        "landing": f"{folder}/landing",
        "lakehouse": f"{folder}/lakehouse",
        "pseudonym_key": KEY,
    }
    if str(folder).startswith("s3://"):
        name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
        given |= {"deployment": "aws", "database": f"test_{name}"}
    return Settings.load(**(given | values))


def table_named(name: str) -> Table:
    """A table, as its contract describes it by default."""
    return definition(name).table(Policy())


def catalog_of(settings: Settings) -> Catalog:
    """The tables of a lakehouse."""
    return Catalog(open_storage(settings))


def deliver(landing: Path, name: str, **objects: Objects) -> None:
    """Write a file of JSON lines for each source given."""
    for source, lines in objects.items():
        write(landing, source, name, "".join(json.dumps(line) + "\n" for line in lines))


def write(landing: Path, source: str, name: str, text: str) -> Path:
    """Write a landing file."""
    path = landing / source / "landing" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def refuse(patch: pytest.MonkeyPatch, name: str) -> None:
    """Let landing files of one name be such as may not be read."""
    opens = LandingFolder.open

    def opened(self: LandingFolder, path: str) -> BinaryIO:
        if path.endswith(f"/{name}"):
            raise PermissionError(13, "Permission denied", self.location(path))
        return opens(self, path)

    patch.setattr(LandingFolder, "open", opened)


def change_table(patch: pytest.MonkeyPatch, name: str, **changes: Any) -> None:
    """Let Dagster load a table with another rule, check or account."""
    changed = tuple(
        replace(table, **changes) if table.name == name else table
        for table in loaded_by_dagster.TABLES  # type: ignore[attr-defined]  # with earlier changes
    )
    patch.setattr(loaded_by_dagster, "TABLES", changed)


def stage(settings: Settings, name: str, rows: Rows) -> Snapshot:
    """Put rows of a table on `audit`, without a run."""
    table, catalog = table_named(name), catalog_of(settings)
    catalog.ensure(table)
    state = catalog.state(name)
    path = f"{state.location}/data/{uuid4().hex}.parquet"
    schema = table.numbered(state.field_ids).arrow_schema
    with catalog.io.new_output(path).create() as file:
        # What the table has no column for is left out.
        pq.write_table(pa.Table.from_pylist(list(map(as_ingested, rows)), schema), file)
    return catalog.stage(name, [path] if rows else [], {"run-id": "of a test"})


def publish(settings: Settings, name: str, rows: Rows) -> Snapshot:
    """Publish rows of a table, without a run."""
    candidate = stage(settings, name, rows)
    catalog_of(settings).publish(candidate)
    return candidate


def static_table(metadata_location: str) -> StaticTable:
    """A table as PyIceberg's own readers see it, given its metadata file alone."""
    return StaticTable.from_metadata(
        metadata_location,
        {"s3.endpoint": os.environ.get("STEDI_S3_ENDPOINT", ""), "s3.region": "us-east-1"},
    )


def blocking(result: dg.ExecuteInProcessResult) -> list[str]:
    """Checks that failed; that unreadable records suspend people is a warning."""
    return [
        found.check_name
        for found in result.get_asset_check_evaluations()
        if not found.passed and found.severity is dg.AssetCheckSeverity.ERROR
    ]


def refresh(
    settings: Settings, instance: dg.DagsterInstance | None = None, only: Sequence[str] = ()
) -> dg.ExecuteInProcessResult:
    """Bring the lakehouse up to date, in this process; a failure is in the result.

    Args:
        settings: Which lakehouse.
        instance: Where the run is recorded.
        only: Tables to bring up to date; all where absent.
    """
    job = lakehouse_definitions(settings).resolve_job_def("refresh_lakehouse")
    return job.execute_in_process(
        instance=instance or dg.DagsterInstance.ephemeral(),
        raise_on_error=False,
        asset_selection=[dg.AssetKey(name) for name in only] or None,
    )


def keep_history_in(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Let the runs of commands be recorded there, as the project configures it."""
    shutil.copy(PROJECT / "dagster.yaml", folder)
    patch.setenv("DAGSTER_HOME", str(folder))


def counts(settings: Settings) -> dict[str, int]:
    """Rows of each published table."""
    published = map(catalog_of(settings).published, TABLES)
    return {snapshot.table: snapshot.rows for snapshot in published if snapshot}


def snapshots(settings: Settings) -> dict[str, int]:
    """Id of each published snapshot."""
    published = map(catalog_of(settings).published, TABLES)
    return {snapshot.table: snapshot.id for snapshot in published if snapshot}
