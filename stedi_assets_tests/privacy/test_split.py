"""A split by person: nobody is trained on and tested on, now or in a later training set."""

from collections.abc import Callable
from typing import Any

import duckdb
import ibis
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stedi_assets.privacy.training_sets import split_by_person
from stedi_assets_tests.support import subject_id

PEOPLE = [subject_id(f"p{number}@x.io") for number in range(30)]

training_sets = st.lists(st.tuples(st.sampled_from(PEOPLE), st.integers())).map(
    lambda rows: pd.DataFrame(rows, columns=["subject_id", "sensorreadingtime"])
)
shares = st.floats(0, 1, exclude_min=True, exclude_max=True)
seeds = st.integers()


def rows_of(people: int) -> pd.DataFrame:
    """Two rows for each of these many people."""
    ids = [subject_id(f"q{number}@x.io") for number in range(people)]
    return pd.DataFrame({"subject_id": ids * 2, "x": 0.0})


@given(training_sets, shares, seeds)
def test_every_row_is_on_one_side_and_every_person_too(
    rows: pd.DataFrame, share: float, seed: int
) -> None:
    train, test = split_by_person(rows, share, seed)
    assert not set(train.subject_id) & set(test.subject_id)
    pd.testing.assert_frame_equal(pd.concat([train, test]).sort_index(), rows, check_dtype=False)
    assert list(train.columns) == list(test.columns) == list(rows.columns)


@given(training_sets, training_sets, shares, seeds)
def test_person_stays_on_the_same_side_when_rows_and_people_are_added(
    rows: pd.DataFrame, later: pd.DataFrame, share: float, seed: int
) -> None:
    train, test = split_by_person(rows, share, seed)
    more = pd.concat([later, rows], ignore_index=True)
    train_later, test_later = split_by_person(more, share, seed)
    assert set(train.subject_id) <= set(train_later.subject_id)
    assert set(test.subject_id) <= set(test_later.subject_id)


@given(training_sets, shares, shares, seeds)
def test_larger_share_takes_people_in_and_lets_none_go(
    rows: pd.DataFrame, one: float, other: float, seed: int
) -> None:
    (_, few), (_, many) = (split_by_person(rows, s, seed) for s in sorted((one, other)))
    assert set(few.subject_id) <= set(many.subject_id)


@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_share_of_the_people_is_about_as_wanted(share: float) -> None:
    _, test = split_by_person(rows_of(2000), test_share=share)
    assert test.subject_id.nunique() / 2000 == pytest.approx(share, abs=0.04)


def test_another_seed_gives_another_split() -> None:
    (_, one), (_, other) = (split_by_person(rows_of(100), seed=seed) for seed in (1, 2))
    assert set(one.subject_id) != set(other.subject_id)


def test_split_is_the_same_on_every_machine() -> None:
    _, test = split_by_person(pd.DataFrame({"subject_id": list("abcdefghij")}))
    assert list(test.subject_id) == ["h"]


def test_split_keeps_types_and_index() -> None:
    rows = rows_of(50).astype({"subject_id": "category"}).set_index(pd.Index(range(100, 200)))
    train, test = split_by_person(rows)
    pd.testing.assert_frame_equal(pd.concat([train, test]).sort_index(), rows)


# Frames of every kind

KINDS: dict[str, tuple[Callable[[pa.Table], Any], Callable[[Any], pa.Table]]] = {
    "pandas": (pa.Table.to_pandas, pa.Table.from_pandas),
    "pandas, in categories": (
        lambda rows: rows.to_pandas().astype({"subject_id": "category"}),
        pa.Table.from_pandas,
    ),
    "polars": (pl.from_arrow, pl.DataFrame.to_arrow),
    "polars, lazy": (
        lambda rows: pl.DataFrame(rows).lazy(),
        lambda rows: rows.collect().to_arrow(),
    ),
    "polars, in categories": (
        lambda rows: pl.DataFrame(rows).cast({"subject_id": pl.Categorical}),
        pl.DataFrame.to_arrow,
    ),
    "arrow": (lambda rows: rows, lambda rows: rows),
    "ibis": (ibis.memtable, lambda rows: rows.to_pyarrow()),
    "duckdb": (duckdb.from_arrow, lambda rows: rows.to_arrow_table()),
}
"""How a frame is made of rows, and rows of a frame."""

every_kind = pytest.mark.parametrize("kind", KINDS)


def pairs(rows: pa.Table) -> list[tuple[str | None, int]]:
    return sorted(
        zip(rows["subject_id"].to_pylist(), rows["x"].to_pylist(), strict=True),
        key=lambda pair: pair[1],
    )


@every_kind
def test_frames_of_every_kind_are_split_alike_and_stay_what_they_are(kind: str) -> None:
    make, read = KINDS[kind]
    rows = pa.table({"subject_id": [*PEOPLE, *PEOPLE], "x": range(60)})
    frame = make(rows)
    parts = split_by_person(frame, 0.3, seed=7)
    assert [type(part) for part in parts] == [type(frame), type(frame)]
    train, test = (pairs(read(part)) for part in parts)
    assert sorted([*train, *test]) == sorted(pairs(rows))
    assert not {person for person, _ in train} & {person for person, _ in test}
    _, expected = split_by_person(rows.to_pandas(), 0.3, seed=7)
    assert {person for person, _ in test} == set(expected.subject_id)
    assert train
    assert test


@every_kind
def test_rows_of_nobody_are_to_train_on(kind: str) -> None:
    make, read = KINDS[kind]
    frame = make(pa.table({"subject_id": ["a", None, None], "x": range(3)}))
    train, test = (pairs(read(part)) for part in split_by_person(frame, 0.999_999))
    assert train == [(None, 1), (None, 2)]
    assert test == [("a", 0)]


@given(st.text(max_size=40), shares, seeds)
def test_expression_and_frame_agree_on_each_person(person: str, share: float, seed: int) -> None:
    rows = pa.table({"subject_id": [person]})
    _, in_frame = split_by_person(rows, share, seed)
    _, in_expression = split_by_person(ibis.memtable(rows), share, seed)
    assert in_expression.to_pyarrow().num_rows == in_frame.num_rows


@every_kind
def test_frame_of_any_kind_must_say_whose_its_rows_are(kind: str) -> None:
    make, _ = KINDS[kind]
    frame = make(pa.table({"subject_id": ["a"], "x": [1]}))
    renamed = (
        frame.rename(columns={"subject_id": "who"})
        if isinstance(frame, pd.DataFrame)
        else frame.select(["x"])
        if not isinstance(frame, duckdb.DuckDBPyRelation)
        else frame.project("x")
    )
    with pytest.raises(ValueError, match="There is no column subject_id"):
        split_by_person(renamed)


def test_type_checker_knows_what_comes_back() -> None:
    rows = pl.DataFrame({"subject_id": ["a"], "x": [1.0]})
    train, _ = split_by_person(rows)
    polars: pl.DataFrame = train
    train_later, _ = split_by_person(rows.lazy())
    lazy: pl.LazyFrame = train_later
    train_pandas, _ = split_by_person(rows.to_pandas())
    pandas: pd.DataFrame = train_pandas
    assert [len(polars), len(lazy.collect()), len(pandas)] == [1, 1, 1]


def test_what_is_no_frame_is_refused_in_a_sentence() -> None:
    with pytest.raises(TypeError, match="list is no frame: give a DataFrame of pandas or polars"):
        split_by_person([{"subject_id": "a"}])  # type: ignore[type-var]


@pytest.mark.parametrize("share", [0, 1, -0.1, 20, float("nan")])
def test_share_must_be_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match="give a share between 0 and 1"):
        split_by_person(rows_of(1), test_share=share)


def test_rows_must_say_whose_they_are() -> None:
    with pytest.raises(ValueError, match="There is no column subject_id"):
        split_by_person(pd.DataFrame({"x": [1.0]}))
