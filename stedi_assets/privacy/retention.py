"""How long training sets are kept: as long as everybody in them consents, and few are newer.

The vacuum lets them go, and with them older states, old landing data and files of no use.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import ibis
import ibis.expr.types as ir

from stedi_assets.lakehouse.compaction import compact
from stedi_assets.lakehouse.faults import LakehouseError, is_damage, sentence
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.vacuum import Vacuumed
from stedi_assets.lakehouse.vacuum import vacuum as vacuum_files
from stedi_assets.privacy.holds import drop_released_holds
from stedi_assets.privacy.landing_retention import expire_landing_data
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET, day_of, has_shifted_times
from stedi_assets.privacy.withdrawal_ledger import note_vacuumed, note_withdrawals
from stedi_assets.refresh.release import policy_of_set
from stedi_assets.settings import Settings, SettingsError
from stedi_assets.tables import SOURCES
from stedi_assets.tables.consent import without_consent
from stedi_assets.tables.curated.machine_learning_curated import IDENTIFYING, pseudonymous
from stedi_assets.tables.identity import key_id
from stedi_assets.tables.landing.quarantine import QUARANTINE
from stedi_assets.tables.policy import Policy, Times


def rows_of_withdrawn(
    training_set: ir.Table, customer_trusted: ir.Table, policy: Policy
) -> ir.IntegerScalar:
    """Rows of people who consent no longer or, under `from_consent_date`, from before its date."""
    rows = training_set.select(person="subject_id", time="sensorreadingtime")
    since = pseudonymous(customer_trusted, policy)
    return without_consent(rows, since.select("person"), since, policy)


@dataclass(frozen=True)
class Release:
    """Tags that no longer keep their training sets, and tags nobody can decide about.

    Attributes:
        tags: Tags of a day except its last, and of all days except the newest STEDI_TRAINING_SETS.
            Also any tag of a set that has rows of people who withdrew longer than STEDI_RETENTION
            ago, that has columns STEDI_PSEUDONYMIZE now leaves out, that has exact times where
            STEDI_TIMES now shifts them, or that is damaged.
        unknown: Tags of sets made under another key, whose people cannot be looked up.
    """

    tags: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def tags_to_release(lakehouse: Lakehouse, settings: Settings) -> Release:
    """Tags that keep their training sets no longer."""
    state = lakehouse.catalog.find(TRAINING_SET)
    if state is None or not state.tags:
        return Release()
    superseded = superseded_tags([tag.name for tag in state.tags], settings.training_sets)
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
        is_exact = not has_shifted_times(training_set)
        if unwanted & set(training_set.types) or (settings.times == "shifted" and is_exact):
            release.append(name)
        elif not is_ours and training_set.rows:
            unknown.append(name)
        elif _has_withdrawals(lakehouse, training_set, customers, settings):
            release.append(name)
    return Release(tuple(release), tuple(unknown))


def _has_withdrawals(
    lakehouse: Lakehouse, training_set: Snapshot, customers: ir.Table, settings: Settings
) -> bool:
    """Whether a set has rows of people who withdrew; a damaged set counts as if it had."""
    times: Times = "shifted" if has_shifted_times(training_set) else "exact"
    policy = replace(policy_of_set(training_set, policy_of(settings)), times=times)
    try:
        rows = rows_of_withdrawn(lakehouse.open(training_set), customers, policy)
        return bool(rows.to_pyarrow().as_py())
    except Exception as error:
        if is_damage(error):
            return True
        raise


def _recent_customers(lakehouse: Lakehouse, settings: Settings) -> ir.Table:
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


def superseded_tags(tags: list[str], days: int) -> list[str]:
    """Tags of days, but for the last one of each of the newest days; tags by hand are left out."""
    last: dict[str, str] = {}
    for tag in tags:
        day, number = day_of(tag)
        if number and number >= day_of(last.get(day, day))[1]:
            last[day] = tag
    newest = {last[day] for day in sorted(last)[-days:]}
    return [tag for tag in tags if day_of(tag)[1] and tag not in newest]


def vacuum(
    lakehouse: Lakehouse, settings: Settings, safety_age: timedelta, dry_run: bool = False
) -> Vacuumed:
    """Let go what was replaced longer than the retention ago, and merge small files.

    Files that nothing refers to go, too, and before that landing data that are too old.

    A tag keeps a training set as long as everybody in it consents, and it is not too old.

    Args:
        lakehouse: Which lakehouse; no refresh of this machine may run meanwhile.
        settings: Give the retention, the key of `subject_id` and the consent scope.
        safety_age: How long ago a file was written at least.
        dry_run: Only tell what would be removed and merged.

    Raises:
        LakehouseError: Something is wrong, and nothing was removed; or training sets were made
            under another key, or tables are damaged, and only these were left alone.
    """
    faults = []
    lakehouse.progress.begin("looking into training sets")
    try:
        release = tags_to_release(lakehouse, settings)
    except Exception as error:
        if not is_damage(error):
            raise
        release = Release()
        faults.append(sentence(error))
    if not dry_run:
        faults += _noted(note_withdrawals, lakehouse, settings)
    unforeseen: Exception | None = None
    try:
        expired, wrong = expire_landing_data(lakehouse, settings, dry_run=dry_run)
        faults += wrong
    except Exception as error:  # states with people who withdrew go all the same
        expired, unforeseen = {}, error
    removed = vacuum_files(
        lakehouse.storage,
        settings.retention,
        safety_age,
        released={TRAINING_SET: release.tags},
        shared={QUARANTINE.name},
        dry_run=dry_run,
        progress=lakehouse.progress,
    )
    if not dry_run and not removed.damaged:
        drop_released_holds(lakehouse)
        # Younger files are still there, though no state has them any more.
        age = max(settings.retention, safety_age)
        faults += _noted(note_vacuumed, lakehouse, settings.model_copy(update={"retention": age}))
    if unforeseen is not None:
        raise unforeseen
    # After it: whatever happens now, people who withdrew are gone.
    merged = compact(lakehouse, SOURCES, QUARANTINE.name, dry_run=dry_run)
    removed = replace(removed, merged=merged, expired=expired)
    faults += [*removed.damaged, *merged.damaged]
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


def _noted(
    note: Callable[[Lakehouse, Settings], None], lakehouse: Lakehouse, settings: Settings
) -> list[str]:
    """Keep the ledger of withdrawals; returns what is wrong with it, which holds up no vacuum."""
    try:
        note(lakehouse, settings)
    except Exception as error:
        if not is_damage(error) and not isinstance(error, SettingsError):
            raise
        return [sentence(error) or str(error)]
    return []


def _any_known(sets: Iterable[ir.Table], customer_trusted: ir.Table, settings: Settings) -> bool:
    """Whether anybody in these training sets is a customer under the present key."""
    people = [rows.select(person="subject_id") for rows in sets]
    if not people:
        return True
    customers = ibis.union(*people).semi_join(
        pseudonymous(customer_trusted, policy_of(settings)), "person"
    )
    return bool(customers.count().to_pyarrow().as_py())
