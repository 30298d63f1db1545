"""Withdrawals take effect whatever else goes wrong in the refresh."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stedi_assets import resources
from stedi_assets.cli.refresh import refresh
from stedi_assets.defs.project import lakehouse_definitions
from stedi_assets.lakehouse.catalog import Catalog, PublishConflictError
from stedi_assets.lakehouse.engines.glue import GlueEngine
from stedi_assets.lakehouse.lakehouse import Lakehouse
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.lakehouse.table import Table
from stedi_assets.privacy.policy import policy_of
from stedi_assets.read import read_table
from stedi_assets.refresh import gate, land
from stedi_assets.refresh.findings import Finding
from stedi_assets.refresh.plan import out_of_date
from stedi_assets.refresh.rebuild import removed_files
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets.tables.contract import Contract
from stedi_assets_tests.conftest import Lakehouses
from stedi_assets_tests.support import catalog_of, refuse, subject_id, under
from stedi_assets_tests.support import refresh as refresh_in_dagster

T = 1_655_564_400_000
PEOPLE = {
    "customer_trusted": "email",
    "accelerometer_trusted": "user",
    "customers_curated": "email",
    "step_trainer_trusted": "serialnumber",
    "machine_learning_curated": "subject_id",
}
ANNS = {"ann@x.io", "dev-ann", subject_id("ann@x.io")}


def _write(folder: Path, source: str, name: str, *objects: object) -> None:
    path = folder / "landing" / source / "landing" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(one) + "\n" for one in objects))


@pytest.fixture
def folder(lakehouses: Lakehouses, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project that commands under test are in."""
    folder = lakehouses.as_made(_take_in_ann_and_bob)
    return folder


@pytest.fixture
def settings(folder: Path) -> Settings:
    """A lakehouse in which Ann and Bob consent, before a delivery in which Ann withdraws."""
    _write(folder, "customer", "withdrawal.json", {"email": "Ann@X.io ", "lastUpdateDate": T + 1})
    return under(folder)


def _take_in_ann_and_bob(folder: Path) -> None:
    for person in ("ann", "bob"):
        email, times = f"{person}@x.io", [T + 1_000 * i + (person == "bob") for i in range(6)]
        record = {"email": email, "lastUpdateDate": T, "shareWithResearchAsOfDate": T}
        _write(folder, "customer", f"{person}.json", record)
        readings = ({"user": email, "timestamp": time} for time in times)
        _write(folder, "accelerometer", f"{person}.json", *readings)
        device = ({"serialNumber": f"dev-{person}", "sensorReadingTime": time} for time in times)
        _write(folder, "step_trainer", f"{person}.json", *device)
    settings = under(folder)
    assert refresh_in_dagster(settings).success
    assert all(_anns(settings).values())


def _refresh(settings: Settings) -> bool:
    return refresh(settings, Console(file=io.StringIO()))


def _anns(settings: Settings, *tables: str) -> dict[str, int]:
    """Rows of Ann's in these tables, or in each that people without consent must not be in."""
    return {
        name: int(read_table(name, settings=settings).to_pandas()[PEOPLE[name]].isin(ANNS).sum())
        for name in tables or PEOPLE
    }


def _bobs(settings: Settings) -> int:
    return len(read_table("machine_learning_curated", settings=settings).to_pandas())


def _break_rule(table: str, patch: pytest.MonkeyPatch) -> None:
    ensure = Catalog.ensure

    def out_of_memory(self: Catalog, made: Table) -> None:
        if made.name == table:
            raise MemoryError
        ensure(self, made)

    patch.setattr(Catalog, "ensure", out_of_memory)


def _break_contract(table: str, patch: pytest.MonkeyPatch) -> None:
    check = gate.check_contract

    def broken(
        contract: type[Contract], candidate: Snapshot, lakehouse: Lakehouse, **how: bool
    ) -> Finding:
        found = check(contract, candidate, lakehouse, **how)
        broken = contract.Config.name == table
        return Finding("contract", False, "Broken.") if broken else found

    patch.setattr(gate, "check_contract", broken)


@pytest.mark.parametrize(
    "table",
    [
        "customer_trusted",
        "accelerometer_trusted",
        "device_matches",
        "device_ownership",
        "machine_learning_curated",
    ],
)
def test_a_table_that_breaks_its_contract_does_not_keep_who_withdrew(
    table: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_contract(table, monkeypatch)
    assert not _refresh(settings)
    assert not any(_anns(settings).values())
    assert _bobs(settings) == 6
    monkeypatch.undo()
    assert not any(_anns(settings).values())


def test_a_table_that_cannot_be_read_does_not_keep_who_withdrew_in_the_others(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it is said which table may still show them."""
    damaged = catalog_of(settings).published("accelerometer_trusted")
    assert damaged
    for file in damaged.files:
        Path(file).write_bytes(b"damaged")
    said = io.StringIO()
    with monkeypatch.context() as patch:
        _break_rule("accelerometer_trusted", patch)
        assert not refresh(settings, Console(file=said, width=200))
    assert not any(_anns(settings, "customer_trusted", "machine_learning_curated").values())
    assert "accelerometer_trusted may still show people who withdrew" in said.getvalue()
    assert _refresh(settings)
    assert not any(_anns(settings).values())


@pytest.mark.parametrize("rule", ["accelerometer_trusted", "customers_curated"])
def test_a_rule_that_fails_does_not_keep_who_withdrew(
    rule: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        _break_rule(rule, patch)
        assert not _refresh(settings)
    assert not any(_anns(settings).values())
    assert _bobs(settings) == 6
    assert _refresh(settings)
    assert not any(_anns(settings).values())
    assert _bobs(settings) == 6


def test_a_key_that_is_lost_does_not_keep_who_withdrew(settings: Settings, folder: Path) -> None:
    """Whose the training rows are cannot be told then, so all of them go."""
    keyless = settings.model_copy(update={"pseudonym_key": None})
    for _ in range(2):
        assert not _refresh(keyless)
        assert not any(_anns(settings).values())
        assert _bobs(settings) == 0
        _write(folder, "customer", "later.json", {"email": "cy@x.io"})
    assert _refresh(settings)
    assert not any(_anns(settings).values())
    assert _bobs(settings) == 6


def test_damage_of_who_owns_devices_does_not_keep_who_withdrew(settings: Settings) -> None:
    metadata = Path(catalog_of(settings).metadata_location("device_ownership"))
    content = metadata.read_bytes()
    metadata.write_bytes(b"damaged")
    assert not _refresh(settings)
    assert not any(_anns(settings).values())
    metadata.write_bytes(content)
    assert _refresh(settings)
    assert not any(_anns(settings).values())
    assert _bobs(settings) == 6


def test_a_key_that_is_lost_costs_no_training_row_where_nobody_withdrew(
    settings: Settings, folder: Path
) -> None:
    reading = {"user": "bob@x.io", "timestamp": T + 9_001}
    _write(folder, "accelerometer", "more.json", reading)
    (folder / "landing/customer/landing/withdrawal.json").unlink()
    assert not _refresh(settings.model_copy(update={"pseudonym_key": None}))
    assert all(_anns(settings).values())
    assert _bobs(settings) == 12


# Suspensions, whatever becomes of quarantine


@pytest.fixture
def suspended(settings: Settings, folder: Path) -> Settings:
    """The same lakehouse before a delivery with a record of Ann's that cannot be read."""
    unreadable = {"email": "ann@x.io", "lastUpdateDate": "soon"}
    _write(folder, "customer", "withdrawal.json", unreadable)
    return settings


def test_suspension_counts_though_quarantine_cannot_be_published(
    suspended: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Catalog.publish

    def conflict(self: Catalog, candidate: Snapshot, *account: Any) -> None:
        if candidate.table == "quarantine":
            raise PublishConflictError("Another refresh was faster.")
        publish(self, candidate, *account)

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "publish", conflict)
        assert not _refresh(suspended)
    assert not any(_anns(suspended).values())
    assert _bobs(suspended) == 6
    assert not _refresh(suspended)  # it repeats that a record cannot be read
    published = catalog_of(suspended).published("quarantine")
    assert published
    assert published.rows == 1
    assert not any(_anns(suspended).values())
    assert _bobs(suspended) == 6


@pytest.mark.parametrize("delivered", ["settings", "suspended"])
def test_damaged_quarantine_keeps_nobody_in(delivered: str, request: pytest.FixtureRequest) -> None:
    settings: Settings = request.getfixturevalue(delivered)
    Path(catalog_of(settings).metadata_location("quarantine")).write_text("damaged")
    assert not _refresh(settings)
    assert not any(_anns(settings).values())
    assert _bobs(settings) == 6


def test_suspension_outlasts_a_landing_root_that_cannot_be_read_as_a_whole(
    suspended: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table of customers stays that of the old root, and so does who is suspended."""
    _refresh(suspended)
    shutil.copytree(folder / "landing", folder / "other")
    moved = suspended.model_copy(update={"landing": str(folder / "other")})
    refuse(monkeypatch, "bob.json")
    refresh_in_dagster(moved, only=["customer_landing", "quarantine", "customer_trusted"])
    assert not any(_anns(moved).values())


def test_same_content_suspends_again_when_it_lands_again(suspended: Settings, folder: Path) -> None:
    unreadable = (folder / "landing/customer/landing/withdrawal.json").read_bytes()
    _refresh(suspended)
    later = {"email": "ann@x.io", "lastUpdateDate": T + 2, "shareWithResearchAsOfDate": T}
    _write(folder, "customer", "later.json", later)
    assert _refresh(suspended)
    assert all(_anns(suspended).values())
    (folder / "landing/customer/landing/again.json").write_bytes(unreadable)
    _refresh(suspended)
    assert not any(_anns(suspended).values())


def test_rebuild_names_files_that_suspend_somebody_and_are_gone(
    suspended: Settings, folder: Path
) -> None:
    _refresh(suspended)
    (folder / "landing/customer/landing/withdrawal.json").unlink()
    removed = removed_files(open_lakehouse(suspended), suspended, ["customer"])
    assert [entry.path for entry in removed["customer"]] == ["customer/landing/withdrawal.json"]


# Refreshes that end early


@pytest.mark.parametrize("table", ["accelerometer_trusted", "machine_learning_curated"])
def test_refresh_that_was_killed_before_it_published_is_asked_for_again(
    table: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = Catalog.publish

    def killed(self: Catalog, candidate: Snapshot, *account: Any) -> None:
        if candidate.table == table:
            raise RuntimeError("killed")
        publish(self, candidate, *account)

    with monkeypatch.context() as patch:
        patch.setattr(Catalog, "publish", killed)
        patch.setattr("stedi_assets.defs.failures.take_out", lambda *_: ([], {}))
        assert not _refresh(settings)
    assert any(_anns(settings).values())
    assert table in out_of_date(open_lakehouse(settings), policy_of(settings)).behind
    assert _refresh(settings)
    assert not any(_anns(settings).values())


def test_table_that_a_check_holds_back_is_not_asked_for_again(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_contract("device_ownership", monkeypatch)
    assert not _refresh(settings)
    looked = out_of_date(open_lakehouse(settings), policy_of(settings))
    assert "device_ownership" in looked.held_back
    assert "device_ownership" not in looked.behind


def test_job_of_the_ui_that_makes_all_tables_keeps_nobody_in(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    _break_contract("accelerometer_trusted", monkeypatch)
    everything = lakehouse_definitions(settings).resolve_implicit_global_asset_job_def()
    assert not everything.execute_in_process(raise_on_error=False).success
    assert not any(_anns(settings).values())
    assert _bobs(settings) == 6


def test_glue_job_that_fails_keeps_nobody_in(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_job() -> Any:
        raise RuntimeError("The job failed.")

    here = open_lakehouse(settings).engine
    on_glue = GlueEngine(here, "a-job", "s3://bucket/pipes", {}, no_job)
    monkeypatch.setattr(resources, "_here", lambda *_: on_glue)
    assert not _refresh(settings)
    assert not any(_anns(settings).values())
    assert _bobs(settings) == 6


def test_rule_that_fails_after_the_table_gained_columns_keeps_nobody_in(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: object) -> Any:
        raise MemoryError

    monkeypatch.setattr("stedi_assets.defs.table_assets.stage", out_of_memory)
    named = settings.model_copy(update={"pseudonymize": False})
    assert not _refresh(named)
    assert not any(_anns(named).values())
    assert _bobs(named) == 6


@pytest.mark.parametrize("table", ["customer_landing", "quarantine"])
def test_check_that_cannot_be_carried_out_holds_up_no_withdrawal(
    table: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    check = gate.check_contract

    def out_of_memory(
        contract: type[Contract], candidate: Snapshot, lakehouse: Lakehouse
    ) -> Finding:
        if contract.Config.name == table:
            raise MemoryError
        return check(contract, candidate, lakehouse)

    monkeypatch.setattr(land, "check_contract", out_of_memory)
    _refresh(settings)
    assert not any(_anns(settings).values())
    assert _bobs(settings) == 6


def test_rule_that_fails_keeps_nothing_from_before_a_later_consent_in_that_scope(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dated = settings.model_copy(update={"consent_scope": "from_consent_date"})
    (folder / "landing/customer/landing/withdrawal.json").unlink()
    assert _refresh(dated)
    came_back = {
        "email": "ann@x.io",
        "lastUpdateDate": T + 1,
        "shareWithResearchAsOfDate": T + 3_000,
    }
    _write(folder, "customer", "later.json", came_back)
    _break_rule("accelerometer_trusted", monkeypatch)
    assert not _refresh(dated)
    readings = {"accelerometer_trusted", "step_trainer_trusted", "machine_learning_curated"}
    assert _anns(dated, *readings) == dict.fromkeys(readings, 3)
    assert _bobs(dated) == 9
