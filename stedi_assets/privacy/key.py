"""The key that `subject_id` is made with."""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from stedi_assets.settings import MIN_KEY, Settings, SettingsError, weakness_of_key
from stedi_assets.tables.curated.machine_learning_curated import MACHINE_LEARNING_CURATED
from stedi_assets.tables.policy import Policy

if TYPE_CHECKING:
    from stedi_assets.lakehouse.lakehouse import Lakehouse


def subject_key(settings: Settings) -> str:
    """Key of `subject_id`: STEDI_PSEUDONYM_KEY, or the key that was made for this lakehouse.

    Raises:
        SettingsError: There is no key, or it is not safe.
    """
    if settings.pseudonym_key:
        return settings.pseudonym_key.get_secret_value()
    _assert_not_lost(settings)
    path = key_file(settings)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise SettingsError(
            f"There is no key of subject_id yet ({path}): a refresh makes one."
        ) from None
    if mode & 0o077:
        raise SettingsError(
            f"{path} can be read by others, who could tell whose subject_id is whose: see who "
            f"had access, then run chmod 600 {path}."
        )
    key = path.read_text(errors="replace").strip()
    if len(key) < MIN_KEY:
        raise SettingsError(
            f"{path} holds no key of {MIN_KEY} characters or more; restore it, or set "
            "STEDI_PSEUDONYM_KEY."
        )
    if weakness := weakness_of_key(key):
        raise SettingsError(
            f"{path} holds a key that is easily guessed, {weakness}; restore it, or set "
            "STEDI_PSEUDONYM_KEY."
        )
    return key


def make_missing_key(settings: Settings) -> None:
    """Make the key where there is none yet.

    Raises:
        SettingsError: The key has to be set, or it was lost.
    """
    if settings.pseudonym_key is None:
        _assert_not_lost(settings)
        if not key_file(settings).exists():
            make_key(key_file(settings))


def key_file(settings: Settings) -> Path:
    """File with the key of `subject_id`, if STEDI_PSEUDONYM_KEY is not set."""
    return Path(settings.lakehouse) / "pseudonym.key"


def _assert_not_lost(settings: Settings) -> None:
    """Refuse a lakehouse whose key must be set: on AWS, or if that of its training sets is gone."""
    if settings.deployment == "aws":
        raise SettingsError(
            "STEDI_PSEUDONYM_KEY is not set. On AWS it is not made by itself: set it to the "
            f"same secret of {MIN_KEY} characters or more in every refresh."
        )
    path, table = key_file(settings), MACHINE_LEARNING_CURATED.table(Policy())
    if not path.exists() and any(Path(table.location(settings.lakehouse)).rglob("*.parquet")):
        raise SettingsError(
            f"{path}, the key of subject_id in existing training sets, is gone: restore it "
            "from a backup, set STEDI_PSEUDONYM_KEY to it, or begin with a new key (stedi rebuild "
            "--new-key)."
        )


def make_key(path: Path) -> None:
    """Make a key of `subject_id`, unless another process was first."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(secrets.token_hex(32))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, path)  # fails where another process was first: its key counts
    except FileExistsError:
        pass
    finally:
        temporary.unlink()


def begin_with_new_key(lakehouse: "Lakehouse", settings: Settings) -> list[str]:
    """Let `subject_id` be made under another key, and release the training sets of the old one.

    The new key is STEDI_PSEUDONYM_KEY or, where that is not set, one that is made.

    Returns:
        The tags of the training sets that are released.
    """
    if settings.pseudonym_key is None and settings.deployment == "local":
        key_file(settings).unlink(missing_ok=True)
        make_key(key_file(settings))
    state = lakehouse.catalog.find(MACHINE_LEARNING_CURATED.name)
    tags = [tag.name for tag in state.tags] if state else []
    lakehouse.catalog.untag(MACHINE_LEARNING_CURATED.name, tags)
    return tags
