"""What is usual, and what is not, one case each."""

import datetime as dt
from collections.abc import Callable

import pytest

from stedi_assets.lakehouse.landing.profile import Profile
from stedi_assets.refresh.anomalies import find_anomalies, find_shrinkage
from stedi_assets.refresh.deliveries import DAY, HOUR, Days, Delivery

NOON = 1_777_636_800_000
"""2026-05-01 12:00 UTC, a Friday."""

Objects = Callable[[int], int]


def daily(
    days: int, objects: Objects = lambda day: 1_000, **keys: tuple[int, int]
) -> list[Delivery]:
    """A delivery at noon of each day."""
    profile = Profile(100, HOUR, keys or {"x": (100, 100)}).text()
    return [
        Delivery(NOON + day * DAY, objects(day), profile) for day in range(days) if objects(day)
    ]


def found(deliveries: list[Delivery], now: int, *others: int) -> list[str]:
    """What is unusual; refreshes also took in what other sources brought at other times."""
    runs = {*others, *(delivery.landed_at for delivery in deliveries)}
    days = Days(deliveries, runs, now)
    return [anomaly.sentence for anomaly in find_anomalies("accelerometer", "readings", days)]


def noon(day: float) -> int:
    return NOON + int(day * DAY)


def test_what_is_as_usual_is_not_mentioned() -> None:
    assert found(daily(30), noon(29)) == []


def test_far_fewer_readings_are_told_with_what_is_usual() -> None:
    [sentence] = found(daily(31, lambda day: 150 if day == 30 else 1_000), noon(30))
    assert sentence == ("accelerometer: 150 readings came on 2026-05-31; 860 to 1,200 are usual.")


def test_a_weekday_is_compared_with_itself() -> None:
    def rhythm(day: int) -> int:
        return 300 if day % 7 in {1, 2} else 10_000  # Saturday, Sunday

    assert found(daily(50, rhythm), noon(49)) == []
    [sentence] = found(daily(50, lambda day: 1_000 if day == 49 else rhythm(day)), noon(49))
    assert sentence.endswith("are usual.")
    [sentence] = found(daily(52, lambda day: 40 if day == 51 else rhythm(day)), noon(51))
    assert "40 readings came on 2026-06-21; 260 to 350 are usual on a Sunday." in sentence


def test_a_silent_day_is_told_by_a_refresh_that_brings_nothing() -> None:
    [sentence] = found(daily(20), noon(20))
    assert sentence == (
        "accelerometer: nothing came after Wednesday 2026-05-20; no such day is usual."
    )


def test_a_weekend_without_deliveries_is_usual() -> None:
    deliveries = daily(30, lambda day: 0 if day % 7 in {1, 2} else 1_000)
    assert found(deliveries, noon(30.4)) == []  # Sunday evening
    assert found(deliveries, noon(32)) != []  # Tuesday night: Monday brought nothing


def test_a_pause_of_the_lakehouse_is_no_silence_of_a_source() -> None:
    waited = Profile(100, 3 * DAY, {"x": (100, 100)}).text()
    after_pause = [*daily(20), Delivery(noon(25), 6_000, waited)]
    assert found(after_pause, noon(25)) == []
    assert found([*after_pause, Delivery(noon(26), 1_000)], noon(26)) == []


def test_nothing_is_said_in_the_first_week() -> None:
    assert found(daily(3), noon(6.9)) == []
    assert found(daily(6, lambda day: 1 if day == 5 else 1_000), noon(5)) == []


def test_a_huge_first_delivery_does_not_become_usual() -> None:
    assert found(daily(12, lambda day: 1_000_000 if day == 0 else 1_000), noon(11)) == []


def test_what_is_far_older_than_usual_when_it_comes_is_late() -> None:
    late = Delivery(noon(20), 1_000, Profile(100, 5 * DAY, {"x": (100, 100)}).text())
    [sentence] = found([*daily(20), late], noon(20))
    assert sentence == (
        "accelerometer: the readings that came on 2026-05-21 were 5 days old, the median; "
        "60 minutes is usual."
    )


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (
            {"x": (100, 100)},
            "accelerometer: none of the readings that were looked at on 2026-05-21 has the key y; "
            "100% have it usually.",
        ),
        (
            {"x": (100, 100), "y": (100, 40)},
            "accelerometer: 60% of the readings that came on 2026-05-21 have no value for y; 10% "
            "is usual.",
        ),
        (
            {"x": (100, 100), "y": (100, 90), "z": (30, 30)},
            "accelerometer: 30% of the readings that came on 2026-05-21 have a new key, z.",
        ),
    ],
)
def test_keys_that_vanish_appear_or_lose_their_values(
    keys: dict[str, tuple[int, int]], expected: str
) -> None:
    usual = daily(20, x=(100, 100), y=(100, 90))
    odd = Delivery(noon(20), 1_000, Profile(100, HOUR, keys).text())
    assert found([*usual, odd], noon(20)) == [expected]


def test_a_key_of_few_objects_is_not_shown() -> None:
    odd = Delivery(noon(20), 1_000, Profile(100, HOUR, {"x": (100, 100), "z": (4, 4)}).text())
    assert found([*daily(20), odd], noon(20)) == []


def test_a_source_that_was_delivered_once_is_never_missed() -> None:
    assert found(daily(1), noon(50)) == []


def test_files_say_when_they_were_written_where_refreshes_are_rare() -> None:
    first = daily(1)
    written = [
        Delivery(noon(19.6), 1_000 if day < 19 else 100, None, noon(day)) for day in range(1, 20)
    ]
    assert "100 readings came on 2026-05-20" in found([*first, *written], noon(19.6))[0]


def shrinkage(rows: int, *history: int) -> str | None:
    days = {dt.date(2026, 5, 1 + 2 * number): count for number, count in enumerate(history)}
    anomaly = find_shrinkage("customer_trusted", days, history[-1], rows)
    return anomaly.sentence if anomaly else None


def test_a_table_that_lost_far_more_rows_than_usual_has_shrunk() -> None:
    sentence = shrinkage(700, 1_000, 1_010, 1_005, 1_020, 1_000)
    assert sentence
    assert "lost 30% of its rows: 1,000 before, 700 now; 5% at most is usual." in sentence


def test_a_table_may_shrink_as_it_usually_does() -> None:
    assert shrinkage(950, 1_000, 1_010, 1_005, 1_020, 1_000) is None
    assert shrinkage(750, 1_000, 700, 1_000, 720, 1_000) is None
    assert shrinkage(6, 10, 11, 10, 11, 10) is None


def test_of_a_table_made_lately_nothing_is_usual() -> None:
    assert shrinkage(100, 1_000, 1_000, 1_000) is None
