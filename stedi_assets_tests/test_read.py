"""Older states of a table: by snapshot, by tag, by the time at which they were published."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from stedi_assets.cli.main import app
from stedi_assets.lakehouse.vacuum import vacuum
from stedi_assets.privacy.training_sets import TRAINING_SET, training_sets
from stedi_assets.read import UnknownTableError, read_table
from stedi_assets.resources import open_storage
from stedi_assets_tests.support import ANN, BOB, CY, catalog_of, customer, publish, stage, under

if TYPE_CHECKING:
    from stedi_assets.settings import Settings

TABLE = "customer_trusted"
NOW, TICK, DAY = timedelta(0), timedelta(milliseconds=1), timedelta(days=1)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A table that was published three times; what the first one held is tagged."""
    settings = under(tmp_path_factory.mktemp("folder"), landing=None)
    for email in (ANN, BOB, CY):
        published = publish(settings, TABLE, [customer(email)])
        if email == ANN:
            catalog_of(settings).tag(published, "v1")
    return settings


def times(settings: Settings) -> list[datetime]:
    """When the table was published; the first is its empty start."""
    where = open_storage(settings)
    log = where.iceberg.load_table((where.namespace, TABLE)).metadata.snapshot_log
    return [datetime.fromtimestamp(entry.timestamp_ms / 1000, UTC) for entry in log]


def emails(settings: Settings, **state: Any) -> list[str]:
    table = read_table(TABLE, settings=settings, **state)
    found: list[str] = table.email.to_pyarrow().to_pylist()
    return found


def test_state_has_an_id_and_maybe_a_tag(settings: Settings) -> None:
    published = catalog_of(settings).published(TABLE)
    assert published
    assert emails(settings, snapshot=published.id) == emails(settings) == [CY]
    assert emails(settings, snapshot=str(published.id)) == [CY]
    assert emails(settings, snapshot="v1") == [ANN]


def test_time_gives_what_was_published_then(settings: Settings) -> None:
    _, first, second, third = times(settings)
    assert emails(settings, as_of=first) == [ANN]
    assert emails(settings, as_of=second - TICK) == [ANN]
    assert emails(settings, as_of=second) == [BOB]
    assert emails(settings, as_of=third.replace(tzinfo=None)) == [CY]  # UTC
    assert emails(settings, as_of=second.isoformat()) == [BOB]
    elsewhere = datetime.fromisoformat(second.isoformat().replace("+00:00", "+02:00"))
    with pytest.raises(UnknownTableError):
        emails(settings, as_of=elsewhere)  # two hours before


def test_date_gives_what_was_published_at_its_end(settings: Settings) -> None:
    today = times(settings)[-1].date()
    assert emails(settings, as_of=today) == emails(settings, as_of=str(today)) == [CY]


def test_time_before_the_first_publication_tells_the_earliest_and_the_tags(
    settings: Settings,
) -> None:
    first = times(settings)[1].isoformat(timespec="milliseconds").replace("+", r"\+")
    wanted = f"as of 2020-01-31 cannot be read: .*earliest left is of {first}, its tags are: v1"
    with pytest.raises(UnknownTableError, match=wanted):
        read_table(TABLE, as_of=date(2020, 1, 31), settings=settings)


def test_candidate_was_never_published(settings: Settings) -> None:
    stage(settings, TABLE, [customer(BOB), customer(CY)])
    assert emails(settings, as_of=datetime.now(UTC)) == [CY]


@pytest.mark.parametrize("tagged", [False, True])
def test_state_that_was_never_published_is_refused(tmp_path: Any, tagged: bool) -> None:
    settings = under(tmp_path, landing=None)
    publish(settings, TABLE, [customer(ANN)])
    dropped = stage(settings, TABLE, [customer(BOB)])
    waiting = stage(settings, TABLE, [customer(BOB)])
    publish(settings, TRAINING_SET, [])
    rejected = stage(settings, TRAINING_SET, [])
    for number, candidate in enumerate((dropped, waiting, rejected)):
        if tagged:
            catalog_of(settings).tag(candidate, f"mine-{number}")
    for candidate, name in ((dropped, "mine-0"), (waiting, "mine-1")):
        states: list[int | str] = [candidate.id, str(candidate.id), *([name] if tagged else [])]
        for state in states:
            with pytest.raises(UnknownTableError, match=f"{state} was never published; it has no"):
                read_table(TABLE, state, settings=settings)
    assert training_sets(settings).empty
    gone = vacuum(open_storage(settings), DAY, NOW)
    assert gone.snapshots == {TABLE: 1}
    assert gone.tags == ({TABLE: ["mine-0"]} if tagged else {})
    assert catalog_of(settings).candidate(TABLE) == waiting


def test_what_was_published_stays_readable_when_others_expired(tmp_path: Any) -> None:
    settings = under(tmp_path, landing=None)
    made = []
    for email in (ANN, BOB, CY, ANN):
        stage(settings, TABLE, [customer("never@x.io")])
        made.append(publish(settings, TABLE, [customer(email)]))
    for number in (0, 2):
        catalog_of(settings).tag(made[number], f"v{number}")
    vacuum(open_storage(settings), NOW, NOW)
    vacuum(open_storage(settings), NOW, NOW)
    for number, email in ((0, ANN), (2, CY), (3, ANN)):
        assert emails(settings, snapshot=made[number].id) == [email]
    assert emails(settings, snapshot="v2") == [CY]
    with pytest.raises(UnknownTableError, match="has no snapshot"):
        read_table(TABLE, made[1].id, settings=settings)


@pytest.mark.parametrize("options", [[], ["--reveal"]])
def test_command_shows_no_candidate(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    monkeypatch.setenv("STEDI_LAKEHOUSE", settings.lakehouse)
    candidate = stage(settings, TABLE, [customer(BOB)])
    words = ["show", TABLE, "--snapshot", str(candidate.id), *options]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 1
    assert BOB not in result.output
    assert "was never published" in result.output


@pytest.mark.parametrize(
    ("state", "error", "sentence"),
    [
        ({"snapshot": "v2"}, UnknownTableError, "has no snapshot v2; its tags are: v1."),
        ({"snapshot": "audit"}, UnknownTableError, "has no snapshot audit; its tags are: v1."),
        ({"as_of": "yesterday"}, ValueError, "yesterday is no date or time: write 2026-11-22 or"),
        ({"snapshot": "v1", "as_of": "2026-11-22"}, ValueError, "Give a snapshot or a time"),
    ],
)
def test_mistake_is_said_in_a_sentence(
    settings: Settings, state: dict[str, str], error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error, match=sentence):
        read_table(TABLE, settings=settings, **state)


def test_time_of_an_expired_state_gives_no_other_state(tmp_path: Any) -> None:
    settings = under(tmp_path, landing=None)
    for email in (ANN, BOB, CY):
        published = publish(settings, TABLE, [customer(email)])
        if email == ANN:
            catalog_of(settings).tag(published, "v1")
    _, _, second, third = times(settings)
    vacuum(open_storage(settings), NOW, NOW)  # Bob's goes
    assert emails(settings, snapshot="v1") == [ANN]
    assert emails(settings, as_of=third) == [CY]
    with pytest.raises(UnknownTableError, match="has expired; the earliest left"):
        emails(settings, as_of=second)
