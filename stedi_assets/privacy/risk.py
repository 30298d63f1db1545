"""How many people of a training set can be recognized by somebody who knows a little of them.

Attacks are carried out on the set as data scientists have it, by means of what an attacker would
need to know, which here is taken from the trusted zone. What comes out is counts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from math import sqrt
from typing import Any

import ibis
import ibis.expr.types as ir
import numpy as np

from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.refresh.release import policy_of_set
from stedi_assets.settings import Settings
from stedi_assets.tables.identity import key_id, pseudonym
from stedi_assets.tables.policy import Policy

MOST_PEOPLE = 1_000
"""People who are looked for, at most; intervals say how sure a share is."""

WINDOWS = {"minute": 60_000, "hour": 3_600_000, "day": 86_400_000}
"""Spans of time, in milliseconds, in which somebody was seen walking."""

_MEASURED = "x", "y", "z", "distancefromobject"

_ENOUGH = 10
"""Rows in half of those of a person from which on they tell how the person moves."""

_SURE = 1.96
"""Standard deviations of a normal distribution that leave out 5 of 100."""


@dataclass(frozen=True)
class Attack:
    """An attempt to tell whose rows are whose.

    Attributes:
        name: What the attacker knows.
        tried: People who were looked for.
        named: Of these, how many were recognized.
        people: People in the set: whoever guesses is right once in so many times.
        by_times: Whether it goes by times, which STEDI_TIMES=shifted is against.
    """

    name: str
    tried: int
    named: int
    people: int
    by_times: bool

    @property
    def share(self) -> float:
        """Share of the people looked for who were recognized."""
        return self.named / self.tried if self.tried else 0.0

    @property
    def interval(self) -> tuple[float, float]:
        """Where that share lies for all people, with 95 % certainty (Wilson's interval)."""
        if not self.tried:
            return 0.0, 1.0
        squared = _SURE**2 / self.tried
        middle = self.share + squared / 2
        half = _SURE * sqrt(self.share * (1 - self.share) / self.tried + squared / self.tried / 4)
        low, high = ((middle + sign * half) / (1 + squared) for sign in (-1, 1))
        return max(0.0, low), min(1.0, high)

    @property
    def is_above_chance(self) -> bool:
        """Whether more people were recognized than by guessing."""
        return bool(self.people) and self.interval[0] > 1 / self.people

    @property
    def sentence(self) -> str:
        """What came of it."""
        low, high = self.interval
        return (
            f"{self.name}: {self.named:,} of {self.tried:,} people recognized "
            f"({self.share:.0%}; of all people {low:.0%} to {high:.0%})."
        )

    def as_json(self) -> dict[str, Any]:
        """Its numbers, for programs."""
        return asdict(self) | {"share": self.share, "interval": self.interval}


def are_named_by_times(found: Iterable[Attack]) -> bool:
    """Whether people are recognized by times more often than by guessing."""
    return any(attack.by_times and attack.is_above_chance for attack in found)


def summary(found: Sequence[Attack]) -> str:
    """What the attacks mean, in a few words."""
    people = found[0].people
    if not people:
        return "The training set is empty."
    chance = f"Whoever guesses is right once in {people:,} times."
    if are_named_by_times(found):
        return f"{chance} Times give people away: STEDI_TIMES=shifted hides them."
    return f"{chance} Times give away no more than that."


def attacks(lakehouse: Lakehouse, training_set: Snapshot, policy: Policy) -> list[Attack]:
    """Carry out each attack on a training set.

    Args:
        lakehouse: Where it is; the trusted zone is read, too.
        training_set: The set.
        policy: Has the key of the lakehouse's pseudonyms.

    Raises:
        LakehouseError: It was made under another key, so nobody can tell who was recognized.
    """
    if training_set.properties.get("key-id", own := key_id(policy)) != own:
        raise LakehouseError(
            "This training set was made under another key of subject_id, so nobody can tell who "
            "would be recognized: set STEDI_PSEUDONYM_KEY to the key it was made with."
        )
    attacker = _Attacker(lakehouse, training_set, policy_of_set(training_set, policy))
    return [*attacker.by_windows(), attacker.by_proof(), attacker.by_movement()]


def attacks_on_published(
    lakehouse: Lakehouse, settings: Settings
) -> tuple[list[Attack], str | None]:
    """Carry out each attack on what is published; without any, and why, where that cannot be."""
    try:
        training_set = lakehouse.published(TRAINING_SET)
        return attacks(lakehouse, training_set, policy_of(settings)), None
    except LakehouseError as error:
        return [], str(error)


class _Attacker:
    """Somebody who knows people, and looks for them in a training set."""

    def __init__(self, lakehouse: Lakehouse, training_set: Snapshot, policy: Policy) -> None:
        self._rows = lakehouse.open(training_set)
        subjects = self._rows.select("subject_id").distinct()
        self._people = _number(subjects.count())
        # Pseudonyms are hashes, so the first of them are people chosen by chance.
        some = subjects.order_by("subject_id").limit(MOST_PEOPLE).to_pyarrow()
        self._chosen: list[str] = some["subject_id"].to_pylist()
        owners = lakehouse.table("device_ownership").select("email").distinct()
        known = owners.select(user="email", subject_id=pseudonym(owners.email, policy))
        known = known.filter(known.subject_id.isin(self._chosen))
        phone = lakehouse.table("accelerometer_trusted").select("user", "timestamp")
        self._phone = phone.join(known, "user").select("subject_id", "timestamp")
        # Only a time with a reading of their device, too, is in the set.
        sensor = lakehouse.table("step_trainer_trusted").select(timestamp="sensorreadingtime")
        self._seen = self._phone.semi_join(sensor, "timestamp")

    def by_windows(self) -> Iterator[Attack]:
        """Who alone has rows within the minute, hour or day of their first walk in the set."""
        seen = self._seen.group_by("subject_id").agg(at=self._seen.timestamp.min())
        times = {row["subject_id"]: row["at"] for row in _fetch(seen)}
        for name, width in WINDOWS.items():
            window = self._rows.sensorreadingtime // width
            rows = self._rows.select("subject_id", window=window)
            rows = rows.filter(rows.window.isin({time // width for time in times.values()}))
            found = rows.group_by("window").agg(
                people=rows.subject_id.nunique(), subject_id=rows.subject_id.min()
            )
            alone = {
                row["window"]: row["subject_id"] for row in _fetch(found) if row["people"] == 1
            }
            named = sum(alone.get(time // width) == subject for subject, time in times.items())
            yield self._attack(f"seen walking within one {name}", len(times), named)

    def by_proof(self) -> Attack:
        """Whose phone readings share most milliseconds with one subject, as devices are proven."""
        rows = self._rows.select(found="subject_id", timestamp="sensorreadingtime").distinct()
        shared = self._phone.distinct().join(rows, "timestamp")
        shared = shared.group_by("subject_id", "found").agg(times=shared.count())
        times: dict[str, list[tuple[int, str]]] = {}
        for row in _fetch(shared):
            times.setdefault(row["subject_id"], []).append((row["times"], row["found"]))
        named = sum(_leader(found) == subject for subject, found in times.items())
        tried = _number(self._phone.subject_id.nunique())
        return self._attack("times of their phone's readings", tried, named)

    def by_movement(self) -> Attack:
        """Whose second half of rows is nearest to the first half, which the attacker has."""
        rows = self._rows.filter(self._rows.subject_id.isin(self._chosen))
        in_order = ibis.window(group_by="subject_id", order_by="sensorreadingtime")
        rows = rows.mutate(half=ibis.ntile(2).over(in_order))
        moves: dict[str, ir.Value] = {}
        for name in _MEASURED:
            moves |= {
                f"{name}_mean": rows[name].mean(),
                f"{name}_spread": rows[name].std(how="pop"),
            }
        of_halves = _fetch(rows.group_by("subject_id", "half").agg(rows=rows.count(), **moves))
        halves = {(row["subject_id"], row["half"]): row for row in of_halves}
        people = [
            subject
            for subject in self._chosen
            if halves.get((subject, 1), {"rows": 0})["rows"] >= _ENOUGH
        ]
        known, published = (
            np.array([[halves[subject, half][move] for move in moves] for subject in people], float)
            for half in (0, 1)
        )
        named = int((_nearest(known, published) == np.arange(len(people))).sum())
        return self._attack("how they move, in as many readings", len(people), named, False)

    def _attack(self, name: str, tried: int, named: int, by_times: bool = True) -> Attack:
        return Attack(name, tried, named, self._people, by_times)


def _number(expression: ir.IntegerScalar) -> int:
    return int(expression.to_pyarrow().as_py())


def _fetch(rows: ir.Table) -> list[dict[str, Any]]:
    """A row for each person at most, or a few."""
    fetched: list[dict[str, Any]] = rows.to_pyarrow().to_pylist()
    return fetched


def _leader(found: Iterable[tuple[int, str]]) -> str | None:
    """The subject with most shared times; None if two have."""
    first, *others = sorted(found, reverse=True)
    return None if others and others[0][0] == first[0] else first[1]


def _nearest(known: np.ndarray, published: np.ndarray) -> np.ndarray:
    """For each row of the one, the place of the row of the other that is most like it.

    Columns count alike, however far their values are apart; missing values are taken as usual ones.
    """
    if not known.size:
        return np.zeros(0, int)
    both = np.concatenate([known, published])
    usual, spread = np.nanmean(both, axis=0), np.nanstd(both, axis=0)
    scaled = (np.where(np.isnan(both), usual, both) - usual) / np.where(spread > 0, spread, 1)
    first, second = np.split(np.nan_to_num(scaled), 2)
    apart = (first**2).sum(1)[:, None] + (second**2).sum(1)[None] - 2 * first @ second.T
    return np.asarray(apart.argmin(1))
