"""The pictures: what each shows, says and is called, and on which tables' pages it belongs."""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature

import ibis.expr.types as ir

from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.state import TableState
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.report.figures import (
    SMALLEST_GROUP,
    Bars,
    Histogram,
    History,
    Numbers,
    Timeline,
    consent_funnel,
    histogram,
    readings_over_time,
    readings_per_person,
)
from stedi_assets.report.status import devices_by_proof, quarantine_by_reason

HISTORY_LENGTH = 20
"""Refreshes that the history of a table goes back."""


@dataclass(frozen=True)
class Picture:
    """A picture to be drawn.

    Attributes:
        title: What it shows.
        sentence: What is to be seen.
        numbers: What is drawn.
        tables: Tables on whose page it belongs.
    """

    title: str
    sentence: str
    numbers: Numbers
    tables: tuple[str, ...]

    @property
    def alt(self) -> str:
        """The picture in words, for whoever does not see it."""
        return f"{_FORMS[type(self.numbers)]}: {self.title}. {self.sentence}"

    @property
    def head(self) -> tuple[str, ...]:
        """What the columns of its `rows` are."""
        return tuple(_rows(self.numbers)[0])

    @property
    def rows(self) -> list[tuple[str, ...]]:
        """Its numbers as the rows of a table."""
        return _rows(self.numbers)[1:]


@dataclass(frozen=True)
class MissingPicture:
    """A picture that cannot be drawn, and why."""

    title: str
    reason: str


_FORMS: dict[type, str] = {
    Bars: "Bar chart",
    Histogram: "Histogram",
    Timeline: "Line chart",
    History: "Bar chart",
}


def pictures(lakehouse: Lakehouse) -> tuple[list[Picture], list[MissingPicture]]:
    """The pictures of what is published now, and those that cannot be drawn."""
    states = lakehouse.catalog.tables()
    published = {name: snapshot for name, state in states.items() if (snapshot := state.published)}
    results: list[Picture | MissingPicture] = []
    lakehouse.progress.begin("drawing pictures", len(_PICTURES))
    for title, picture in _PICTURES.items():
        names = list(signature(picture).parameters)[1:]
        if missing := [name for name in names if name not in published]:
            verb = "has" if len(missing) == 1 else "have"
            results.append(
                MissingPicture(title, f"{_join(missing)} {verb} not been published yet.")
            )
        else:
            results.append(picture(title, *(lakehouse.open(published[name]) for name in names)))
        lakehouse.progress.advance(1)
    return (
        [
            *(picture for picture in results if isinstance(picture, Picture)),
            *(_history(name, states[name]) for name in published),
        ],
        [picture for picture in results if isinstance(picture, MissingPicture)],
    )


def _funnel(  # noqa: PLR0913, PLR0917  (the tables that it counts people in)
    title: str,
    customer_landing: ir.Table,
    customer_trusted: ir.Table,
    customers_curated: ir.Table,
    device_ownership: ir.Table,
    machine_learning_curated: ir.Table,
) -> Picture:
    numbers = consent_funnel(
        customer_landing,
        customer_trusted,
        customers_curated,
        device_ownership,
        machine_learning_curated,
    )
    customers, consenting, *_, trained_on = numbers.counts.values()
    share = f" ({consenting / customers:.0%})" if customers and consenting is not None else ""
    steps = ", ".join(f"{in_words(number)} {step}" for step, number in numbers.counts.items())
    sentence = (
        f"Of {in_words(customers)} customers {in_words(consenting)}{share} consent to research, "
        f"and {in_words(trained_on)} are in the training set: {steps}."
    )
    return Picture(
        title, sentence, numbers, ("customer_trusted", "customers_curated", TRAINING_SET)
    )


def _devices(title: str, device_ownership: ir.Table, step_trainer_landing: ir.Table) -> Picture:
    counts = {"shared_readings": 0, "sole_claim": 0}
    counts |= devices_by_proof(device_ownership, step_trainer_landing)
    numbers = Bars.of_people("devices", counts)
    shared, sole, withheld = map(in_words, numbers.counts.values())
    sentence = (
        f"Of the devices that sent readings, {shared} have an owner proven by shared readings and "
        f"{sole} by a sole claim; the readings of {withheld} are withheld, as nobody is proven to "
        "own them."
    )
    return Picture(title, sentence, numbers, ("device_ownership",))


def _over_time(
    title: str, accelerometer_landing: ir.Table, step_trainer_landing: ir.Table
) -> Picture | MissingPicture:
    numbers = readings_over_time(accelerometer_landing, step_trainer_landing)
    if numbers is None:
        return MissingPicture(title, "No readings have landed yet.")
    totals = " and ".join(f"{sum(rows):,} {name}" for name, rows in numbers.counts.items())
    outside = f" {numbers.outside:,} more lie far outside." if numbers.outside else ""
    sentence = (
        f"{totals} readings are from {numbers.edges[0]:%Y-%m-%d %H:%M} to "
        f"{numbers.edges[-1]:%Y-%m-%d %H:%M} UTC, counted per {numbers.bucket}.{outside}"
    )
    return Picture(title, sentence, numbers, ("accelerometer_landing", "step_trainer_landing"))


def _per_person(title: str, machine_learning_curated: ir.Table) -> Picture | MissingPicture:
    numbers = readings_per_person(machine_learning_curated)
    if numbers is None:
        return MissingPicture(title, "The training set is empty.")
    if not any(numbers.counts):
        return MissingPicture(title, f"Fewer than {SMALLEST_GROUP} people have as many rows.")
    people = f"{sum(numbers.counts):,} people by their rows, in bins of {_range(*_extent(numbers))}"
    left_out = f" Bins of fewer than {SMALLEST_GROUP} people are left empty."
    sentence = f"{people}, {_fullest(numbers)}.{left_out if numbers.left_out else ''}"
    return Picture(title, sentence, numbers, (TRAINING_SET,))


def _distance(
    title: str, machine_learning_curated: ir.Table, step_trainer_trusted: ir.Table
) -> Picture | MissingPicture:
    return _distribution(
        title,
        "distancefromobject",
        "distance from object (as the source reports it)",
        {TRAINING_SET: machine_learning_curated, "step_trainer_trusted": step_trainer_trusted},
    )


def _acceleration(axis: str) -> Callable[..., Picture | MissingPicture]:
    def acceleration(
        title: str, machine_learning_curated: ir.Table, accelerometer_trusted: ir.Table
    ) -> Picture | MissingPicture:
        return _distribution(
            title,
            axis,
            f"{axis} (as the source reports it)",
            {
                TRAINING_SET: machine_learning_curated,
                "accelerometer_trusted": accelerometer_trusted,
            },
        )

    return acceleration


def _distribution(
    title: str, column: str, quantity: str, tables: dict[str, ir.Table]
) -> Picture | MissingPicture:
    """The distribution in the first of these tables that has values."""
    for name, table in tables.items():
        if numbers := histogram(table, column, quantity, "readings"):
            values = f"values in bins of {_range(*_extent(numbers))}, {_fullest(numbers)}"
            missing = f"; {numbers.missing:,} rows have no value" if numbers.missing else ""
            sentence = f"{sum(numbers.counts):,} readings of {name} have {values}{missing}."
            return Picture(title, sentence, numbers, tuple(tables))
    return MissingPicture(title, f"There are no values in {_join(list(tables))}.")


def _quarantined(title: str, quarantine: ir.Table) -> Picture | MissingPicture:
    counts = {f"{r['source']}: {r['reason']}": r["rows"] for r in quarantine_by_reason(quarantine)}
    if not counts:
        return MissingPicture(title, "Nothing is in quarantine.")
    most = max(counts, key=lambda reason: counts[reason])
    sentence = f"{sum(counts.values()):,} rows are in quarantine, {counts[most]:,} of {most}."
    return Picture(title, sentence, Bars("rows", counts), ("quarantine",))


def _history(name: str, state: TableState) -> Picture:
    published, rows = zip(*state.history[-HISTORY_LENGTH:], strict=True)
    sentence = f"{name} has {rows[-1]:,} rows, published {published[-1]:%Y-%m-%d %H:%M} UTC"
    if len(rows) > 1:
        sentence += (
            f"; the last {len(rows)} times it was published it had {min(rows):,} to {max(rows):,}"
        )
    return Picture(f"Rows of {name}", f"{sentence}.", History(published, rows), (name,))


_PICTURES: dict[str, Callable[..., Picture | MissingPicture]] = {
    "From customers to the training set": _funnel,
    "Devices by proof of ownership": _devices,
    "Readings over time": _over_time,
    "Readings per person in the training set": _per_person,
    "Distance from object": _distance,
    "Acceleration along x": _acceleration("x"),
    "Acceleration along y": _acceleration("y"),
    "Acceleration along z": _acceleration("z"),
    "Quarantine by reason": _quarantined,
}


def _extent(numbers: Histogram) -> tuple[float, float]:
    return numbers.bins[0][0], numbers.bins[-1][1]


def _fullest(numbers: Histogram) -> str:
    """Where most values are, and how many are outside the picture."""
    most = max(range(len(numbers.counts)), key=lambda number: numbers.counts[number])
    return (
        f"most often ({numbers.counts[most]:,}) {_range(*numbers.bins[most])}; "
        f"{numbers.outside:,} lie far outside"
    )


def _rows(numbers: Numbers) -> list[tuple[str, ...]]:
    match numbers:
        case Bars():
            kinds = ((kind, in_words(number)) for kind, number in numbers.counts.items())
            return [("", numbers.unit), *kinds]
        case Histogram():
            bins = zip(numbers.bins, numbers.counts, strict=True)
            return [
                (numbers.quantity, numbers.unit),
                *((_range(*values), f"{number:,}") for values, number in bins),
                ("outside", f"{numbers.outside:,}"),
                ("no value", f"{numbers.missing:,}"),
            ]
        case Timeline():
            counts = zip(*numbers.counts.values(), strict=True)
            buckets = zip(numbers.edges, counts, strict=False)  # the last edge ends the last bucket
            return [
                (f"{numbers.bucket} from (UTC)", *numbers.counts),
                *((f"{at:%Y-%m-%d %H:%M}", *(f"{n:,}" for n in row)) for at, row in buckets),
            ]
        case History():
            states = zip(numbers.published, numbers.rows, strict=True)
            return [
                ("published (UTC)", "rows"),
                *((f"{at:%Y-%m-%d %H:%M:%S}", f"{rows:,}") for at, rows in states),
            ]


def in_words(count: int | None) -> str:
    """A count of a `Bars`, as it is shown."""
    return f"fewer than {SMALLEST_GROUP}" if count is None else f"{count:,}"


def _range(low: float, high: float) -> str:
    first, last = f"{low:,.6g}", f"{high:,.6g}"
    return first if first == last else f"{first} to {last}"


def _join(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
