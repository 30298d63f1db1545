"""What the rules depend on besides other tables."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

ConsentScope = Literal["any", "from_consent_date"]
Times = Literal["exact", "shifted"]
PseudonymScope = Literal["all", "release"]


def _no_key() -> str:
    raise RuntimeError("This policy has no key of subject_id.")


@dataclass(frozen=True)
class Policy:
    """How consent counts, and how people are named.

    Attributes:
        consent_scope: Which readings of a consenting customer may be used: `any` of them, or those
            `from_consent_date` on.
        pseudonymize: Whether training rows name people by `subject_id` alone.
        times: Whether training rows have the `exact` time of a reading, or one that is `shifted` by
            as much as all others of the person.
        subject_key: Returns the key that pseudonyms are made with.
        pseudonym_scope: Whether a person has one `subject_id` in `all` training sets, or one of
            each `release`.
        release: Which release's pseudonyms are meant; None for those of all sets.
    """

    consent_scope: ConsentScope = "any"
    pseudonymize: bool = True
    times: Times = "exact"
    subject_key: Callable[[], str] = field(default=_no_key, repr=False)
    pseudonym_scope: PseudonymScope = "all"
    release: str | None = None

    @property
    def from_consent_date(self) -> bool:
        """Whether readings from before the consent date are left out."""
        return self.consent_scope == "from_consent_date"

    @property
    def shifts_times(self) -> bool:
        """Whether the times of training rows are not those of the readings."""
        return self.times == "shifted"
