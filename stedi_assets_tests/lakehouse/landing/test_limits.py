"""What does not fit into the reader."""


def test_lone_surrogate_in_an_unknown_key_does_not_matter(read: Read) -> None:
    assert times(read(r'{"user": "ann@x.io", "timestamp": 1655564400001, "note": "\ud83d"}')) == [1]


def test_number_of_thousands_of_digits_quarantines_its_object_only(read: Read) -> None:
    found = read(f'{ONE}\n{{"user": "ann@x.io", "timestamp": {"9" * 5000}}}\n{TWO}')
    assert times(found) == [1, 2]
    assert len(found[1]) == 1


def test_number_of_thousands_of_digits_in_an_unknown_key_does_so_too(read: Read) -> None:
    long = f'{{"user": "ann@x.io", "timestamp": 1655564400001, "note": {"9" * 5000}}}'
    found = read(f"{ONE}\n{long}\n{TWO}")
    assert times(found) == [1, 2]
    assert raws(found) == [long]


def test_object_inside_a_broken_one_is_part_of_it(read: Read) -> None:
    inside = '{"user": "old@x.io", "timestamp": 1655564400007}'
    for broken in (
        f'{{"user": "ann@x.io", "previous": {inside}, "timestamp":}}',
        f'{{"user": "ann@x.io", "previous": [{inside}], "timestamp":}}',
        f'{{"user": "ann@x.io", "timestamp":, "previous": {inside}}}',
    ):
        found = read(f"{ONE}\n{broken}\n{TWO}")
        assert times(found) == [1, 2]
        assert raws(found) == [broken]


@pytest.mark.parametrize("closing", ["]" * 20_000 + "}", ""])
def test_deep_nesting_quarantines_its_object_only(read: Read, closing: str) -> None:
    deep = '{"user": "ann@x.io", "timestamp": 1655564400001, "note": ' + "[" * 20_000 + closing
    found = read(f"{ONE}\n{deep}\n{TWO}")
    assert times(found) == [1, 2]
    assert raws(found) == [deep]


def test_object_across_many_blocks_is_read(read: Read) -> None:
    long = (
        '{"user": "ann@x.io", "timestamp": 1655564400007, "note": "' + "é" * (2 * MEBIBYTE) + '"}'
    )
    assert times(read(f"{ONE}\n{long}\n{TWO}")) == [1, 7, 2]


@pytest.mark.parametrize("garbage", list(GARBAGE.values()) + WRONG_TIMES)
def test_reasons_hold_no_value_of_the_data(read: Read, garbage: str) -> None:
    secret = "carol-4711"
    contents = [
        f"{secret} {garbage}",
        f'{{"user": "{secret}", "timestamp": {garbage}}}',
        f'{{"user": "{secret}", "{secret}": 1, "timestamp": "{secret}"}}',
        f'{{"user": "ann@x.io", "timestamp": 1655564400001, "x": "{secret}"}}',
    ]
    for reason in (reason for content in contents for reason in reasons(read(content))):
        assert "carol" not in reason
        assert "4711" not in reason


@pytest.mark.parametrize(("line", "number"), [(ONE[:-30], 20_000), ("{" * 40, 2_500)])
def test_broken_lines_take_time_in_proportion_to_their_number(
    read: Read, line: str, number: int
) -> None:
    begun = perf_counter()
    read(f"{line}\n" * number)
    assert perf_counter() - begun < 2
