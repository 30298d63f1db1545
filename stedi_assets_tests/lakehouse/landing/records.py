"""Objects of landing files, and the readers of them that tests compare."""

from __future__ import annotations

import json
from io import BytesIO
from typing import TYPE_CHECKING, Any

from stedi_assets.lakehouse.landing.buffer import TextBuffer
from stedi_assets.lakehouse.landing.rows import Rows
from stedi_assets.lakehouse.landing.text import read_blocks, text_blocks
from stedi_assets.lakehouse.landing.unreadable import Unreadable
from stedi_assets.lakehouse.landing.values import read_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stedi_assets.lakehouse.table import Table

EPOCH = 1_655_564_400_000
LANDED_AT = EPOCH + 1_000_000_000
ANN = "ann@x.io"
READING = {"user": ANN, "timestamp": EPOCH + 1, "x": 0.5, "y": -1.25, "z": 2.0}
ONE, TWO, THREE = (json.dumps(READING | {"timestamp": EPOCH + n}) for n in (1, 2, 3))

Row = dict[str, Any]
Found = tuple[list[Row], list[Unreadable]]


def reading(**fields: Any) -> str:
    """A reading with other values in some fields; a field that is `...` is left out."""
    return json.dumps({key: v for key, v in (READING | fields).items() if v is not ...})


def blocks_of(content: bytes | str, size: int | None = None) -> Iterator[bytes]:
    """The text of a landing file, in blocks of a size."""
    data = content if isinstance(content, bytes) else content.encode()
    if size is None:
        return text_blocks(read_blocks(BytesIO(data)))
    return text_blocks(data[at : at + size] for at in range(0, len(data), size))


def scanned(content: bytes | str, table: Table, size: int | None = None) -> Found:
    """What the scanner alone finds in a landing file."""
    names = [column.name for column in read_columns(table)] + ["person"] * bool(table.person_of)
    reader = Rows(table, LANDED_AT)
    found = list(reader.of(reader.scanner(TextBuffer(blocks_of(content, size))).scan()))
    rows = [dict(zip(names, f, strict=True)) for f in found if not isinstance(f, Unreadable)]
    return rows, [f for f in found if isinstance(f, Unreadable)]


def times(found: Found) -> list[int]:
    """Milliseconds of the readings since `EPOCH`."""
    return [row["timestamp"] - EPOCH for row in found[0]]


def raws(found: Found) -> list[str]:
    """Texts of the rejects."""
    return [reject.raw for reject in found[1]]


def reasons(found: Found) -> list[str]:
    """Reasons of the rejects."""
    return [reject.reason for reject in found[1]]


def persons(found: Found) -> list[str | None]:
    """Persons of the rejects."""
    return [reject.person for reject in found[1]]
