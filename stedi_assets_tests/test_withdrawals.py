"""Withdrawals take effect whatever else goes wrong in the refresh."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from stedi_assets import read_table
from stedi_assets.audit import Finding
from stedi_assets.lakehouse.catalog import Catalog
from stedi_assets.lakehouse.table import Table
from stedi_assets.refresh import refresh
from stedi_assets.settings import Settings
from stedi_assets_tests.support import catalog_of, subject_id, under

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
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A lakehouse in which Ann and Bob consent, before a delivery in which Ann withdraws."""
    monkeypatch.setattr("stedi_assets.refresh.PROJECT", tmp_path)
    for person in ("ann", "bob"):
        email, times = f"{person}@x.io", [T + 1_000 * i for i in range(6)]
        _write(
            tmp_path,
            "customer",
            f"{person}.json",
            {"email": email, "lastUpdateDate": T, "shareWithResearchAsOfDate": T},
        )
        _write(
            tmp_path,
            "accelerometer",
            f"{person}.json",
            *({"user": email, "timestamp": time + (person == "bob")} for time in times),
        )
        _write(
            tmp_path,
            "step_trainer",
            f"{person}.json",
            *(
                {"serialNumber": f"dev-{person}", "sensorReadingTime": time + (person == "bob")}
                for time in times
            ),
        )
    settings = under(tmp_path)
    assert _refresh(settings)
    assert all(_anns(settings).values())
    _write(tmp_path, "customer", "withdrawal.json", {"email": "Ann@X.io ", "lastUpdateDate": T + 1})
    return settings


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


@pytest.mark.parametrize(
    "table",
    ["customer_trusted", "accelerometer_trusted", "device_ownership", "machine_learning_curated"],
)
def test_a_table_that_breaks_its_contract_does_not_keep_who_withdrew(
    table: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stedi_assets import audit  # noqa: PLC0415

    check = audit.check_contract

    def broken(contract: type, candidate: object) -> Finding:
        found = check(contract, candidate)  # type: ignore[arg-type]
        name = contract.to_schema().name  # type: ignore[attr-defined]
        return Finding("contract", False, "Broken.") if name == table else found

    monkeypatch.setattr(audit, "check_contract", broken)
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
