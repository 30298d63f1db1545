"""Landing files are written anew without forgotten people, and land no second time."""

import codecs
import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.privacy import forget_landing_files, landing_files
from stedi_assets.privacy.landing_files import Objects
from stedi_assets.read import read_table
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.privacy.forget.support import (
    ANN,
    BOB,
    CY,
    DI,
    ED,
    PEOPLE,
    deliver_people,
    forget_people,
    names_of,
    of_others,
    places,
    record,
    rows_of,
    serial,
    times_of,
    words_of,
)
from stedi_assets_tests.support import blocking, counts, device, phone, refresh, under, write

CUSTOMERS = "landing/customer/landing"
RECORDS = [json.dumps(record(one)) for one in (BOB, ANN, DI)]
B, A, D = RECORDS

SHAPES = {
    "lines": (f"{B}\n{A}\n{D}\n", f"{B}\n{D}\n"),
    "lines, theirs the last and unfinished": (f"{B}\n{D}\n{A}", f"{B}\n{D}\n"),
    "lines with commas": (f"{B},\n{A},\n{D}\n", f"{B},\n{D}\n"),
    "windows": (f"{B}\r\n{A}\r\n{D}\r\n", f"{B}\r\n{D}\r\n"),
    "array in a line": (f"[{B}, {A}, {D}]", f"[{B}, {D}]"),
    "array, theirs the first": (f"[{A}, {B}]", f"[{B}]"),
    "array, theirs the last": (f"[{B}, {A}]", f"[{B} ]"),
    "array over lines": (f"[\n  {B},\n  {A}\n]\n", f"[\n  {B}\n  \n]\n"),
    "one after the other": (f"{B}{A}{D}", f"{B}{D}"),
    "pretty": (json.dumps([record(BOB), record(ANN)], indent=2), None),
    "escaped": (f"{B}\n{A.replace('ann@', chr(92) + 'u0041nn@')}\n", f"{B}\n"),
    "capitals": (f"{B}\n{A.replace(ANN, ANN.upper())}\n", f"{B}\n"),
    "repeated": (f"{A}\n{B}\n{A}\n{A}\n", f"{B}\n"),
}

PACKED: dict[str, Callable[[str], bytes]] = {
    "a.json": str.encode,
    "a.json.gz": lambda text: gzip.compress(text.encode()),
    "b.json": lambda text: codecs.BOM_UTF8 + text.encode(),
    "c.json": lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
}


def objects_in(content: bytes) -> list[Any]:
    """The objects of a landing file, read by nothing of the package."""
    if content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    text = content.decode("utf-8-sig")
    decoder, found, place = json.JSONDecoder(), [], 0
    while (place := text.find("{", place)) >= 0:
        value, place = decoder.raw_decode(text, place)
        found.append(value)
    return found


@pytest.mark.parametrize("name", PACKED)
@pytest.mark.parametrize("shape", SHAPES)
def test_objects_of_others_stay_and_theirs_go(tmp_path: Path, shape: str, name: str) -> None:
    text, expected = SHAPES[shape]
    path = tmp_path / CUSTOMERS / name
    path.parent.mkdir(parents=True)
    path.write_bytes(PACKED[name](text))
    settings = under(tmp_path)
    cut = without(settings, path, ANN)
    left = [each for each in objects_in(PACKED["a.json"](text)) if each["email"].lower() != ANN]
    assert objects_in(cut) == left
    if expected is not None and name == "a.json":
        assert cut.decode() == expected
    assert cut.startswith(b"\x1f\x8b") == name.endswith(".gz")


def without(settings: Settings, path: Path, email: str) -> bytes:
    """A landing file as it is once somebody was forgotten, in a lakehouse without tables."""
    certificate = forget_people(settings, email, landing_files=True)
    assert (certificate.landing_files_written, certificate.is_complete) == (1, True)
    return path.read_bytes()


def test_serial_number_that_is_a_json_number_goes(tmp_path: Path) -> None:
    rows = [{**row, "serialnumber": 918273645} for row in device("", *times_of(ANN))]
    deliver_people(tmp_path / "landing", ANN, BOB)
    write(tmp_path / "landing", "step_trainer", "n.json", "\n".join(map(json.dumps, rows)) + "\n")
    settings = under(tmp_path)
    refresh(settings)
    assert forget_people(settings, ANN, landing_files=True).is_complete
    assert places(tmp_path, ["918273645"]) == []


def test_line_without_email_goes_by_a_name_that_nobody_else_has(tmp_path: Path) -> None:
    deliver_people(tmp_path / "landing", ANN, BOB, CY)
    lines = [json.dumps({"customername": words_of(one)["customername"]}) for one in (BOB, ANN, CY)]
    write(tmp_path / "landing", "customer", "lost.json", "\n".join(lines) + "\n")
    settings = under(tmp_path)
    refresh(settings)
    assert forget_people(settings, ANN, landing_files=True).is_complete
    assert (tmp_path / CUSTOMERS / "lost.json").read_text() == f"{lines[0]}\n{lines[2]}\n"


def make(folder: Path) -> None:
    """Files of several, a copy of one, one of Ann alone, one held back, one that is new."""
    deliver_people(folder / "landing", *PEOPLE)
    deliver_people(folder / "landing", ANN, name="anns.json", lastupdatedate=7)
    for source in ("customer", "accelerometer", "step_trainer"):
        original = folder / f"landing/{source}/landing/first.json"
        (original.parent / "copy.json.gz").write_bytes(gzip.compress(original.read_bytes()))
    lines = [json.dumps(one) for one in (*device(serial(ANN), 1, 2), *device(serial(BOB), 3))]
    write(folder / "landing", "step_trainer", "held.json", "\n".join([*lines, "{broken", "no"]))
    both = f'{{"email": "{ANN}", "email": "{ED}", "phone": "{words_of(ANN)["phone"]}"'
    write(folder / "landing", "customer", "both.json", f"{json.dumps(record(DI, 8))}\n{both}")
    refresh(under(folder))


@pytest.fixture
def folder(lakehouses: Lakehouses) -> Path:
    return lakehouses.as_made(make)


def test_nothing_of_theirs_is_in_any_byte_and_nothing_lands_a_second_time(
    settings: Settings, folder: Path
) -> None:
    before = rows_of(settings)
    write(folder / "landing", "accelerometer", "new.json", json.dumps(phone(ANN, 5000)[0]))
    certificate = forget_people(settings, ANN, CY, landing_files=True)
    assert certificate.is_complete
    assert places(folder, names_of(ANN, CY)) == []
    assert certificate.landing_files_left is None
    assert certificate.landing_files_deleted == 4  # of Ann alone, the new one among them
    kept = of_others(before, ANN, CY)
    for _ in range(2):
        said = refresh(settings)
        assert {e.check_name for e in said.get_asset_check_evaluations() if not e.passed} <= {
            "readable",
            "all_files",
            "suspended",
            "consent_share",
        }
        after = rows_of(settings)
        assert after["customer_landing"] == kept["customer_landing"]
        assert after["accelerometer_landing"] == kept["accelerometer_landing"]
        assert after["machine_learning_curated"] == kept["machine_learning_curated"]
    assert places(folder, names_of(ANN, CY)) == []


def test_landing_files_can_go_later(settings: Settings, folder: Path) -> None:
    """Then what named them is known from these alone."""
    assert forget_people(settings, ANN).landing_files_left == 9
    assert places(folder, names_of(ANN), "landing") == []
    certificate = forget_people(settings, ANN, landing_files=True)
    assert certificate.is_complete
    assert places(folder, names_of(ANN)) == []


def test_original_that_is_delivered_again_is_known(settings: Settings, folder: Path) -> None:
    file = folder / "landing/accelerometer/landing/first.json"
    original = file.read_bytes()
    forget_people(settings, ANN, landing_files=True)
    before = counts(settings)
    (file.parent / "again.json").write_bytes(original)
    assert blocking(refresh(settings)) in ([], ["readable", "all_files"])
    assert counts(settings)["accelerometer_landing"] == before["accelerometer_landing"]


def test_somebody_named_too_stays_suspended_after_all_is_taken_in_anew(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    forget_people(settings, ANN, landing_files=True)
    text = (folder / CUSTOMERS / "both.json").read_text()
    assert text == (
        f"{json.dumps(record(DI, 8))}\n"
        f"{json.dumps({'email': ED, 'lastUpdateDate': 'unreadable'})}\n"
    )
    shutil.copytree(folder / "landing", tmp_path / "anew/landing")
    anew = under(tmp_path / "anew")
    refresh(anew)
    assert Counter(emails_in(anew, "customer_landing")) == {BOB: 1, CY: 1, DI: 2, ED: 1}
    assert set(emails_in(anew, "customer_trusted")) == {BOB, DI}


def emails_in(settings: Settings, table: str) -> list[str]:
    emails: list[str] = read_table(table, settings=settings).to_pyarrow()["email"].to_pylist()
    return emails


def test_what_cannot_be_read_of_others_with_the_same_words_stays(tmp_path: Path) -> None:
    """Words from tables are compared there; these are known from landing files alone."""
    same: dict[str, Any] = {"serialnumber": "serial-of-many", "phone": "+49 30 1111 2222"}
    bobs = json.dumps(record(BOB, **same))[:-1] + ', "lastUpdateDate": tomorrow}'
    lost = '{"serialNumber": "serial-of-many", "birthday": }'
    lines = [json.dumps(record(one, **same)) for one in (ANN, BOB)]
    write(tmp_path / "landing", "customer", "a.json", "\n".join([*lines, bobs, lost]) + "\n")
    write(tmp_path / "landing", "step_trainer", "a.json", lost)
    settings = under(tmp_path)
    refresh(settings)
    certificate = forget_people(settings, ANN, landing_files=True)
    assert (tmp_path / CUSTOMERS / "a.json").read_text() == f"{lines[1]}\n{bobs}\n{lost}\n"
    assert (tmp_path / "landing/step_trainer/landing/a.json").read_text() == lost
    assert certificate.not_searched_for
    refresh(settings)
    forget_people(settings, ANN, landing_files=True)
    assert (tmp_path / CUSTOMERS / "a.json").read_text() == f"{lines[1]}\n{bobs}\n{lost}\n"


def test_words_that_others_have_in_a_file_that_is_not_taken_in_are_theirs_too(
    tmp_path: Path,
) -> None:
    deliver_people(tmp_path / "landing", ANN, BOB)
    settings = under(tmp_path)
    refresh(settings)
    lost = f'{{"phone": "{words_of(ANN)["phone"]}", "birthday": }}\n'
    new = json.dumps(record(CY, phone=words_of(ANN)["phone"])) + f"\n{lost}"
    write(tmp_path / "landing", "customer", "new.json", new)
    forget_people(settings, ANN, landing_files=True)
    assert (tmp_path / CUSTOMERS / "new.json").read_text() == new


def test_file_that_was_changed_is_told_of_after_it_was_mended(tmp_path: Path) -> None:
    deliver_people(tmp_path / "landing", ANN, BOB)
    write(tmp_path / "landing", "customer", "changed.json", json.dumps(record(DI)) + "\n")
    settings = under(tmp_path)
    refresh(settings)
    changed = [record(DI, 9, sharewithresearchasofdate=None), record(ANN, 9)]
    text = "".join(json.dumps(one) + "\n" for one in changed)
    write(tmp_path / "landing", "customer", "changed.json", text)
    assert "changed.json" in said_of_files(settings)
    forget_people(settings, ANN, landing_files=True)
    assert (tmp_path / CUSTOMERS / "changed.json").read_text() == json.dumps(changed[0]) + "\n"
    assert "changed.json" in said_of_files(settings)
    assert "first.json" not in said_of_files(settings)


def said_of_files(settings: Settings) -> str:
    """What a refresh says of files that changed."""
    checks = refresh(settings).get_asset_check_evaluations()
    return " ".join(str(e.metadata) + str(e.description) for e in checks if e.check_name == "files")


def test_damaged_file_stays_and_is_named(tmp_path: Path) -> None:
    deliver_people(tmp_path / "landing", ANN, BOB)
    damaged = gzip.compress("".join(f"{line}\n" for line in (A, B)).encode())[:-8]
    file = tmp_path / CUSTOMERS / "damaged.json.gz"
    file.write_bytes(damaged)
    settings = under(tmp_path)
    refresh(settings)
    certificate = forget_people(settings, ANN, landing_files=True)
    assert file.read_bytes() == damaged
    assert str(file) in certificate.looked_at.unreadable
    assert not certificate.is_complete


def test_what_is_delivered_meanwhile_is_not_overwritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deliver_people(tmp_path / "landing", ANN, BOB)
    settings = under(tmp_path)
    refresh(settings)
    file, words_in = tmp_path / CUSTOMERS / "first.json", landing_files.words_in

    def then_deliver(*given: Any) -> Any:
        words = words_in(*given)
        original = Objects.without

        def without(self: Objects, text: bytes) -> tuple[bytes, int]:
            cut = original(self, text)
            if A.encode() in text:  # it is looked at once
                file.write_text(f"{D}\n")
            return cut

        monkeypatch.setattr(Objects, "without", without)
        return words

    monkeypatch.setattr(forget_landing_files, "words_in", then_deliver)
    forget_people(settings, ANN, landing_files=True)
    assert file.read_text() == f"{D}\n"


def test_mode_and_time_of_a_file_stay_and_another_name_of_it_is_left(
    settings: Settings, folder: Path, tmp_path: Path
) -> None:
    file = folder / CUSTOMERS / "first.json"
    file.chmod(0o640)
    before = file.stat()
    os.link(file, tmp_path / "elsewhere")
    content = file.read_bytes()
    forget_people(settings, ANN, landing_files=True)
    after = file.stat()
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)
    assert (tmp_path / "elsewhere").read_bytes() == content != file.read_bytes()


class KilledError(BaseException):
    """Nothing after it is done."""


@pytest.mark.parametrize("call", [3, 4, 5, 6, 7, 9])
@pytest.mark.parametrize("is_done", [False, True], ids=["before", "after"])
def test_what_is_left_after_a_kill_is_done_by_the_same_command(
    settings: Settings,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: int,
    is_done: bool,
) -> None:
    original, calls = LocalStorage.replacing, 0

    @contextmanager
    def killed(self: LocalStorage, location: str) -> Iterator[BinaryIO]:
        nonlocal calls
        calls += 1
        left = Path(location).parent / ".stedi-left"
        if calls == call and not is_done:
            left.parent.mkdir(exist_ok=True)
            left.write_text(ANN)  # a kill leaves the unfinished file
            raise KilledError
        with original(self, location) as file:
            yield file
        if calls == call:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(LocalStorage, "replacing", killed)
        with pytest.raises(KilledError):
            forget_people(settings, ANN, landing_files=True)
    assert forget_people(settings, ANN, landing_files=True).is_complete
    assert places(folder, names_of(ANN)) == []
    before = rows_of(settings)
    said = said_of_files(settings)
    assert not any(name in said for name in ("first.json", "copy.json", "anns.json"))
    after = rows_of(settings)
    assert {name: after[name] for name in DECISIVE} == {name: before[name] for name in DECISIVE}


DECISIVE = ("customer_landing", "accelerometer_landing", "machine_learning_curated")
