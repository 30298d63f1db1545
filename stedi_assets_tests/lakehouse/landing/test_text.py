"""The text of a landing file, whatever it is packed in and however it is encoded."""


def test_several_gzip_members_are_one_file(read: Read) -> None:
    lines = f"{ONE}\n{TWO}\n{THREE}".encode()
    members = (lines[:10], lines[10:100], b"", lines[100:])
    found = read(b"".join(map(gzip.compress, members)))
    assert times(found) == [1, 2, 3]
    assert not found[1]


@pytest.mark.parametrize("content", [b"", gzip.compress(b"")], ids=["no bytes", "packed nothing"])
def test_empty_gzip_file_is_empty(read: Read, content: bytes) -> None:
    assert read(content) == ([], [])


def test_zeros_that_pad_a_gzip_file_are_no_damage(read: Read) -> None:
    found = read(gzip.compress(ONE.encode()) + bytes(512))
    assert times(found) == [1]
    assert not found[1]


def test_cut_off_gzip_file_keeps_what_could_be_unpacked(read: Read) -> None:
    lines = [reading(timestamp=time, x=time / 7) for time in range(2_000)]
    packed = gzip.compress("\n".join(lines).encode())
    found = read(packed[: len(packed) // 2])
    kept = len(times(found))
    assert 500 < kept < 1_500
    assert times(found) == list(range(kept))
    assert reasons(found) == ["the gzip file is cut off here"]
    assert lines[kept].startswith(raws(found)[0])


def test_gzip_file_with_a_wrong_checksum_keeps_its_rows_and_says_so(read: Read) -> None:
    packed = bytearray(gzip.compress(f"{ONE}\n{TWO}\n".encode()))
    packed[-8] ^= 1
    found = read(bytes(packed))
    assert times(found) == [1, 2]
    assert reasons(found) == ["the gzip file is damaged here"]


def test_flipped_byte_in_a_gzip_file_costs_what_stands_behind_it_and_says_so(read: Read) -> None:
    lines = [reading(timestamp=time, x=time / 7) for time in range(2_000)]
    packed = gzip.compress("\n".join(lines).encode())
    for place in range(len(packed) // 2, len(packed) // 2 + 8):
        damaged = bytearray(packed)
        damaged[place] ^= 0xFF
        found = read(bytes(damaged))
        assert times(found)[:500] == list(range(500))
        assert reasons(found)[-1].startswith("the gzip file is")


def test_file_that_is_not_gzip_but_called_so_is_one_reject(read: Read) -> None:
    found = read(ONE)
    assert (times(found), reasons(found)) == ([], ["the gzip file is damaged here"])
