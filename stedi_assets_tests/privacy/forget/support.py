"""People with devices, and a search for them that shares no code with the package's."""

import json
import sqlite3
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
from pyiceberg.avro.file import AvroFile
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.typedef import Record

from stedi_assets.privacy.certificate import Certificate
from stedi_assets.privacy.forget import forget
from stedi_assets.read import read_table
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.support import (
    TABLES,
    customer,
    deliver,
    device,
    phone,
    subject_id,
)

ANN, BOB, CY, DI, ED = (f"{name}@people.io" for name in ("ann", "bob", "cy", "di", "ed"))
PEOPLE = (ANN, BOB, CY, DI, ED)
LANDING = "landing"
SHARED_DEVICE = "serial-of-di-and-ed"

Rows = dict[str, Counter[str]]


def serial(email: str) -> str:
    return f"serial-of-{email.partition('@')[0]}-alone"


def words_of(email: str) -> dict[str, str]:
    """What is told of a person, each text found nowhere else."""
    name, number = email.partition("@")[0], PEOPLE.index(email)
    return {
        "email": email,
        "customername": f"Full Name of {name.title()}",
        "phone": f"+49 30 90182{number}4711",
        "birthday": f"19{number}1-02-03",
        "serialnumber": serial(email),
    }


def record(email: str, time: int = 0, **fields: Any) -> dict[str, Any]:
    dates = {"registrationdate": time, "lastupdatedate": time}
    return customer(**{**words_of(email), **dates, **fields})


def times_of(email: str) -> range:
    first = 100 * PEOPLE.index(email)
    return range(first, first + 10)


def deliver_people(landing: Path, *people: str, name: str = "first.json", **fields: Any) -> None:
    """All people in one file of each source; Cy does not consent."""
    deliver(
        landing,
        name,
        customer=[
            record(one, **{"sharewithresearchasofdate": None if one == CY else 1, **fields})
            for one in people
        ],
        accelerometer=[reading for one in people for reading in phone(one, *times_of(one))],
        step_trainer=[row for one in people for row in device(serial(one), *times_of(one))],
    )


def forget_people(settings: Settings, *emails: str, **how: Any) -> Certificate:
    lakehouse = open_lakehouse(settings)
    with lakehouse.locked(print):
        return forget(emails, lakehouse, settings, **how)


def rows_of(settings: Settings) -> Rows:
    """All rows of each table, but for how often by chance another user was there."""
    found = {}
    for name in TABLES:
        rows = read_table(name, settings=settings).to_pyarrow().to_pylist()
        found[name] = Counter(
            json.dumps({k: v for k, v in row.items() if k != "runner_up_matched"}, sort_keys=True)
            for row in rows
        )
    return found


def of_others(rows: Rows, *emails: str) -> Rows:
    """The rows in which nothing of these people stands."""
    words = [*(word for one in emails for word in words_of(one).values()), *map(subject_id, emails)]
    return {
        name: Counter({row: n for row, n in counted.items() if not any(w in row for w in words)})
        for name, counted in rows.items()
    }


# The search


def places(folder: Path, words: Iterable[str], *without: str) -> list[str]:
    """Files below a folder in which one of the words stands, packed or encoded content included."""
    wanted = [word.lower() for word in words]
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file()
        and not any(path.is_relative_to(folder / each) for each in without)
        and any(word in text.lower() for text in texts_of(path) for word in wanted)
    )


def texts_of(path: Path) -> Iterator[str]:
    content = path.read_bytes()
    yield content.decode("latin-1")
    yield content.decode("utf-8", "replace")
    yield content.decode("utf-16-le", "replace")
    if content.startswith(b"PAR1"):
        yield str(duckdb.read_parquet(str(path)).fetchall())
        yield str(duckdb.execute("FROM parquet_metadata(?)", [str(path)]).fetchall())
    elif content.startswith(b"\x1f\x8b"):
        yield zlib.decompressobj(31).decompress(content).decode("utf-8", "replace")
    elif content.startswith(b"Obj\x01"):
        with AvroFile[Record](PyArrowFileIO().new_input(str(path))) as records:
            yield " ".join(str([row[i] for i in range(len(row))]) for row in records)
    elif content.startswith(b"SQLite format 3"):
        with closing(sqlite3.connect(path)) as database:
            yield "\n".join(database.iterdump())


def names_of(*emails: str) -> list[str]:
    """What must be nowhere any more."""
    return [
        *map(subject_id, emails),
        *(word for email in emails for kind, word in words_of(email).items() if kind != "birthday"),
    ]


def assert_forgotten(settings: Settings, folder: Path, before: Rows, *emails: str) -> None:
    """Nothing of these people is anywhere, and all else is as before."""
    assert places(folder, names_of(*emails), LANDING) == []
    after, expected = rows_of(settings), of_others(before, *emails)
    # What names others, too, stays without its text: it suspends these.
    assert after["quarantine"] >= expected["quarantine"]
    for row in after.pop("quarantine") - expected.pop("quarantine"):
        assert (json.loads(row)["raw"], json.loads(row)["person"]) == ("", ED)
    assert after == expected


def theirs(settings: Settings, email: str) -> dict[str, int]:
    rows = {
        name: read_table(name, settings=settings).to_pandas()
        for name in ("customer_landing", "accelerometer_landing", "step_trainer_landing")
    }
    return {
        "customer": int((rows["customer_landing"].person == email).sum()),
        "accelerometer": int((rows["accelerometer_landing"].person == email).sum()),
        "step_trainer": int((rows["step_trainer_landing"].serialnumber == serial(email)).sum()),
    }


class KilledError(BaseException):
    """Nothing after it is done."""
