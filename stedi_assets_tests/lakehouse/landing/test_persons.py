"""Whose an object is that cannot be read, as far as its e-mail can."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stedi_assets_tests.lakehouse.landing.records import persons, reasons

if TYPE_CHECKING:
    from stedi_assets_tests.lakehouse.landing.conftest import Read

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
    '{"email": "ann@x.i': None,
    "{'email': 'ann@x.i": None,
    "{email: ann@x.i": None,
    '{"email": null, "lastUpd': None,
    '{"email": "", "lastUpd': None,
    '{"username": "ann", "note": "hello", oops}': None,
    "oops": None,
}


@pytest.mark.parametrize(("text", "person"), UNREADABLE.items())
def test_unreadable_customer_names_the_person(read: Read, text: str, person: str | None) -> None:
    found = read(text, "customer")
    assert (found[0], persons(found)) == ([], [person])


def test_unreadable_reading_names_its_user(read: Read) -> None:
    assert persons(read('{"user": "ann@x.io", "timestamp": 5}')) == ["ann@x.io"]
    assert persons(read('{"user": "ann@x.io", "timest')) == ["ann@x.io"]


def test_sensor_readings_name_nobody(read: Read) -> None:
    found = read('{"serialNumber": "s", "email": "ann@x.io"}', "step_trainer")
    assert (persons(found), reasons(found)) == ([None], ["sensorreadingtime is missing"])
