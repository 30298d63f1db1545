"""People of a training set are recognized by what gives them away, and by nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from stedi_assets.cli.main import app
from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.defs.report import RE_IDENTIFICATION, REPORT
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.risk import Attack, attacks
from stedi_assets.resources import open_lakehouse
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    KEY,
    customer,
    deliver,
    device,
    phone,
    refresh,
    subject_id,
    under,
)

if TYPE_CHECKING:
    from pathlib import Path

    from stedi_assets.settings import Settings

MINUTE, HOUR, DAY, PHONE, MOVES = (
    "seen walking within one minute",
    "seen walking within one hour",
    "seen walking within one day",
    "times of their phone's readings",
    "how they move, in as many readings",
)
APART = 86_400_000
"""Milliseconds from Ann's and Bob's walk to Cy's: a day."""


@pytest.fixture(scope="module")
def landing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ann and Bob walk in the same minute, Cy on another day; each moves in a way of their own."""
    landing = tmp_path_factory.mktemp("landing")
    walks = {
        ANN: ("a", range(0, 48, 2), 0.0),
        BOB: ("b", range(1, 49, 2), 5.0),
        CY: ("c", range(APART, APART + 24), -5.0),
    }
    deliver(
        landing,
        "first.json",
        customer=[customer(who, serial) for who, (serial, _, _) in walks.items()],
        accelerometer=[
            reading | {"x": x + i % 3 / 10}
            for who, (_, times, x) in walks.items()
            for i, reading in enumerate(phone(who, *times))
        ],
        step_trainer=[
            reading for serial, times, _ in walks.values() for reading in device(serial, *times)
        ],
    )
    return landing


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory, landing: Path) -> Settings:
    settings = under(tmp_path_factory.mktemp("exact"), landing=str(landing))
    assert refresh(settings).success
    return settings


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory, landing: Path) -> Settings:
    settings = under(tmp_path_factory.mktemp("s"), landing=str(landing), times="shifted")
    assert refresh(settings).success
    return settings


def named(settings: Settings) -> dict[str, tuple[int, int]]:
    lakehouse = open_lakehouse(settings)
    training_set = lakehouse.published("machine_learning_curated")
    found = attacks(lakehouse, training_set, policy_of(settings))
    assert {attack.people for attack in found} == {3}
    return {attack.name: (attack.named, attack.tried) for attack in found}


def test_exact_times_name_whoever_walks_alone_and_everybody_whose_phone_is_known(
    exact: Settings,
) -> None:
    assert named(exact) == {
        MINUTE: (1, 3),
        HOUR: (1, 3),
        DAY: (1, 3),
        PHONE: (3, 3),
        MOVES: (3, 3),
    }


def test_shifted_times_name_nobody_and_movement_still_does(shifted: Settings) -> None:
    assert named(shifted) == {
        MINUTE: (0, 3),
        HOUR: (0, 3),
        DAY: (0, 3),
        PHONE: (0, 3),
        MOVES: (3, 3),
    }


def test_set_under_another_key_cannot_be_judged(exact: Settings) -> None:
    other = exact.model_copy(update={"pseudonym_key": SecretStr(KEY[::-1])})
    lakehouse = open_lakehouse(other)
    with pytest.raises(LakehouseError, match="under another key of subject_id"):
        attacks(lakehouse, lakehouse.published("machine_learning_curated"), policy_of(other))


@pytest.mark.parametrize(
    ("found", "tried", "low", "high"),
    [(0, 10, 0.0, 0.278), (10, 10, 0.722, 1.0), (149, 149, 0.975, 1.0), (0, 0, 0.0, 1.0)],
)
def test_interval_is_wilsons(found: int, tried: int, low: float, high: float) -> None:
    attack = Attack(PHONE, tried, found, 1_000, by_times=True)
    assert attack.interval == pytest.approx((low, high), abs=0.001)


def test_chance_is_one_of_all_people() -> None:
    attack = Attack(PHONE, 100, 1, 3, by_times=True)
    assert not attack.is_above_chance
    assert replace(attack, named=60).is_above_chance
    assert replace(attack, people=100_000).is_above_chance


def test_command_counts_and_names_nobody(exact: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("lakehouse", "landing"):
        monkeypatch.setenv(f"STEDI_{name.upper()}", getattr(exact, name))
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY)
    said = CliRunner().invoke(app, ["risk"])
    assert said.exit_code == 0
    words = " ".join(said.output.split())
    assert f"{PHONE}: 3 of 3 people recognized (100%" in words
    assert "STEDI_TIMES=shifted hides them" in words
    for secret in (ANN, BOB, CY, *map(subject_id, (ANN, BOB, CY))):
        assert secret not in said.output
    found = json.loads(CliRunner().invoke(app, ["risk", "--json"]).stdout)
    assert [(attack["name"], attack["named"]) for attack in found][3] == (PHONE, 3)
    unknown = CliRunner().invoke(app, ["risk", "training-1999-01-01"])
    assert unknown.exit_code == 1
    assert "has no snapshot training-1999-01-01" in " ".join(unknown.output.split())


@pytest.mark.parametrize(
    ("fixture", "passed", "words"),
    [
        ("exact", False, "Times give people away"),
        ("shifted", True, "Times give away no more than that"),
    ],
)
def test_report_warns_where_times_give_people_away(
    fixture: str, passed: bool, words: str, request: pytest.FixtureRequest
) -> None:
    settings = request.getfixturevalue(fixture)
    job = lakehouse_definitions(settings).resolve_implicit_global_asset_job_def()
    made = job.execute_in_process(asset_selection=[dg.AssetKey(REPORT)])
    [check] = made.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == (RE_IDENTIFICATION, passed)
    assert check.severity == dg.AssetCheckSeverity.WARN
    assert words in str(check.description)
    [report] = made.asset_materializations_for_node(REPORT)
    assert f"- {MOVES}: 3 of 3" in str(report.metadata["report"].value)
