"""Who is held, in files: people whose data is kept and used nowhere, until they are released.

A hold is a Parquet file of its own with one row of `quarantine`. It is no part of a table, since
what makes tables anew must not lose it; `quarantine` has it beside what could not be read. A file
that stands beside it says that the person was released: states of `quarantine` from before still
have the hold, so it stays until these have gone.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets.lakehouse.faults import damaged
from stedi_assets.lakehouse.storage.storage import Storage
from stedi_assets.lakehouse.table import LANDED_AT, PERSON

_ENDING, _RELEASED = ".parquet", ".released"


@dataclass(frozen=True)
class Hold:
    """A hold that was not released.

    Attributes:
        file: Its Parquet file.
        held_at: Since when, in epoch milliseconds.
    """

    file: str
    person: str
    held_at: int


def folder_of_holds(root: str) -> str:
    """Where the holds of a lakehouse are: in the landing zone, for those who may read that."""
    return f"{root}/warehouse/landing/holds"


def held_files(storage: Storage) -> frozenset[str]:
    """The files of the holds that were not released; none is opened."""
    locations = {file.location for file in storage.files(folder_of_holds(storage.root))}
    return frozenset(
        each
        for each in locations
        if each.endswith(_ENDING) and f"{each}{_RELEASED}" not in locations
    )


def files_of_all_holds(storage: Storage) -> list[str]:
    """The files of all holds that are still there, also of those that were released."""
    locations = [file.location for file in storage.files(folder_of_holds(storage.root))]
    return [each for each in locations if each.endswith(_ENDING)]


def read_holds(storage: Storage) -> list[Hold]:
    """The holds that were not released.

    Raises:
        DamagedError: One cannot be read.
    """
    holds = []
    for file in sorted(held_files(storage)):
        with damaged("A hold"), storage.io.new_input(file).open() as stream:
            rows = pq.read_table(pa.BufferReader(stream.read()), columns=[PERSON, LANDED_AT])
        holds += [Hold(file, row[PERSON], row[LANDED_AT]) for row in rows.to_pylist()]
    return holds


def write_hold(storage: Storage, row: Mapping[str, Any], schema: pa.Schema) -> None:
    """Hold a person: write a row of `quarantine` that says so."""
    path = f"{folder_of_holds(storage.root)}/{uuid4().hex}{_ENDING}"
    content = _parquet(row, schema)  # before there is a file: a damaged hold lets nobody through
    with storage.replacing(path) as file:
        file.write(content)


def _parquet(row: Mapping[str, Any], schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([dict(row)], schema), sink)
    return bytes(sink.getvalue())


def release_holds(storage: Storage, holds: Collection[Hold]) -> None:
    """Note that holds were released."""
    for each in holds:
        with storage.io.new_output(f"{each.file}{_RELEASED}").create(overwrite=True) as file:
            file.write(b"")


def drop_released(storage: Storage, in_use: Callable[[], Collection[str]]) -> None:
    """Delete released holds that no state of `quarantine` has any more.

    Args:
        storage: Where they are.
        in_use: Gives the files that states of `quarantine` have; asked where any was released.
    """
    locations = {file.location for file in storage.files(folder_of_holds(storage.root))}
    gone = locations - held_files(storage)
    if not gone:
        return
    kept = set(in_use())
    # The hold goes before the note that it was released: without that it would count again.
    for location in sorted(gone):
        if location.removesuffix(_RELEASED) not in kept:
            storage.io.delete(location)
