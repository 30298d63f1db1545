"""What goes wrong with one file, source or landing root is its own: the rest goes on."""

import gzip
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stedi_assets.cli.refresh import refresh
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.landing.ledger import LandingFolder, Listing
from stedi_assets.read import read_table
from stedi_assets.refresh.rebuild import damaged_tables, drop_damaged
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.support import catalog_of, counts, refuse, snapshots, under
from stedi_assets_tests.support import refresh as refresh_in_dagster

T = 1_655_564_400_000
Objects = list[dict[str, Any]]


@dataclass(frozen=True)
class Place:
    """A lakehouse of a test's own, and its landing folder."""

    settings: Settings
    landing: Path

    def write(self, source: str, name: str, *lines: object) -> Path:
        path = self.landing / source / "landing" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        path.write_text("".join(f"{text}\n" for text in texts))
        return path

    def refresh(self, *rebuild: str, **settings: Any) -> tuple[bool, str]:
        """Whether all went well, and what was said."""
        output = io.StringIO()
        changed = self.settings.model_copy(update=settings)
        passed = refresh(changed, Console(file=output, width=300), rebuild=rebuild)
        return passed, output.getvalue()

    def counts(self) -> dict[str, int]:
        return counts(self.settings)

    def emails(self) -> list[str]:
        found = read_table("customer_trusted", settings=self.settings).to_pandas()
        return sorted(found["email"])


@pytest.fixture
def place(lakehouses: Lakehouses, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A lakehouse of Ann, who consents, her phone and her device."""
    folder = lakehouses.as_made(take_in_ann)
    return Place(under(folder), folder / "landing")


def take_in_ann(folder: Path) -> None:
    (folder / "landing").mkdir()
    place = Place(under(folder), folder / "landing")
    place.write("customer", "a.json", customer("ann"))
    place.write("accelerometer", "a.json", *phone("ann", 6))
    place.write("step_trainer", "a.json", *device("ann", 6))
    assert refresh_in_dagster(place.settings).success
    assert place.counts()["machine_learning_curated"] == 6


def customer(person: str, **fields: Any) -> dict[str, Any]:
    record = {"email": f"{person}@x.io", "shareWithResearchAsOfDate": T, "lastUpdateDate": T}
    return record | fields


def phone(person: str, readings: int, start: int = 0) -> Objects:
    return [
        {"user": f"{person}@x.io", "timestamp": T + 1_000 * (start + i), "x": 1, "y": 0, "z": 0}
        for i in range(readings)
    ]


def device(person: str, readings: int) -> Objects:
    return [
        {"serialNumber": f"dev-{person}", "sensorReadingTime": T + 1_000 * i}
        for i in range(readings)
    ]


WITHDRAWAL = customer("ann", shareWithResearchAsOfDate=None, lastUpdateDate=T + 1)


def test_a_bad_file_of_readings_is_held_back_alone_until_it_is_removed(place: Place) -> None:
    bad = place.write("accelerometer", "bad.json", "junk", *phone("ann", 3, 20))
    place.write("accelerometer", "good.json", *phone("ann", 4, 10))
    passed, said = place.refresh()
    assert not passed
    assert "accelerometer/landing/bad.json: 1 of 4 unreadable" in said
    found = place.counts()
    assert (found["accelerometer_landing"], found["quarantine"]) == (10, 0)
    passed, said = place.refresh()
    assert not passed
    assert "Nothing new. 1 file is held back" in said
    assert "every table is up to date" not in said
    assert "Held back: accelerometer/landing/bad.json" in said
    bad.unlink()
    assert place.refresh()[0]
    assert "Held back" not in place.refresh()[1]
    assert place.counts()["accelerometer_landing"] == 10


def test_a_held_back_file_goes_in_once_it_is_mended(place: Place) -> None:
    place.write("step_trainer", "bad.json", "junk", *device("bob", 3))
    assert not place.refresh()[0]
    place.write("step_trainer", "bad.json", *device("bob", 4))
    assert place.refresh()[0]
    assert place.counts()["step_trainer_landing"] == 10


def test_a_held_back_file_goes_in_once_it_is_allowed_and_is_read_once(place: Place) -> None:
    place.write("step_trainer", "bad.json", "junk", *device("bob", 3))
    assert not place.refresh()[0]
    assert place.refresh(max_quarantine_share=0.5)[0]
    found = place.counts()
    assert (found["step_trainer_landing"], found["quarantine"]) == (9, 1)
    assert "Nothing new" in place.refresh()[1]
    assert place.counts() == found


def test_a_file_in_which_a_column_vanished_is_held_back(place: Place) -> None:
    renamed = [{**reading, "x": None, "accelX": 1} for reading in phone("ann", 150, 10)]
    place.write("accelerometer", "renamed.json", *renamed)
    passed, said = place.refresh()
    assert not passed
    assert "renamed.json: no object has a value for x: renamed upstream?" in said
    assert place.counts()["accelerometer_landing"] == 6
    assert place.refresh(max_quarantine_share=1.0)[0]
    assert place.counts()["accelerometer_landing"] == 156


def test_readable_customers_are_published_however_many_are_not(place: Place) -> None:
    place.write("customer", "b.json", *["junk"] * 50, WITHDRAWAL, customer("bob"))
    passed, said = place.refresh()
    assert not passed
    assert "50 of 52 new objects are unreadable" in said
    assert place.emails() == ["bob@x.io"]
    assert place.counts()["quarantine"] == 50


def test_a_large_fall_of_consent_takes_effect_and_warns(place: Place) -> None:
    place.write("customer", "b.json", *(customer(f"p{i}") for i in range(9)))
    assert place.refresh()[0]
    place.write(
        "customer",
        "c.json",
        *(customer(f"p{i}", shareWithResearchAsOfDate=0, lastUpdateDate=T + 1) for i in range(2)),
    )
    passed, said = place.refresh()
    assert passed
    assert "80.0 % of people consent, 100.0 % did before" in said
    assert len(place.emails()) == 8


def test_suspended_people_are_counted_with_the_place_and_never_named(place: Place) -> None:
    place.write("customer", "b.json", customer("bob"), customer("ann", lastUpdateDate="soon"))
    said = place.refresh()[1]
    assert "1 people count as not consenting" in said
    assert "customer/landing/b.json at byte" in said
    assert "ann" not in said
    assert place.emails() == ["bob@x.io"]
    assert "1 people count as not consenting" in place.refresh("step_trainer")[1]


@pytest.fixture
def unlisted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Makes the landing folder of a source one that may not be read."""
    listing = LandingFolder.listing

    def refuse(broken: str) -> None:
        def listing_but_one(self: LandingFolder, source: str) -> Listing:
            if source == broken:
                raise PermissionError(13, "Permission denied", self.folder(source))
            return listing(self, source)

        monkeypatch.setattr(LandingFolder, "listing", listing_but_one)

    yield refuse


@pytest.mark.parametrize("source", ["accelerometer", "step_trainer"])
def test_an_unreadable_folder_of_one_source_holds_up_no_withdrawal(
    source: str, place: Place, unlisted: Callable[[str], None]
) -> None:
    place.write("customer", "b.json", WITHDRAWAL, customer("bob"))
    unlisted(source)
    passed, said = place.refresh()
    assert not passed
    assert f"{source}/landing may not be read" in said
    assert place.emails() == ["bob@x.io"]
    assert place.counts()["machine_learning_curated"] == 0


def test_a_customer_file_that_may_not_be_read_holds_up_no_withdrawal(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.write("customer", "b.json", WITHDRAWAL, customer("bob"))
    place.write("customer", "locked.json", customer("cid"))
    with monkeypatch.context() as patch:
        refuse(patch, "locked.json")
        passed, said = place.refresh()
    assert not passed
    assert "1 file is not readable now" in said
    assert "customer/landing/locked.json may not be read" in said
    assert place.emails() == ["bob@x.io"]
    assert place.refresh()[0]
    assert place.emails() == ["bob@x.io", "cid@x.io"]


@pytest.mark.parametrize("kind", ["zip", "cut off"])
def test_a_customer_file_that_is_lost_is_told_however_many_others_are_readable(
    kind: str, place: Place
) -> None:
    place.write("customer", "many.json", *(customer(f"p{i}") for i in range(1_000)))
    lost = place.landing / "customer/landing/lost.json.gz"
    withdrawals = "\n".join(json.dumps(customer(f"p{i}", lastUpdateDate=None)) for i in range(500))
    packed = gzip.compress(withdrawals.encode())
    lost.write_bytes(b"PK\x03\x04" + packed if kind == "zip" else packed[: len(packed) // 2])
    passed, said = place.refresh()
    assert not passed
    assert "1 file is not readable, as a whole or from some place on" in said
    assert "lost.json.gz" in said


@pytest.mark.parametrize("source", ["accelerometer", "step_trainer"])
def test_a_ledger_that_is_gone_holds_up_no_withdrawal(source: str, place: Place) -> None:
    place.write("customer", "b.json", WITHDRAWAL, customer("bob"))
    shutil.rmtree(Path(catalog_of(place.settings).state(f"{source}_landing").location) / "ledger")
    assert not place.refresh()[0]
    assert place.emails() == ["bob@x.io"]
    assert place.counts()["machine_learning_curated"] == 0
    assert place.refresh("customer", "accelerometer", "step_trainer")[0]
    assert place.emails() == ["bob@x.io"]


def test_a_landing_root_that_lacks_a_source_changes_nothing(place: Place, tmp_path: Path) -> None:
    other = Place(
        place.settings.model_copy(update={"landing": str(tmp_path / "other")}), tmp_path / "other"
    )
    other.write("customer", "a.json", customer("bob"))
    before = snapshots(place.settings)
    with pytest.raises(LakehouseError, match=r"has no landing files for accelerometer_landing"):
        other.refresh()
    assert snapshots(place.settings) == before


def test_a_landing_root_with_all_sources_replaces_the_other(place: Place, tmp_path: Path) -> None:
    other = Place(
        place.settings.model_copy(update={"landing": str(tmp_path / "other")}), tmp_path / "other"
    )
    other.write("customer", "a.json", customer("bob"))
    other.write("accelerometer", "a.json", *phone("bob", 5))
    other.write("step_trainer", "a.json", *device("bob", 5))
    assert other.refresh()[0]
    assert other.emails() == ["bob@x.io"]
    assert other.counts()["accelerometer_landing"] == 5


def test_a_corrected_file_counts_after_a_rebuild_of_its_source(place: Place) -> None:
    place.write("customer", "a.json", customer("ann", shareWithResearchAsOfDate=None))
    passed, said = place.refresh()
    assert passed
    assert "stedi rebuild --source customer" in said
    assert place.emails() == ["ann@x.io"]
    assert place.refresh("customer")[0]
    assert place.emails() == []


def test_a_rebuild_keeps_when_each_file_landed(place: Place) -> None:
    place.write("customer", "b.json", customer("bob"))
    assert place.refresh()[0]

    def landed() -> dict[str, int]:
        rows = read_table("customer_landing", settings=place.settings).to_pandas()
        return dict(zip(rows["source_file"], rows["landed_at"], strict=True))

    before = landed()
    assert len(set(before.values())) == 2
    assert place.refresh("customer", "accelerometer", "step_trainer")[0]
    assert landed() == before
    Path(place.settings.lakehouse, "catalog.db").unlink()
    tables = open_lakehouse(place.settings)
    drop_damaged(tables, damaged_tables(tables))  # as `stedi rebuild` does once it may
    assert place.refresh("customer", "accelerometer", "step_trainer")[0]
    assert landed() == before


def test_a_clock_that_was_set_back_lands_nothing_earlier(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stedi_assets.lakehouse.landing.ingest.time.time_ns", lambda: T * 1_000_000)
    place.write("customer", "b.json", '{"email":"ann@x.io","lastUpdateDate":"soon"}')
    place.refresh()
    assert place.emails() == []
