"""The deliveries of the benchmark's scenarios: that they have all that they promise."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree
from typing import Any

import duckdb
import pytest

from benchmarks import bare
from benchmarks.deliveries import SCENARIOS, write_delivery
from stedi_assets.sample.landing_files import SOURCES, Sample, write_sample

CUSTOMERS = 1_000

Objects = dict[str, list[dict[str, Any]]]  # by source


@dataclass
class World:
    """A sample, the delivery of each scenario, and the tables of the bare script of both."""

    folder: Path

    def objects(self, landing: str) -> Objects:
        return {
            source: [
                json.loads(line)
                for path in (self.folder / landing / source).rglob("*.json")
                for line in path.read_text(encoding="utf-8").splitlines()
            ]
            for source in SOURCES
        }

    def rows(self, tables: str, query: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.folder / f"{tables}.db"), read_only=True) as connection:
            return connection.execute(query).fetchall()

    def count(self, tables: str, table: str) -> int:
        return int(self.rows(tables, f"SELECT count(*) FROM {table}")[0][0])

    def owners(self, tables: str) -> dict[str, str]:
        query = "SELECT serialnumber, email FROM device_ownership"
        return {str(serial): str(email) for serial, email in self.rows(tables, query)}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    write_sample(folder / "sample", Sample(CUSTOMERS, files=3))
    bare.write_tables(str(folder / "sample"), str(folder / "sample.db"))
    for scenario in SCENARIOS:
        write_delivery(scenario, CUSTOMERS, folder / scenario)
        both = copytree(folder / "sample", folder / "both" / scenario)
        copytree(folder / scenario, both, dirs_exist_ok=True)
        bare.write_tables(str(both), str(folder / f"{scenario}.db"))
    return World(folder)


def consents(records: list[dict[str, Any]]) -> dict[str, bool]:
    """Whether each person's only record consents."""
    assert len({record["email"] for record in records}) == len(records)
    return {record["email"]: "shareWithResearchAsOfDate" in record for record in records}


def people_of(objects: Objects) -> Iterator[str]:
    yield from (row["user"] for row in objects["accelerometer"] if "user" in row)


# The day


def test_a_day_brings_one_percent_new_readings(world: World) -> None:
    there, new = world.objects("sample"), world.objects("mixed")
    of = {source: len(new[source]) / len(there[source]) for source in SOURCES[1:]}
    assert 0.9 / 100 < of["accelerometer"] < 1.1 / 100
    assert 0.9 / 100 < of["step_trainer"] < 1.1 / 100
    readings = sum(len(new[s]) for s in of) / sum(len(there[s]) for s in of)
    assert 0.99 / 100 < readings < 1.01 / 100


@pytest.mark.parametrize("customers", [1_500, 10_000])
def test_a_day_brings_one_percent_new_readings_at_other_sizes(
    customers: int, tmp_path: Path
) -> None:
    write_delivery("mixed", customers, tmp_path)
    new = World(tmp_path).objects("")
    assert len(new["accelerometer"]) == pytest.approx(customers * 90 / 100, rel=0.1)
    assert len(new["step_trainer"]) == pytest.approx(customers * 30 / 100, rel=0.1)
    assert len(new["customer"]) >= customers * (0.004 + 0.001 + 0.001)


def test_readings_of_a_day_are_of_new_people_and_of_old_and_some_late(world: World) -> None:
    there, new = world.objects("sample"), world.objects("mixed")
    old = set(people_of(there))
    covered = max(row["timestamp"] for row in there["accelerometer"])
    kinds = Counter(
        (row.get("user") in old, row["timestamp"] <= covered)
        for row in new["accelerometer"]
        if "user" in row
    )
    whole = len(new["accelerometer"])
    assert kinds[False, False] + kinds[False, True] > 0.2 * whole
    assert kinds[True, True] > 0.1 * whole
    assert kinds[True, False] > 0.1 * whole
    newcomers = set(people_of(new)) - old
    assert newcomers <= {record["email"] for record in new["customer"]}
    assert not newcomers & {record["email"] for record in there["customer"]}


def test_late_readings_repeat_no_time_of_their_device(world: World) -> None:
    of = {
        name: {
            (row["serialNumber"], row["sensorReadingTime"])
            for row in world.objects(name)["step_trainer"]
        }
        for name in ("sample", "mixed")
    }
    assert not of["sample"] & of["mixed"]
    assert len(of["mixed"]) == len(world.objects("mixed")["step_trainer"])


def test_in_a_day_people_withdraw_and_others_consent(world: World) -> None:
    before = consents(world.objects("sample")["customer"])
    records = world.objects("mixed")["customer"]
    after = {email: said for email, said in consents(records).items() if email in before}
    changes = Counter((before[email], said) for email, said in after.items())
    assert changes[True, False] == changes[False, True] == CUSTOMERS / 1_000
    trusted = {
        name: {email for (email,) in world.rows(name, "SELECT email FROM customer_trusted")}
        for name in ("sample", "mixed")
    }
    for email, said in after.items():
        assert (email.lower() in trusted["mixed"]) == said
        assert (email.lower() in trusted["sample"]) == before[email]


def test_in_a_day_a_device_gets_another_owner_and_one_loses_its_own(world: World) -> None:
    before, after = world.owners("sample"), world.owners("mixed")
    moved = {serial for serial in before.keys() & after.keys() if before[serial] != after[serial]}
    assert len(moved) == 1
    assert len(before.keys() - after.keys()) == 1
    claimed = {record.get("serialNumber") for record in world.objects("mixed")["customer"]}
    assert before.keys() - after.keys() <= claimed


def test_nameless_readings_belong_to_who_claims_the_device(world: World) -> None:
    nameless = [row for row in world.objects("mixed")["accelerometer"] if "user" not in row]
    assert nameless
    query = "SELECT DISTINCT serialnumber FROM accelerometer_trusted WHERE serialnumber IS NOT NULL"
    assert {row["serialNumber"] for row in nameless} == {
        serial for (serial,) in world.rows("mixed", query)
    }


# The others


def test_withdrawals_are_ten_people_who_consented_and_nothing_else(world: World) -> None:
    new = world.objects("withdrawals")
    before = consents(world.objects("sample")["customer"])
    assert {source: len(rows) for source, rows in new.items() if rows} == {"customer": 10}
    assert {before[email] for email in consents(new["customer"])} == {True}
    fallen = world.count("sample", "customer_trusted") - world.count(
        "withdrawals", "customer_trusted"
    )
    assert fallen == 10
    assert world.count("withdrawals", "machine_learning_curated") < world.count(
        "sample", "machine_learning_curated"
    )


def test_one_file_has_a_thousand_readings_of_people_who_consent(world: World) -> None:
    new = world.objects("one_file")
    assert {source: len(rows) for source, rows in new.items() if rows} == {"accelerometer": 1_000}
    assert len([*(world.folder / "one_file").rglob("*.json")]) == 1
    before = consents(world.objects("sample")["customer"])
    assert {before[email] for email in people_of(new)} == {True}
    assert len(set(people_of(new))) == 100
    grown = {
        table: world.count("one_file", table) - world.count("sample", table)
        for table in ("accelerometer_trusted", "machine_learning_curated")
    }
    assert grown == {"accelerometer_trusted": 1_000, "machine_learning_curated": 500}


# All


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_same_arguments_write_the_same_bytes(world: World, tmp_path: Path, scenario: str) -> None:
    write_delivery(scenario, CUSTOMERS, tmp_path)
    first = sorted((world.folder / scenario).rglob("*.json"))
    second = sorted(tmp_path.rglob("*.json"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_delivery_neither_meets_a_file_of_the_sample_nor_overwrites_its_own(world: World) -> None:
    sample = {path.name for path in (world.folder / "sample").rglob("*.json")}
    for scenario in SCENARIOS:
        assert not sample & {path.name for path in (world.folder / scenario).rglob("*.json")}
        with pytest.raises(FileExistsError):
            write_delivery(scenario, CUSTOMERS, world.folder / scenario)


def test_too_few_customers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1,000 customers"):
        write_delivery("mixed", 999, tmp_path)
