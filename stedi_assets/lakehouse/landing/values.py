"""What the values of a JSON object mean as columns of a landing table."""

import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from stedi_assets.lakehouse.landing.person import person
from stedi_assets.lakehouse.table import (
    EARLIEST,
    LANDED_AT,
    PERSON,
    SOURCE_FILE,
    Column,
    Table,
)

DAY = 86_400_000
"""Milliseconds that a device's clock may be ahead of the refresh that reads its file."""

_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_PLAIN_TIME = re.compile(r"[1-9]\d{11,14}", re.ASCII)
_LONGEST_TIME = 40
"""Characters of the longest number that is looked at as a time."""

_UNITS = (("seconds", 1_000, 1), ("microseconds", 1, 1_000), ("nanoseconds", 1, 1_000_000))
_DATE = re.compile(r"\s*\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}")

Fields = Mapping[str, Any]
"""An object's values by lower-case key; numbers as `Number`."""


class Number(str):
    """A JSON number, as it is written."""

    __slots__ = ()


class NotReadableError(ValueError):
    """An object gives no row; the message says which column is wrong, and how."""


def exactly(number: str) -> Decimal | None:
    """The exact value of a number in digits; None if its exponent is too large."""
    try:
        return Decimal(number)
    except InvalidOperation:
        return None


def row_maker(table: Table, landed_at: int) -> Callable[[Fields], tuple[Any, ...]]:
    """Make the function that gives an object's row, in the order of `read_columns`.

    The function raises `NotReadableError` if an object gives no row.

    Args:
        table: The landing table.
        landed_at: When the refresh began that takes the objects in, in epoch milliseconds.
    """
    columns = read_columns(table)
    plan = [(c.name, c, _converter(c, landed_at), is_key(c, table)) for c in columns]
    identities = [i for i, column in enumerate(columns) if column.name in table.one_of]
    email = next((i for i, c in enumerate(columns) if c.name == table.person_of), None)

    def to_row(fields: Fields) -> tuple[Any, ...]:
        row = [
            _value(fields.get(name), column, convert, is_key)
            for name, column, convert, is_key in plan
        ]
        if identities:
            chosen = next((i for i in identities if row[i] is not None), None)
            if chosen is None:
                raise NotReadableError(f"{' or '.join(table.one_of)} is missing")
            for i in identities:
                row[i] = row[i] if i == chosen else None
        if email is not None:
            row.append(None if row[email] is None else person(row[email]))
        return tuple(row)

    return to_row


def read_columns(table: Table) -> tuple[Column, ...]:
    """The columns of a landing table that are keys of its objects."""
    return tuple(c for c in table.columns if c.name not in {SOURCE_FILE, LANDED_AT, PERSON})


def is_key(column: Column, table: Table) -> bool:
    """Whether the column says whose a row is; then a blank text in it counts as missing."""
    return column.type == "string" and (not column.nullable or column.name in table.one_of)


def _value(raw: Any, column: Column, convert: Callable[[Any], Any], is_key: bool) -> Any:
    if is_key and isinstance(raw, str) and person(raw) is None:
        raw = None
    try:
        value = None if raw is None else convert(raw)
    except NotReadableError as error:
        if column.nullable and not column.strict:
            return None
        raise NotReadableError(f"{column.name} is {error}") from None
    if value is None and not column.nullable:
        raise NotReadableError(f"{column.name} is missing")
    return value


def _converter(column: Column, landed_at: int) -> Callable[[Any], Any]:
    if column.is_time:
        latest = landed_at + DAY
        return lambda raw: _time(raw, latest, column.zero_is_none)
    return {"string": _text, "float64": _finite}[column.type]


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise NotReadableError("not a text")
    try:
        raw.encode()
    except UnicodeEncodeError:
        raise NotReadableError("not a text: half of a surrogate pair is in it") from None
    return str(raw)


def _finite(raw: Any) -> float:
    if not isinstance(raw, Number) or not math.isfinite(number := float(raw)):
        raise NotReadableError("not a finite number")
    return number


def _time(raw: Any, latest: int, zero_is_none: bool) -> int | None:
    """A time in epoch milliseconds, however JSON spells it; None for a blank or absent one.

    Raises:
        NotReadableError: It is not a time; the message says what it looks like.
    """
    if not isinstance(raw, str):
        raise NotReadableError("no time: it is neither a number nor a text")
    if _PLAIN_TIME.fullmatch(raw) and EARLIEST <= int(raw) <= latest:
        return int(raw)  # as most are; the steps below are slower
    text = raw.strip()
    if not text:
        return None
    if not _NUMBER.fullmatch(text):
        raise NotReadableError(f"no time: {'a date as text' if _DATE.match(text) else 'a text'}")
    if len(text) > _LONGEST_TIME:
        raise NotReadableError("no time: a number that is too long")
    number = exactly(text)
    # A number such as 1e999999999 would have as many digits.
    if number is None or (abs(number.adjusted()) > _LONGEST_TIME and number):
        raise NotReadableError("no time: too large or too small")
    if number == 0 and zero_is_none:
        return None
    if number != (whole := int(number)):
        raise NotReadableError("no time: not a whole number")
    if EARLIEST <= whole <= latest:
        return whole
    for unit, times, parts in _UNITS:
        if EARLIEST <= whole * times // parts <= latest:
            raise NotReadableError(f"no time in milliseconds: {unit}?")
    raise NotReadableError(
        "no time: before the year 2000" if whole < EARLIEST else "no time: in the future"
    )
