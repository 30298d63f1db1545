"""Every object of a landing file is read, whatever surrounds it."""


def test_reading_has_the_values_of_its_object(read: Read) -> None:
    rows, rejects = read(ONE)
    assert rows == [READING | {"serialnumber": None, "person": ANN}]
    assert not rejects


LAYOUTS = {
    "lines": f"{ONE}\n{TWO}\n{THREE}\n",
    "no final newline": f"{ONE}\n{TWO}\n{THREE}",
    "lines that end in commas": f"{ONE},\n{TWO},\n{THREE},\n",
    "several on a line": f"{ONE} {TWO}\n{THREE}\n",
    "several on a line with commas": f"{ONE}, {TWO},{THREE}",
    "one line without separators": f"{ONE}{TWO}{THREE}",
    "array on a line": f"[{ONE},{TWO},{THREE}]",
    "array over lines": f"[\n  {ONE},\n  {TWO},\n  {THREE}\n]\n",
    "an array a line": f"[{ONE}]\n[{TWO},{THREE}]\n",
    "pretty-printed": "\n".join(json.dumps(json.loads(o), indent=2) for o in (ONE, TWO, THREE)),
    "pretty-printed array": json.dumps([json.loads(o) for o in (ONE, TWO, THREE)], indent=4),
    "carriage returns and newlines": f"{ONE}\r\n{TWO}\r\n{THREE}\r\n",
    "carriage returns": f"{ONE}\r{TWO}\r{THREE}\r",
    "byte order mark": f"\ufeff{ONE}\n{TWO}\n{THREE}\n",
    "byte order marks of joined files": f"\ufeff{ONE}\n\ufeff{TWO}\n\ufeff{THREE}\n",
    "blank lines": f"\n\n{ONE}\n \t\n{TWO}\n\n{THREE}\n\n",
    "record separators": f"\x1e{ONE}\n\x1e{TWO}\n\x1e{THREE}\n",
}


@pytest.mark.parametrize("content", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_object_is_read_whatever_the_layout(read: Read, content: str) -> None:
    found = read(content)
    assert times(found) == [1, 2, 3]
    assert not found[1]


@pytest.mark.parametrize("content", ["", "\n", " \r\n\t\n", "[]", "\ufeff", "\ufeff[\n]\n"])
def test_file_without_content_has_neither_rows_nor_rejects(read: Read, content: str) -> None:
    assert read(content) == ([], [])


@pytest.mark.parametrize("spelling", [str.upper, str.title, str.swapcase, lambda key: key])
def test_keys_match_in_any_case_and_order(read: Read, spelling: Callable[[str], str]) -> None:
    fields = {spelling(key): value for key, value in reversed(READING.items())}
    assert read(json.dumps(fields))[0] == [READING | {"serialnumber": None, "person": ANN}]


def test_time_stamp_of_the_app_is_the_timestamp(read: Read) -> None:
    assert times(read('{"user": "ann@x.io", "timeStamp": 1655564400005}')) == [5]


def test_keys_may_be_written_with_escapes(read: Read) -> None:
    assert times(read(r'{"\u0075ser": "ann@x.io", "time\\u0053tamp": 1655564400005}')) == [5]


def test_unknown_keys_do_not_matter(read: Read) -> None:
    other = {"userid": 5, "": None, "source_file": "x", "ts": [{"user": "bob"}], "é": {"x": 9}}
    assert read(json.dumps(other | READING)) == read(json.dumps(READING))


@pytest.mark.parametrize("second", ["x", "X"])
def test_first_of_repeated_keys_counts(read: Read, second: str) -> None:
    rows, _ = read(f'{{"user": "ann@x.io", "timestamp": 1655564400001, "x": 1.5, "{second}": 2.5}}')
    assert rows[0]["x"] == 1.5


def test_first_of_repeated_keys_counts_even_if_null(read: Read) -> None:
    assert reasons(read('{"user": "a", "timestamp": null, "timeStamp": 1655564400005}')) == [
        "timestamp is missing"
    ]


def test_keys_inside_nested_values_do_not_count(read: Read) -> None:
    nested = {
        "meta": {"user": "bob", "timestamp": 1655564400009, "x": [1, {"z": 2}]},
        "timestamp": 1655564400005,
    }
    assert reasons(read(json.dumps(nested))) == ["user or serialnumber is missing"]
