"""What `stedi refresh --explain` says, and that it leaves everything as it is."""

from pathlib import Path

import ibis.expr.types as ir
import pytest

from stedi_assets_tests.commands import Answer, deliver_people, isolate, stedi
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.support import TABLES, catalog_of, change_table, refresh, under

LANDING = ("customer_landing", "accelerometer_landing", "step_trainer_landing")


def make_people(folder: Path) -> None:
    """A refreshed lakehouse of Ann and Bob."""
    deliver_people(folder / "lakehouse/landing")
    assert refresh(under(folder, landing=None)).success


@pytest.fixture
def refreshed(lakehouses: Lakehouses, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = lakehouses.as_made(make_people)
    isolate(monkeypatch, folder)
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def files(folder: Path) -> dict[Path, int]:
    """All files and folders, with the time of their last change."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def explain(patch: pytest.MonkeyPatch, *words: str) -> dict[str, str]:
    """What is said of each table, on a wide terminal."""
    answer: Answer = stedi(patch, "refresh", "--explain", *words)
    assert answer.code == 0, answer.text
    lines = [line.split(maxsplit=1) for line in answer.out.splitlines()]
    return {name: sentence for name, sentence in lines if name in TABLES}


def take_in_more_of_ann(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """Take in other readings of Ann, which no table is made from yet."""
    landing = folder / "lakehouse/landing/accelerometer/landing"
    (landing / "ann-b.json").write_text((landing / "ann-a.json").read_text().replace("0.5", "0.25"))
    assert stedi(patch, "refresh", "accelerometer_landing").code == 0


def test_before_the_first_refresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    deliver_people(tmp_path / "lakehouse/landing")
    before = files(tmp_path)
    said = explain(monkeypatch)
    assert files(tmp_path) == before
    assert list(said) == list(TABLES)
    assert said["customer_landing"] == "taken in: 2 new files, 0.4 kB"
    made = {said[name] for name in TABLES if name not in {*LANDING, "quarantine"}}
    assert made == {"anew: it was not made before"}


def test_nothing_is_new(refreshed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(refreshed)
    said = explain(monkeypatch)
    assert files(refreshed) == before
    assert said["customer_landing"] == "unchanged: no new file, 2 taken in"
    assert said["quarantine"] == "unchanged: nothing new that cannot be read"
    made = {said[name] for name in TABLES if name not in {*LANDING, "quarantine"}}
    assert made == {"unchanged: it was made from the same inputs"}


def test_new_files_and_tables_that_depend_on_them(
    refreshed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    landing = refreshed / "lakehouse/landing/accelerometer/landing"
    text = (landing / "ann-a.json").read_text()
    (landing / "ann-b.json").write_text(text.replace('"x": 0.5', '"x": 0.25'))
    said = explain(monkeypatch)
    assert said["accelerometer_landing"].startswith("taken in: 1 new file, 0.")
    assert said["customer_landing"] == "unchanged: no new file, 2 taken in"
    assert said["customer_trusted"] == "unchanged, unless quarantine gains what cannot be read"
    after = "anew, after accelerometer_landing: its inputs are small"
    assert said["accelerometer_trusted"] == after
    monkeypatch.setattr("stedi_assets.refresh.method.FEW_BYTES", 0)
    assert explain(monkeypatch)["customers_curated"] == (
        "from what changes of accelerometer_trusted; anew if that is most of its inputs"
    )


def test_changed_input_says_how_many_rows_changed(
    refreshed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in_more_of_ann(refreshed, monkeypatch)
    said = explain(monkeypatch)
    assert said["device_matches"] == "anew: its inputs are small (6 of 32 rows changed)"
    monkeypatch.setattr("stedi_assets.refresh.method.FEW_BYTES", 0)
    said = explain(monkeypatch)
    assert said["device_matches"] == "from what changed: 6 of 32 rows, in accelerometer_landing"


def test_more_counts_as_small_on_spark_where_each_step_takes_longer(
    refreshed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_in_more_of_ann(refreshed, monkeypatch)
    inputs = "accelerometer_landing", "step_trainer_landing"
    catalog = catalog_of(under(refreshed, landing=None))
    size = sum(snapshot.size for name in inputs if (snapshot := catalog.published(name)))
    monkeypatch.setattr("stedi_assets.refresh.method.FEW_BYTES", size // 2)
    assert explain(monkeypatch)["device_matches"].startswith("from what changed")
    monkeypatch.setenv("STEDI_ENGINE", "spark")
    assert explain(monkeypatch)["device_matches"].startswith("anew: its inputs are small")
    monkeypatch.setattr("stedi_assets.refresh.method.FEW_BYTES", size // 8)
    assert explain(monkeypatch)["device_matches"].startswith("from what changed")


def test_changed_setting(refreshed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STEDI_CONSENT_SCOPE", "from_consent_date")
    said = explain(monkeypatch)
    changed = "anew: its rule, its contract or a setting changed"
    assert said["customer_trusted"] == "unchanged: it was made from the same inputs"
    assert said["accelerometer_trusted"] == said["step_trainer_trusted"] == changed
    monkeypatch.setenv("STEDI_PSEUDONYMIZE", "false")
    assert explain(monkeypatch)["machine_learning_curated"] == "anew: its contract changed"


def test_table_that_is_held_back_and_those_that_wait_for_it(
    refreshed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def account(accelerometer_landing: ir.Table) -> ir.Table:
        """No row is accounted for."""
        return accelerometer_landing.limit(0).select(outcome="person", rows="timestamp")

    landing = refreshed / "lakehouse/landing/accelerometer/landing"
    text = (landing / "ann-a.json").read_text()
    (landing / "ann-b.json").write_text(text.replace('"x": 0.5', '"x": 0.25'))
    with monkeypatch.context() as patch:
        change_table(patch, "accelerometer_trusted", account=account)
        assert not refresh(under(refreshed, landing=None)).success
    said = explain(monkeypatch)
    assert said["accelerometer_landing"] == "unchanged: no new file, 3 taken in"
    assert said["accelerometer_trusted"] == "checked again: held back by completeness"
    waits = "waits for accelerometer_trusted, unless the checks pass now"
    assert said["customers_curated"] == waits
    assert said["customer_trusted"] == "unchanged: it was made from the same inputs"


def test_named_tables_with_those_they_are_made_from(
    refreshed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(explain(monkeypatch, "customer_trusted")) == [
        "customer_landing",
        "accelerometer_landing",
        "step_trainer_landing",
        "quarantine",
        "customer_trusted",
    ]


def test_full_is_explained_too(refreshed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = stedi(monkeypatch, "refresh", "--explain", "--full").out.splitlines()
    assert said[-1] == "Each table that has a rule would also be computed in full, and compared."


@pytest.mark.parametrize("width", [40, 80])
def test_fits_a_terminal(refreshed: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    deliver_people(refreshed / "lakehouse/landing", "b.json")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr("stedi_assets.refresh.method.FEW_BYTES", 0)
    said = stedi(monkeypatch, "refresh", "--explain", "--full").out.splitlines()
    assert max(map(len, said)) <= width
    beside = [line for line in said if line.startswith("device_matches ")]
    assert len(beside) == (width == 80)


def test_no_landing_file_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    isolate(monkeypatch, tmp_path)
    said = stedi(monkeypatch, "refresh", "--explain")
    assert (said.code, "There are no landing files" in said.err) == (1, True)
