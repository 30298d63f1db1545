"""The synthetic landing files: what they hold, and that each switch shows in them."""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest

from stedi_assets.lakehouse.progress import Progress
from stedi_assets.sample.landing_files import (
    SHARED_SERIALS,
    SOURCES,
    Sample,
    SampleSummary,
    write_sample,
)

if TYPE_CHECKING:
    from pathlib import Path

Landing = dict[str, list[list[dict[str, Any]]]]  # the objects of each clean file, by source


def write(folder: Path, **options: Any) -> tuple[SampleSummary, Landing]:
    small: dict[str, Any] = {"customers": 200, "files": 3}
    sample = Sample(**(small | options))
    summary = write_sample(folder, sample)
    return summary, {
        source: [
            [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
            for path in (
                folder / source / "landing" / f"{source}-{number}.json"
                for number in range(1, sample.files + 1)
            )
        ]
        for source in SOURCES
    }


def flat(files: list[list[dict[str, Any]]]) -> list[dict[str, Any]]:
    return [row for rows in files for row in rows]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def by_person(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    people = defaultdict(list)
    for record in records:
        people[record["email"].strip().lower()].append(record)
    return people


def latest(records: list[dict[str, Any]]) -> dict[str, Any]:
    return max(
        records,
        key=lambda record: (record["lastUpdateDate"], "shareWithResearchAsOfDate" not in record),
    )


EVERY_DEFECT: dict[str, Any] = {
    "shared_serials": True,
    "changing_consent": True,
    "malformed": True,
    "late_readings": True,
}


def test_same_options_write_the_same_bytes(tmp_path: Path) -> None:
    # Enough rows for DuckDB to split them among threads, whose order must not show.
    sample = Sample(customers=2_000, files=2, **EVERY_DEFECT)
    write_sample(tmp_path / "one", sample)
    write_sample(tmp_path / "two", sample)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_another_seed_draws_other_people_and_devices(tmp_path: Path) -> None:
    _, one = write(tmp_path / "one", seed=1)
    _, two = write(tmp_path / "two", seed=2)
    for source, key in [("customer", "serialNumber"), ("accelerometer", "timestamp")]:
        first, second = ({row[key] for row in flat(sample[source])} for sample in (one, two))
        assert len(first & second) < len(first) / 10


def test_summary_counts_what_is_in_the_files(tmp_path: Path) -> None:
    summary, landing = write(tmp_path)
    assert summary.objects == {source: len(flat(landing[source])) for source in SOURCES}
    assert summary.objects == {"customer": 200, "accelerometer": 18_000, "step_trainer": 6_000}
    assert set(summary.unreadable.values()) == {0}
    files = contents(tmp_path)
    assert (summary.files, summary.bytes_written) == (9, sum(map(len, files.values())))
    assert len(files) == summary.files


def test_names_and_emails_are_unique_and_some_names_are_not_ascii(tmp_path: Path) -> None:
    _, landing = write(tmp_path)
    customers = flat(landing["customer"])
    assert len({customer["customerName"] for customer in customers}) == len(customers)
    assert len({customer["email"].lower() for customer in customers}) == len(customers)
    assert all(customer["email"].isascii() for customer in customers)
    assert any(not customer["customerName"].isascii() for customer in customers)
    assert any(customer["birthDay"].startswith("0") for customer in customers)


@pytest.mark.parametrize(("share", "consenting"), [(0, 0), (0.25, 50), (1, 200)])
def test_consent_share_is_met_and_others_lack_the_key(
    tmp_path: Path, share: float, consenting: int
) -> None:
    _, landing = write(tmp_path, consent_share=share)
    customers = flat(landing["customer"])
    assert sum("shareWithResearchAsOfDate" in customer for customer in customers) == consenting
    assert None not in {value for customer in customers for value in customer.values()}


@pytest.mark.parametrize("changing_consent", [False, True])
def test_dates_of_a_record_are_in_order(tmp_path: Path, changing_consent: bool) -> None:
    _, landing = write(tmp_path, changing_consent=changing_consent)
    for record in flat(landing["customer"]):
        joined, updated = record["registrationDate"], record["lastUpdateDate"]
        assert joined <= record.get("shareWithResearchAsOfDate", joined) <= updated


def test_some_consent_in_the_midst_of_their_readings(tmp_path: Path) -> None:
    _, landing = write(tmp_path)
    times = defaultdict(list)
    for reading in flat(landing["accelerometer"]):
        times[reading["user"]].append(reading["timestamp"])
    consented = {
        customer["email"]: customer["shareWithResearchAsOfDate"]
        for customer in flat(landing["customer"])
        if "shareWithResearchAsOfDate" in customer and customer["email"] in times
    }
    within = [min(times[user]) < date < max(times[user]) for user, date in consented.items()]
    assert 0 < sum(within) < len(within) / 2


def test_phone_has_three_distinct_readings_at_each_time_of_its_owners_device(
    tmp_path: Path,
) -> None:
    _, landing = write(tmp_path)
    owner = {record["serialNumber"]: record["email"] for record in flat(landing["customer"])}
    phone = defaultdict(list)
    for reading in flat(landing["accelerometer"]):
        phone[reading["user"], reading["timestamp"]].append(
            (reading["x"], reading["y"], reading["z"])
        )
    assert {(len(values), len(set(values))) for values in phone.values()} == {(3, 3)}
    assert all(-1 <= axis <= 1 for values in phone.values() for value in values for axis in value)

    steps = flat(landing["step_trainer"])
    measured = {
        (owner[step["serialNumber"]], step["sensorReadingTime"])
        for step in steps
        if step["serialNumber"] in owner
    }
    assert measured <= phone.keys()
    # The rest comes from second devices: four of 200 customers have one, and four never measured.
    unclaimed = {step["serialNumber"] for step in steps} - owner.keys()
    silent = set(owner.values()) - {user for user, _ in phone}
    assert (len(unclaimed), len(silent)) == (4, 4)
    assert all(isinstance(step["distanceFromObject"], int) for step in steps)


def test_different_people_share_milliseconds(tmp_path: Path) -> None:
    _, landing = write(tmp_path)
    users = defaultdict(set)
    for reading in flat(landing["accelerometer"]):
        users[reading["timestamp"]].add(reading["user"])
    assert any(len(sharing) > 1 for sharing in users.values())


def test_shared_serials_are_on_all_records_and_on_no_device(tmp_path: Path) -> None:
    _, right = write(tmp_path / "right")
    _, wrong = write(tmp_path / "wrong", shared_serials=True)
    claimed = {record["serialNumber"] for record in flat(wrong["customer"])}
    devices = {step["serialNumber"] for step in flat(wrong["step_trainer"])}
    assert len(claimed) == SHARED_SERIALS
    assert not claimed & devices
    assert wrong["step_trainer"] == right["step_trainer"]
    assert wrong["accelerometer"] == right["accelerometer"]


def test_changing_consent_gives_some_customers_several_records(tmp_path: Path) -> None:
    summary, landing = write(tmp_path, changing_consent=True, customers=1_000)
    people = by_person(flat(landing["customer"]))
    several = {email: records for email, records in people.items() if len(records) > 1}
    assert len(people) == summary.customers
    assert 1 / 20 < len(several) / len(people) < 1 / 5
    for records in several.values():
        assert {"shareWithResearchAsOfDate" in record for record in records} == {True, False}
    consenting = sum("shareWithResearchAsOfDate" in latest(records) for records in people.values())
    assert consenting / len(people) == 1 / 2

    spellings = {record["email"] for record in flat(landing["customer"])}
    assert any(email != email.strip() for email in spellings)
    assert any(email.isupper() for email in spellings)
    ties = [len({record["lastUpdateDate"] for record in rows}) == 1 for rows in several.values()]
    assert 0 < sum(ties) < len(ties) / 2


def test_older_records_can_arrive_in_later_files(tmp_path: Path) -> None:
    _, landing = write(tmp_path, changing_consent=True)
    arrived = {
        id(record): number for number, rows in enumerate(landing["customer"]) for record in rows
    }
    people = by_person(flat(landing["customer"]))
    assert any(
        arrived[id(record)] > arrived[id(latest(records))]
        for records in people.values()
        for record in records
    )


@pytest.mark.parametrize(
    ("source", "time"), [("accelerometer", "timestamp"), ("step_trainer", "sensorReadingTime")]
)
def test_readings_arrive_by_time_unless_late(tmp_path: Path, source: str, time: str) -> None:
    _, punctual = write(tmp_path / "punctual")
    _, late = write(tmp_path / "late", late_readings=True)
    for earlier, later in zip(punctual[source], punctual[source][1:], strict=False):
        assert max(row[time] for row in earlier) < min(row[time] for row in later)

    def arrivals(landing: Landing) -> dict[str, int]:
        return {
            json.dumps(row): number for number, rows in enumerate(landing[source]) for row in rows
        }

    due, arrived = arrivals(punctual), arrivals(late)
    assert due.keys() == arrived.keys()
    assert all(arrived[row] >= due[row] for row in due)
    assert 0 < sum(arrived[row] > due[row] for row in due) < len(due) / 10


@pytest.mark.parametrize("source", SOURCES)
def test_malformed_leaves_the_clean_files_alone(tmp_path: Path, source: str) -> None:
    _, clean = write(tmp_path / "clean")
    _, bad = write(tmp_path / "bad", malformed=True)
    assert bad[source] == clean[source]


@pytest.mark.parametrize("source", SOURCES)
def test_malformed_files_have_the_known_shapes(tmp_path: Path, source: str) -> None:
    write(tmp_path, malformed=True)
    folder = tmp_path / source / "landing"

    def body(shape: str) -> bytes:
        return (folder / f"{source}-{shape}").read_bytes()

    assert all(line.endswith(b"},") for line in body("trailing-commas.json").splitlines())
    assert any(line.count(b"{") > 1 for line in body("several-on-a-line.json").splitlines())
    assert b"}{" in body("no-separators.json")
    assert b"\n" not in body("no-separators.json")
    assert isinstance(json.loads(body("array.json")), list)
    windows = body("windows.json")
    assert windows.startswith(b"\xef\xbb\xbf")
    assert b"}\r\n\r\n{" in windows
    assert windows.endswith(b"}")
    assert not body("cut-off.json").endswith((b"}", b"\n"))
    assert gzip.decompress(body("intact.json.gz")).splitlines()
    with pytest.raises(EOFError):
        gzip.decompress(body("cut-off.json.gz"))
    assert body("empty.json") == b""
    assert all("firmware" in json.loads(line) for line in body("other-keys.json").splitlines())
    assert b"\n<html>" in body("garbage.json")
    assert b"NaN" in body("wrong-values.json")


def test_malformed_readings_belong_to_customers_and_are_new(tmp_path: Path) -> None:
    _, landing = write(tmp_path, malformed=True)
    devices = {step["serialNumber"] for step in flat(landing["step_trainer"])}
    text = (tmp_path / "step_trainer/landing/step_trainer-array.json").read_text(encoding="utf-8")
    added = json.loads(text)
    assert {step["serialNumber"] for step in added} <= devices
    seen = Counter(
        (step["serialNumber"], step["sensorReadingTime"])
        for step in [*flat(landing["step_trainer"]), *added]
    )
    assert max(seen.values()) == 1


def test_unreadable_share_stays_far_below_what_stops_a_publication(tmp_path: Path) -> None:
    summary = write_sample(tmp_path, Sample(malformed=True))
    for source in SOURCES:
        unreadable = summary.unreadable[source]
        assert 0 < unreadable / (summary.objects[source] + unreadable) < 1 / 50


def test_existing_file_is_never_overwritten(tmp_path: Path) -> None:
    existing = tmp_path / "step_trainer" / "landing" / "step_trainer-2.json"
    existing.parent.mkdir(parents=True)
    existing.write_text("mine")
    with pytest.raises(FileExistsError, match="overwrites nothing"):
        write_sample(tmp_path, Sample(customers=1))
    assert contents(tmp_path) == {str(existing.relative_to(tmp_path)): b"mine"}


def test_folder_with_quotes_and_blanks_in_its_name_is_written(tmp_path: Path) -> None:
    summary, _ = write(tmp_path / "o'clock {0} data", customers=1)
    assert summary.objects == {"customer": 1, "accelerometer": 90, "step_trainer": 30}


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("customers", 0),
        ("customers", 10**9),
        ("consent_share", 1.1),
        ("consent_share", -0.1),
        ("consent_share", float("nan")),
        ("files", 0),
    ],
)
def test_option_out_of_range_is_refused(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{option} must be"):
        Sample(**{option: value})


def test_late_readings_need_a_later_file() -> None:
    with pytest.raises(ValueError, match="at least 2 files"):
        Sample(files=1, late_readings=True)


def test_sample_that_ends_early_leaves_no_file(tmp_path: Path) -> None:
    class Interrupted(Progress):
        def begin(self, work: str, total: int = 0, size: int = 0) -> None:
            if work == "writing step_trainer files":
                assert [path for path in tmp_path.rglob("*") if path.is_file()]
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, Sample(customers=2), Interrupted())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
    assert write_sample(tmp_path, Sample(customers=2)).files
