"""What the rules depend on besides other tables."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

ConsentScope = Literal["any", "from_consent_date"]


def _no_key() -> str:
    raise RuntimeError("This policy has no key of subject_id.")


@dataclass(frozen=True)
class Policy:
    """How consent counts, and how people are named.

    Attributes:
        consent_scope: Which readings of a consenting customer may be used: `any` of them, or those
            `from_consent_date` on.
        pseudonymize: Whether training rows name people by `subject_id` alone.
        subject_key: Returns the key that `subject_id` is made with.
    """

    consent_scope: ConsentScope = "any"
    pseudonymize: bool = True
    subject_key: Callable[[], str] = field(default=_no_key, repr=False)

    @property
    def from_consent_date(self) -> bool:
        """Whether readings from before the consent date are left out."""
        return self.consent_scope == "from_consent_date"
