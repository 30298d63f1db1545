"""Whose an object is that cannot be read, as far as its e-mail can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stedi_assets.lakehouse.landing.objects import MAX_OBJECT
from stedi_assets_tests.lakehouse.landing.records import persons, reasons

if TYPE_CHECKING:
    from stedi_assets_tests.lakehouse.landing.conftest import Read

PIECE = 1 << 20
BOTH = "ann@x.io\x1fbob@x.io"
UNREADABLE = {
    '{"email": "ann@x.io", "lastUpdateDate": "2023-01-01"}': "ann@x.io",
    '{"email": " ANN@x.io ", "lastUpdateDate": "2023-01-01"}': "ann@x.io",
    '{"email": "ann@x.io", "lastUpd': "ann@x.io",
    '{"EMail" : "Ann@X.io\u200b", "lastUpd': "ann@x.io",
    r'{"email": "\u0061nn\u0040x.io", oops}': "ann@x.io",
    r'{"\u0065m\u0041il": "ann@x.io", oops}': "ann@x.io",
    r'{"\u0065mail": "ann@x.io", "phone": [], "birthday": 5, "registrationDate": 1}': "ann@x.io",
    "{'email': 'ann@x.io', 'phone': '1'}": "ann@x.io",
    "{email: 'ann@x.io'}": "ann@x.io",
    '{email: "ann@x.io"}': "ann@x.io",
    "{email: ann@x.io, phone: 1}": "ann@x.io",
    "{phone: 1, email: ann@x.io}": "ann@x.io",
    '{"email": "ann@x.io", "email": "bob@x.io"}': BOTH,
    '{"email": "ann@x.io", "EMAIL": "bob@x.io"}': BOTH,
    '{"email": "ann@x.io", "email": "bob@x.io", oops}': BOTH,
    '{"email": "ann@x.io", "email": "Ann@x.io", oops}': "ann@x.io",
    '{"email": "ann@x.io", "previous": {"email": "bob@x.io"}, "registrationDate": 1}': "ann@x.io",
    '{"email": "ann@x.io", "previous": {"email": "bob@x.io"': BOTH,
    '{"data": {"email": "ann@x.io", "phone": "1"}}': "ann@x.io",
    '{"data": [{"email": "ann@x.io"}, {"email": "bob@x.io"}]}': BOTH,
    '{"email": ["ann@x.io"]}': "ann@x.io",
    '[["ann@x.io"]]': "ann@x.io",
    r'{"data": "{\"email\": \"ann@x.io\", \"phone\": \"1\"}"}': "ann@x.io",
    r'{"data": "{\"email\": \"ann@x.io\", \"phone\": \"1': "ann@x.io",
    r'{"data": "{\"user\": \"ann@x.io\", \"phone\": \"1': "ann@x.io",
    r'{"data": "{\"data\": \"{\\\"email\\\": \\\"ann\\\\u0040x.io\\\"': "ann@x.io",
    r'{"data": "{\"email\": \"Ann Lee@x.io\"}", "n": "m@x.io"}': "\x1f".join(
        ["ann lee@x.io", "lee@x.io", "m@x.io"]
    ),
    r'{"data": "{\"email\": \"ann@x.io': "ann@x.io",
    r'{"note": "Hello,\nann@x.io!", oops': "ann@x.io",
    '{"email": ["ann@x.io"], "previous": [{"email": "bob@x.io"}]}': "bob@x.io\x1fann@x.io",
    '{"email": ["ann@x.io"], oops, "previous": [{"email": "bob@x.io"}]}': "bob@x.io\x1fann@x.io",
    '{"email": ["ann@x.io"], "previous": [{"email": "bob@x.io"}': "bob@x.io\x1fann@x.io",
    '{"email": {"value": "ann@x.io"}, "was": {"email": "bob@x.io"}}': "bob@x.io\x1fann@x.io",
    '{"email": "ann@x.io", "EMAIL": ["bob@x.io"]}': BOTH,
    '{"email": true, "was": {"email": "bob@x.io"}, "contact": "ann@x.io"}': "bob@x.io\x1fann@x.io",
    '{"backup-email": "bob@x.io", "e-mail": "ann@x.io"}': "bob@x.io\x1fann@x.io",
    '{"backup.email": "bob@x.io", "mail": "ann@x.io"}': "bob@x.io\x1fann@x.io",
    '{"backup email": "bob@x.io", "mail": "ann@x.io"}': "bob@x.io\x1fann@x.io",
    '{"backup/email": "bob@x.io", "mail": "ann@x.io"}': "bob@x.io\x1fann@x.io",
    '{"email": "", "contact": "ann@x.io"}': "ann@x.io",
    '{"email": " ", "contact": "ann@x.io", oops': "ann@x.io",
    '{"email": null, "contact": "ann@x.io"}': "ann@x.io",
    '{"n": "a"b", "contact": "ann@x.io"}': "ann@x.io",
    'email": "ann@x.io", "contact": "bob@x.io"}': "ann@x.io",
    'mail": "ann@x.io", "phone": "1"}': "ann@x.io",
    "{'contact': 'ann@x.io', 'phone': '1'}": "ann@x.io",
    r'{"email": "ann\ud800@x.io"}': "ann@x.io",
    r'{"email": "ann\ud800@x.io", "lastUpd': "ann@x.io",
    r'{"contact": "ann\udc00@x.io", "lastUpd': "ann@x.io",
    r"{email: \u0061nn@x.io, oops}": "ann@x.io",
    r"{email: 'ann\u0040x.io', oops}": "ann@x.io",
    r'{"email": "\u0061nn@x.io\q", oops}': "ann@x.io\\q\x1fann@x.io",
    r'{"email": "\ud83d\ude00@x.io", "lastUpd': "\N{GRINNING FACE}@x.io",
    r'{"contact": "\ud83d\ude00@x.io", "lastUpd': "\N{GRINNING FACE}@x.io",
    '{"email": "ann@x.io, "phone": "1"}': "ann@x.io,\x1fann@x.io",
    '{"email": “ann@x.io”, "phone": "1"}': "“ann@x.io”\x1fann@x.io",
    "{`email`: `ann@x.io`}": "`ann@x.io`\x1fann@x.io",
    "{u'email': u'ann@x.io'}": "u'ann@x.io'\x1fann@x.io",
    '{"email": "Ann Lee <ann@x.io>", oops}': "ann lee <ann@x.io>\x1fann@x.io",
    '{"email": "mailto:ann@x.io", "lastUpdateDate": "x"}': "mailto:ann@x.io\x1fann@x.io",
    '{"email": "o\'ann@x.io", oops}': "o'ann@x.io",
    '{"email": "ann\x00@x.io", oops}': "ann@x.io",
    "customer=1&email=ann@x.io&consent=no": "ann@x.io&consent\x1fann@x.io",
    "Ann,,ann@x.io": "ann@x.io",
    "- email: ann@x.io": "ann@x.io",
    "ann@x.io": "ann@x.io",
    # What may be cut off counts as it stands: it may be whole.
    '{"contact": "ann@x.io': "ann@x.io",
    '{"contact": "ann@x.io\n': "ann@x.io",
    '{"email": "ann@x.io': "ann@x.io",
    "{'email': 'ann@x.io": "ann@x.io",
    "{email: ann@x.io": "ann@x.io",
    '{"previous": {"email": "bob@x.io"}, "email": "ann@x.io': "bob@x.io\x1fann@x.io",
    '{"email": "ann@': None,
    '{"email": null, "lastUpd': None,
    '{"email": "", "lastUpd': None,
    '{"username": "ann", "note": "hello", oops}': None,
    "oops": None,
}


@pytest.mark.parametrize(("text", "person"), UNREADABLE.items())
def test_unreadable_customer_names_the_person(read: Read, text: str, person: str | None) -> None:
    found = read(text, "customer")
    assert (found[0], persons(found)) == ([], [person])


RECORD = '{"email":"ann@x.io","shareWithResearchAsOfDate":1655564400000}'


@pytest.mark.parametrize(
    "broken",
    [
        '{"raw":"%s"}',
        '{"previous" %s}',
        '{"previous" = %s}',
        '{"previous":%s',
        '{"n":"say "%s" to","email":"bob@x.io"}',
        '{"email":"bob@x.io","n":"say "%s" to"}',
        'the old one was "%s"',
        '{"email":"bob@x.io",\n"previous" %s}',
        '{"n":"' + "x" * 5_000 + '" = %s}',
    ],
)
def test_broken_object_is_about_whoever_a_record_within_its_line_is_about(
    read: Read, broken: str
) -> None:
    rows, rejects = read(broken.replace("%s", RECORD), "customer")
    assert "ann@x.io" in "\x1f".join(r.person or "" for r in rejects)
    assert len(rows) == ('"previous":' not in broken)


@pytest.mark.parametrize("end", ["\n", "\r\n", ",\n", "\n\n"])
def test_record_in_the_next_line_is_not_what_a_cut_off_one_is_about(read: Read, end: str) -> None:
    rows, rejects = read(f'{{"email":"bob@x.io","la{end}{RECORD}', "customer")
    assert ([r["person"] for r in rows], [r.person for r in rejects]) == (
        ["ann@x.io"],
        ["bob@x.io"],
    )


@pytest.mark.parametrize("begun", [1, 2, 5])
def test_person_is_read_across_the_pieces_of_what_is_too_long(read: Read, begun: int) -> None:
    head, key = '{"n": "', '", "email": "'
    begin = f"{head}{'x' * (PIECE - len(head) - len(key) - begun)}{key}"
    found = read(f'{begin}日本語@x.io", "n": "{"x" * MAX_OBJECT}"}}', "customer")
    assert persons(found) == ["日本語@x.io"]


@settings(max_examples=200, deadline=None)
@given(
    text=st.lists(
        st.sampled_from(
            ['"email"', ":", '"', "{", "}", "ann@x.io", "\\ud800", "\\", "\\udc00", " ", "\n", "["]
        )
    ).map("".join)
)
def test_whatever_stands_in_a_file_every_person_is_a_valid_text(read: Read, text: str) -> None:
    rows, rejects = read(text, "customer")
    said = [value for row in rows for value in row.values() if isinstance(value, str)]
    said += [value for r in rejects for value in (r.raw, r.reason, r.person or "")]
    assert all(value.encode() is not None for value in said)


def test_record_that_was_appended_in_utf_16_names_its_person(read: Read) -> None:
    appended = '{"email": "ann@x.io", "lastUpdateDate": 1655564400009}\n'
    for encoding in ("utf-16-le", "utf-16-be", "utf-16"):
        rows, rejects = read(f"{RECORD}\n".encode() + appended.encode(encoding), "customer")
        assert len(rows) == 1
        assert "ann@x.io" in {reject.person for reject in rejects}


def test_unreadable_reading_names_its_user(read: Read) -> None:
    assert persons(read('{"user": "ann@x.io", "timestamp": 5}')) == ["ann@x.io"]
    assert persons(read('{"user": "ann@x.io", "timest')) == ["ann@x.io"]


def test_sensor_readings_name_nobody(read: Read) -> None:
    found = read('{"serialNumber": "s", "email": "ann@x.io"}', "step_trainer")
    assert (persons(found), reasons(found)) == ([None], ["sensorreadingtime is missing"])
