"""Ninety days of a simulated lakehouse with planted faults, as its ledgers would tell them.

A source sends files; a refresh takes in what has come since the one before. What a fault changes is
what the source sends: the warnings have to follow from landing times, counts and profiles alone.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from random import Random

from stedi_assets.lakehouse.landing.profile import Profile
from stedi_assets.refresh.anomalies import find_anomalies
from stedi_assets.refresh.deliveries import DAY, HOUR, Days, Delivery

SPAN = 90
BEGIN = 1_767_225_600_000  # Thursday, 2026-01-01
LOOKED_AT = 200

ALLOWED = {
    "silent": {"silent", "few"},
    "few": {"few", "silent"},
    "late": {"late"},
    "key_vanished": {"key_vanished", "nulls"},
    "key_appeared": {"key_appeared"},
    "nulls": {"nulls"},
}
"""What may be said of each kind of fault."""

KINDS = "steady", "weekdays", "weekends", "bursty", "growing"


@dataclass(frozen=True)
class Fault:
    kind: str
    source: int
    begin: int  # day
    length: int  # days

    @property
    def end(self) -> int:
        return self.begin + self.length


@dataclass
class Source:
    """How a source usually behaves."""

    kind: str
    hours: list[float]  # when it sends on a day
    objects: float
    noise: float
    age: float  # hours
    keys: dict[str, tuple[float, float]]  # present, valued
    chance: float = 1.0  # that it sends on a day
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True)
class Sent:
    at: int
    objects: int
    age: int
    keys: Mapping[str, tuple[int, int]]
    looked_at: int


def make_source(random: Random, kind: str) -> Source:
    count = random.choice([1, 1, 2, 4, 12])
    start = random.uniform(0, 24)
    keys = {f"k{number}": (1.0, random.choice([1.0, 1.0, 0.98, 0.8, 0.4])) for number in range(6)}
    keys["optional"] = (random.choice([0.3, 0.7]), 1.0)
    keys["rare"] = (0.004, 1.0)
    return Source(
        kind,
        hours=[(start + number * 24 / count) % 24 for number in range(count)],
        objects=math.exp(random.uniform(math.log(60), math.log(100_000))),
        noise=random.uniform(0.7, 1.0) if kind == "bursty" else random.uniform(0.05, 0.25),
        age=random.choice([0.1, 2.0, 20.0]),
        keys=keys,
        chance=random.uniform(0.35, 0.85) if kind == "bursty" else 1.0,
    )


def level(source: Source, day: int) -> float:
    """How much comes on a day, beside the noise."""
    weekend = (day + 3) % 7 >= 5
    if weekend and source.kind == "weekdays":
        return 0.0
    if weekend and source.kind == "weekends":
        return 0.3 * source.objects
    return source.objects * (math.exp(0.015 * day) if source.kind == "growing" else 1.0)


def send(source: Source, random: Random) -> Iterator[Sent]:
    """What a source sends in all these days."""
    yield from _files(source, random, 0, source.objects * random.uniform(20, 80), None)
    for day in range(1, SPAN):
        fault = next((f for f in source.faults if f.begin <= day < f.end), None)
        is_sent = random.random() < source.chance
        if fault and fault.kind != "silent" and day == fault.begin:
            is_sent = True  # otherwise there would be no fault on that day
        amount = level(source, day) * random.lognormvariate(0, source.noise)
        if amount and is_sent and not (fault and fault.kind == "silent"):
            yield from _files(source, random, day, amount, fault)


def _files(
    source: Source, random: Random, day: int, amount: float, fault: Fault | None
) -> Iterator[Sent]:
    drift = {key: random.gauss(0, 0.01) for key in source.keys}
    for hour in source.hours:
        at = BEGIN + int((day * 24 + hour + random.gauss(0, 0.2)) * HOUR)
        age = source.age * random.lognormvariate(0, 0.3)
        objects = amount / len(source.hours) * random.lognormvariate(0, 0.1)
        keys = {
            key: (present, min(max(valued + drift[key], 0), 1) if valued < 1 else 1)
            for key, (present, valued) in source.keys.items()
        }
        if fault:
            match fault.kind:
                case "few":
                    objects *= 0.003 if source.kind == "bursty" else random.uniform(0.03, 0.2)
                case "late":
                    age = 6 * age + random.uniform(24, 100)
                case "key_vanished":
                    del keys["k0"]
                case "key_appeared":
                    keys[f"new{fault.begin}"] = (random.uniform(0.2, 1), 1.0)
                case "nulls":
                    keys["k1"] = (1.0, keys["k1"][1] * random.uniform(0.1, 0.5))
        count = max(round(objects), 1)
        looked_at = min(count, LOOKED_AT)
        yield Sent(at, count, int(age * HOUR), _look(keys, looked_at, random), looked_at)


def _look(
    keys: Mapping[str, tuple[float, float]], looked_at: int, random: Random
) -> dict[str, tuple[int, int]]:
    found = {}
    for key, (present, valued) in keys.items():
        has_key = _binomial(looked_at, present, random)
        if has_key:
            found[key] = has_key, _binomial(has_key, valued, random)
    return found


def _binomial(count: int, chance: float, random: Random) -> int:
    if chance >= 1:
        return count
    return sum(random.random() < chance for _ in range(count))


def refreshes(random: Random, *, regular: bool) -> list[int]:
    """When refreshes take place, in one of several ways; once the lakehouse pauses for days."""
    way = random.choice(["nightly", "often"] if regular else ["irregular", "manual", "often"])
    times = list[float]()
    for day in range(SPAN):
        match way:
            case "nightly":
                times.append(day * 24 + 26 + random.gauss(0, 0.02))
            case "often":
                times += [day * 24 + hour + random.uniform(0, 0.3) for hour in range(0, 24, 4)]
            case "irregular":
                times += [day * 24 + random.uniform(0, 24) for _ in range(random.randint(1, 5))]
            case "manual":
                times += [day * 24 + random.uniform(7, 19) for _ in range(random.choice([1, 1, 2]))]
    pause = random.randrange(20, 80)
    length = random.uniform(1.5, 5)
    times = [time for time in times if not pause * 24 <= time < (pause + length) * 24]
    return sorted({BEGIN + int(time * HOUR) for time in times})


def plant(random: Random, sources: list[Source], paused: set[int]) -> list[Fault]:
    """Faults of each kind, on days on which there is something to notice."""
    faults = []
    for number, source in enumerate(sources):
        day = random.randrange(12, 20)
        while day < SPAN - 4:
            kind = random.choice(list(ALLOWED))
            length = random.randint(1, 3)
            if kind == "silent" and source.kind == "bursty":
                length = 30
            is_dull = not level(source, day) or (
                kind == "silent" and source.kind == "bursty" and day > 60
            )
            if kind == "few" and level(source, day) < 60:
                is_dull = True
            if paused & set(range(day - 1, day + length + 2)) or is_dull:
                day += 1
                continue
            faults.append(Fault(kind, number, day, length))
            day += length + random.randrange(6, 14)
    for fault in faults:
        sources[fault.source].faults.append(fault)
    return faults


@dataclass
class Outcome:
    """What was found in a simulated lakehouse."""

    faults: list[Fault]
    found: list[Fault]
    false: list[tuple[int, str, int]]  # source, kind, day
    sentences: list[str]
    kinds: list[str]


def simulate(seed: int) -> Outcome:
    random = Random(seed)
    knows_times = seed % 3 != 0  # otherwise files are copied with the times of their originals
    sources = [make_source(random, kind) for kind in random.sample(KINDS, 3)]
    times = refreshes(random, regular=not knows_times)
    ran = {(time - BEGIN) // DAY for time in times}
    paused = set(range(SPAN)) - ran
    faults = plant(random, sources, paused)
    arrivals = [sorted(send(source, random), key=lambda sent: sent.at) for source in sources]
    landed: list[list[Delivery]] = [[] for _ in sources]
    runs: list[int] = []
    warned: list[tuple[int, int, str]] = []
    sentences = []
    for time in times:
        for source, waiting in enumerate(arrivals):
            while waiting and waiting[0].at <= time:
                sent = waiting.pop(0)
                profile = Profile(sent.looked_at, sent.age + time - sent.at, sent.keys).text()
                written_at = sent.at if knows_times and landed[source] else None
                landed[source].append(Delivery(time, sent.objects, profile, written_at))
        if not _is_looked_at(time, times):
            continue
        runs = sorted({delivery.landed_at for source in landed for delivery in source})
        for source, history in enumerate(landed):
            for anomaly in find_anomalies(f"s{source}", "readings", Days(history, runs, time)):
                warned.append(((time - BEGIN) // DAY, source, anomaly.kind))
                sentences.append(
                    f"{(time - BEGIN) / DAY:.2f} {sources[source].kind} {anomaly.sentence}"
                )
    return _judged(faults, warned, sentences, sources)


def _is_looked_at(time: int, times: list[int]) -> bool:
    """Whether it is the first or last refresh of a day: to look at all takes longer."""
    same_day = [other for other in times if (other - BEGIN) // DAY == (time - BEGIN) // DAY]
    return time in {same_day[0], same_day[-1]}


def _judged(
    faults: list[Fault],
    warned: list[tuple[int, int, str]],
    sentences: list[str],
    sources: list[Source],
) -> Outcome:
    found = [
        fault
        for fault in faults
        if any(
            source == fault.source
            and kind in ALLOWED[fault.kind]
            and fault.begin <= day <= (fault.end if fault.length > 3 else fault.begin + 2)
            for day, source, kind in warned
        )
    ]
    false = defaultdict[tuple[int, str], list[int]](list)
    for day, source, kind in warned:
        explained = any(
            fault.source == source
            and kind in ALLOWED[fault.kind]
            and fault.begin <= day <= fault.end + 2
            for fault in faults
        )
        days = false[source, kind]
        if not explained and (not days or days[-1] < day - 2):
            days.append(day)
    flat = [(source, kind, day) for (source, kind), days in false.items() for day in days]
    return Outcome(faults, found, flat, sentences, [source.kind for source in sources])
