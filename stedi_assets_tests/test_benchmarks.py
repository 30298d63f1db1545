"""The benchmark: what it measures of a command, and what it makes of the numbers."""

import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from io import StringIO
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from rich.console import Console

from benchmarks import bare, bench, report, sides
from benchmarks.deliveries import SCENARIOS
from benchmarks.glue_way import JOBS, LANDING, inputs
from benchmarks.measure import CommandError, Run, run
from benchmarks.report import Size, growth, slope
from benchmarks.sides import (
    AGAIN,
    BARE,
    BARE_SHARED,
    EMPTY,
    GLUE,
    MIXED,
    SHARED,
    SIDES,
    SPARK,
    Place,
    differences,
)
from stedi_assets.read import read_table
from stedi_assets.sample.landing_files import Sample, write_sample
from stedi_assets.settings import PROJECT
from stedi_assets_tests.support import ANN, BOB, CY, KEY, at, counts, deliver, phone, refresh, under

# What is measured of a command


def python(folder: Path, script: str, timeout: float = 30) -> Run:
    return run((sys.executable, "-c", script), folder, {}, timeout)


def test_memory_and_cpu_of_what_a_command_starts_count(tmp_path: Path) -> None:
    # Allocates 200 MB, works for 0.3 s of CPU, and is not waited for by who started it.
    worker = (
        "import time; held = b'1' * 200_000_000\nwhile time.process_time() < 0.3: pass\n"
        "time.sleep(0.2)"
    )
    script = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {worker!r}])"
    measured = python(tmp_path, script)
    assert measured.megabytes > 200
    assert measured.cpu_seconds > 0.2
    assert measured.seconds < 5


def test_command_that_takes_too_long_is_killed_with_what_it_started(tmp_path: Path) -> None:
    worker = "import time, pathlib; time.sleep(1); pathlib.Path('survived').touch()"
    script = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"
    with pytest.raises(CommandError, match="more than 0 seconds"):
        python(tmp_path, script, timeout=0.3)
    time.sleep(1.2)
    assert not (tmp_path / "survived").exists()


def test_command_that_fails_says_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(CommandError) as failed:
        python(tmp_path, "raise ValueError('of a test')")
    assert str(failed.value) == "ValueError: of a test"


def fake_sample(customers: int, timeout: float, *options: str) -> Path:
    folder = Path(tempfile.gettempdir()) / "sample"
    if not folder.exists():
        deliver(folder, "1.json", customer=[{"email": ANN}])
    return folder


def fake_delivery(scenario: str, customers: int, timeout: float) -> Path:
    folder = Path(tempfile.gettempdir()) / scenario
    if not folder.exists():
        deliver(folder, f"{scenario}.json", customer=[{"email": BOB}])
    return folder


def fake_refresh(here: Place, engine: str = "duckdb") -> Run:
    """Note the landing files in a data file, and count them and the refreshes before."""
    lakehouse = here.folder / here.lakehouse
    lakehouse.mkdir(exist_ok=True)
    before = len([*lakehouse.glob("*.parquet")])
    names = sorted(path.name for path in here.landing.rglob("*.json"))
    (lakehouse / f"{before}.parquet").write_text(" ".join(names))
    (lakehouse / "catalog.db").write_text(f"{before}")
    return taken(1, before=before, files=len(names))


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[sides.Stage]:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sides, "sample", fake_sample)
    monkeypatch.setattr(sides, "delivery", fake_delivery)
    monkeypatch.setattr(Place, "refresh", fake_refresh)
    with sides.Stage(1_000, 1, "1GB") as stage:
        yield stage
    assert {path.name for path in tmp_path.iterdir()} <= {"sample", *SCENARIOS}


def test_each_scenario_starts_from_the_refreshed_sample_where_it_was_made(
    stage: sides.Stage,
) -> None:
    lakehouses = set()
    for scenario in [*SCENARIOS, *SCENARIOS]:
        with stage.place(scenario) as here:
            [(_, measured)] = SIDES[scenario](here)
            lakehouse = here.folder / "lakehouse"
            lakehouses.add(lakehouse)
            assert measured.rows == {"before": 1, "files": 2}
            assert (lakehouse / "0.parquet").read_text() == "1.json"
            assert (lakehouse / "1.parquet").read_text() == f"1.json {scenario}.json"
    assert len(lakehouses) == 1


def test_other_sides_start_from_nothing(stage: sides.Stage) -> None:
    for _ in range(2):
        with stage.place("empty") as here:
            assert [run.rows["before"] for _, run in SIDES["empty"](here)] == [0, 1]


def test_scenario_is_checked_against_a_refresh_from_empty_if_asked(stage: sides.Stage) -> None:
    with stage.place("mixed") as here:
        # The fake one counts refreshes before: 1 and, from empty, 0.
        with pytest.raises(sides.WrongAnswerError, match="number of rows of before than a refresh"):
            list(SIDES["mixed"](replace(here, check=True)))
        assert not (here.folder / "anew").exists()
        assert (here.folder / "lakehouse").exists()


def test_refresh_and_bare_script_have_the_same_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = []

    def look(_: Place, *command: str | Path, **settings: str) -> Run:
        if "status" not in command:
            limits.append(settings.get("MEMORY_LIMIT"))
        return Run(1, 1, 1, '{"tables": {}}')

    monkeypatch.setattr(Place, "run", look)
    here = Place(tmp_path, tmp_path, 1, "1.5GB")
    here.refresh()
    here.bare()
    here.refresh("spark")  # there it would limit something else
    assert limits == ["1.5GB", "1.5GB", None]


def test_bare_script_keeps_to_its_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_sample(tmp_path / "landing", Sample(50))
    monkeypatch.setenv("STEDI_MEMORY_LIMIT", "1MB")
    with pytest.raises(duckdb.OutOfMemoryException):
        bare.write_tables(f"{tmp_path}/landing", f"{tmp_path}/bare.db")


def test_size_that_the_disk_has_no_room_for_is_skipped_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["bench", "--customers", "10000000000"])
    bench.main()
    said = " ".join(capsys.readouterr().out.split())
    sentence = "10,000,000,000 customers are skipped: It needs 236,000.0 GB of disk, and"
    assert said.startswith(sentence)
    assert list(tmp_path.iterdir()) == []


# What becomes of what is measured


def taken(seconds: float, megabytes: float = 100, **rows: int) -> Run:
    return Run(seconds, seconds, megabytes, "printed", rows)


def test_side_that_fails_loses_no_other_and_is_not_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tried = []

    def broken(_: Place) -> Iterator[tuple[str, Run]]:
        tried.append("broken")
        yield SPARK, taken(1)
        raise CommandError("out of memory")

    def bare(_: Place) -> Iterator[tuple[str, Run]]:
        tried.append("bare")
        yield BARE, taken(2)

    monkeypatch.setattr(bench, "SIDES", {"broken": broken, "bare": bare})
    monkeypatch.setattr(bench, "sample", lambda *_: None)
    monkeypatch.setattr(sides.Stage, "place", lambda *_: nullcontext())
    options = bench.parse_options(["--sides", "broken,bare"])
    size = bench.measure_size(5, 3, options, Console(file=StringIO()))
    assert tried == ["broken", "bare", "bare", "bare"]
    assert [runs.keys() for runs in size.rounds] == [{SPARK, BARE}, {BARE}, {BARE}]
    assert "\n\nNot measured: broken: out of memory\n\n" in report.section(size)
    assert not any(run.output for runs in size.rounds for run in runs.values())


def test_rounds_and_sides_are_as_asked() -> None:
    asked = "--customers 5:2 70 --sides empty,bare --runs 4".split()
    options = bench.parse_options(asked)
    assert options.customers == [(5, 2), (70, None)]
    assert options.runs == 4  # of sizes without
    assert options.sides == ["empty", "bare"]
    assert not options.check
    with pytest.raises(SystemExit):
        bench.parse_options(["--sides", "empty,other"])


def test_run_with_another_answer_than_the_bare_script_counts_as_failed() -> None:
    rows = {"customer_trusted": 3, "step_trainer_trusted": 9}
    runs = {
        BARE: taken(1, **rows),
        EMPTY: taken(1, **rows, quarantine=1),
        AGAIN: taken(1, **rows | {"customer_trusted": 2}),
        MIXED: taken(1, **rows | {"customer_trusted": 4}),  # of other data
        GLUE: taken(1, **rows | {"step_trainer_trusted": 1}),  # its answer is another one
        BARE_SHARED: taken(1, **rows),
        SHARED: taken(1, customer_trusted=3),
    }
    assert differences(runs) == {
        AGAIN: ["customer_trusted"],
        SHARED: ["step_trainer_trusted"],
    }
    assert differences({GLUE: taken(1), EMPTY: taken(1)}) == {}


def size(customers: int, seconds: float, megabytes: float = 100, **others: float) -> Size:
    others_taken = {name: taken(other) for name, other in others.items()}
    return Size(customers, "2.5GB", [{EMPTY: taken(seconds, megabytes)} | others_taken])


def test_ratios_are_medians_over_the_rounds_beside_what_is_asked() -> None:
    three = size(100_000, 12, **{BARE: 10, GLUE: 50})
    three.rounds += size(100_000, 30, **{BARE: 10, GLUE: 75}).rounds
    three.rounds += size(100_000, 11, **{BARE: 10}).rounds
    said = report.section(three)
    bare = "| refresh from empty : bare.py | 1.20 | 1.10 | 3.00 | at most 2.5 | reached |"
    glue = "| Glue-style Spark jobs : refresh from empty | 3.33 | 2.50 | 4.17 | at least 6 |"
    assert bare in said
    assert f"{glue} not reached |" in said
    assert "refresh on Spark" not in said


@pytest.mark.parametrize(
    ("customers", "asked"),
    [
        (1_000, " |  |"),
        (100_000, "at most 0.40 | reached |"),
        (1_000_000, "at most 0.08 | not reached |"),
    ],
)
def test_what_is_asked_of_a_ratio_depends_on_the_size(customers: int, asked: str) -> None:
    said = report.section(size(customers, 10, **{MIXED: 4}))
    line = (
        f"| refresh, 1 % new readings and more : refresh from empty | 0.40 | 0.40 | 0.40 | {asked}"
    )
    assert line in said


@pytest.mark.parametrize(
    ("customers", "megabytes", "asked"),
    [
        (1_000_000, 3_900, " | 3.90 | 3.90 | 3.90 | at most 4 | reached |"),
        (1_000_000, 4_100, " | 4.10 | 4.10 | 4.10 | at most 4 | not reached |"),
        (100_000, 4_100, " | 4.10 | 4.10 | 4.10 |  |  |"),
    ],
)
def test_memory_is_bounded_at_a_million_customers(
    customers: int, megabytes: float, asked: str
) -> None:
    said = report.section(size(customers, 1, megabytes))
    assert f"| refresh from empty, peak memory in GB{asked}" in said


def test_slope_is_the_power_that_a_number_grows_with() -> None:
    assert slope({1_000: 5, 10_000: 50}) == pytest.approx(1)
    assert slope({10: 3 * 10**2, 20: 3 * 20**2, 70: 3 * 70**2}) == pytest.approx(2)
    assert slope({1: 7, 9: 7}) == pytest.approx(0)


def test_growth_past_the_bound_at_the_end_is_not_hidden_by_the_start_up() -> None:
    sizes = [size(1_000, 10), size(10_000, 10), size(100_000, 200)]
    said = growth(sizes)
    assert "| refresh from empty, seconds | 0.65 | 1.30 | at most 1.05 | not reached |" in said
    assert "| refresh from empty, megabytes | 0.00 | 0.00 | at most 1.05 | reached |" in said
    assert growth(sizes[:1]) == ""


def test_page_and_chart_say_what_was_measured_and_what_was_not() -> None:
    sizes = [size(10_000, 9, **{BARE: 8}), size(100_000, 30, **{BARE: 10})]
    sizes[1].failures["glue"] = "no memory"
    page = report.page(sizes, ["1,000,000 customers are skipped: no disk."])
    assert "## 10,000 customers, rounds: 1\n" in page
    bare = "| refresh from empty : bare.py | 3.00 | 3.00 | 3.00 | at most 2.5 | not reached |"
    assert bare in page
    assert "\n\nNot measured: glue: no memory\n\n" in page
    assert "\n\n1,000,000 customers are skipped: no disk.\n\n" in page
    drawn = report.svg(sizes)
    said = {text for node in ET.fromstring(drawn).iter() if (text := (node.text or "").strip())}
    ratio = "refresh from empty : bare.py"
    assert {"10,000", "100,000", "customers", EMPTY, BARE, ratio} <= said
    assert report.svg(sizes) == drawn


# The bare script


def times_in_any_spelling(landing: Path) -> None:
    """Records, and a device of Ann's that Bob uses once, which no sample has."""
    spelled = [at(1), f"{at(2)}.0", f" {at(3)} ", 1.655564400004e12, at(5)]
    deliver(
        landing,
        "spelled.json",
        customer=[
            *(
                {"email": ANN, "shareWithResearchAsOfDate": time, "serialNumber": "of Ann"}
                for time in spelled
            ),
            {"email": f"\u200b{BOB.upper()}\u00a0", "shareWithResearchAsOfDate": f"{at(9)}"},
            {"email": BOB, "shareWithResearchAsOfDate": at(9), "lastUpdateDate": " "},
            # Who does not consent: no date, suspended by what is no time, tied with a withdrawal.
            {"email": CY, "shareWithResearchAsOfDate": 0},
            *(
                {"email": f"{number}@x.io", "shareWithResearchAsOfDate": at(1)}
                for number in range(4)
            ),
            {"email": "0@x.io", "registrationDate": "2022-06-18"},
            {"email": "1@x.io", "lastUpdateDate": at(3) + 0.5},
            {"email": "2@x.io", "shareWithFriendsAsOfDate": True},
            {"email": "3@x.io"},
        ],
        accelerometer=[
            *({"user": ANN.title(), "timestamp": time, "x": 1.0} for time in spelled),
            {"user": ANN, "timestamp": "soon"},
            {"user": BOB, "timestamp": at(6), "x": 2.0},
        ],
        step_trainer=[
            {"serialNumber": "of Ann", "sensorReadingTime": time, "distanceFromObject": 3.0}
            for time in [*spelled, str(at(6)), at(7), at(8) + 0.5]
        ],
    )


@pytest.mark.parametrize("shared_serials", [False, True])
def test_bare_script_makes_the_tables_of_the_lakehouse(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, shared_serials: bool
) -> None:
    sample = Sample(200, changing_consent=True, late_readings=True, shared_serials=shared_serials)
    write_sample(tmp_path / "landing", sample)
    times_in_any_spelling(tmp_path / "landing")
    settings = under(tmp_path, max_quarantine_share=1)
    refresh(settings)
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY)
    rows = bare.write_tables(f"{tmp_path}/landing", f"{tmp_path}/bare.db")
    assert rows == {table: counts(settings)[table] for table in rows}
    for table in (table for table in rows if not table.endswith("_landing")):
        theirs = read_table(table, settings=settings).to_pyarrow()
        columns = ", ".join(f'"{name}"' for name in theirs.column_names)
        with duckdb.connect(f"{tmp_path}/bare.db") as connection:
            ours = connection.execute(f"SELECT {columns} FROM {table}").fetchall()
        assert Counter(ours) == Counter(tuple(row.values()) for row in theirs.to_pylist()), table


# The usual Spark jobs


def glue_tables() -> dict[str, list[dict[str, object]]]:
    """What the queries of the five jobs make of a small delivery, on DuckDB, which starts at once.

    Ann has a second device that no record mentions, and moves in the same millisecond as Bob.
    """
    landed = {
        "customer_landing": [
            *(
                {"email": email, "serialNumber": serial, "shareWithResearchAsOfDate": consent}
                for email, serial, consent in [(ANN, "a", 1), (BOB, "b", 1), (CY, "c", None)]
            ),
            {"email": "no@readings.io", "serialNumber": "n", "shareWithResearchAsOfDate": 1},
        ],
        "accelerometer_landing": [*phone(ANN, 1, 2, 3), *phone(BOB, 2), *phone(CY, 4)],
        "step_trainer_landing": [
            {"sensorReadingTime": at(time), "serialNumber": serial, "distanceFromObject": 1.0}
            for serial, time in [("a", 1), ("a", 2), ("second of a", 3), ("b", 2), ("c", 4)]
        ],
    }
    connection = duckdb.connect()
    for name, rows in landed.items():
        connection.register(name, pa.Table.from_pylist(rows))
    for name, job in JOBS.items():
        connection.execute(f"CREATE TABLE {name} AS {job}")
    return {name: connection.table(name).to_arrow_table().to_pylist() for name in JOBS}


def test_glue_style_jobs_keep_consenting_customers_and_their_readings() -> None:
    tables = glue_tables()
    assert {row["email"] for row in tables["customer_trusted"]} == {ANN, BOB, "no@readings.io"}
    readings = [(row["user"], row["timestamp"]) for row in tables["accelerometer_trusted"]]
    assert sorted(readings, key=str) == [(ANN, at(1)), (ANN, at(2)), (ANN, at(3)), (BOB, at(2))]
    assert sorted(str(row["email"]) for row in tables["customers_curated"]) == [ANN, BOB]


def test_glue_style_jobs_trust_serial_numbers_and_join_on_the_time_alone() -> None:
    tables = glue_tables()
    steps = [
        (row["serialNumber"], row["sensorReadingTime"]) for row in tables["step_trainer_trusted"]
    ]
    assert sorted(steps, key=str) == [("a", at(1)), ("a", at(2)), ("b", at(2))]
    pairs = [(row["serialNumber"], row["user"]) for row in tables["machine_learning_curated"]]
    assert sorted(pairs, key=str) == [("a", ANN), ("a", ANN), ("a", BOB), ("b", ANN), ("b", BOB)]


def test_glue_style_jobs_read_only_what_is_made_before_them() -> None:
    made = set(LANDING)
    for name, job in JOBS.items():
        assert set(inputs(job)) <= made
        made.add(name)


def test_each_side_is_documented() -> None:
    page = (PROJECT / "benchmarks" / "README.md").read_text()
    assert [side for side in SIDES if f"\n| {side} | " not in page] == []
