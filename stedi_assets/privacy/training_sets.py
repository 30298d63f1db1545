"""Training sets: their tags, and what data scientists do with them."""

import hashlib
import re
from collections.abc import Collection
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.read import find_tags
from stedi_assets.settings import Settings
from stedi_assets.tables.curated.machine_learning_curated import (
    MACHINE_LEARNING_CURATED,
)

if TYPE_CHECKING:
    import pandas as pd
    from narwhals.typing import IntoFrameT


TRAINING_SET = MACHINE_LEARNING_CURATED.name
"""The table of which each published snapshot is a training set."""

_TAG = "training"
_DAY = re.compile(rf"({_TAG}-\d{{4}}-\d\d-\d\d)(?:-(\d+))?")


# Tags


def tag_training_set(catalog: Catalog, training_set: Snapshot) -> str:
    """Tag a snapshot with the day it was made on (UTC), numbered from the day's second on.

    A number is not given again while a later one of that day exists.

    Returns:
        The tag, such as `training-2026-11-22` or `training-2026-11-22-2`; if the snapshot has one
        already, that one.
    """
    tags = {tag.name: tag.snapshot_id for tag in catalog.state(training_set.table).tags}
    for name, snapshot_id in tags.items():
        if snapshot_id == training_set.id and name.startswith(f"{_TAG}-"):
            return name
    day = f"{_TAG}-{training_set.committed_at:%Y-%m-%d}"
    numbers = [number for tag_day, number in map(day_of, tags) if tag_day == day]
    name = f"{day}-{max(numbers) + 1}" if numbers else day
    catalog.tag(training_set, name)
    return name


def day_of(tag: str) -> tuple[str, int]:
    """The day that a tag names, with its prefix, and the number of the set on that day."""
    match = _DAY.fullmatch(tag)
    return (match[1], int(match[2] or 1)) if match else (tag, 0)


def has_shifted_times(training_set: Snapshot) -> bool:
    """Whether its times are shifted; older ones do not say so, and are not."""
    return training_set.properties.get("times") == "shifted"


# For data scientists


def training_sets(settings: Settings | None = None) -> "pd.DataFrame":
    """List the training sets that have a tag, the oldest first; reads the curated zone alone.

    Args:
        settings: Which lakehouse; the one of the environment where absent.

    Returns:
        A row for each: `tag`, `made_at` (UTC), `rows`, `snapshot`.

    Raises:
        UnknownTableError: No training set has been published yet.
    """
    import pandas as pd  # noqa: PLC0415  (a sensor and a vacuum need none)

    tags = find_tags(TRAINING_SET, settings or Settings.load())
    rows = [(tag.name, tag.made_at, tag.rows, tag.snapshot_id) for tag in tags]
    return pd.DataFrame(rows, columns=["tag", "made_at", "rows", "snapshot"])


_DIGITS = 16
"""Hexadecimal digits of a digest that are compared, as texts: it is the order of the numbers."""


def split_by_person(
    frame: "IntoFrameT", test_share: float = 0.2, seed: int = 0
) -> tuple["IntoFrameT", "IntoFrameT"]:
    """Split a training set into rows to train on and rows to test on, each person on one side.

    A hash of `subject_id` decides, so a person stays on the same side in later training sets and in
    frames of another kind, and whoever is tested on stays so under a larger share. Shares are of
    people, not of rows, and rough where there are few. Rows of nobody are to train on.

    Args:
        frame: Training set: a DataFrame of pandas, a DataFrame or LazyFrame of polars, a Table of
            pyarrow, or an ibis expression, which stays one. Other frames that narwhals knows will
            do, too.
        test_share: Share of the people to test on, between 0 and 1.
        seed: Another one gives another split.

    Returns:
        The rows to train on, and those to test on, as frames of the same kind.

    Raises:
        ValueError: The share is not between 0 and 1, or there is no column `subject_id`.
        TypeError: It is no frame.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is {test_share}; give a share between 0 and 1, such as 0.2.")
    limit = f"{int(test_share * 16**_DIGITS):0{_DIGITS}x}"
    if isinstance(frame, ir.Table):
        _assert_names_people(frame.columns)
        # Nobody is looked up, so it stays an expression, however many people there are.
        digest = (ibis.literal(f"{seed}:") + frame["subject_id"].cast("string")).hexdigest("sha256")
        is_tested = (digest.left(_DIGITS) < limit).fill_null(False)
        return frame.filter(~is_tested), frame.filter(is_tested)
    import narwhals as nw  # noqa: PLC0415  (for frames alone)

    rows = nw.from_native(frame, pass_through=True)
    if not isinstance(rows, nw.DataFrame | nw.LazyFrame):
        raise TypeError(
            f"{type(frame).__name__} is no frame: give a DataFrame of pandas or polars, a Table of "
            "pyarrow, or an ibis expression."
        )
    _assert_names_people(rows.collect_schema().names())
    person = nw.col("subject_id").cast(nw.String)
    people = rows.lazy().select(person).unique().collect()["subject_id"].drop_nulls().to_list()
    tested = [name for name in people if _digest(name, seed) < limit]
    # An empty list has no type in Arrow, so where nobody is tested, it is asked for what never is.
    never = person.is_null() & ~person.is_null()
    in_test = person.is_in(tested).fill_null(False) if tested else never
    return rows.filter(~in_test).to_native(), rows.filter(in_test).to_native()


def _assert_names_people(columns: Collection[str]) -> None:
    if "subject_id" not in columns:
        raise ValueError("There is no column subject_id, which says whose row it is.")


def _digest(person: str, seed: int) -> str:
    """Digits that depend on nothing but person and seed, evenly spread."""
    return hashlib.sha256(f"{seed}:{person}".encode()).hexdigest()[:_DIGITS]
