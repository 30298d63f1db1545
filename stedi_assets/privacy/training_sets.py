"""Training sets: their names, how long they may be kept, and what data scientists do with them."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.faults import LakehouseError, is_damage, sentence
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.vacuum import Vacuumed
from stedi_assets.lakehouse.vacuum import vacuum as vacuum_files
from stedi_assets.privacy.key import key_file, make_key
from stedi_assets.privacy.policy import policy_of
from stedi_assets.read import find_tags
from stedi_assets.settings import Settings
from stedi_assets.tables.consent import without_consent
from stedi_assets.tables.curated.machine_learning_curated import (
    IDENTIFYING,
    MACHINE_LEARNING_CURATED,
    pseudonymous,
)
from stedi_assets.tables.identity import key_id

if TYPE_CHECKING:
    import pandas as pd

    from stedi_assets.lakehouse.lakehouse import Lakehouse

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
    numbers = [number for tag_day, number in map(_day, tags) if tag_day == day]
    name = f"{day}-{max(numbers) + 1}" if numbers else day
    catalog.tag(training_set, name)
    return name


def _day(tag: str) -> tuple[str, int]:
    """The day that a tag names, with its prefix, and the number of the set on that day."""
    match = _DAY.fullmatch(tag)
    return (match[1], int(match[2] or 1)) if match else (tag, 0)


# Retention: a training set is kept as long as everybody in it consents, and few are newer.


def withdrawals(
    training_set: ir.Table, customer_trusted: ir.Table, settings: Settings
) -> ir.IntegerScalar:
    """Rows of people who consent no longer or, under `from_consent_date`, from before its date."""
    rows = training_set.select(person="subject_id", time="sensorreadingtime")
    since = pseudonymous(customer_trusted, policy_of(settings))
    return without_consent(rows, since.select("person"), since, policy_of(settings))


@dataclass(frozen=True)
class Release:
    """Tags that no longer keep their training sets, and tags nobody can decide about.

    Attributes:
        tags: Tags of a day except its last, and of all days except the newest STEDI_TRAINING_SETS.
            Also any tag of a set that has rows of people who withdrew longer than STEDI_RETENTION
            ago, that has columns STEDI_PSEUDONYMIZE now leaves out, or that is damaged.
        unknown: Tags of sets made under another key, whose people cannot be looked up.
    """

    tags: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def tags_to_release(lakehouse: "Lakehouse", settings: Settings) -> Release:
    """Tags that keep their training sets no longer."""
    state = lakehouse.catalog.find(TRAINING_SET)
    if state is None or not state.tags:
        return Release()
    superseded = _superseded([tag.name for tag in state.tags], settings.training_sets)
    sets = {
        tag.name: snapshot
        for tag in state.tags
        if tag.name not in superseded and (snapshot := state.snapshot(tag.snapshot_id))
    }
    customers = _recent_customers(lakehouse, settings)
    no_customers = not customers.count().to_pyarrow().as_py()
    keyless = [each for each in (*sets.values(), state.published) if each and not _key(each)]
    is_keyless_ours = no_customers or _any_known(map(lakehouse.open, keyless), customers, settings)
    own_key = key_id(policy_of(settings))
    unwanted = set(IDENTIFYING if settings.pseudonymize else ())
    release, unknown = superseded, []
    for name, training_set in sets.items():
        key = _key(training_set)
        is_ours = no_customers or (key == own_key if key else is_keyless_ours)
        if unwanted & set(training_set.types):
            release.append(name)
        elif not is_ours and training_set.rows:
            unknown.append(name)
        elif _has_withdrawals(lakehouse, training_set, customers, settings):
            release.append(name)
    return Release(tuple(release), tuple(unknown))


def _has_withdrawals(
    lakehouse: "Lakehouse", training_set: Snapshot, customers: ir.Table, settings: Settings
) -> bool:
    """Whether a set has rows of people who withdrew; a damaged set counts as if it had."""
    try:
        rows = withdrawals(lakehouse.open(training_set), customers, settings).to_pyarrow().as_py()
    except Exception as error:
        if is_damage(error):
            return True
        raise
    return bool(rows)


def _recent_customers(lakehouse: "Lakehouse", settings: Settings) -> ir.Table:
    """Customers who consent, or did STEDI_RETENTION ago: only then is data deleted for good."""
    state = lakehouse.catalog.state("customer_trusted")
    current = lakehouse.table("customer_trusted")
    since = datetime.now(UTC) - settings.retention
    earlier = state.as_of(max(since, state.earliest or since))  # may be the current one
    columns = ("email", "sharewithresearchasofdate")
    customers = current.select(*columns)
    if earlier:
        customers = customers.union(lakehouse.open(earlier).select(*columns))
    return customers.group_by("email").agg(
        sharewithresearchasofdate=customers.sharewithresearchasofdate.min()
    )


def _key(training_set: Snapshot) -> str | None:
    """Id of the key it was made under; older ones do not have it."""
    return training_set.properties.get("key-id")


def _superseded(tags: list[str], days: int) -> list[str]:
    """Tags of days, but for the last one of each of the newest days; tags by hand are left out."""
    last: dict[str, str] = {}
    for tag in tags:
        day, number = _day(tag)
        if number and number >= _day(last.get(day, day))[1]:
            last[day] = tag
    newest = {last[day] for day in sorted(last)[-days:]}
    return [tag for tag in tags if _day(tag)[1] and tag not in newest]


def vacuum(
    lakehouse: "Lakehouse", settings: Settings, safety_age: timedelta, dry_run: bool = False
) -> Vacuumed:
    """Let go what was replaced longer than the retention ago, and files nothing refers to.

    A tag keeps a training set as long as everybody in it consents, and it is not too old.

    Args:
        lakehouse: Which lakehouse; no refresh of this machine may run meanwhile.
        settings: Give the retention, the key of `subject_id` and the consent scope.
        safety_age: How long ago a file was written at least.
        dry_run: Only tell what would be removed.

    Raises:
        LakehouseError: Something is wrong, and nothing was removed; or training sets were made
            under another key, or tables are damaged, and only these were left alone.
    """
    faults = []
    try:
        release = tags_to_release(lakehouse, settings)
    except Exception as error:
        if not is_damage(error):
            raise
        release = Release()
        faults.append(sentence(error))
    removed = vacuum_files(
        lakehouse.storage,
        settings.retention,
        safety_age,
        released={TRAINING_SET: release.tags},
        shared={"quarantine"},
        dry_run=dry_run,
    )
    faults += removed.damaged
    if release.unknown:
        faults.append(
            f"The training sets {', '.join(release.unknown)} were made under another key of "
            "subject_id, so nobody can tell whether everybody in them still consents, and they "
            "were left alone: set STEDI_PSEUDONYM_KEY to the key they were made with, and vacuum "
            "again."
        )
    if faults:
        message = " ".join(dict.fromkeys(filter(None, faults)))
        raise LakehouseError(
            f"{message} {'Besides, it would remove' if dry_run else 'Removed'} {removed}."
        )
    return removed


def _any_known(sets: Iterable[ir.Table], customer_trusted: ir.Table, settings: Settings) -> bool:
    """Whether anybody in these training sets is a customer under the present key."""
    people = [rows.select(person="subject_id") for rows in sets]
    if not people:
        return True
    customers = ibis.union(*people).semi_join(
        pseudonymous(customer_trusted, policy_of(settings)), "person"
    )
    return bool(customers.count().to_pyarrow().as_py())


def begin_with_new_key(lakehouse: "Lakehouse", settings: Settings) -> list[str]:
    """Let `subject_id` be made under another key, and release the training sets of the old one.

    The new key is STEDI_PSEUDONYM_KEY or, where that is not set, one that is made.

    Returns:
        The tags of the training sets that are released.
    """
    if settings.pseudonym_key is None and settings.deployment == "local":
        key_file(settings).unlink(missing_ok=True)
        make_key(key_file(settings))
    state = lakehouse.catalog.find(TRAINING_SET)
    tags = [tag.name for tag in state.tags] if state else []
    lakehouse.catalog.untag(TRAINING_SET, tags)
    return tags


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


def split_by_person(
    frame: "pd.DataFrame", test_share: float = 0.2, seed: int = 0
) -> tuple["pd.DataFrame", "pd.DataFrame"]:
    """Split a training set into rows to train on and rows to test on, each person on one side.

    A hash of `subject_id` decides, so a person stays on the same side in later training sets, and
    whoever is tested on stays so under a larger share. Shares are of people, not of rows, and
    rough where there are few.

    Args:
        frame: Training set as pandas DataFrame.
        test_share: Share of the people to test on, between 0 and 1.
        seed: Another one gives another split.

    Returns:
        The rows to train on, and those to test on.

    Raises:
        ValueError: The share is not between 0 and 1, or there is no column `subject_id`.
    """
    if not 0 < test_share < 1:
        raise ValueError(f"test_share is {test_share}; give a share between 0 and 1, such as 0.2.")
    if "subject_id" not in frame.columns:
        raise ValueError("There is no column subject_id, which says whose row it is.")
    people = frame["subject_id"].unique()
    in_test = frame["subject_id"].isin([p for p in people if _place(p, seed) < test_share])
    return frame[~in_test], frame[in_test]


def _place(person: str, seed: int) -> float:
    """A place between 0 and 1 that depends on nothing but person and seed."""
    digest = hashlib.sha256(f"{seed}:{person}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
