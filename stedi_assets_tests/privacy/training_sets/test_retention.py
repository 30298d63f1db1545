"""A training set goes when somebody in it withdrew, and not before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from stedi_assets.cli.main import app
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.privacy.policy import policy_of
from stedi_assets.privacy.retention import tags_to_release, vacuum
from stedi_assets.privacy.training_sets import TRAINING_SET, training_sets
from stedi_assets.read import UnknownTableError, read_table
from stedi_assets.resources import open_lakehouse
from stedi_assets.tables import definition
from stedi_assets.tables.identity import key_id
from stedi_assets_tests.support import (
    ANN,
    BOB,
    CY,
    KEY,
    Rows,
    at,
    catalog_of,
    customer,
    publish,
    subject_id,
    time_shift,
)

if TYPE_CHECKING:
    from datetime import timedelta

    from stedi_assets.lakehouse.vacuum import Vacuumed
    from stedi_assets.settings import Settings
from stedi_assets_tests.privacy.training_sets.support import DAY, NOW, rows_of, tags


def consenting(settings: Settings, **since: int) -> None:
    """Publish who consents, and since when."""
    people = {"ann": ANN, "bob": BOB}
    records = [
        customer(people[name], sharewithresearchasofdate=time) for name, time in since.items()
    ]
    publish(settings, "customer_trusted", records)


def train(settings: Settings, rows: Rows, **properties: str) -> str:
    """Publish a training set and tag it with a day of its own."""
    catalog = catalog_of(settings)
    table = definition(TRAINING_SET).table(policy_of(settings))
    catalog.ensure(table)
    path = f"{catalog.state(TRAINING_SET).location}/data/{uuid4().hex}.parquet"
    with catalog.io.new_output(path).create() as file:
        pq.write_table(pa.Table.from_pylist(rows, table.arrow_schema), file)
    published = catalog.stage(
        TRAINING_SET, [path] if rows else [], {"run-id": "of a test"} | properties
    )
    catalog.publish(published)
    tag = f"training-2026-11-{len(catalog.state(TRAINING_SET).tags) + 1:02}"
    catalog.tag(published, tag)
    return tag


def clean(settings: Settings, retention: timedelta = NOW, **options: bool) -> Vacuumed:
    settings = settings.model_copy(update={"retention": retention})
    return vacuum(open_lakehouse(settings), settings, NOW, **options)


def files(settings: Settings) -> set[str]:
    storage = open_lakehouse(settings).storage
    return {file.location for file in storage.files(f"{storage.root}/warehouse")}


def test_tagged_training_set_stays_while_all_consent_and_goes_with_a_withdrawal(
    settings: Settings,
) -> None:
    consenting(settings, ann=1, bob=1)
    both = train(settings, [*rows_of(ANN, 1), *rows_of(BOB, 2)])
    bobs = train(settings, rows_of(BOB, 2))
    newest = train(settings, rows_of(BOB, 2, 3))
    made_of = catalog_of(settings).state(TRAINING_SET).tagged(both)
    assert made_of

    assert clean(settings).tags == {}
    assert list(tags(settings)) == [both, bobs, newest]

    consenting(settings, bob=1)  # Ann withdrew
    assert clean(settings, retention=DAY).tags == {}
    told = clean(settings, dry_run=True)
    assert (told.tags, told.snapshots) == (
        {TRAINING_SET: [both]},
        {TRAINING_SET: 1, "customer_trusted": 1},
    )
    assert read_table(TRAINING_SET, both, settings=settings).count().to_pyarrow().as_py() == 2
    assert set(made_of.files) <= files(settings)

    assert clean(settings).tags == {TRAINING_SET: [both]}
    assert list(tags(settings)) == [bobs, newest]
    assert not set(made_of.files) & files(settings)
    with pytest.raises(UnknownTableError, match=f"no snapshot {both}; its tags are: {bobs}"):
        read_table(TRAINING_SET, both, settings=settings)
    for tag, rows in ((bobs, 1), (newest, 2)):
        assert read_table(TRAINING_SET, tag, settings=settings).to_pyarrow().num_rows == rows


def test_damaged_training_set_goes_and_keeps_nothing_else(settings: Settings) -> None:
    consenting(settings, ann=1, bob=1)
    of_key = {"key-id": key_id(policy_of(settings))}
    damaged = train(settings, rows_of(ANN, 1), **of_key)
    newest = train(settings, rows_of(BOB, 1, 2), **of_key)
    made_of = catalog_of(settings).state(TRAINING_SET).tagged(damaged)
    assert made_of
    for file in made_of.files:
        Path(file).write_bytes(b"damaged")
    assert clean(settings).tags == {TRAINING_SET: [damaged]}
    assert list(tags(settings)) == [newest]


def test_of_each_day_the_last_set_is_kept_and_of_the_days_the_newest(settings: Settings) -> None:
    consenting(settings, ann=1)
    names = (
        "training-2026-11-19",
        "training-2026-11-20",
        "training-2026-11-20-2",
        "training-2026-11-20-10",
        "by-hand",
        "training-2026-11-21",
    )
    for time, name in enumerate(names, start=1):
        catalog_of(settings).tag(publish(settings, TRAINING_SET, rows_of(ANN, time)), name)
    cleaned = clean(settings.model_copy(update={"training_sets": 2}))
    assert cleaned.tags == {TRAINING_SET: list(names[:3])}
    assert list(tags(settings)) == list(names[3:])


def test_tag_given_by_hand_keeps_withdrawn_people_no_longer_either(settings: Settings) -> None:
    consenting(settings, ann=1, bob=1)
    train(settings, rows_of(ANN, 1))
    catalog_of(settings).tag(publish(settings, TRAINING_SET, rows_of(ANN, 1, 2)), "my-model")
    newest = train(settings, rows_of(BOB, 1))
    consenting(settings, bob=1)
    clean(settings)
    assert list(tags(settings)) == [newest]


def test_what_is_published_stays_though_somebody_in_it_withdrew(settings: Settings) -> None:
    consenting(settings, ann=1, bob=1)
    tag = train(settings, [*rows_of(ANN, 1), *rows_of(BOB, 2)])
    consenting(settings, bob=1)  # and the training set has not been refreshed yet
    at_once = settings.model_copy(update={"retention": NOW})
    assert tags_to_release(open_lakehouse(settings), at_once).tags == (tag,)
    assert tags_to_release(open_lakehouse(settings), settings).tags == ()
    assert clean(settings).tags == {}
    assert list(tags(settings)) == [tag]


def test_rows_from_before_a_later_consent_date_count_in_that_scope_only(settings: Settings) -> None:
    settings = settings.model_copy(update={"retention": NOW})
    dated = settings.model_copy(update={"consent_scope": "from_consent_date"})
    consenting(settings, ann=10)
    tag = train(settings, rows_of(ANN, 10, 11))
    assert tags_to_release(open_lakehouse(dated), dated).tags == ()
    consenting(settings, ann=11)  # withdrew, and came back later
    assert tags_to_release(open_lakehouse(settings), settings).tags == ()
    assert tags_to_release(open_lakehouse(dated), dated).tags == (tag,)


def test_times_count_as_they_were_shifted_when_the_set_was_made(settings: Settings) -> None:
    dated = settings.model_copy(
        update={"retention": NOW, "consent_scope": "from_consent_date", "times": "shifted"}
    )
    consenting(settings, ann=10)
    shift = time_shift(ANN)
    rows = [row | {"sensorreadingtime": at(10) + shift} for row in rows_of(ANN, 10)]
    tag = train(settings, rows, times="shifted")
    exact = dated.model_copy(update={"times": "exact"})
    for now in (dated, exact):
        assert tags_to_release(open_lakehouse(now), now).tags == ()
    consenting(settings, ann=11)
    for now in (dated, exact):
        assert tags_to_release(open_lakehouse(now), now).tags == (tag,)


@pytest.mark.parametrize("properties", [{}, {"times": "exact"}])
def test_set_with_exact_times_goes_once_times_are_shifted(
    settings: Settings, properties: dict[str, str]
) -> None:
    consenting(settings, ann=1)
    exact = train(settings, rows_of(ANN, 1), **properties)
    shifted = train(settings, rows_of(ANN, 1), times="shifted")
    now = settings.model_copy(update={"times": "shifted"})
    assert tags_to_release(open_lakehouse(now), now).tags == (exact,)
    clean(now)
    assert list(tags(settings)) == [shifted]


def test_training_set_without_rows_stays(settings: Settings) -> None:
    publish(settings, "customer_trusted", [])
    tag = train(settings, [])
    train(settings, [])
    clean(settings)
    assert tag in tags(settings)


@pytest.mark.parametrize("says_key", [True, False])
def test_sets_under_another_key_are_left_alone_and_nothing_else_is(
    settings: Settings, says_key: bool
) -> None:
    consenting(settings, ann=1)
    consenting(settings, ann=1, bob=1)
    properties = {"key-id": key_id(policy_of(settings))} if says_key else {}
    for _ in range(2):
        train(settings, rows_of(ANN, 1), **properties)
    before = tags(settings)
    other = settings.model_copy(update={"pseudonym_key": SecretStr(KEY[::-1])})
    with pytest.raises(LakehouseError) as raised:
        clean(other)
    assert str(raised.value).startswith(
        f"The training sets {', '.join(before)} were made under another key of subject_id"
    )
    assert "set STEDI_PSEUDONYM_KEY to the key they were made with" in str(raised.value)
    assert tags(settings) == before
    assert [found["tag"] for found in training_sets(settings).to_dict("records")] == [*before]
    assert len(states(settings, "customer_trusted")) == 1  # the older one is gone
    assert clean(settings).tags == {}


def test_sets_go_where_everybody_in_them_withdrew(settings: Settings) -> None:
    consenting(settings, ann=1, bob=1)
    for people in (ANN, BOB):
        train(settings, rows_of(people, 1), **{"key-id": key_id(policy_of(settings))})
    newest = train(settings, [])
    publish(settings, "customer_trusted", [customer(CY)])
    gone = ["training-2026-11-01", "training-2026-11-02"]
    assert clean(settings).tags == {TRAINING_SET: gone}
    assert list(tags(settings)) == [newest]


@pytest.mark.parametrize("key", [KEY, KEY[::-1]])
def test_sets_go_where_nobody_consents_whatever_the_key(settings: Settings, key: str) -> None:
    consenting(settings, ann=1)
    train(settings, rows_of(ANN, 1), **{"key-id": key_id(policy_of(settings))})
    train(settings, rows_of(ANN, 1))
    newest = train(settings, [])
    publish(settings, "customer_trusted", [])
    clean(settings.model_copy(update={"pseudonym_key": SecretStr(key)}))
    assert list(tags(settings)) == [newest]


def test_set_that_names_people_goes_once_they_are_to_be_pseudonyms(settings: Settings) -> None:
    named = settings.model_copy(update={"pseudonymize": False})
    consenting(settings, ann=1)
    rows = [row | {"user": ANN, "serialnumber": "d"} for row in rows_of(ANN, 1)]
    with_names = train(named, rows)
    without = train(settings, rows_of(ANN, 1))
    newest = train(settings, rows_of(ANN, 1))
    assert clean(named).tags == {}
    assert clean(settings).tags == {TRAINING_SET: [with_names]}
    assert list(tags(settings)) == [without, newest]


def states(settings: Settings, table: str) -> list[int]:
    """Ids of all snapshots that a table has."""
    where = open_lakehouse(settings).storage
    found = where.iceberg.load_table((where.namespace, table))
    return [made.snapshot_id for made in found.metadata.snapshots]


@pytest.fixture
def here(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A lakehouse that commands use, with a training set from which Ann withdrew."""
    monkeypatch.setenv("STEDI_LAKEHOUSE", settings.lakehouse)
    monkeypatch.setenv("STEDI_PSEUDONYM_KEY", KEY)
    consenting(settings, bob=1)
    train(settings, rows_of(ANN, 1))
    train(settings, rows_of(BOB, 2))
    return settings


def stedi(*words: str) -> str:
    result = CliRunner().invoke(app, [*words], catch_exceptions=False)
    return " ".join(result.output.split())


def test_status_lists_the_training_sets(here: Settings) -> None:
    listed = json.loads(stedi("status", "--json"))["training_sets"]
    assert [(each["tag"], each["rows"], each["snapshot"], each["due"]) for each in listed] == [
        (tag, 1, snapshot, None) for tag, snapshot in tags(here).items()
    ]
    said = stedi("status")
    assert all(f"{tag} 1 20" in said for tag in tags(here))  # rows, and when it was made


def test_training_sets_are_listed_for_data_scientists(here: Settings) -> None:
    listed = training_sets()
    assert list(listed.columns) == ["tag", "made_at", "rows", "snapshot"]
    assert dict(zip(listed.tag, listed.snapshot, strict=True)) == tags(here)
    assert list(listed.rows) == [1, 1]
    assert listed.made_at.is_monotonic_increasing


def test_before_the_first_training_set_there_are_none_to_list(settings: Settings) -> None:
    with pytest.raises(UnknownTableError, match="There is no table machine_learning_curated"):
        training_sets(settings)
    publish(settings, TRAINING_SET, rows_of(ANN, 1))
    assert training_sets(settings).empty


def test_show_takes_a_tag(here: Settings) -> None:
    tag = next(iter(tags(here)))
    assert subject_id(ANN) in stedi("show", TRAINING_SET, "--snapshot", tag)
    assert subject_id(ANN) not in stedi("show", TRAINING_SET)
    assert "has no snapshot v9; its tags are: training-" in stedi(
        "show", TRAINING_SET, "--snapshot", "v9"
    )


def test_vacuum_says_which_training_sets_go(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STEDI_RETENTION", "0d")
    first, newest = tags(here)
    for words, told in ((["--dry-run"], "Would remove "), ([], "Removed ")):
        said = stedi("vacuum", *words)
        assert said.startswith(told)
        assert f", the tags {first}. " in said
    assert "training" not in stedi("vacuum")
    assert list(tags(here)) == [newest]
