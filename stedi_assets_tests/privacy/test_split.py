"""A split by person: nobody is trained on and tested on, now or in a later training set."""

import pandas as pd
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


@pytest.mark.parametrize("share", [0, 1, -0.1, 20, float("nan")])
def test_share_must_be_between_0_and_1(share: float) -> None:
    with pytest.raises(ValueError, match="give a share between 0 and 1"):
        split_by_person(rows_of(1), test_share=share)


def test_rows_must_say_whose_they_are() -> None:
    with pytest.raises(ValueError, match="There is no column subject_id"):
        split_by_person(pd.DataFrame({"x": [1.0]}))
