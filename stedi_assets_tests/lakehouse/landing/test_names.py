"""Names of landing files are data: what may be a person's is masked where they are shown."""

import pytest

from stedi_assets.lakehouse.names import display_name, printable


@pytest.mark.parametrize(
    "name",
    [
        "customer-1691348231425.json",
        "customer/landing/part-00012.json.gz",
        "accelerometer-1691348231.json",
        "readings-1691348231425-1691348299999.json",
        "20230806.json",
        "2023-08-06T18-57-11.425Z.json",
        "2023/08/06/a.json",
        "20230806185711.json",
        "part-00000-12345678-1234-1234-1234-123456789012-c000.json",
        "a1b2c3d4e5f60718293a4b5c6d7e8f90.json",
        "part-00001-of-00010.jsonl",
        "s3://bucket/customer/landing/ünï 7.ndjson",
    ],
)
def test_name_without_a_person_stays_as_it_is(name: str) -> None:
    assert display_name(name) == name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("ann@x.io.json", "•••.json"),
        ("customer/landing/user=ann@x.io/a.json", "customer/landing/•••/a.json"),
        ("customer-ann%40x.io.json.gz", "•••.json.gz"),
        ("ann\uff20x.io.json", "•••.json"),
        ("8015551212.json", "•••.json"),
        ("2015551212.json", "•••.json"),
        ("+1-801-555-1212", "•••"),
        ("(801) 555-1212.json", "•••.json"),
        ("801.555.1212", "•••"),
        ("06 12 34 56 78.json", "•••.json"),
        ("+491701234567.json", "•••.json"),
        ("of-8015551212-part-00012.json", "of-•••-part-00012.json"),
        ("2023-08-06_801-555-1212.json", "2023-08-06_•••.json"),
        ("\u0668\u0660\u0661\u0665\u0665\u0665\u0661\u0662\u0661\u0662.json", "•••.json"),
    ],
)
def test_addresses_and_phone_numbers_are_masked(name: str, shown: str) -> None:
    assert display_name(name) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("\x1b[31m.json", r"\x1b[31m.json"),
        ("a\nb.json", r"a\nb.json"),
        ("gpj\u202enosj.json", r"gpj\u202enosj.json"),
        ("zero\u200bwidth.json", r"zero\u200bwidth.json"),
        (b"caf\xe9.json".decode("utf-8", "surrogateescape"), r"caf\xe9.json"),
        ("ann@x.io-8015551212-\x1b[31m.json", "•••.json"),
    ],
)
def test_what_no_terminal_should_get_is_escaped(name: str, shown: str) -> None:
    assert display_name(name) == shown
    assert printable(display_name(name)) == shown
