"""Reads one JSON object, strictly by RFC 8259."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

import numpy as np

from stedi_assets.lakehouse.landing.values import Number, exactly

MAX_OBJECT = 16 << 20
"""Bytes within which an object must end; quarantine keeps the beginning of a longer one."""

DEEPEST = 256
"""Levels of brackets, the object's own included."""

BROKEN = "not valid JSON"
_TOO_DEEP = f"nested deeper than {DEEPEST} levels"

_TOKEN = 12
"""Characters of the longest token whose beginning alone is an error, `\\ud83d\\ude00`."""
_LONGEST_COMPARED = 40

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)
_OPENING, _CLOSING = np.zeros(256, np.int8), np.zeros(256, np.int8)
_OPENING[list(b"{[")], _CLOSING[list(b"}]")] = 1, 1


@dataclass(frozen=True)
class JsonObject:
    """An object and the bytes it takes.

    Attributes:
        pairs: Its keys and values, as often as they come; objects are tuples of pairs, arrays
            lists, numbers `Number`.
        reason: Why it gives no row, whatever its values are, if so.
    """

    pairs: tuple[tuple[str, Any], ...]
    length: int
    reason: str | None = None


@dataclass(frozen=True)
class Broken:
    """No object begins there.

    Attributes:
        is_cut: Whether the text may be the beginning of one.
    """

    reason: str
    is_cut: bool = False


class _NoJsonError(ValueError):
    pass


def _refuse(_: str) -> NoReturn:
    raise _NoJsonError


_LONGEST_SHARED = 40

# Millions of short numbers in one array would fill the memory if each was an object of its own.
_shared = lru_cache(4 << 10)(Number)


def _number(digits: str) -> Number:
    # The cache would hold a long one for ever.
    return _shared(digits) if len(digits) <= _LONGEST_SHARED else Number(digits)


_decode = json.JSONDecoder(
    object_pairs_hook=tuple, parse_int=_number, parse_float=_number, parse_constant=_refuse
).raw_decode


def read_object(data: bytes) -> JsonObject | Broken:
    """The object with which these bytes begin."""
    text, invalid = _text(data)
    try:
        pairs, length = _decode(text)
    except json.JSONDecodeError as error:
        is_cut = error.msg.startswith("Unterminated") or error.pos >= len(text) - _TOKEN
        if is_cut and invalid:
            return Broken("not valid UTF-8")
        return Broken(BROKEN, is_cut)
    except _NoJsonError:
        return Broken(BROKEN)
    except RecursionError:
        return Broken(_TOO_DEEP)
    if len(text) != len(data):
        length = len(text[:length].encode())
    return JsonObject(pairs, length, _TOO_DEEP if _depth(data[:length]) > DEEPEST else None)


def _text(data: bytes) -> tuple[str, bool]:
    """The bytes as text, as far as they are UTF-8, and whether invalid ones follow."""
    try:
        return data.decode(), False
    except UnicodeDecodeError as error:
        # A character that is cut off may go on in the next block.
        invalid = error.reason != "unexpected end of data" or error.end < len(data)
        return data[: error.start].decode(), invalid


def _depth(data: bytes) -> int:
    """Levels of brackets, or 0 where so few brackets need no closer look."""
    if data.count(b"{") + data.count(b"[") <= DEEPEST:
        return 0
    bare = np.frombuffer(_STRINGS.sub(b"", data), np.uint8)
    return int(np.cumsum(_OPENING[bare] - _CLOSING[bare], dtype=np.int32).max())


def repeated_key(pairs: Iterable[tuple[str, Any]]) -> str | None:
    """A key, in lower case, that comes twice with different values; None if there is none."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        lower = key.lower()
        if lower in values and not _same(values[lower], value):
            return lower
        values[lower] = value
    return None


def _same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Number) and max(len(one), len(other)) <= _LONGEST_COMPARED:
        value = exactly(one)
        return one == other or (value is not None and value == exactly(other))
    return bool(one == other)
