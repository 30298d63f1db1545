"""What a source brought day by day, as the ledgers of the landing tables tell it."""

import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from functools import cached_property, lru_cache
from itertools import chain, pairwise
from statistics import median
from typing import NamedTuple, TypeVar

from stedi_assets.lakehouse.landing.ledger import Entry
from stedi_assets.lakehouse.landing.profile import Profile

HOUR, DAY = 3_600_000, 86_400_000
"""Milliseconds."""

FIRST_DAYS = 7
"""Days of history without a warning: each weekday has come once."""

WINDOW = 56
"""Days that are looked back: of each weekday eight, so that two odd ones do not move the median."""

RECENT = 28
"""Days that say how much comes now and how much that varies: a source may grow."""

_read = lru_cache(1 << 12)(Profile.read)
_Number = TypeVar("_Number", int, float)

_AROUND = (-1, 0)
"""Hours around the beginning of a day in which little may come, or days would share a delivery."""

ENOUGH = 5
"""Values from which on it is known what is usual."""

ONE_IN = 20
"""One in so many may be odd and does not become usual."""

_FILES = 20
"""Files of a day whose profiles are looked at: of each some hundred objects are known."""

_PAUSE = 1.5
"""Times longer than usual without a refresh is a pause of the lakehouse itself."""


class Delivery(NamedTuple):
    """A landing file with new content, as it came.

    Attributes:
        landed_at: When the refresh began that took it in, in epoch milliseconds.
        objects: Objects and unreadable fragments in it.
        profile: What its objects look like, as `Profile.text` writes it, if that is known.
        written_at: When the file was written, in epoch milliseconds. None if that is not known: a
            file that was copied may have kept the time of the one that it is copied from.
    """

    landed_at: int
    objects: int
    profile: str | None = None
    written_at: int | None = None

    @property
    def time(self) -> int:
        """When it came, as far as that is known."""
        return self.landed_at if self.written_at is None else self.written_at


def deliveries_of(entries: Iterable[Entry], runs: Collection[int], now: int) -> list[Delivery]:
    """What a ledger says that a source brought, as far as it is looked back.

    Content that was taken in before is not new. What is held back has come, but what its objects
    look like is not known.

    Args:
        entries: The ledger.
        runs: When refreshes began, of which any source brought something.
        now: When this refresh began.
    """
    new = [entry for entry in entries if entry.objects and entry.duplicate_of is None]
    first = min((entry.landed_at for entry in new), default=now)
    since = now - (WINDOW + 2) * DAY
    ordered = sorted(runs)
    return [
        Delivery(
            entry.landed_at,
            entry.objects,
            entry.profile if entry.held_back is None else None,
            _written_at(entry, ordered),
        )
        for entry in new
        if entry.landed_at >= since or entry.landed_at == first
    ]


def _written_at(entry: Entry, runs: Sequence[int]) -> int | None:
    """When a file was written; None if it cannot be true, as an earlier refresh did not see it."""
    place = bisect_left(runs, entry.landed_at)
    if not place or not runs[place - 1] < entry.modified <= entry.landed_at + HOUR:
        return None
    return min(entry.modified, entry.landed_at)


@dataclass(frozen=True)
class Key:
    """A key on one day: the shares of the objects that have it, and that have a value for it."""

    present: float
    valued: float


ABSENT = Key(0.0, 0.0)


@dataclass(frozen=True)
class Day:
    """What a source brought on a day.

    Attributes:
        objects: How many objects came.
        last: When the last ones came.
        looked_at: As many objects, picked at random, say as much as those that were looked at.
        lateness: How old the objects were when they landed, the median in milliseconds; where the
            lakehouse itself paused, that does not count. None if no object has a time.
        keys: The keys of the objects.
    """

    objects: int
    last: int
    looked_at: float
    lateness: float | None
    keys: Mapping[str, Key]


class Days:
    """A source's history, in days that begin where it is usually quiet.

    A day has a number, so that numbers follow each other. The first day is left out: a source
    often begins with all that it has.
    """

    def __init__(self, deliveries: Sequence[Delivery], runs: Iterable[int], now: int) -> None:
        """Sort deliveries into days.

        Args:
            deliveries: What the source brought, in any order.
            runs: When refreshes began, of which any source brought something.
            now: When this refresh began.
        """
        self.now = now
        self.first = min((delivery.landed_at for delivery in deliveries), default=now)
        since = now - (WINDOW + 2) * DAY
        self._runs = sorted({run for run in runs if since <= run < now} | {now})
        recent = [d for d in deliveries if since <= d.landed_at <= now]
        self._start = _start_of_day(recent)
        self.today = self.number(now)
        by_day = defaultdict(list)
        for delivery in recent:
            by_day[self.number(delivery.time)].append(delivery)
        by_day.pop(self.number(self.first), None)
        self.active = {number: self._day(by_day[number]) for number in sorted(by_day)}
        self._came = sorted({(d.time, d.written_at is not None) for d in chain(*by_day.values())})

    @property
    def is_new(self) -> bool:
        """Whether the source began to send so lately that nothing is usual yet."""
        return self.now - self.first < FIRST_DAYS * DAY

    def number(self, time: int) -> int:
        """The day at a time."""
        return (time - self._start) // DAY

    def date(self, number: int) -> date:
        """The date (UTC) on which most of a day is."""
        noon = self.begin(number) + DAY // 2
        return datetime.fromtimestamp(noon / 1000, UTC).date()

    def begin(self, number: int) -> int:
        """When a day begins."""
        return number * DAY + self._start

    @cached_property
    def empty(self) -> set[int]:
        """Days on which nothing came.

        Where it is not known when a file was written, nothing came on days on which refreshes did
        not find it; if none took place, it may have waited. After the last delivery nothing came:
        this refresh looked.
        """
        first = self.number(self.first)
        empty = {n for run in self._runs if (n := self.number(run)) > first}
        before = first
        for time, is_known in [*self._came, (self.now, True)]:
            if is_known:
                empty.update(range(before + 1, self.number(time) + 1))
            before = self.number(time)
        return empty - self.active.keys()

    def is_over(self, number: int) -> bool:
        """Whether a day has ended, or usually nothing comes any more on it.

        As long as nothing has come on it, it may still come as late as never before.
        """
        if number < self.today:
            return True
        ends = [
            day.last - self.begin(n) for n, day in self.active.items() if -RECENT <= n - number < 0
        ]
        if len(ends) < ENOUGH:
            return False
        latest, passed = longest(ends), self.now - self.begin(number)
        if number not in self.active:
            return passed >= 2 * latest - median(ends)
        # Refreshes do not begin to the minute, and what they find comes when they begin.
        return passed + (0 if self._came[-1][1] else HOUR) >= latest

    def is_paused(self, number: int) -> bool:
        """Whether the lakehouse paused at the end of a day, so that some of it landed later."""
        place = bisect_left(self._came, (self.begin(number + 1), False))
        if number >= self.today or place == len(self._came) or self._came[place][1]:
            return False
        gaps = {n: gap for n in range(number - RECENT, number) if (gap := self._gap(n))}
        same = [gap for n, gap in gaps.items() if (number - n) % 7 == 0]
        usual = max(median(gaps.values()), median(same) if same else 0) if gaps else DAY
        return (self._gap(number) or 0) > max(_PAUSE * usual, HOUR)

    def _gap(self, number: int) -> int | None:
        """Time between the refreshes before and after the end of a day."""
        place = bisect_left(self._runs, self.begin(number + 1))
        return self._runs[place] - self._runs[place - 1] if 0 < place < len(self._runs) else None

    def _day(self, deliveries: Sequence[Delivery]) -> Day:
        profiled = [delivery for delivery in deliveries if delivery.profile]
        chosen = profiled[:: math.ceil(len(profiled) / _FILES) or 1]
        known = [(d, profile) for d in chosen if d.profile and (profile := _read(d.profile))]
        total = sum(d.objects for d, _ in known)
        present, valued = defaultdict[str, float](float), defaultdict[str, float](float)
        for delivery, profile in known:
            weight = delivery.objects / profile.objects / total
            for key, (has_key, has_value) in profile.keys.items():
                present[key] += weight * has_key
                valued[key] += weight * has_value
        variance = sum(d.objects**2 / profile.objects for d, profile in known)
        ages = [
            (max(profile.age - self._waited(d), 0), d.objects)
            for d, profile in known
            if profile.age is not None
        ]
        return Day(
            objects=sum(d.objects for d in deliveries),
            last=max(d.time for d in deliveries),
            looked_at=total**2 / variance if known else 0.0,
            lateness=_weighted_median(ages),
            keys={key: Key(share, valued[key]) for key, share in present.items()},
        )

    def _waited(self, delivery: Delivery) -> int:
        """How long a delivery waited for its refresh; if that is not known, unusually long."""
        if delivery.written_at is not None:
            return delivery.landed_at - delivery.written_at
        place = bisect_left(self._runs, delivery.landed_at)
        waited = delivery.landed_at - self._runs[place - 1] if place else 0
        return max(waited - self.usual_wait, 0)

    @cached_property
    def usual_wait(self) -> int:
        """How long what a source sends may usually wait for a refresh."""
        waits = sorted(two - one for one, two in pairwise(self._runs))
        return longest(waits) if waits else 0

    def silences(self, weekdays_off: Collection[int]) -> Iterator[tuple[int, float]]:
        """After each delivery: for how many hours it is known that nothing came.

        Hours of some weekdays do not count.
        """
        for (time, _), (following, is_known) in pairwise([*self._came, (self.now + 1, False)]):
            last_look = self._runs[bisect_left(self._runs, following) - 1]
            yield time, self._hours(time, following if is_known else last_look, weekdays_off)

    def _hours(self, begin: int, end: int, weekdays_off: Collection[int]) -> float:
        numbers = (n for n in range(self.number(begin), self.number(end) + 1))
        return (
            sum(
                min(end, self.begin(n + 1)) - max(begin, self.begin(n))
                for n in numbers
                if n % 7 not in weekdays_off
            )
            / HOUR
        )


def longest(values: Sequence[_Number], one_in: int = ONE_IN) -> _Number:
    """The largest of some values, but for the odd ones, one in so many."""
    return sorted(values)[-1 - len(values) // one_in]


def _start_of_day(deliveries: Sequence[Delivery]) -> int:
    """When a day begins, in milliseconds after midnight (UTC).

    That is midnight, unless much comes around it and there is a quieter hour: otherwise what comes
    at midnight, now before and now after it, would give days of nothing and of twice as much.
    """
    hours = Counter(time // HOUR % 24 for time in {d.time for d in deliveries})
    around = [sum(hours[(hour + more) % 24] for more in _AROUND) for hour in range(24)]
    quietest = min(range(24), key=lambda hour: around[hour])
    is_quiet = around[0] * ONE_IN <= hours.total() or around[quietest] * 4 > around[0]
    return 0 if is_quiet else quietest * HOUR


def _weighted_median(values: Sequence[tuple[float, int]]) -> float | None:
    rest = sum(weight for _, weight in values) / 2
    for value, weight in sorted(values):
        rest -= weight
        if rest <= 0:
            return value
    return None
