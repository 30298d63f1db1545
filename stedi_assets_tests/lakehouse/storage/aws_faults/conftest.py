"""A lakehouse on S3 and Glue behind proxies that make faults."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stedi_assets.cli.main import main
from stedi_assets.settings import Settings
from stedi_assets_tests.conftest import Aws
from stedi_assets_tests.fault_proxy import (
    FaultProxy,
)
from stedi_assets_tests.lakehouse.storage.aws_faults.support import Person, Site
from stedi_assets_tests.refresh.pipeline.support import FIRST, SECOND
from stedi_assets_tests.support import (
    KEY,
    deliver,
    keep_history_in,
    refresh,
    under,
)


@pytest.fixture
def proxies(aws: Aws) -> Iterator[tuple[FaultProxy, FaultProxy]]:
    with FaultProxy(aws.s3.endpoint) as before_s3, FaultProxy(aws.glue.endpoint) as before_glue:
        yield before_s3, before_glue


@pytest.fixture
def site(aws: Aws, proxies: tuple[FaultProxy, FaultProxy]) -> Site:
    """A new lakehouse, the first delivery waiting."""
    made = Site(aws.folder(), *proxies)
    made.deliver("first.json", FIRST)
    return made


@pytest.fixture(scope="module")
def refreshed(aws: Aws) -> Any:
    """Folder of a lakehouse with the first delivery published and the second one waiting."""
    folder = aws.folder()
    deliver(folder / "landing", "first.json", **FIRST)
    assert refresh(under(folder)).success
    deliver(folder / "landing", "second.json", **SECOND)
    return folder


@pytest.fixture
def waiting(refreshed: Any, proxies: tuple[FaultProxy, FaultProxy]) -> Site:
    return Site(refreshed, *proxies)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every client give up after a few tries without a pause."""
    retries = ("http_retries = 2", "http_retry_wait_ms = 1", "http_retry_backoff = 1")
    monkeypatch.setattr("stedi_assets.lakehouse.storage.glue_catalog.ATTEMPTS", 3)
    monkeypatch.setattr("stedi_assets.defs.failures.PAUSE", 0.0)
    monkeypatch.setattr("stedi_assets.lakehouse.storage.s3._DUCKDB_RETRIES", retries)
    for module in ("botocore.endpoint", "smart_open.s3"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=lambda _: None))


@pytest.fixture
def stedi(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> Person:
    """Runs a command as a person does; gives its exit code and what it prints, in one line."""

    def run(settings: Settings, *words: str) -> tuple[int, str]:
        keep_history_in(tmp_path, monkeypatch)  # not that of the checkout
        monkeypatch.setattr("sys.argv", ["stedi", *words])
        given = {
            "DEPLOYMENT": settings.deployment,
            "LAKEHOUSE": settings.lakehouse,
            "LANDING": settings.landing_root,
            "DATABASE": settings.database,
            "S3_ENDPOINT": settings.s3_endpoint,
            "GLUE_ENDPOINT": settings.glue_endpoint,
            "PSEUDONYM_KEY": KEY,
        }
        with pytest.MonkeyPatch.context() as environment:
            for name, value in given.items():
                environment.setenv(f"STEDI_{name}", str(value))
            capsys.readouterr()
            with pytest.raises(SystemExit) as ended:
                main()
        printed = "".join(capsys.readouterr())
        assert "Traceback" not in printed
        return int(ended.value.code or 0), " ".join(printed.split())

    return run
