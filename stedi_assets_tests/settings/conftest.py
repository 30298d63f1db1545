"""An environment of the test's own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No setting but a lakehouse of the test's own."""
    for name in os.environ:
        if name.startswith("STEDI_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("STEDI_LAKEHOUSE", str(tmp_path / "lakehouse"))


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Settings of a lakehouse on AWS."""
    monkeypatch.setenv("STEDI_DEPLOYMENT", "aws")
    monkeypatch.setenv("STEDI_LAKEHOUSE", "s3://acme/stedi")
    return monkeypatch
