"""Faults planted in simulated lakehouses are found, and hardly anything else is."""

import sys
from collections import Counter

import pytest

from stedi_assets_tests.refresh.anomalies.simulation import SPAN, Outcome, simulate

JUDGED = range(200, 206)
"""The constants were chosen on other seeds."""

FOUND = 0.95
MONTH = 30


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    return [simulate(seed) for seed in JUDGED]


def test_nearly_all_planted_faults_are_found_within_a_day(outcomes: list[Outcome]) -> None:
    planted = Counter(fault.kind for outcome in outcomes for fault in outcome.faults)
    found = Counter(fault.kind for outcome in outcomes for fault in outcome.found)
    counts = ", ".join(f"{kind} {found[kind]}/{planted[kind]}" for kind in sorted(planted))
    sys.stdout.write(f"Found: {counts}\n")
    assert found.total() >= FOUND * planted.total()
    assert all(planted[kind] for kind in ("silent", "few", "late", "key_vanished", "nulls"))


def test_there_is_at_most_one_false_alarm_in_thirty_days(outcomes: list[Outcome]) -> None:
    rates = [len(outcome.false) * MONTH / SPAN for outcome in outcomes]
    mean, most = sum(rates) / len(rates), max(rates)
    sys.stdout.write(f"False alarms in 30 days: {mean:.2f}, at most {most:.2f}\n")
    assert mean <= 1
