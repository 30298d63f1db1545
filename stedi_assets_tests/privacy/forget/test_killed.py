"""A command that was killed is finished by the same command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.storage.local import LocalStorage
from stedi_assets.privacy import naming
from stedi_assets.settings import Settings
from stedi_assets_tests.privacy.forget.support import (
    ANN,
    BOB,
    KilledError,
    assert_forgotten,
    forget_people,
    rows_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.slow  # Each time the whole command.

STEPS: list[tuple[Any, str, int, bool]] = [
    (LocalStorage, "replacing", 1, False),  # what names them
    (LocalStorage, "replacing", 2, False),  # the list
    (Catalog, "stage", 2, True),
    (Catalog, "publish", 1, True),  # step_trainer_landing
    (Catalog, "publish", 3, False),  # customer_landing
    (Catalog, "publish", 4, False),  # quarantine
    (Catalog, "publish", 5, True),
    (Catalog, "publish", 11, False),  # machine_learning_curated
    (Catalog, "replace_tagged", 1, False),
    (Catalog, "replace_tagged", 1, True),
    (LocalStorage, "erase", 1, False),
    (LocalStorage, "erase", 30, True),
    (LocalStorage, "replacing", 3, False),  # the certificate
    (naming, "keep", 2, False),  # what names them, no longer kept
]


@pytest.mark.parametrize(("owner", "method", "call", "is_done"), STEPS)
def test_the_same_command_does_what_is_left_after_a_kill(  # noqa: PLR0913, PLR0917
    settings: Settings,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: Any,
    method: str,
    call: int,
    is_done: bool,
) -> None:
    before = rows_of(settings)
    original: Callable[..., Any] = getattr(owner, method)
    calls = 0

    def killed(*args: Any, **how: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != call:
            return original(*args, **how)
        if is_done:
            original(*args, **how)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, killed)
        with pytest.raises(KilledError):
            forget_people(settings, ANN, BOB)
    assert forget_people(settings, ANN, BOB.upper()).is_complete
    assert_forgotten(settings, folder, before, ANN, BOB)
    assert not list((folder / "lakehouse/warehouse/landing/forgotten").glob("being*"))
