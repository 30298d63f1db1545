"""Faults of AWS that pass: a refresh outlasts them."""

from types import SimpleNamespace

import pytest

from stedi_assets_tests.conftest import IcebergReader
from stedi_assets_tests.fault_proxy import (
    Action,
    Exchange,
    cut_after,
    delay,
    drop,
    lose_answer,
    slow_down,
    throttled,
)
from stedi_assets_tests.lakehouse.storage.aws_faults.support import (
    DUCKDB,
    US,
    Rule,
    Site,
    assert_whole,
    glue,
    s3,
    s3_error,
    said,
)
from stedi_assets_tests.refresh.pipeline.support import FIRST_COUNTS
from stedi_assets_tests.support import (
    counts,
    refresh,
)

PASSING: dict[str, tuple[list[Rule], list[Rule]]] = {
    "busy": (
        [
            (s3("GET", "/data/", DUCKDB), slow_down(), {"times": 2}),
            (s3("GET", "first.json", US), slow_down(), {"times": 2}),
            (s3("GET", "list-type", US), slow_down(), {"times": 1}),
            (s3("PUT", "/data/", DUCKDB), slow_down(), {"times": 2}),
            (s3("PUT", "/metadata/", US), slow_down(), {"times": 2, "skip": 3}),
            (s3("POST", "/ledger/", US), s3_error(500, "InternalError"), {"times": 1}),
        ],
        [
            (glue("GetTable", "GetDatabase"), throttled(), {"times": 3, "skip": 4}),
            (glue("CreateTable"), throttled(), {"times": 1}),
            (glue("UpdateTable"), throttled(), {"times": 2, "skip": 2}),
        ],
    ),
    "broken": (
        [
            (s3("GET", "/data/", DUCKDB), cut_after(9), {"times": 2}),
            (s3("GET", "first.json", US), cut_after(9), {"times": 1}),
            (s3("GET", "list-type", US), cut_after(9), {"times": 1}),
            (s3("GET", "/metadata/", US), cut_after(9), {"times": 1}),
            (s3("PUT", "/data/", DUCKDB), drop(), {"times": 2}),
            (s3("PUT", "/metadata/", US), lose_answer(), {"times": 2, "skip": 3}),
            (s3("POST", "/ledger/", US), drop(), {"times": 1}),
            (s3("HEAD", "/data/", DUCKDB), delay(0.4), {"times": 3}),
        ],
        [
            (glue("GetTable"), cut_after(40), {"times": 2, "skip": 9}),
            (glue("CreateTable"), drop(), {"times": 1}),
            (glue("UpdateTable"), drop(), {"times": 2, "skip": 2}),
            (glue("UpdateTable"), lose_answer(), {"times": 1, "skip": 5}),
        ],
    ),
}


@pytest.mark.parametrize("fault", PASSING)
def test_refresh_outlasts_what_passes(
    site: Site, fault: str, monkeypatch: pytest.MonkeyPatch, read_iceberg: IcebergReader
) -> None:
    hits: dict[int, int] = {}
    expected: dict[int, int] = {}
    pauses: list[float] = []
    for module in ("botocore.endpoint", "smart_open.s3"):
        monkeypatch.setattr(f"{module}.time", SimpleNamespace(sleep=pauses.append))

    def counted(number: int, action: Action) -> Action:
        def act(exchange: Exchange) -> None:
            hits[number] = hits.get(number, 0) + 1
            action(exchange)

        return act

    for proxy, rules in zip((site.s3, site.glue), PASSING[fault], strict=True):
        for match, action, when in rules:
            number = len(expected)
            expected[number] = when["times"]
            proxy.when(match, counted(number, action), **when)
    result = refresh(site.settings)
    assert (result.success, said(result)) == (True, {})
    assert hits == expected
    assert pauses
    assert min(pauses) > 0
    assert counts(site.direct) == FIRST_COUNTS
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
