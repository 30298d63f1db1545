"""What some objects of a landing file look like: which keys they have, how old they are.

Names of keys are data of a file like any other: what may be a person's is never kept.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from statistics import median
from typing import Any, Self

import pyarrow as pa

from stedi_assets.lakehouse.landing.values import DAY, read_columns
from stedi_assets.lakehouse.names import MASK, display_name
from stedi_assets.lakehouse.table import EARLIEST, Table

MOST_OBJECTS = 200
"""Objects of a file that are looked at, and at most twice as many: a share of them is right to a
few hundredths, and parsing them takes a millisecond."""

_MOST_KEYS = 50
_LONGEST_KEY = 40
_LONGEST_OBJECT = 64 << 10
"""Characters of the longest object that is looked at."""

_OBJECTS = json.JSONDecoder(parse_int=str, parse_float=str)
"""Reads numbers as the texts that they are. `json.loads` would make a decoder for each object."""

_NAME = re.compile(r"[^\W\d][\w.-]*")
_MOST_DIGITS = 4
"""Digits in the name of a key; a serial number or a phone number has more."""


@dataclass(frozen=True)
class Profile:
    """What some objects of a landing file look like, the same share of all its readable ones.

    Attributes:
        objects: How many were looked at.
        age: Milliseconds from the newest time in an object to when it landed, the median; None if
            no object has a time.
        keys: Objects that have each key, in lower case, and those in which it has a value.
    """

    objects: int
    age: int | None
    keys: Mapping[str, tuple[int, int]]

    def text(self) -> str:
        """The profile as a ledger keeps it."""
        keys = {key: list(counts) for key, counts in self.keys.items()}
        return json.dumps([self.objects, self.age, keys], separators=(",", ":"))

    @classmethod
    def read(cls, text: str) -> Self:
        """The profile that a ledger keeps."""
        objects, age, keys = json.loads(text)
        return cls(objects, age, {key: (counts[0], counts[1]) for key, counts in keys.items()})


class Profiler:
    """Looks at every so many of a file's objects."""

    def __init__(self, table: Table, landed_at: int) -> None:
        """Look at objects of `table` that land at `landed_at`, in epoch milliseconds."""
        columns = read_columns(table)
        self._times = {column.name for column in columns if column.is_time}
        self._zero_is_none = {column.name for column in columns if column.zero_is_none}
        self._landed_at = landed_at
        self._latest = landed_at + DAY
        self._keys: dict[str, tuple[str, bool, bool]] = {}
        self._looks: list[tuple[Mapping[str, bool], float | None]] = []
        self._step, self._passed = 1, 0

    def look_at_lines(self, lines: pa.Array) -> None:
        """Look at some lines, each of which is an object."""
        chosen = self._choose(len(lines))
        if not chosen:
            return
        for line in lines.take(pa.array(chosen, pa.int64())).to_pylist():
            if len(line) <= _LONGEST_OBJECT:
                self._look(_OBJECTS.decode(line.strip(" \t\r\n,")))

    def look_at(self, pairs: Iterable[tuple[str, Any]]) -> None:
        """Look at an object, if it is its turn."""
        if self._choose(1):
            self._look(dict(pairs))

    def profile(self) -> Profile | None:
        """What the objects look like; None if there were none."""
        if not self._looks:
            return None
        seen = [keys for keys, _ in self._looks]
        present = Counter(chain.from_iterable(seen))
        valued = Counter(key for keys in seen for key, has_value in keys.items() if has_value)
        ages = [self._landed_at - newest for _, newest in self._looks if newest is not None]
        return Profile(
            len(self._looks),
            int(median(ages)) if ages else None,
            {key: (count, valued[key]) for key, count in present.most_common(_MOST_KEYS)},
        )

    def _choose(self, count: int) -> range:
        """Which of the next objects to look at, so that it is the same share of all."""
        while (self._passed + count) // self._step >= 2 * MOST_OBJECTS:
            self._looks = self._looks[::2]
            self._step *= 2
        chosen = range(-self._passed % self._step, count, self._step)
        self._passed += count
        return chosen

    def _look(self, fields: Mapping[str, Any]) -> None:
        keys, times = dict[str, bool](), list[float]()
        for key, value in fields.items():
            if key not in self._keys:
                self._keys[key] = self._meaning(key.lower())
            shown, is_time, zero_is_none = self._keys[key]
            is_none = value is None or (isinstance(value, str) and not value.strip())
            if is_time and (number := _number(value)) is not None:
                is_none |= number == 0 and zero_is_none
                if EARLIEST <= number <= self._latest:
                    times.append(number)
            keys[shown] = keys.get(shown, False) or not is_none
        self._looks.append((keys, max(times, default=None)))

    def _meaning(self, name: str) -> tuple[str, bool, bool]:
        """How a key is shown, whether its value is a time, and whether 0 is no time there."""
        return name_of_key(name), name in self._times, name in self._zero_is_none


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


@lru_cache(1 << 10)
def name_of_key(key: str) -> str:
    """A key as it may be shown; masked unless it looks like the name of a field."""
    is_name = (
        len(key) <= _LONGEST_KEY
        and _NAME.fullmatch(key)
        and sum(map(str.isdigit, key)) <= _MOST_DIGITS
    )
    return display_name(key) if is_name else MASK
