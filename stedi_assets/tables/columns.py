"""The columns that contracts are made of: meaning, unit and checks, each said once."""

from typing import Any

from stedi_assets.lakehouse.table import EARLIEST
from stedi_assets.tables.contract import Field

MILLISECONDS = "epoch milliseconds"
MAX_DOUBLE = 1.7976931348623157e308


def field(  # noqa: PLR0913  (what there is to say of a column)
    description: str,
    *,
    unit: str | None = None,
    personal: bool = False,
    strict: bool = False,
    is_time: bool = False,
    zero_is_none: bool = False,
    nullable: bool = False,
    unique: bool = False,
    **checks: Any,
) -> Any:
    """A column: its meaning, its unit, and what pandera checks of it."""
    return Field(
        description, unit, personal, strict, is_time, zero_is_none, nullable, unique, checks
    )


def time(description: str, *, zero_is_none: bool = False, **checks: Any) -> Any:
    """A time of a landing file: one that cannot be trusted quarantines its object."""
    return field(
        description,
        unit=MILLISECONDS,
        strict=True,
        is_time=True,
        zero_is_none=zero_is_none,
        ge=EARLIEST,
        **checks,
    )


def share_date(description: str) -> Any:
    """A date of consent to share; absent or 0 where there is none."""
    return time(f"consent to share {description}", zero_is_none=True, nullable=True)


def finite(description: str, *, strict: bool) -> Any:
    """A number; a value that is not one becomes null or, where `strict`, quarantines its object."""
    return field(
        f"{description}, finite",
        unit="as the source reports it",
        strict=strict,
        nullable=True,
        # Keeps NaN and the infinities out.
        in_range={"min_value": -MAX_DOUBLE, "max_value": MAX_DOUBLE},
    )


def acceleration(axis: str) -> Any:
    """An axis of a phone reading."""
    return finite(f"acceleration along the phone's {axis} axis", strict=True)


def distance() -> Any:
    """What the Step Trainer measures."""
    return finite("distance of the object in front of the sensor", strict=False)


def person(description: str = "the e-mail in its one spelling", **checks: Any) -> Any:
    """Whose a row is."""
    return field(description, personal=True, **checks)


def source_file() -> Any:
    """Where a row of the landing zone came from."""
    return field("landing file the object came from, relative to the landing root")


def landed_at() -> Any:
    """When a row of the landing zone came in."""
    return field("when the refresh began that took the file in", unit=MILLISECONDS, ge=0)
