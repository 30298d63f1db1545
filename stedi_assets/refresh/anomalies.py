"""What is unusual about what a source brought, and about the rows of a table.

Nothing is scanned: all follows from the ledgers of the landing tables, and from the numbers of rows
that a table had. A source is compared with itself, day by day. A day is judged when it is over, and
what is usual is the median of the days before, where it can be that of the same weekday. So a
weekend, a growing source, a huge first delivery, or some odd days move it little.
"""

import datetime as dt
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, pstdev

from stedi_assets.refresh.deliveries import (
    ABSENT,
    DAY,
    ENOUGH,
    FIRST_DAYS,
    HOUR,
    RECENT,
    WINDOW,
    Days,
    longest,
)

SAME_WEEKDAY = 3
"""Days from which on a weekday has a median of its own; of three, one may be odd."""

UNUSUAL = 4.0
"""Standard deviations: about 30 values a day and lakehouse are judged, and no source is quite
normal. Four are passed by chance once in years."""

_DEVIATION = 1.4826
"""Standard deviations in a median absolute deviation of normal values."""

_LEVEL = 14
"""Days that say how much comes now."""

_NOISE = 0.15
"""Standard deviation (of logarithms) that amounts and delays have, even if few days show less."""

_FACTOR = math.log(2)
"""Half as many, or twice as late, is the least that anybody wants to hear of."""

_LITTLE, _SELDOM = 0.1, 0.2
"""A weekday with a tenth of what is usual, on four in five of its days, is a day off."""

_FEW = 20
"""So few objects a day come and go by chance."""

_SHARE = 0.1
"""A tenth more of the objects without a value is the least that anybody wants to hear of."""

_COMMON = 0.05
"""Share of the objects from which on a key is more than one object's own; its name is shown."""

_EXPECTED = 10
"""Objects with a key among those looked at, from which on it is no chance that there is none."""

_FALL, _FALLEN_ROWS = 0.1, 10
"""A table that lost less than a tenth, or so few rows, has not shrunk; people withdraw."""

_OUTAGES = 12
"""One in so many pauses may have been an outage, as of a source that fails three times in a month;
it does not become usual."""

_LONGER = 1.1
"""Times the longest usual time between two deliveries is longer than usual."""

_MISSED = 8
"""One in so many days may have lacked a key that is always there."""


@dataclass(frozen=True)
class Anomaly:
    """Something unusual.

    Attributes:
        kind: What: `silent`, `few`, `late`, `key_vanished`, `key_appeared`, `nulls` or `shrunk`.
        sentence: A sentence with counts and dates, never with a value of the data.
    """

    kind: str
    sentence: str


# Sources


def find_anomalies(source: str, things: str, days: Days) -> list[Anomaly]:
    """What is unusual about the last day that is over, and about the time since.

    Args:
        source: The source.
        things: What it brings, such as readings.
        days: Its history.
    """
    if days.is_new:
        return []
    return [
        Anomaly(kind, f"{source}: {sentence}")
        for kind, sentence in _find(_last_over(days), things, days)
    ]


def _find(number: int | None, things: str, days: Days) -> Iterator[tuple[str, str]]:
    if number is None:
        return
    yield from _silent(number, days)
    if number in days.active:
        yield from _few(number, things, days)
        yield from _late(number, things, days)
        yield from _keys(number, things, days)
    for other in {days.today, number} & days.active.keys():
        yield from _new_keys(other, things, days)


def _last_over(days: Days) -> int | None:
    """The last day that is over and on which the lakehouse looked."""
    known = sorted(days.active.keys() | days.empty)
    return next((number for number in reversed(known) if days.is_over(number)), None)


def _silent(number: int, days: Days) -> Iterator[tuple[str, str]]:
    """Nothing came for more days than usual; weekdays on which little ever comes do not count."""
    if not days.active:
        return
    off = _days_off(number, days)
    pauses, lengths, pause = _pauses(number, off, days)
    if len(pauses) < ENOUGH:
        return
    usual = longest(pauses, _OUTAGES)
    if pause <= max(usual + UNUSUAL * _deviation(pauses), 2 * usual):
        return
    # On some weekdays a pause may be usual now and then: what comes late on Friday may land later.
    same = sorted(lengths.get(n, 0) for n in range(number - 7, number - WINDOW, -7))
    if pause <= max(same[:-1] if len(same) > SAME_WEEKDAY else same, default=0):
        return
    # Where refreshes come as they like, a day without a delivery may be one with an early look.
    *before, (last, hours) = [
        (time, hours) for time, hours in days.silences(off) if days.number(time) <= number
    ]
    if hours <= _LONGER * longest([hours for _, hours in before], _OUTAGES):
        return
    words = f"at most {usual} such days in a row are" if usual else "no such day is"
    date = days.date(days.number(last))
    yield "silent", f"nothing came after {date:%A %Y-%m-%d}; {words} usual."


def _pauses(number: int, off: set[int], days: Days) -> tuple[list[int], dict[int, int], int]:
    """Days of each pause between deliveries, of the pause that each day was in, and of this one.

    Before, days without a refresh count, too: if nobody looks at weekends, pauses are usual then.
    """
    pauses, lengths, pause, known = list[int](), dict[int, int](), 0, 0
    for day in range(max(number - WINDOW, min(days.active)), number + 1):
        if day in days.active:
            pauses.append(pause)
            pause, known = 0, 0
        elif day % 7 not in off:
            pause += 1
            known += day in days.empty
        lengths[day] = pause
    return pauses[1:], lengths, known


def _days_off(number: int, days: Days) -> set[int]:
    """Weekdays on which next to nothing ever comes, of a source that comes on most days."""
    since = number - WINDOW
    came = {n: day.objects for n, day in days.active.items() if since <= n < number}
    amounts = dict.fromkeys(range(max(since, min(days.active)), number), 0) | came
    if not came or 2 * len(came) < len(amounts):
        return set()
    little = median(came.values()) * _LITTLE
    weekdays: dict[int, list[bool]] = {}
    for n, amount in amounts.items():
        weekdays.setdefault(n % 7, []).append(amount > little)
    return {weekday for weekday, much in weekdays.items() if sum(much) <= len(much) * _SELDOM}


def _few(number: int, things: str, days: Days) -> Iterator[tuple[str, str]]:
    """Far fewer objects than usual came, on a day that was not cut short by the lakehouse."""
    usual = _usual(number, {n: -math.log(day.objects) for n, day in days.active.items()})
    if usual is None or -usual.value < math.log(_FEW):
        return
    is_off = number % 7 in _days_off(number, days) and not usual.of_weekday
    if days.is_paused(number) or is_off:
        return
    objects = days.active[number].objects
    by_chance = math.hypot(usual.spread, _NOISE, math.exp(usual.value / 2))
    if -math.log(objects) > usual.value + max(UNUSUAL * by_chance, _FACTOR):
        low, high = (math.exp(-usual.value + sign * by_chance) for sign in (-1, 1))
        date = days.date(number)
        yield (
            "few",
            f"{objects:,} {things} came on {date}; {_rounded(low)} to {_rounded(high)} are "
            f"usual{usual.on(date)}.",
        )


def _late(number: int, things: str, days: Days) -> Iterator[tuple[str, str]]:
    """What came was far older than usual; what the lakehouse itself waited does not count."""
    late = {n: day.lateness for n, day in days.active.items() if day.lateness is not None}
    # What may wait that long for a refresh is not late.
    floor = max(days.usual_wait, HOUR)
    usual = _usual(number, {n: math.log(floor + lateness) for n, lateness in late.items()})
    if usual is None or number not in late:
        return
    least = max(UNUSUAL * math.hypot(usual.spread, _NOISE), _FACTOR)
    if math.log(floor + late[number]) > usual.value + least:
        before = math.exp(usual.value) - floor
        yield (
            "late",
            f"the {things} that came on {days.date(number)} were {_duration(late[number])} old, "
            f"the median; {_duration(before)} is usual.",
        )


def _keys(number: int, things: str, days: Days) -> Iterator[tuple[str, str]]:
    """A key vanished, or far more objects than usual have no value for it."""
    day = days.active[number]
    past = [
        day for n, day in days.active.items() if number - WINDOW <= n < number and day.looked_at
    ]
    if not day.looked_at or len(past) < ENOUGH:
        return
    for key in sorted({key for each in past for key in each.keys}):
        present = [each.keys[key].present if key in each.keys else 0.0 for each in past]
        usual = median(present)
        is_constant = present.count(0.0) <= max(1, len(present) // _MISSED)
        if key not in day.keys and is_constant and usual * day.looked_at >= _EXPECTED:
            yield (
                "key_vanished",
                f"none of the {things} that were looked at on {days.date(number)} has the key "
                f"{key}; {usual:.0%} have it usually.",
            )
        elif key in day.keys:
            yield from _nulls(key, number, things, days)


def _nulls(key: str, number: int, things: str, days: Days) -> Iterator[tuple[str, str]]:
    known = {n: day.keys.get(key, ABSENT) for n, day in days.active.items() if day.looked_at}
    without = {
        "have no value for": {n: 1 - found.valued for n, found in known.items()},
        "lack the key": {n: 1 - found.present for n, found in known.items()},
    }
    looked_at = days.active[number].looked_at
    for words, shares in without.items():
        usual = _usual(number, shares)
        if usual is None:
            return
        likely = min(max(usual.value, 1 / looked_at), 0.5)
        by_chance = math.sqrt(likely * (1 - likely) / looked_at)
        most = usual.value + max(UNUSUAL * math.hypot(usual.spread, by_chance), _SHARE)
        if shares[number] > most:
            yield (
                "nulls",
                f"{shares[number]:.0%} of the {things} that came on {days.date(number)} {words} "
                f"{key}; {max(usual.value, 0):.0%} is usual.",
            )
            return


def _new_keys(number: int, things: str, days: Days) -> Iterator[tuple[str, str]]:
    """A key that no object had before is in several."""
    day = days.active[number]
    before = [each for n, each in days.active.items() if n < number and each.looked_at]
    if len(before) < ENOUGH:
        return
    known = {key for each in before for key in each.keys}
    for key in sorted(day.keys.keys() - known):
        share = day.keys[key].present
        if share >= _COMMON and share * day.looked_at >= ENOUGH:
            yield (
                "key_appeared",
                f"{share:.0%} of the {things} that came on {days.date(number)} have a new key, "
                f"{key}.",
            )


# Tables


def find_shrinkage(
    table: str, rows_by_day: Mapping[dt.date, int], before: int, rows: int
) -> Anomaly | None:
    """Whether a table has lost far more rows than usual.

    Args:
        table: The table.
        rows_by_day: The rows that it had at the end of each day on which it changed.
        before: The rows that it had before this refresh.
        rows: The rows that it has now.
    """
    past = sorted(rows_by_day.items())
    if len(past) < ENOUGH or (past[-1][0] - past[0][0]).days < FIRST_DAYS - 1 or not before:
        return None
    counts = [max(count, 1) for _, count in past]
    falls = [math.log(one / two) for one, two in pairwise(counts)]
    fall = math.log(before / max(rows, 1))
    usual = max(median(falls) + UNUSUAL * _spread(falls), longest(falls))
    if before - rows < _FALLEN_ROWS or fall <= max(usual, -math.log(1 - _FALL)):
        return None
    return Anomaly(
        "shrunk",
        f"{table} has lost {1 - rows / before:.0%} of its rows: {before:,} before, {rows:,} now; "
        f"{1 - math.exp(-max(usual, 0)):.0%} at most is usual.",
    )


# What is usual


@dataclass(frozen=True)
class _Usual:
    """A usual value, and its standard deviation.

    Attributes:
        of_weekday: Whether it is that of the same weekday.
    """

    value: float
    spread: float
    of_weekday: bool

    def on(self, day: dt.date) -> str:
        """On which days it is usual."""
        return f" on a {day:%A}" if self.of_weekday else ""


def _usual(number: int, values: Mapping[int, float]) -> _Usual | None:
    """What is usual on a day, by the days before; None if they are too few.

    The larger a value the worse it is: where a weekday has come too rarely to have a median, the
    worst that it had is as usual as the median of all days.
    """
    past = {n: value for n, value in values.items() if number - WINDOW <= n < number}
    if len(past) < ENOUGH:
        return None
    middle, spread = median(past.values()), _spread(past.values())
    weekdays: dict[int, list[float]] = {}
    for n, value in past.items():
        weekdays.setdefault(n % 7, []).append(value)
    shape = {
        weekday: median(same) - middle
        for weekday, same in weekdays.items()
        if len(same) >= SAME_WEEKDAY
        and abs(median(same) - middle) > 2 * spread / math.sqrt(len(same))
    }
    even = {n: value - shape.get(n % 7, 0.0) for n, value in past.items()}
    level = median(list(even.values())[-_LEVEL:])
    value = level + shape.get(number % 7, 0.0)
    same = weekdays.get(number % 7, [])
    if len(same) < SAME_WEEKDAY:
        value = max([value, *same])
    recent = [value for n, value in even.items() if n >= number - RECENT] or [level]
    return _Usual(
        value, _spread(recent if len(recent) >= ENOUGH else even.values()), number % 7 in shape
    )


def _spread(values: Collection[float]) -> float:
    """Standard deviation, as far as odd values do not count."""
    middle = median(values)
    return _DEVIATION * median(abs(value - middle) for value in values)


def _deviation(values: Sequence[int]) -> float:
    """Standard deviation without the odd ones, where most values are the same."""
    kept = [value for value in values if value <= longest(values, _OUTAGES)]
    return pstdev(kept)


# In words


def _rounded(number: float) -> str:
    """A number with two digits that are not zero."""
    return f"{int(float(f'{number:.1e}')):,}"


_MINUTES, _HOURS = 2 * HOUR, 3 * DAY
"""Up to which duration people count in minutes, and in hours."""


def _duration(milliseconds: float) -> str:
    if milliseconds < _MINUTES:
        return f"{max(milliseconds, 0) / 60_000:.0f} minutes"
    if milliseconds < _HOURS:
        return f"{milliseconds / HOUR:.0f} hours"
    return f"{milliseconds / DAY:.0f} days"
