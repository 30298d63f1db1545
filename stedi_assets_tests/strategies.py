"""Hypothesis strategies for small landing data in which the hard cases are the usual ones.

A `Landing` is built around its devices. Each has reading times, an owner whose phone has most of
them or too few, often a rival whose phone has some too, and claims that may or may not tell the
truth. Times come from a short span, so devices and people share milliseconds by chance as well.
Customer records land in a few deliveries, and unreadable ones beside, before and after them.

Not generated, because such objects are not readable: readings without a time, times that are none,
blank text in the serial number or the user of a reading.
"""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from stedi_assets_tests.support import deliver

EMAILS = ("ann@x.io", "dée@x.io", "νος@x.io", "i\u0307pek@x.io", "groß@x.io")
"""People in their one spelling, most of them with letters that are hard to compare."""

STRANGER = "guest@x.io"
SERIALNUMBERS = ("d1", "D1", "d2 ", "d3")
"""Serial numbers of devices, two of them different in case only."""

OTHER_SERIALNUMBERS = ("d2", "D3", "d9")
"""Serial numbers of no device, two of them nearly one's."""

OVERLAPS = (
    # Nine tenths, met exactly, met, or just missed.
    (10, 9, 0),
    (10, 9, 5),
    (10, 8, 0),
    (11, 10, 4),
    (11, 9, 0),
    (14, 13, 5),
    (14, 12, 0),
    # Five matches, met exactly or just missed.
    (5, 5, 0),
    (5, 5, 4),
    (5, 4, 0),
    (4, 4, 0),
    # The most matches, tied or just ahead.
    (5, 5, 5),
    (7, 7, 6),
    (12, 12, 12),
    # Up to the claims, unless a rival has five matches.
    (6, 0, 0),
    (9, 0, 3),
    (8, 0, 5),
    (9, 2, 5),
    (9, 2, 4),
    (12, 6, 5),
    (12, 5, 6),
    # Hardly a device.
    (1, 0, 0),
    (0, 0, 0),
)
"""Distinct times of a device, how many of them its owner's phone has, and how many a rival's."""

DAY = 1_655_564_400_000
"""The first millisecond of the span in which readings, and some consent dates, lie."""

REGISTERED = DAY - 1_000
DELIVERIES = (DAY + 1_000, DAY + 2_000, DAY + 3_000)
"""When customer records landed. Those without dates count as of then, as some with dates do."""

_BLANK = ("", "", "", " ", "\t", "\r\n", "\v\f", "\u00a0", "\u3000\u2009")
_INVISIBLE = ("", "", "", "\u200b", "\u00ad", "\ufeff")
_CASES: tuple[Callable[[str], str], ...] = (
    str,
    lambda email: email.replace("ß", "ẞ").upper(),
    str.title,
    str.swapcase,
)
_FORMS = ("NFC", "NFC", "NFD")


class Landing(NamedTuple):
    """The readable objects of the three landing sources, keys lower-case, and what is not."""

    customers: list[dict[str, Any]]
    accelerometer: list[dict[str, Any]]
    step_trainer: list[dict[str, Any]]
    quarantine: list[dict[str, Any]]


def deliver_drawn(folder: Path, name: str, drawn: Landing) -> None:
    """Write the readable objects as landing files: when these land is not for them to say."""
    records = [{k: v for k, v in each.items() if k != "landed_at"} for each in drawn.customers]
    readings = {"accelerometer": drawn.accelerometer, "step_trainer": drawn.step_trainer}
    deliver(folder, name, customer=records, **readings)


@dataclass(frozen=True)
class _Device:
    """A device as it really is, before anyone writes about it."""

    serialnumber: str
    times: list[int]
    phone_times: Mapping[str, list[int]]
    claimants: list[str]


@st.composite
def landings(draw: st.DrawFn) -> Landing:
    """Landing data of three to five people and one to four devices."""
    people = EMAILS[: draw(st.integers(3, len(EMAILS)))]
    count = draw(st.integers(1, len(SERIALNUMBERS)))
    devices = [draw(_devices(serialnumber, people)) for serialnumber in SERIALNUMBERS[:count]]
    return Landing(
        customers=draw(_customers(people, devices)),
        accelerometer=draw(_accelerometer(people, devices)),
        step_trainer=draw(_step_trainer(devices)),
        quarantine=draw(st.lists(_unreadable(people), max_size=3))
        + draw(st.lists(_holds(people), max_size=1)),
    )


@st.composite
def spellings(draw: st.DrawFn, email: str) -> str:
    """An e-mail as people write it: in any case and form, with what cannot be seen about it.

    Now and then it is another e-mail, as capitals have no ß.
    """
    change_case = draw(st.sampled_from(_CASES))
    written = unicodedata.normalize(draw(st.sampled_from(_FORMS)), change_case(email))
    place = draw(st.integers(0, len(written)))
    written = written[:place] + draw(st.sampled_from(_INVISIBLE)) + written[place:]
    return draw(st.sampled_from(_BLANK)) + written + draw(st.sampled_from(_BLANK))


@st.composite
def _devices(draw: st.DrawFn, serialnumber: str, people: tuple[str, ...]) -> _Device:
    # Devices that start together share milliseconds, and so do the people around them.
    start = DAY + draw(st.sampled_from([16, 16, 16, 5, 0])) * SERIALNUMBERS.index(serialnumber)
    thought_out = st.sampled_from(OVERLAPS)
    by_chance = st.tuples(*[st.integers(0, 14)] * 3)
    count, owner_has, rival_has = draw(thought_out | thought_out | thought_out | by_chance)
    times = sorted(draw(st.sets(st.integers(start, start + 15), min_size=count, max_size=count)))

    users = [*people, STRANGER]
    owner, rival, *bystanders = draw(st.permutations(users))
    phone_times = {owner: times[:owner_has], rival: times[max(0, count - rival_has) :]}

    one = [[owner], [owner], [rival], [bystanders[0]]]
    several_or_none = [[owner, rival], [rival, *bystanders], users, []]
    claimants = draw(st.sampled_from(one + several_or_none))
    return _Device(serialnumber, times, phone_times, claimants)


@st.composite
def _customers(
    draw: st.DrawFn, people: tuple[str, ...], devices: list[_Device]
) -> list[dict[str, Any]]:
    claims: list[tuple[str, str | None]] = [
        (email, device.serialnumber)
        for device in devices
        for email in device.claimants
        if email != STRANGER
    ]
    # Further records repeat a claim or make none; now and then one claims what is another's.
    any_claim = st.sampled_from([None, *OTHER_SERIALNUMBERS, *(serial for _, serial in claims)])
    claimless = st.tuples(st.sampled_from(people), st.none())
    repeated = st.sampled_from(claims) if claims else claimless
    stray = st.tuples(st.sampled_from(people), any_claim)
    claims += draw(st.lists(claimless | repeated, max_size=6)) + draw(st.lists(stray, max_size=1))

    records = [draw(_customer_records(email, serialnumber)) for email, serialnumber in claims]
    if draw(st.integers(0, 3)) == 0:
        nameless = draw(_customer_records("", draw(any_claim)))
        records.append(
            {**nameless, "email": draw(st.sampled_from([None, "", " \t", "\u00a0\u200b"]))}
        )
    return draw(st.permutations(records))


@st.composite
def _customer_records(draw: st.DrawFn, email: str, serialnumber: str | None) -> dict[str, Any]:
    # Few dates, so that records of one customer often tie on one or both of them.
    date = st.sampled_from([REGISTERED + 2, REGISTERED + 1, REGISTERED + 2, DELIVERIES[1], None])
    consent = st.sampled_from([REGISTERED] * 3 + [DAY, DAY + 3, DAY + 8, DAY + 100, None, None])
    record = {
        "serialnumber": serialnumber,
        "sharewithpublicasofdate": draw(st.sampled_from([None, None, REGISTERED])),
        "birthday": draw(st.sampled_from(["1990-01-01", "1990-01-01", "967-02-03", None])),
        "registrationdate": draw(date),
        "sharewithresearchasofdate": draw(consent),
        "customername": draw(st.sampled_from(["A B", "A B", 'Ç, "D"', None])),
        "email": draw(spellings(email)),
        "lastupdatedate": draw(date),
        "phone": draw(st.sampled_from(["8015551212", "0801"])),
        "sharewithfriendsasofdate": draw(st.sampled_from([None, None, REGISTERED])),
        "landed_at": draw(st.sampled_from(DELIVERIES)),
    }
    return draw(_written(record))


@st.composite
def _unreadable(draw: st.DrawFn, people: tuple[str, ...]) -> dict[str, Any]:
    named = draw(st.lists(st.sampled_from([*people, STRANGER]), max_size=2, unique=True))
    return {
        "source": draw(st.sampled_from(["customer", "customer", "customer", "accelerometer"])),
        "person": "\x1f".join(named) or None,
        "landed_at": draw(st.sampled_from(DELIVERIES)),
    }


def _holds(people: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {
            "source": st.just("hold"),
            "person": st.sampled_from([*people, STRANGER]),
            "landed_at": st.sampled_from(DELIVERIES),
        }
    )


@st.composite
def _accelerometer(
    draw: st.DrawFn, people: tuple[str, ...], devices: list[_Device]
) -> list[dict[str, Any]]:
    readings = []
    for user in (*people, STRANGER):
        times = {time for device in devices for time in device.phone_times.get(user, [])}
        times |= draw(st.sampled_from([set(), set(), set(), {DAY + 1}, {DAY + 18, DAY + 35}]))
        claimed = [device.serialnumber for device in devices if user in device.claimants]
        serialnumber = draw(st.sampled_from(claimed)) if claimed else None
        feeds = ["user", "user", "both"] + (["serialnumber", "mixed"] if claimed else [])
        feed = draw(st.sampled_from(feeds))
        for time in sorted(times):
            for _ in range(draw(_REPEATS)):
                reading = draw(_accelerometer_readings(user, serialnumber, time, feed))
                readings += [reading] * draw(_REPEATS)

    strays = st.builds(
        lambda serialnumber, time: {"serialnumber": serialnumber, "timestamp": time, "x": 0.5},
        st.sampled_from([None, *OTHER_SERIALNUMBERS, *SERIALNUMBERS]),
        st.integers(DAY, DAY + 60),
    )
    return readings + draw(st.lists(strays, max_size=3))


@st.composite
def _accelerometer_readings(
    draw: st.DrawFn, user: str, serialnumber: str | None, time: int, feed: str
) -> dict[str, Any]:
    by_serialnumber = feed == "serialnumber" or (feed == "mixed" and draw(st.booleans()))
    reading = {
        "user": None if by_serialnumber else draw(spellings(user)),
        "serialnumber": None if feed == "user" else serialnumber,
        "timestamp": time,
        "x": draw(_AXIS),
        "y": draw(_AXIS),
        "z": draw(_AXIS),
    }
    return draw(_written(reading))


@st.composite
def _step_trainer(draw: st.DrawFn, devices: list[_Device]) -> list[dict[str, Any]]:
    readings = []
    for device in devices:
        for time in device.times:
            for _ in range(draw(_REPEATS)):
                reading = {
                    "sensorreadingtime": time,
                    "serialnumber": device.serialnumber,
                    "distancefromobject": draw(st.sampled_from([200, 200, 201, 0, None])),
                }
                readings += [draw(_written(reading))] * draw(_REPEATS)
    if draw(st.integers(0, 9)) == 0:
        readings.append({"sensorreadingtime": DAY, "distancefromobject": 1})
    return readings


@st.composite
def _written(draw: st.DrawFn, landed: dict[str, Any]) -> dict[str, Any]:
    """The object as its source writes it: what is missing left out, or said to be null."""
    if draw(st.booleans()):
        return landed
    return {field: value for field, value in landed.items() if value is not None}


_AXIS = st.sampled_from([0.0, 1.0, -1.0, 0.1, -9.81, 1e-7, None])
_REPEATS = st.sampled_from([1, 1, 1, 1, 1, 2])
