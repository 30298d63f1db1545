"""Words are found wherever they stand in a file, and nothing else is."""

import bz2
import gzip
import json
import lzma
import sqlite3
import unicodedata
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.privacy.scan import Finder, scan

WORD = "jöhn.o'neil@people.io"


def parquet(path: Path, text: str) -> None:
    rows = pa.table({"x": [f"other {number}" for number in range(5000)] + [text]})
    pq.write_table(rows, path, compression="zstd", write_statistics=False)


def statistics(path: Path, text: str) -> None:
    rows = pa.table({"x": [text] * 3, "y": [1.0, 2.0, 3.0]})
    pq.write_table(rows, path, compression="zstd")


def database(path: Path, text: str) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE runs (body TEXT)")
        connection.execute("INSERT INTO runs VALUES (?)", ["a" * 4070 + f' "{text}" ' + "b" * 9000])
        connection.commit()


FORMATS: dict[str, Callable[[Path, str], object]] = {
    "plain": lambda path, text: path.write_text(f'{{"user": "{text}"}}'),
    "escaped": lambda path, text: path.write_text(json.dumps({"user": text})),
    "capitals": lambda path, text: path.write_text(f"<p>{text.upper()}</p>"),
    "decomposed": lambda path, text: path.write_text(unicodedata.normalize("NFD", text)),
    "utf-16": lambda path, text: path.write_bytes(text.encode("utf-16")),
    "in a URL": lambda path, text: path.write_text("https://x.io?m=j%C3%B6hn.o%27neil%40people.io"),
    "gzip": lambda path, text: path.write_bytes(gzip.compress(b"x " * 99 + text.encode())),
    "escaped letters": lambda path, text: path.write_text(
        json.dumps({"user": text}).replace("p", r"\u0070").replace("@", r"\u0040")
    ),
    "gzip, cut off": lambda path, text: path.write_bytes(
        gzip.compress(text.encode() + bytes(range(256)) * 999)[:-20]
    ),
    "parquet": parquet,
    "statistics of parquet": statistics,
    "database": database,
}


def test_word_is_found_in_the_name_of_a_file_and_not_in_that_of_the_place(tmp_path: Path) -> None:
    place = tmp_path / "of ann@x.io"
    place.mkdir()
    for name in ("ann@x.io.json", "joann@x.io.json"):
        (place / name).write_text("{}")
    found = scan(LocalStorage(place), [str(place)], Finder(["ann@x.io"]))
    assert found.found == (f"{place}/ann@x.io.json",)


@pytest.mark.parametrize("form", FORMATS)
def test_word_is_found_in_a_file(tmp_path: Path, form: str) -> None:
    FORMATS[form](tmp_path / "file", WORD)
    other = WORD.replace("j", "k").replace("J", "K")
    storage = LocalStorage(tmp_path)
    found = scan(storage, [str(tmp_path)], Finder([WORD]))
    assert (found.files, found.found) == (1, (str(tmp_path / "file"),))
    assert scan(storage, [str(tmp_path)], Finder([other])).found == ()


def test_folders_are_left_out_and_damaged_files_named(tmp_path: Path) -> None:
    for name in ("a/file", "b/file"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(WORD)
    (tmp_path / "broken").write_bytes(b"PAR1 and no more")
    found = scan(
        LocalStorage(tmp_path), [str(tmp_path)], Finder([WORD]), leave_out=[f"{tmp_path}/a"]
    )
    assert found.found == (str(tmp_path / "b/file"),)
    assert found.unreadable == (str(tmp_path / "broken"),)


PACKED: dict[str, bytes] = {
    "gzip, its first part damaged": gzip.compress(b"x" * 9999)[:40] + gzip.compress(WORD.encode()),
    "gzip in gzip": gzip.compress(gzip.compress(WORD.encode())),
    "bzip2": bz2.compress(WORD.encode()),
    "xz": lzma.compress(WORD.encode() * 99),
    "zip": b"PK\x03\x04 and more",
}


@pytest.mark.parametrize("form", PACKED)
def test_what_cannot_be_unpacked_is_named(tmp_path: Path, form: str) -> None:
    (tmp_path / "file").write_bytes(PACKED[form])
    found = scan(LocalStorage(tmp_path), [str(tmp_path)], Finder([WORD]))
    assert found.unreadable == (str(tmp_path / "file"),)


@pytest.mark.parametrize(
    "text",
    [
        '{"serialnumber":1234567}',
        '{"serialnumber": 1234567, "x": 1}',
        r'{"a": "{\"n\": \"1234567\"}"}',
    ],
)
def test_short_number_is_found_as_a_number_too(text: str) -> None:
    assert Finder(["1234567"]).find(text.encode()) == {"1234567"}
    assert not Finder(["1234567"]).find(text.replace("1234567", "12345678").encode())
    assert not Finder(["1234567"]).find(text.replace("1234567", "01234567").encode())


@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("ann@x.io", True),
        ("<ann@x.io>", True),
        ("joann@x.io", False),
        ("j.ann@x.io", False),
        ("ann@x.io.uk", False),
        ("to ann@x.io.", True),
        ("ann@x.ion", False),
        ('"customer/landing/ann@x.io.json"', True),
        ('"customer/landing/of_ann@x.io_2023.json"', True),
        ('"customer/landing/a.json" "joann@x.io"', False),
    ],
)
def test_word_stands_alone(text: str, is_found: bool) -> None:
    assert bool(Finder(["ann@x.io"]).find(text.encode())) is is_found


def test_short_words_are_found_as_whole_values_or_not_searched_for() -> None:
    finder = Finder(["Bo", "Ann"])
    assert finder.too_short == 1
    assert finder.find(b'{"name": "Ann"}') == {"Ann"}
    assert finder.find(b"Ann, Bo") == set()


words = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zs")), min_size=8, max_size=30)


@given(words, st.binary(max_size=40), st.binary(max_size=40), st.integers(1, 30))
def test_word_is_found_wherever_it_stands(
    word: str, before: bytes, after: bytes, block: int
) -> None:
    data = before + b" " + word.encode() + b" " + after
    assert Finder([word, "another word"]).find(data) == {word}
    blocks = (data[at : at + block] for at in range(0, len(data), block))
    assert Finder([word]).find_in(blocks) == {word}


@given(st.binary(max_size=200))
def test_nothing_is_found_where_it_is_not(data: bytes) -> None:
    finder = Finder(["ann@people.io", "Ann Example"])
    is_there = any(word in data.lower() for word in (b"ann@people.io", b"ann example"))
    assert is_there or finder.find(data) == set()
