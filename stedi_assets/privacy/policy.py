"""What the rules depend on, from the settings and the key."""

from functools import partial

from stedi_assets.privacy.key import subject_key
from stedi_assets.settings import Settings
from stedi_assets.tables.policy import Policy


def policy_of(settings: Settings) -> Policy:
    """What the rules depend on under these settings; the key is read when a rule needs it."""
    return Policy(
        settings.consent_scope,
        settings.pseudonymize,
        settings.times,
        partial(subject_key, settings),
        settings.pseudonym_scope,
    )
