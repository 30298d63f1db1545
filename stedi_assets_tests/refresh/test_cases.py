"""Small deliveries that once went wrong, each with what is right; they come separately."""

import base64
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from stedi_assets.cli.refresh import refresh
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.privacy.policy import policy_of
from stedi_assets.read import read_table
from stedi_assets.refresh.gate import audit_and_publish
from stedi_assets.resources import open_lakehouse
from stedi_assets.settings import Settings
from stedi_assets.tables import definition
from stedi_assets_tests.support import (
    ANN,
    SHARED,
    catalog_of,
    counts,
    keep_history_in,
    stage,
    subject_id,
    under,
)

T = 1_655_564_400_000
CASES = SHARED / "cases/cases.json"
if not CASES.exists():
    pytest.skip(f"There is no {CASES}: these deliveries come separately.", allow_module_level=True)

OF_READERS = {
    "consent-float",
    "cut-off-inside-nested",
    "gzip-padded",
    "gzip-with-comment",
    "half-written-folders",
    "key-twice-late",
    "other-endings",
    "phone-as-number",
    "three-bad-lines",
    "withdrawal-cut-off",
    "withdrawal-zero-width",
}
"""Cases of file names and readers, which are tried on S3, too."""


def _parameters() -> list[Any]:
    cases = json.loads(CASES.read_text())
    places = [(case, "local") for case in cases]
    places += [(case, "aws") for case in cases if case["name"] in OF_READERS]
    return [pytest.param(case, place, id=f"{place}-{case['name']}") for case, place in places]


@pytest.fixture
def settings(
    place: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    keep_history_in(tmp_path, monkeypatch)
    folder = tmp_path if place == "local" else request.getfixturevalue("aws").folder()
    (folder / "landing").mkdir()
    return under(folder)


@pytest.mark.parametrize(("case", "place"), _parameters())
def test_delivery_that_went_wrong_gives_what_is_right(
    case: Mapping[str, Any], settings: Settings, tmp_path: Path
) -> None:
    landing = tmp_path / "landing" if settings.deployment == "local" else _s3_path(settings)
    output = io.StringIO()
    for step in case["steps"]:
        for name, content in step.items():
            _deliver(landing, name, content)
        exit_code = _refresh(settings, output)
    expected = dict(case["expect"])
    assert _found(settings, exit_code, output.getvalue(), expected) == expected
    if ANN not in expected.get("consenting", [ANN]):
        assert _tables_that_may_show(ANN, settings) == set()


def _tables_that_may_show(email: str, settings: Settings) -> set[str]:
    """Tables of which the consent check lets a candidate pass that has a row of the person."""
    customer = {"email": email, "sharewithresearchasofdate": T}
    planted = {
        "customer_trusted": customer,
        "accelerometer_trusted": {"user": email, "timestamp": T},
        "customers_curated": customer,
        "step_trainer_trusted": {"serialnumber": "dev-a", "sensorreadingtime": T},
        "machine_learning_curated": {"subject_id": subject_id(email), "sensorreadingtime": T},
    }
    lakehouse, policy = open_lakehouse(settings), policy_of(settings)
    passed = set()
    for name, row in planted.items():
        stage(settings, name, [row])
        findings = audit_and_publish(definition(name), lakehouse, policy, 100.0).findings
        passed |= {name for finding in findings if finding.check == "consent" and finding.passed}
    return passed


def _refresh(settings: Settings, output: io.StringIO) -> int:
    try:
        return int(not refresh(settings, Console(file=output, width=200)))
    except LakehouseError as error:
        assert settings.landing_root in str(error)
        return 1


def _s3_path(settings: Settings) -> Any:
    from cloudpathlib import S3Client  # noqa: PLC0415

    client = S3Client(endpoint_url=os.environ["STEDI_S3_ENDPOINT"])
    return client.CloudPath(settings.landing_root)


def _deliver(landing: Any, name: str, content: str | Mapping[str, str]) -> None:
    if isinstance(content, str):
        data = content.encode("utf-8", "surrogatepass")
    elif "base64" in content:
        data = base64.b64decode(content["base64"])
    else:
        data = content["text"].encode()
        name = f"{name.rstrip('/')}/{os.fsdecode(base64.b64decode(content['name_base64']))}"
    path = landing / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _found(
    settings: Settings, exit_code: int, output: str, expected: Mapping[str, Any]
) -> dict[str, Any]:
    """What was found of all that is expected."""
    rows = counts(settings)
    found: dict[str, Any] = {**rows, "exit_code": exit_code, "tables": len(rows)}
    if rows:
        emails = read_table("customer_trusted", settings=settings).to_pandas()["email"]
        found |= {"consenting": sorted(emails), "consenting_count": len(emails)}
        ann = read_table("customer_landing", settings=settings).filter(
            lambda t: t.person == "ann@x.io"
        )
        found["phone_of_ann"] = (
            ann.to_pandas()["phone"].iloc[0] if "phone_of_ann" in expected else None
        )
    if "ignored" in expected:
        found["ignored"] = int(output.partition("they are not landing files: ")[2].split()[0])
    return {name: found[name] for name in expected}


def test_a_lakehouse_without_tables_is_left_without_them(tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    settings = under(tmp_path)
    with pytest.raises(LakehouseError, match="no landing files: looked for"):
        refresh(settings, Console(file=io.StringIO()))
    assert not catalog_of(settings).tables()
