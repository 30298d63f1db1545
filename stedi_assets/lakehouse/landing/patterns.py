r"""Regular expressions of JSON lines whose meaning is plain, for RE2 on the bytes of a line.

They match less than JSON allows, and only what `values.py` reads just as DuckDB's `from_json` does.
The scanner reads all else.
"""

import re
from collections.abc import Iterator

from stedi_assets.lakehouse.landing.values import DAY, is_key
from stedi_assets.lakehouse.table import EARLIEST, Column, Table

BLANKS = r"[ \t]*"
_NOTHING = r"[^\x00-\xff]"
"""Matches no byte."""

# RE2 is given bytes, so that these are exactly the characters beyond ASCII that UTF-8 can spell.
_BEYOND_ASCII = "|".join(
    (
        r"[\xc2-\xdf][\x80-\xbf]",
        r"\xe0[\xa0-\xbf][\x80-\xbf]",
        r"[\xe1-\xec\xee\xef][\x80-\xbf]{2}",
        r"\xed[\x80-\x9f][\x80-\xbf]",
        r"\xf0[\x90-\xbf][\x80-\xbf]{2}",
        r"[\xf1-\xf3][\x80-\xbf]{3}",
        r"\xf4[\x80-\x8f][\x80-\xbf]{2}",
    )
)
# All but U+0000, and of surrogates only whole pairs.
_UNICODE_ESCAPE = (
    r"u(?:00[1-9a-fA-F][0-9a-fA-F]|0[1-9a-fA-F][0-9a-fA-F]{2}|[1-9a-cA-CeEfF][0-9a-fA-F]{3}"
    r"|[dD][0-7][0-9a-fA-F]{2}|[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})"
)
_TEXT = rf'"(?:[ !#-\[\]-\x7f]|{_BEYOND_ASCII}|\\["\\/bfnrt]|\\{_UNICODE_ESCAPE})*"'
_PLAIN_TEXT = r'" *[!#-\[\]-~][ !#-\[\]-~]*"'
_BILLION, _LAST_OF_ONE = 10**9, 1998
_DIGITS = r"(?:0|-?[1-9][0-9]{0,17})"
_NUMBER = (
    r"(?:0|-?[1-9][0-9]{0,14}(?:[eE][-+]?[0-9]{1,2})?"
    r"|-?(?:0|[1-9][0-9]{0,14})\.[0-9]{1,20}(?:[eE][-+]?[0-9]{1,2})?)"
)
_SCALAR = rf"(?:{_TEXT}|{_NUMBER}|true|false|null)"


def _nested(value: str) -> str:
    """A value, or an array or object of such values."""
    pair = rf"{_TEXT}{BLANKS}:{BLANKS}{value}"
    lists = [
        rf"{opening}{BLANKS}(?:{item}(?:{BLANKS},{BLANKS}{item})*)?{BLANKS}{closing}"
        for opening, item, closing in ((r"\[", value, r"\]"), (r"\{", pair, r"\}"))
    ]
    return rf"(?:{value}|{'|'.join(lists)})"


ANY_VALUE = _nested(_nested(_SCALAR))
"""The value of an unknown key."""


def key_pattern(key: str) -> str | None:
    """A key as it stands in a line; None for one that only the scanner reads."""
    return f'"{re.escape(key)}"' if re.fullmatch(r"[ !#-\[\]-~]*", key) else None


def value_pattern(column: Column, table: Table, landed_at: int) -> str:
    """The plain values of a column."""
    if column.is_time:
        zero = "|0" if column.zero_is_none else ""
        return f"(?:{_time(landed_at + DAY)}{zero}{_none(column)})"
    if column.type == "float64":
        return f"(?:{_NUMBER}{_none(column)})"
    if is_key(column, table):
        return _PLAIN_TEXT
    return f"(?:{_TEXT}|{_DIGITS}{_none(column)})"


def _none(column: Column) -> str:
    return "|null" if column.nullable else ""


def _time(latest: int) -> str:
    digits = f"(?:{between(EARLIEST, latest) or _NOTHING})"
    return rf'{digits}(?:\.0{{1,9}})?|"{digits}"|{_scientific(latest)}'


def _scientific(latest: int) -> str:
    """Times as Java writes large numbers, such as 1.655E12, if they are certainly not later."""
    # Of 1.655..., the first four digits say enough.
    most = min(latest // _BILLION - 1, _LAST_OF_ONE)
    begins = [digits.removeprefix("1") for digits in _ranges(10**3, most)]
    return rf"1\.(?:{'|'.join(begins) or _NOTHING})[0-9]{{0,9}}E12"


def between(low: int, high: int) -> str:
    """The whole numbers from `low` to `high` in digits, for positive numbers."""
    return "|".join(_ranges(low, high))


def _ranges(low: int, high: int) -> Iterator[str]:
    while low <= high:
        # How many of the last digits are free: from ...000 to ...999.
        free = 0
        while low % 10 ** (free + 1) == 0 and low + 10 ** (free + 1) - 1 <= high:
            free += 1
        step = 10**free
        last = low // step % 10
        most = min(9 - last, (high - low + 1) // step - 1)
        head = str(low // step)[:-1]
        yield f"{head}[{last}-{last + most}]" + (f"[0-9]{{{free}}}" if free else "")
        low += step * (most + 1)
