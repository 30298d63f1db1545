"""What is wrong with the settings."""

from __future__ import annotations

import re

import pytest

from stedi_assets.settings import Settings, SettingsError

SECRET = "hush-hush-4711"


KEY = "of tests, so everybody may know it"


def said() -> str:
    """What is wrong with the settings: one sentence."""
    with pytest.raises(SettingsError) as caught:
        Settings.load()
    assert re.fullmatch(r"STEDI_[^\n]*\.", str(caught.value))
    return str(caught.value)
