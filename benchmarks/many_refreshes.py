"""What a refresh takes after many small ones, with a vacuum as at night every so many of them.

Each refresh takes in some 1,000 rows in a file for each source: new people with their readings,
somebody who withdraws, and an object that cannot be read. Every table is derived from what changed.

    python -m benchmarks.many_refreshes FOLDER [REFRESHES] [--customers N] [--vacuum-every N]

Prints a line of JSON for each refresh: seconds of CPU of the refresh, of `status` and of a look
whether anything is new, and how many data files the published tables have.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg

from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.retention import vacuum
from stedi_assets.refresh import method
from stedi_assets.refresh.plan import look_ahead
from stedi_assets.report.status import status
from stedi_assets.resources import open_lakehouse
from stedi_assets.sample.landing_files import Sample, write_sample
from stedi_assets.settings import Settings

PEOPLE, TIMES = 8, 30
"""New people of a delivery, and the times at which the device of each of them has a reading."""
BEGINNING = 1_700_000_000_000


def deliver(landing: Path, number: int) -> None:
    """Write a delivery: some 1,000 rows."""
    first = BEGINNING + number * 86_400_000
    people = [(f"new{number}_{i}@example.com", f"device-{number}-{i}") for i in range(PEOPLE)]
    customers = [
        {
            "email": email,
            "serialNumber": serial,
            "registrationDate": first,
            "lastUpdateDate": first,
            "shareWithResearchAsOfDate": first,
        }
        for email, serial in people
    ]
    gone = f"new{number - 1}_0@example.com"
    customers.append(
        {"email": gone, "registrationDate": 1_700_000_000_000, "lastUpdateDate": first}
    )
    times = {
        serial: [first + 1_000 * i + 100_000 * n for n in range(TIMES)]
        for i, (_, serial) in enumerate(people)
    }
    phone = [
        {"user": email, "timeStamp": time + late, "x": 0.1 * late, "y": 0.2, "z": 0.3}
        for email, serial in people
        for time in times[serial]
        for late in (0, 7, 13)
    ]
    sensor: list[dict[str, Any]] = [
        {"serialNumber": serial, "sensorReadingTime": time, "distanceFromObject": 200}
        for _, serial in people
        for time in times[serial]
    ]
    sensor.append({"serialNumber": people[0][1]})
    for source, rows in {
        "customer": customers,
        "accelerometer": phone,
        "step_trainer": sensor,
    }.items():
        path = landing / source / "landing" / f"delivery-{number:05}.json"
        path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def measured(work: Callable[[], object]) -> float:
    """Seconds of CPU that something takes in this process."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    work()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 3)


def refresh(settings: Settings) -> None:
    """Bring every table up to date.

    Raises:
        RuntimeError: It failed.
    """
    job = lakehouse_definitions(settings).resolve_job_def("refresh_lakehouse")
    with dg.DagsterInstance.ephemeral() as instance:
        if not job.execute_in_process(instance=instance, raise_on_error=False).success:
            raise RuntimeError("The refresh failed.")


def numbers(settings: Settings) -> dict[str, Any]:
    """What there is of the published tables, and what was made anew."""
    lakehouse = open_lakehouse(settings)
    published = {name: state.published for name, state in lakehouse.catalog.tables().items()}
    found = [snapshot for snapshot in published.values() if snapshot]
    metadata = [lakehouse.catalog.metadata_location(name) for name in published]
    return {
        "files": sum(len(snapshot.files) for snapshot in found),
        "most_files": max(len(snapshot.files) for snapshot in found),
        "rows": sum(snapshot.rows for snapshot in found),
        "metadata_kb": sum(Path(path).stat().st_size for path in metadata) // 1_000,
        "anew": [s.table for s in found if s.properties.get("made", "").startswith("anew")],
    }


def look(settings: Settings) -> None:
    """Look whether anything is new, as the sensor does."""
    look_ahead(open_lakehouse(settings), settings, policy_of(settings))


def at_night(lakehouse: Lakehouse, settings: Settings) -> None:
    """What the vacuum at night does."""
    with lakehouse.locked(print):
        vacuum(lakehouse, settings, timedelta(0))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("refreshes", type=int, nargs="?", default=60)
    parser.add_argument("--customers", type=int, default=3_000)
    parser.add_argument("--vacuum-every", type=int, default=20, help="0 for never")
    parser.add_argument("--retention", default="7d", help="As STEDI_RETENTION.")
    options = parser.parse_args()
    method.FEW_BYTES = 0  # so that such small tables are derived from what changed
    landing = options.folder / "landing"
    write_sample(landing, Sample(options.customers))
    settings = Settings.load(
        landing=str(landing),
        lakehouse=str(options.folder / "lakehouse"),
        pseudonym_key="a key for measurements, of 32 characters or more",
        retention=options.retention,
    )
    print(json.dumps({"refresh": 0, "cpu": measured(lambda: refresh(settings))}), flush=True)
    for number in range(1, options.refreshes + 1):
        deliver(landing, number)
        began = time.perf_counter()
        line: dict[str, Any] = {"refresh": number, "cpu": measured(lambda: refresh(settings))}
        line["seconds"] = round(time.perf_counter() - began, 3)
        line["look"] = measured(lambda: look(settings))
        line["status"] = measured(lambda: status(settings))
        line |= numbers(settings)
        if options.vacuum_every and number % options.vacuum_every == 0:
            line["vacuum"] = measured(lambda: at_night(open_lakehouse(settings), settings))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
