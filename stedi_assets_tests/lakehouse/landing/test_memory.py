"""However large a landing file is, and whatever is in it, the memory it takes is bounded."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from stedi_assets_tests.lakehouse.landing.records import ONE

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

MEBIBYTE = 1 << 20
SIZE, LINES = 80 * MEBIBYTE, 200 * MEBIBYTE
"""Of a file that is one object, and of a file of long lines."""
LITTLE, BLOCKS, WRITTEN, PARSED = 70, 190, 450, 700
"""Mebibytes: less than the file, what is read of lines at a time, what eight writers hold, what the
values of 16 MB of JSON take."""

PARSE = """
import json, resource, sys
from pathlib import Path
from stedi_assets.lakehouse.engines.duckdb import DuckDBEngine
from stedi_assets.lakehouse.landing.ledger import LandingFolder
from stedi_assets.lakehouse.landing.reader import parse
from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.tables import TABLES
from stedi_assets.tables.policy import Policy

root = Path(sys.argv[1])
storage = LocalStorage(root / "lakehouse")
engine = DuckDBEngine(storage, threads=2)
tables = {table.name: table.table(Policy()) for table in TABLES}

def parsed(path):
    return parse(
        engine, [path], landing=LandingFolder(str(root), storage), source="accelerometer",
        table=tables["accelerometer_landing"], quarantine=tables["quarantine"],
        folder=f"{root}/rows", rejects=f"{root}/rejects", landed_at=1_656_000_000_000,
    ).counts[path]

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

parsed("small.json")
before = peak()
counts = parsed("large.json")
print(json.dumps([counts.rows, counts.quarantined, counts.reason, peak() - before]))
"""


def repeated(
    piece: bytes, begin: bytes = b"", end: bytes = b"", size: int = SIZE
) -> Iterable[bytes]:
    block = piece * (MEBIBYTE // len(piece))
    return [begin, *[block] * (size // MEBIBYTE), end]


def long_lines() -> bytes:
    """A long line of each way to spell the keys, of as many as are written at the same time."""
    keys = ("user", "timestamp", "x", "y", "z")
    spelled = [ONE.replace(f'"{key}"', f'"{key.upper()}"') for key in keys] + [
        ONE.replace('"user"', f'"{user}"') for user in ("User", "uSer", "usEr")
    ]
    return b"".join(f'{one[:-1]}, "note": "{"x" * 100_000}"}}\n'.encode() for one in spelled)


CONTENTS = {
    "letters without a line end": (repeated(b"x"), 0, 1, LITTLE),
    "blanks": (repeated(b" "), 0, 0, LITTLE),
    "braces": (repeated(b"\\" * 64, b"{"), 0, 1, LITTLE),
    "a text that never ends": (repeated(b"x", b'{"user":"'), 0, 1, LITTLE),
    "a long object, and a short one": (
        repeated(b"x", b'{"a":"', f'"}}{ONE}'.encode()),
        1,
        1,
        LITTLE,
    ),
    "numbers in an array": (repeated(b"1,", b'{"user":['), 0, 1, PARSED),
    "objects in an array": (repeated(b'{"a":[]},', b'{"user":['), 0, 1, PARSED),
    "pretty-printed": (repeated(b'\n"a":1,', b'{"user":{'), 0, 1, PARSED),
    "long lines": (repeated(long_lines(), size=3 * LINES), 4_800, 0, WRITTEN),
    "long lines that are broken": (
        repeated(b"{" + b"x" * 65_000 + b"\n", size=LINES),
        0,
        3_200,
        BLOCKS,
    ),
}


@pytest.mark.parametrize(
    ("content", "rows", "rejects", "most"), CONTENTS.values(), ids=CONTENTS.keys()
)
def test_memory_is_bounded(
    tmp_path: Path, content: Iterable[bytes], rows: int, rejects: int, most: int
) -> None:
    (tmp_path / "small.json").write_text(f"{ONE}\noops\n")
    with gzip.open(tmp_path / "large.json", "wb", compresslevel=1) as file:
        file.writelines(content)
    command = [sys.executable, "-c", PARSE, str(tmp_path)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(said)
    assert found[:2] == [rows, rejects]
    assert found[3] < most
    if rejects == 1:
        assert found[2].startswith(f"longer than 16 MB: {SIZE:,}"[:23])
