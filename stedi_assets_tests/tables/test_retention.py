"""What goes by age makes nothing appear, on any landing data."""

from collections import Counter
from typing import Any

import ibis
import ibis.expr.types as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stedi_assets.settings import Settings
from stedi_assets.tables.consent import HOLD, suspending_records
from stedi_assets.tables.retention import (
    Limits,
    devices_kept,
    owners,
    phone_reading_goes,
    record_goes,
    sensor_reading_goes,
    with_place,
)
from stedi_assets_tests.strategies import DAY, DELIVERIES, Landing, landings
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    KEY,
    Pipeline,
    Rows,
    as_ingested,
    customer,
    device,
    phone,
)
from stedi_assets_tests.tables.test_properties import as_landed

PUBLISHED = (
    "customer_trusted",
    "accelerometer_trusted",
    "customers_curated",
    "step_trainer_trusted",
    "machine_learning_curated",
)
OLD, NEW = DELIVERIES[0], DELIVERIES[2]
LIMIT = DELIVERIES[1]
"""What landed with the first delivery is old."""

BY_AGE = Limits(
    {"accelerometer_landing": LIMIT, "customer_landing": LIMIT, "step_trainer_landing": LIMIT}
)
PHONES_ALONE = Limits({"accelerometer_landing": LIMIT, "customer_landing": LIMIT})
REFUSED = Limits(refused=LIMIT)


class Retention:
    """What is left of landing rows, by SQL that is compiled once for some limits."""

    def __init__(self, limits: Limits, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        tables = {
            name: ibis.table(ibis.Schema.from_pyarrow(schema), name=name)
            for name, schema in pipeline.schemas.items()
        }
        sensors, phones = tables["step_trainer_landing"], tables["accelerometer_landing"]
        records, quarantine = tables["customer_landing"], tables["quarantine"]
        landed = {
            "step_trainer_landing": sensors,
            "accelerometer_landing": phones,
            "customer_landing": records,
        }
        owned = owners(**landed)
        kept = devices_kept(owned=owned, quarantine=quarantine, limits=limits, **landed)
        left = sensors.filter(~sensor_reading_goes(sensors, kept, owned, records, limits))
        goes = phone_reading_goes(phones, left, records, quarantine, limits)
        placed = with_place(records, quarantine)
        self._left = [
            (list(table.columns), _sql(rows))
            for table, rows in (
                (records, placed.filter(~record_goes(placed, limits)).select(*records.columns)),
                (phones, phones.filter(~goes)),
                (sensors, left),
            )
        ]
        self._suspending = _sql(suspending_records(records, quarantine))
        self._limit = limits.of("customer_landing")

    def left(self, landed: Landing) -> Landing:
        """The rows that stay, of those that the pipeline made tables of last."""
        execute = self._pipeline.execute
        customers, phones, sensors = (
            [dict(zip(columns, row, strict=True)) for row in execute(sql)]
            for columns, sql in self._left
        )
        suspending = set(execute(self._suspending))
        unreadable = [
            row
            for row in map(as_ingested, landed.quarantine)
            if row["source"] == HOLD
            or row["landed_at"] >= (self._limit or 0)
            or (row["source_file"], row["position"]) in suspending
        ]
        return Landing(customers, phones, sensors, unreadable)


def _sql(rows: ir.Table) -> str:
    return str(ibis.to_sql(rows, dialect="duckdb"))


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return Pipeline(Settings.load(consent_scope="from_consent_date", pseudonym_key=KEY))


@pytest.fixture(scope="module")
def retentions(pipeline: Pipeline) -> dict[str, Retention]:
    limits = {"by age": BY_AGE, "phones alone": PHONES_ALONE, "refused": REFUSED}
    return {name: Retention(each, pipeline) for name, each in limits.items()}


def _bag(rows: Rows) -> Counter[Any]:
    return Counter(tuple(sorted(row.items())) for row in rows)


def _owners(made: dict[str, Rows]) -> set[tuple[str, str]]:
    return {(row["serialnumber"], row["email"]) for row in made["device_ownership"]}


def assert_nothing_appears(pipeline: Pipeline, retention: Retention, landed: Landing) -> Landing:
    before = pipeline.run(*landed)
    left = retention.left(landed)
    after = pipeline.run(*left)
    assert _owners(after) <= _owners(before)
    for name in PUBLISHED:
        assert _bag(after[name]) <= _bag(before[name]), name
    assert after["customer_trusted"] == before["customer_trusted"]
    assert pipeline.violations() == {}
    return left


@given(landing=landings(), data=st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_retention_makes_a_row_or_an_owner_appear(
    pipeline: Pipeline, retentions: dict[str, Retention], landing: Landing, data: st.DataObject
) -> None:
    """Deliveries are of any rows, but a person's records may not be suspended by what is left."""
    # A device's readings land in one or two parts, so that its owner changes by what is left.
    landed = as_landed(landing)
    for rows in (landed.accelerometer, landed.step_trainer):
        parts = data.draw(
            st.lists(st.sampled_from([OLD, NEW]), min_size=len(rows), max_size=len(rows))
        )
        rows[:] = [{**row, "landed_at": at} for row, at in zip(rows, parts, strict=True)]
    name = data.draw(st.sampled_from(sorted(retentions)))
    assert_nothing_appears(pipeline, retentions[name], landed._replace(quarantine=[]))


def _landed(rows: Rows, landed_at: int) -> Rows:
    return [{**row, "landed_at": landed_at} for row in rows]


def times(rows: Rows, column: str) -> list[int]:
    return sorted(row[column] - DAY for row in rows)


def _readings(old: dict[str, range], new: dict[str, range], serial: str = "d") -> tuple[Rows, Rows]:
    phones, sensors = [], []
    for people, landed_at in ((old, OLD), (new, NEW)):
        for person, at in people.items():
            phones += _landed(phone(person, *at), landed_at)
            sensors += _landed(device(serial, *at), landed_at)
    return phones, sensors


def test_evidence_stays_for_as_long_as_without_it_somebody_else_is_the_owner(
    pipeline: Pipeline, retentions: dict[str, Retention]
) -> None:
    """Ann had the device, Bob has it now: by all readings it is nobody's, by new ones Bob's."""
    phones, sensors = _readings({ANN: range(10)}, {BOB: range(20, 30)})
    landed = Landing([customer(ANN), customer(BOB)], phones, sensors, [])
    left = assert_nothing_appears(pipeline, retentions["by age"], landed)
    assert len(left.step_trainer) == len(sensors)
    assert len(left.accelerometer) == len(phones)


def test_claim_proves_no_owner_where_old_readings_spoke_against_it(
    pipeline: Pipeline, retentions: dict[str, Retention]
) -> None:
    phones, sensors = _readings({CY: range(6)}, {CY: range(10, 13)})
    sensors += _landed(device("d", *range(20, 40)), NEW)
    landed = Landing([customer(BOB, "d")], phones, sensors, [])
    left = assert_nothing_appears(pipeline, retentions["by age"], landed)
    assert len(left.step_trainer) == len(sensors)


def test_old_readings_of_a_device_that_stays_its_owners_go(
    pipeline: Pipeline, retentions: dict[str, Retention]
) -> None:
    phones, sensors = _readings({ANN: range(10)}, {ANN: range(20, 30)})
    phones += _landed(phone(CY, 25, 50), OLD)  # Cy was there when a reading was measured that stays
    landed = Landing([customer(ANN)], phones, sensors, [])
    left = assert_nothing_appears(pipeline, retentions["by age"], landed)
    assert times(left.step_trainer, "sensorreadingtime") == [*range(20, 30)]
    assert times(left.accelerometer, "timestamp") == sorted([*range(20, 30), 25])


def test_readings_of_who_never_consented_go_sooner(
    pipeline: Pipeline, retentions: dict[str, Retention]
) -> None:
    phones, sensors = _readings({ANN: range(10)}, {})
    of_cy = _readings({CY: range(40, 50)}, {}, "f")
    strangers = _landed(phone("guest@x.io", 5, 60), OLD)
    refuses = customer(CY, sharewithresearchasofdate=None)
    landed = Landing(
        [customer(ANN), refuses], [*phones, *of_cy[0], *strangers], [*sensors, *of_cy[1]], []
    )
    left = assert_nothing_appears(pipeline, retentions["refused"], landed)
    assert {row["serialnumber"] for row in left.step_trainer} == {"d"}
    assert times(left.accelerometer, "timestamp") == sorted([*range(10), 5])


def test_what_is_of_people_who_are_held_stays(
    pipeline: Pipeline, retentions: dict[str, Retention]
) -> None:
    phones, sensors = _readings({ANN: range(10)}, {})
    records = _landed([customer(ANN), customer(ANN, lastupdatedate=5)], OLD)
    hold = {"source": "hold", "source_file": "h", "position": 0, "raw": "", "reason": "held"}
    landed = Landing(records, phones, sensors, [{**hold, "landed_at": OLD, "person": ANN}])
    left = assert_nothing_appears(pipeline, retentions["by age"], landed)
    assert list(map(len, left)) == [2, 10, 10, 1]


def test_of_records_the_latest_of_a_person_and_serial_number_stays(
    pipeline: Pipeline, retentions: dict[str, Retention]
) -> None:
    def record(email: str, serial: str | None, updated: int, landed_at: int) -> dict[str, Any]:
        row = customer(email, serial, lastupdatedate=updated, registrationdate=1)
        return as_ingested({**row, "landed_at": landed_at})

    stay = [
        record(ANN, "d", 5, OLD),  # decides
        record(ANN, "e", 1, OLD),  # claimed it
        record(ANN, None, 2, OLD),
        record(BOB, "d", 1, NEW),  # young
        record(BOB, "d", 9, OLD),
        record(CY, None, 1, NEW),  # landed again
    ]
    go = [record(ANN, "d", 4, OLD), record(CY, None, 1, OLD)]
    left = assert_nothing_appears(pipeline, retentions["by age"], Landing([*go, *stay], [], [], []))

    def told(rows: Rows) -> Counter[tuple[Any, ...]]:
        return Counter(
            (r["email"], r["serialnumber"], r["lastupdatedate"], r["landed_at"]) for r in rows
        )

    assert told(left.customers) == told(stay)
