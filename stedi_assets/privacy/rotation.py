"""Replaces the key of `subject_id`, so that nobody can link old training sets to new ones."""

from dataclasses import dataclass
from uuid import uuid4

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.vacuum import expire_holding
from stedi_assets.privacy.key import begin_with_new_key
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.training_sets import TRAINING_SET
from stedi_assets.privacy.withdrawal_ledger import note_withdrawals
from stedi_assets.refresh.remake import remake
from stedi_assets.settings import Settings, SettingsError
from stedi_assets.tables.identity import key_id
from stedi_assets.tables.policy import Policy


@dataclass(frozen=True)
class Rotated:
    """What became of the training sets.

    Attributes:
        rows: Rows of the one that is published now, under the new key.
        tags: Tags of older ones, which were released.
        snapshots: Older states that were deleted.
    """

    rows: int
    tags: list[str]
    snapshots: int


def rotate_key(lakehouse: Lakehouse, settings: Settings) -> Rotated:
    """Make the training set under a new key, and delete all that were made under another.

    Who kept a copy of an old one can link people in it to nobody by `subject_id`. If this is cut
    short, it can be repeated.

    Args:
        lakehouse: Which lakehouse, locked: nothing else may write to it meanwhile.
        settings: Its settings. Where STEDI_PSEUDONYM_KEY is set, it has to be the new key.

    Raises:
        SettingsError: All sets are under STEDI_PSEUDONYM_KEY, which has to be a new one.
        LakehouseError: The new training set is held back; what was published stays.
    """
    catalog, policy = lakehouse.catalog, policy_of(settings)
    is_given = settings.pseudonym_key is not None or settings.deployment == "aws"
    if is_given and lakehouse.published(TRAINING_SET).properties.get("key-id") == key_id(policy):
        # A refresh may have been first, or this was cut short.
        others = {each.id for each in _sets_of_other_keys(catalog, policy)}
        if not others:
            raise SettingsError(
                "STEDI_PSEUDONYM_KEY is still the key of all training sets: set it to a new one "
                "(openssl rand -hex 32), wherever the lakehouse is refreshed, and repeat this."
            )
        tags = [t.name for t in catalog.state(TRAINING_SET).tags if t.snapshot_id in others]
        catalog.untag(TRAINING_SET, tags)
    else:
        if not is_given:  # the ledger tells people by the key that goes
            note_withdrawals(lakehouse, settings)
        tags = begin_with_new_key(lakehouse, settings)
    lakehouse.progress.begin("making the training set under the new key")
    for verdict in remake(lakehouse, policy, str(uuid4()), settings.max_consent_fall):
        if verdict.table == TRAINING_SET and verdict.held_back:
            raise LakehouseError(
                "The training set under the new key is held back by a check, so the one under the "
                "old key is still published: see stedi status, mend what it says, and refresh."
            )
    theirs = {file for each in _sets_of_other_keys(catalog, policy) for file in each.files}
    snapshots, _ = expire_holding(catalog, lakehouse.storage, TRAINING_SET, theirs)
    return Rotated(lakehouse.published(TRAINING_SET).rows, tags, snapshots)


def _sets_of_other_keys(catalog: Catalog, policy: Policy) -> list[Snapshot]:
    own, sets = key_id(policy), catalog.state(TRAINING_SET).all_snapshots
    return [each for each in sets if each.properties.get("key-id") != own]
