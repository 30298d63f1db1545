"""Landing files of clean and odd lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

EPOCH = 1_655_564_400_000
CLEAN: dict[str, dict[str, Any]] = {
    "customer": {
        "serialNumber": "s",
        "shareWithPublicAsOfDate": EPOCH + 1,
        "birthDay": "967-01-01",
        "registrationDate": EPOCH + 2,
        "shareWithResearchAsOfDate": EPOCH + 3,
        "customerName": "Ann",
        "email": "Ann@x.io",
        "lastUpdateDate": EPOCH + 4,
        "phone": "1",
        "shareWithFriendsAsOfDate": 0,
    },
    "accelerometer": {"user": "ann@x.io", "timestamp": EPOCH, "x": 0.5, "y": -1.0, "z": 2.0},
    "step_trainer": {"sensorReadingTime": EPOCH, "serialNumber": "s", "distanceFromObject": 7.5},
}
CUSTOMER, USER = json.dumps(CLEAN["customer"]), json.dumps(CLEAN["accelerometer"])
SERIAL = json.dumps({"serialnumber": "s", "timestamp": EPOCH, "x": 0.5, "y": -1.0, "z": 2.0})

EXAMPLES = {
    "two objects": USER * 2,
    "array": f"[{USER}, {CUSTOMER}]",
    "pretty-printed": json.dumps(CLEAN["accelerometer"], indent=2),
    "pretty-printed customer": json.dumps(CLEAN["customer"], indent=1),
    "other spelling": f'{{"User": "ann@x.io", "timeStamp": {EPOCH}, "X": 3}}',
    "by serial number": SERIAL,
    "both": f'{{"user": "ann@x.io", "serialnumber": "s", "timestamp": {EPOCH}}}',
    "null user": f'{{"user": null, "serialnumber": "s", "timestamp": {EPOCH}}}',
    "byte order mark": "\ufeff" + USER,
    "record separator": "\x1e" + USER,
    "garbage": "garbage",
    "number": "5",
    "text": '"text"',
    "null": "null",
    "empty object": "{}",
    "empty array": "[]",
    "blank": " \t",
    "comma": ",",
    "bracket": "[",
    "brace": "}",
    "cut off": CUSTOMER[:-40],
    "cut off before the value": '{"email":',
    "cut off in an array": '{"email":"a@x.io","history":[',
    "cut off behind an element": '{"email":"a@x.io","history":[{"email":"b@x.io"},',
    "cut off with the next one": CUSTOMER[:80] + CUSTOMER,
    "broken, nested": f'{{"email":, "previous": {CUSTOMER}}}',
    "twice": '{"email":"a@x.io","EMAIL":"b@x.io"}',
    "twice, unknown": f'{USER[:-1]}, "n": 1, "N": 2}}',
    "lone surrogate": USER.replace("ann", r"\ud83d"),
    "pair of surrogates": CUSTOMER.replace('"Ann"', r'"\ud83d\ude00 \u00e9"'),
    "invalid UTF-8": USER[:-1] + ', "note": "\udcff"}',
    "surrogate as UTF-8": CUSTOMER.replace('"Ann"', '"\udced\udca0\udc80"'),
    "null byte": "\0",
    "escaped null byte": CUSTOMER.replace('"Ann"', r'"\u0000"'),
    "blank e-mail": CUSTOMER.replace("Ann@x.io", " "),
    "e-mail with blanks": CUSTOMER.replace("Ann@x.io", "  BOB@x.io "),
    "zero width": CUSTOMER.replace("Ann@x.io", "ann@x.io\u200b"),
    "phone as a number": CUSTOMER.replace('"1"', "8015551212"),
    "phone as a float": CUSTOMER.replace('"1"', "80155.50"),
    "phone minus zero": CUSTOMER.replace('"1"', "-0"),
    "NaN": USER.replace("0.5", "NaN"),
    "comma before the brace": USER[:-1] + ",}",
    "single quotes": USER.replace('"', "'"),
    "huge number": USER.replace("0.5", "1" * 400),
    "infinite": USER.replace("0.5", "1e999"),
    "deep": '{"user": "a", "timestamp": 1, "note": ' + "[" * 300 + "]" * 300 + "}",
    "nested": f'{USER[:-1]}, "meta": {{"tags": ["a}}", "{{b"], "t": {{"u": [1]}}}}}}',
    "tab in a text": CUSTOMER.replace('"Ann"', '"A\tnn"'),
    "delete in a text": CUSTOMER.replace('"Ann"', '"A\x7fnn"'),
    "no-break space": "\xa0" + USER,
    "carriage return inside": USER.replace(", ", ",\r"),
    "half-written line": USER[:30],
    "rest of a line": USER[30:],
}

SEPARATORS = ["", " ", "  ", ", ", " , ", "\t", "\r", "\x1e"]
"""What may stand between two objects of a line."""

_NUMBERS = ["0", "-0", "-0.0", "1.0", "3.7", "1e3", "-1e-3", "0e5", "9223372036854775808", "1e400"]
_TIMES = [str(EPOCH), f"{EPOCH}.0", f'"{EPOCH}"', "1.6555644E12", "4e12", "1655564400"]
_TEXTS = ['"1"', '""', '" "', r'"\u00a0"', '"\u200b"', r'"\"\\\/"', r'"\ud83d"', '"e\u0301"']
_OTHERS = ["null", "true", "[]", "{}", "[null, {}]", '{"x": 1}', '{"email": "bob", "user": "q"}']
_VALUES = st.sampled_from([*_NUMBERS, *_TIMES, *_TEXTS, *_OTHERS])
_EXTRA_KEYS = ("serialnumber", "user", "source_file", "person", "Extra", "", "é", 'a"b')
_SPELLINGS: tuple[Callable[[str], str], ...] = (str, str, str, str.lower, str.upper)


def with_history(source: str, versions: int = 3) -> list[str]:
    """Objects with older ones like them inside, behind the other values and before them."""
    clean = CLEAN[source]
    history = {"history": [clean] * versions}
    return [json.dumps(clean | history), json.dumps(history | clean)]


@st.composite
def json_objects(draw: st.DrawFn, source: str) -> str:
    """An object like the source's, with a few keys left out, respelled, repeated or added."""
    fields = [(key, json.dumps(value)) for key, value in CLEAN[source].items()]
    for _ in range(draw(st.integers(0, 2))):
        key = draw(st.sampled_from([*CLEAN[source], *_EXTRA_KEYS]))
        spelled = draw(st.sampled_from(_SPELLINGS))(key)
        fields.insert(draw(st.integers(0, len(fields))), (spelled, draw(_VALUES)))
    for place in draw(st.sets(st.integers(0, len(fields) - 1), max_size=2)):
        fields[place] = fields[place][0], draw(_VALUES)
    for place in sorted(draw(st.sets(st.integers(0, len(fields) - 1), max_size=1)), reverse=True):
        del fields[place]
    return "{" + ", ".join(f"{json.dumps(key)}: {value}" for key, value in fields) + "}"


@st.composite
def files(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of a source: runs of clean lines, and odd ones between them."""
    source = draw(st.sampled_from(sorted(CLEAN)))
    clean = json.dumps(CLEAN[source])
    line = (
        st.just(clean)
        | st.sampled_from(with_history(source))
        | st.sampled_from(sorted(EXAMPLES.values()))
        | json_objects(source)
        | st.builds(lambda end: clean[:end], st.integers(1, len(clean) - 1))
        | st.text(st.sampled_from('{}[],:"\\ \n\re1'), max_size=12)
    )
    ends = st.sampled_from(["\n"] * 4 + [",\n", "\r\n", *SEPARATORS])
    pieces = draw(st.lists(st.tuples(line, ends, st.integers(1, 3)), max_size=10))
    text = "".join((piece + end) * times for piece, end, times in pieces)
    return source, text.encode(errors="surrogateescape")
