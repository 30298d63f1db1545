"""`stedi dev`: the Dagster UI on a lakehouse, as a person starts and ends it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import dagster as dg
import pytest

from stedi_assets.cli.dev import _pass_on, _reserved_port, _selected
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets_tests.support import ANN, customer, deliver, device, phone

pytestmark = pytest.mark.slow

OF_A_RUN = (
    "2026-01-01 00:00:00 +0000 - dagster - ERROR - refresh_lakehouse - "
    "8aa9da96-c723-4801-b639-6becaf3bbbc3 - 7 - landing - STEP_FAILURE - It failed.\n"
)


@contextmanager
def dev(lakehouse: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("STEDI_", "DAGSTER_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "stedi_assets", "dev"],
        env=environment | {"STEDI_LAKEHOUSE": str(lakehouse)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


def line(process: "subprocess.Popen[str]", pattern: str) -> re.Match[str]:
    """Wait for a line."""
    printed = []
    assert process.stdout
    for one in process.stdout:
        printed.append(one)
        if found := re.search(pattern, one):
            return found
    raise AssertionError(f"{pattern} is not in {''.join(printed)}")


def processes(lakehouse: Path) -> list[int]:
    """Processes that serve this lakehouse."""
    place = f"STEDI_LAKEHOUSE={lakehouse}\0".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if place in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:  # gone meanwhile
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_ui_says_where_it_is_what_runs_did_and_ends_with_all_its_processes(
    tmp_path: Path, how: signal.Signals
) -> None:
    lakehouse = tmp_path / "lakehouse"
    with dev(lakehouse) as process:
        assert line(process, r"Drop landing files into (\S+)/\{")[1] == f"{lakehouse}/landing"
        address = line(process, r"The Dagster UI is at (\S+) ")[1]
        if how is signal.SIGTERM:
            with urlopen(f"{address}/server_info", timeout=30) as answer:
                assert answer.status == 200
            deliver(
                lakehouse / "landing",
                "first.json",
                customer=[customer(ANN, "d")],
                accelerometer=phone(ANN, *range(10)),
                step_trainer=device("d", *range(10)),
            )
            began = line(process, r"refresh_lakehouse began for new files \((.*)\)")[1]
            assert began == "accelerometer 1, customer 1, step_trainer 1"
            assert line(process, r"refresh_lakehouse ended in \d+ s: (\w+)")[1] == "success"
        process.send_signal(how)
        line(process, "Ending Dagster")
        assert process.wait(90) == 0
        deadline = time.monotonic() + 20
        while processes(lakehouse) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert processes(lakehouse) == []
    assert (lakehouse / "history/dagster.yaml").exists()
    assert lakehouse.stat().st_mode & 0o077 == 0


def test_what_a_run_logs_is_left_to_its_page() -> None:
    said: list[str] = []
    trace = ["\n", "Stack Trace:\n", '  File "x.py", line 1\n']
    tick = "2026-01-01 00:00:01 +0000 - dagster.daemon - ERROR - A sensor failed.\n"
    _pass_on([OF_A_RUN, *trace, tick, "  its cause\n", OF_A_RUN], said.append)
    assert said == [tick.rstrip(), "  its cause"]


def test_two_uis_that_start_at_once_take_different_ports() -> None:
    with _reserved_port(None) as first, _reserved_port(None) as second:
        assert first != second
        with (
            pytest.raises(LakehouseError, match=f"port {first}, or you may not"),
            _reserved_port(first),
        ):
            pass
    with _reserved_port(first) as again:
        assert again == first


def test_a_port_on_which_something_listens_is_not_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(LakehouseError, match=str(port)), _reserved_port(port):
            pass


def test_a_run_of_checks_alone_is_told_by_their_names() -> None:
    contract = dg.AssetCheckKey(dg.AssetKey("customer_trusted"), "contract")
    checks = dg.DagsterRun(job_name="__ASSET_JOB", asset_check_selection={contract})
    assert _selected(checks) == "contract of customer_trusted"
