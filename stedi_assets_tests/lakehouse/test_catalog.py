"""What readers see of a table, and when."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.io.pyarrow import parquet_files_to_data_files
from pyiceberg.table.update.snapshot import ManageSnapshots

from stedi_assets.lakehouse.catalog import Catalog, PublishConflictError
from stedi_assets.lakehouse.faults import LakehouseError
from stedi_assets.lakehouse.table import Column, Table, Zone
from stedi_assets_tests.lakehouse.conftest import storage_in
from stedi_assets_tests.support import static_table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from stedi_assets.lakehouse.state import Snapshot
    from stedi_assets.lakehouse.storage.storage import Storage
    from stedi_assets_tests.conftest import IcebergReader

    Write = Callable[..., str]
    Seen = Callable[[], list[int]]


def column(name: str, dtype: str = "int64", **options: Any) -> Column:
    description = f"what {name} means"
    options = {"nullable": True, "personal": False, "strict": False} | options
    return Column(name=name, type=dtype, description=description, **options)


def table_with(*columns: Column) -> Table:
    return Table("steps", Zone.TRUSTED, "Steps taken.", "team:x", columns, (), None, repr(columns))


STEPS = table_with(column("at"), column("who", "string", personal=True))


@pytest.fixture(name="catalog")
def catalog_with_steps(storage: Storage) -> Catalog:
    catalog = Catalog(storage)
    catalog.ensure(STEPS)
    return catalog


@pytest.fixture
def write(catalog: Catalog) -> Write:
    """Writes a Parquet file with these rows as an engine does: below the table's location."""

    def write(*times: int, **columns: Sequence[Any]) -> str:
        path = f"{catalog.state('steps').location}/data/{uuid4().hex}.parquet"
        who = pa.array([f"p{time}" for time in times], pa.string())
        at = pa.array(times, pa.int64())
        with catalog.io.new_output(path).create() as file:
            pq.write_table(pa.table({"at": at, "who": who} | columns), file)
        return path

    return write


def publish(catalog: Catalog, *files: str, **properties: str) -> Snapshot:
    candidate = catalog.stage("steps", files, properties)
    catalog.publish(candidate)
    return candidate


@pytest.fixture
def seen(catalog: Catalog, read_iceberg: IcebergReader) -> Seen:
    """What readers see: the times of `steps`, by DuckDB's own Iceberg reader."""
    return lambda: sorted(row["at"] for row in read_iceberg(catalog.metadata_location("steps")))


# Before the first publication


def test_lakehouse_without_tables_has_none_and_writes_nothing(
    storage: Storage, folder: Path
) -> None:
    assert Catalog(storage).tables() == {}
    assert not storage.exists()
    assert not (folder / "lakehouse").exists()


def test_new_table_has_neither_publication_nor_candidate(catalog: Catalog, seen: Seen) -> None:
    assert list(catalog.tables()) == ["steps"]
    assert catalog.published("steps") is None
    assert catalog.candidate("steps") is None
    assert seen() == []


def test_table_that_does_not_exist_has_neither(catalog: Catalog) -> None:
    assert catalog.published("nowhere") is None
    assert catalog.candidate("nowhere") is None


def test_table_is_in_the_folder_of_its_zone(catalog: Catalog) -> None:
    assert catalog.state("steps").location == f"{catalog.warehouse}/trusted/steps"
    assert catalog.state("steps").zone == "trusted"


# Tags


def test_tags_name_their_snapshots_the_oldest_first(catalog: Catalog, write: Write) -> None:
    one, two = write(1), write(2, 2)
    first, second = publish(catalog, one), publish(catalog, one, two)
    assert catalog.state("steps").tags == ()
    catalog.tag(second, "later")
    catalog.tag(first, "then")
    state = catalog.state("steps")
    assert [(tag.name, tag.snapshot_id, tag.rows) for tag in state.tags] == [
        ("then", first.id, 1),
        ("later", second.id, 3),
    ]
    assert state.tagged("then") == first
    assert state.tagged("audit") is None  # a branch


def test_tag_never_moves(catalog: Catalog, write: Write) -> None:
    one = write(1)
    first, second = publish(catalog, one), publish(catalog, one, write(2))
    catalog.tag(first, "then")
    for taken in ("then", "audit"):
        with pytest.raises(LakehouseError, match=f"steps has a tag or branch {taken} already"):
            catalog.tag(second, taken)
    assert [tag.snapshot_id for tag in catalog.state("steps").tags] == [first.id]


def test_tag_set_while_a_refresh_publishes_disturbs_neither(
    catalog: Catalog, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = write(1)
    first = publish(catalog, one)
    candidate = catalog.stage("steps", [one, write(2)], {})
    set_current = ManageSnapshots.set_current_snapshot

    def tag_meanwhile(*args: Any) -> Any:
        monkeypatch.undo()
        catalog.tag(first, "then")
        return set_current(*args)

    monkeypatch.setattr(ManageSnapshots, "set_current_snapshot", tag_meanwhile)
    catalog.publish(candidate)
    state = catalog.state("steps")
    assert (state.published, state.tagged("then")) == (candidate, first)


# Stage


def test_candidate_consists_of_exactly_these_files(catalog: Catalog, write: Write) -> None:
    one, two, three = write(1), write(2, 2), write(3)
    publish(catalog, one, two)
    candidate = catalog.stage("steps", [two, three], {})
    assert set(candidate.files) == {two, three}
    assert candidate.rows == 3
    assert candidate.size == sum(len(catalog.io.new_input(file)) for file in (two, three))


def test_candidate_does_not_show_to_readers(catalog: Catalog, write: Write, seen: Seen) -> None:
    first = publish(catalog, write(1))
    candidate = catalog.stage("steps", [write(2)], {})
    assert seen() == [1]
    assert catalog.published("steps") == first
    assert catalog.candidate("steps") == candidate


def test_step_looks_a_table_up_once_until_it_writes_to_it(
    catalog: Catalog, storage: Storage, write: Write
) -> None:
    first = publish(catalog, write(1))
    with catalog.steady():
        assert catalog.published("steps") == first
        second = publish(Catalog(storage), write(2))
        assert catalog.published("steps") == first
        candidate = catalog.stage("steps", [write(3)], {})
        assert catalog.published("steps") == second
        assert catalog.candidate("steps") == candidate
        third = publish(Catalog(storage), write(4))
        with pytest.raises(PublishConflictError):
            catalog.publish(candidate)
    assert catalog.published("steps") == third


def test_first_candidate_does_not_show_to_readers(
    catalog: Catalog, write: Write, seen: Seen
) -> None:
    catalog.stage("steps", [write(1)], {})
    assert seen() == []
    assert catalog.published("steps") is None


def test_candidate_replaces_an_earlier_one(catalog: Catalog, write: Write, seen: Seen) -> None:
    publish(catalog, write(1))
    catalog.stage("steps", [write(2)], {})
    second = write(3)
    candidate = catalog.stage("steps", [second], {})
    assert candidate.files == (second,)
    catalog.publish(candidate)
    assert seen() == [3]


def test_snapshot_says_what_it_was_made_from(catalog: Catalog, write: Write) -> None:
    publish(catalog, write(1), **{"run-id": "r1", "inputs": "{}"})
    metadata = static_table(catalog.metadata_location("steps"))
    snapshot = metadata.current_snapshot()
    assert snapshot
    assert snapshot.summary
    said = snapshot.summary.additional_properties
    assert (said["stedi.run-id"], said["stedi.inputs"]) == ("r1", "{}")
    published = catalog.published("steps")
    assert published
    assert published.properties.items() >= {"run-id": "r1", "inputs": "{}"}.items()


def test_table_may_become_empty(catalog: Catalog, write: Write, seen: Seen) -> None:
    publish(catalog, write(1))
    publish(catalog)
    assert seen() == []
    published = catalog.published("steps")
    assert published
    assert (published.rows, published.files) == (0, ())


def test_first_publication_may_be_empty(catalog: Catalog, seen: Seen) -> None:
    assert publish(catalog).rows == 0
    assert catalog.published("steps")
    assert seen() == []


def test_same_files_may_be_published_again_with_other_properties(
    catalog: Catalog, write: Write, seen: Seen
) -> None:
    file = write(1)
    first = publish(catalog, file, **{"run-id": "one"})
    second = publish(catalog, file, **{"run-id": "two"})
    assert first.id != second.id
    assert second.properties["run-id"] == "two"
    assert seen() == [1]


# Publish


def test_published_candidate_is_what_readers_see(
    catalog: Catalog, write: Write, seen: Seen
) -> None:
    candidate = publish(catalog, write(1, 2), write(3))
    assert seen() == [1, 2, 3]
    assert catalog.published("steps") == candidate
    assert catalog.candidate("steps") is None


def test_both_readers_see_the_same_rows(
    catalog: Catalog, write: Write, read_iceberg: IcebergReader
) -> None:
    publish(catalog, write(1, 2, who=["ä", None]), write())
    location = catalog.metadata_location("steps")
    expected = [{"at": 1, "who": "ä"}, {"at": 2, "who": None}]
    assert read_iceberg(location) == expected
    assert static_table(location).scan().to_arrow().to_pylist() == expected


def test_another_process_sees_the_publication(catalog: Catalog, write: Write, folder: Path) -> None:
    other = Catalog(storage_in(folder))
    assert other.published("steps") is None
    candidate = publish(catalog, write(1))
    assert other.published("steps") == candidate


def test_candidate_that_another_refresh_replaced_is_not_published(
    catalog: Catalog, write: Write, seen: Seen
) -> None:
    publish(catalog, write(1))
    mine = catalog.stage("steps", [write(2)], {})
    catalog.stage("steps", [write(3)], {})
    with pytest.raises(PublishConflictError, match="steps"):
        catalog.publish(mine)
    assert seen() == [1]


def test_candidate_is_not_published_over_another_publication(
    catalog: Catalog, write: Write, seen: Seen
) -> None:
    mine = catalog.stage("steps", [write(2)], {})
    publish(catalog, write(3))
    with pytest.raises(PublishConflictError):
        catalog.publish(mine)
    assert seen() == [3]


def test_candidate_is_not_published_where_main_moved_by_other_means(
    catalog: Catalog, write: Write, seen: Seen, storage: Storage
) -> None:
    mine = catalog.stage("steps", [write(2)], {})
    outside = storage.iceberg.load_table((storage.namespace, "steps"))
    with (
        outside.transaction() as transaction,
        transaction.update_snapshot().fast_append() as append,
    ):
        [file] = parquet_files_to_data_files(outside.io, outside.metadata, iter([write(9)]))
        append.append_data_file(file)
    with pytest.raises(PublishConflictError):
        catalog.publish(mine)
    assert seen() == [9]


def test_candidate_is_published_once(catalog: Catalog, write: Write) -> None:
    candidate = publish(catalog, write(1))
    with pytest.raises(PublishConflictError):
        catalog.publish(candidate)


def test_unknown_candidate_is_not_published(catalog: Catalog, write: Write, seen: Seen) -> None:
    candidate = catalog.stage("steps", [write(1)], {})
    with pytest.raises(PublishConflictError):
        catalog.publish(replace(candidate, id=candidate.id + 1))
    assert seen() == []


def test_discarded_candidate_is_gone(catalog: Catalog, write: Write, seen: Seen) -> None:
    publish(catalog, write(1))
    candidate = catalog.stage("steps", [write(2)], {})
    catalog.discard_candidate("steps")
    assert catalog.candidate("steps") is None
    with pytest.raises(PublishConflictError):
        catalog.publish(candidate)
    assert seen() == [1]


def test_nothing_to_discard_is_no_error(catalog: Catalog, write: Write, seen: Seen) -> None:
    catalog.discard_candidate("steps")
    publish(catalog, write(1))
    catalog.discard_candidate("steps")
    assert seen() == [1]


# Time travel


def test_earlier_snapshots_stay_readable_by_id(catalog: Catalog, write: Write) -> None:
    first, second = publish(catalog, write(1)), publish(catalog, write(2))
    assert catalog.state("steps").snapshot(first.id) == first
    assert catalog.state("steps").snapshot(second.id) == second
    assert catalog.state("steps").snapshot(1) is None
    [file] = first.files
    with catalog.io.new_input(file).open() as opened:
        assert pq.read_table(opened)["at"].to_pylist() == [1]
    table = static_table(catalog.metadata_location("steps"))
    assert table.scan(snapshot_id=first.id).to_arrow()["at"].to_pylist() == [1]


# Columns


def comments(catalog: Catalog) -> dict[str, str | None]:
    metadata = static_table(catalog.metadata_location("steps"))
    return {field.name: field.doc for field in metadata.schema().fields}


def test_columns_have_comments(catalog: Catalog) -> None:
    assert comments(catalog) == {"at": "what at means", "who": "what who means"}
    metadata = static_table(catalog.metadata_location("steps"))
    assert metadata.properties["comment"] == "Steps taken."


def test_column_new_to_the_contract_is_added_and_null_in_older_rows(
    catalog: Catalog, write: Write, read_iceberg: IcebergReader
) -> None:
    old = write(1)
    publish(catalog, old)
    catalog.ensure(table_with(*STEPS.columns, column("pace", "float64")))
    publish(catalog, old, write(2, pace=[0.5]))
    rows = read_iceberg(catalog.metadata_location("steps"))
    assert sorted((row["at"], row["who"], row["pace"]) for row in rows) == [
        (1, "p1", None),
        (2, "p2", 0.5),
    ]
    assert catalog.state("steps").types == {"at": "int64", "who": "string", "pace": "float64"}
    assert comments(catalog)["pace"] == "what pace means"
    assert comments(catalog)["at"] == "what at means"


def test_column_no_longer_in_the_contract_is_dropped(
    catalog: Catalog, write: Write, read_iceberg: IcebergReader
) -> None:
    publish(catalog, write(1))
    catalog.ensure(table_with(STEPS.columns[0]))
    assert read_iceberg(catalog.metadata_location("steps")) == [{"at": 1}]
    assert comments(catalog) == {"at": "what at means"}


def test_snapshot_keeps_to_the_personal_columns_it_was_made_with(
    catalog: Catalog, write: Write
) -> None:
    publish(catalog, write(1))
    catalog.ensure(table_with(STEPS.columns[0], column("phone", "string", personal=True)))
    published = catalog.published("steps")
    assert published
    assert published.personal_columns == {"who"}
    candidate = catalog.stage("steps", [], {})
    assert candidate.personal_columns == {"phone"}


def test_unchanged_contract_writes_nothing(catalog: Catalog) -> None:
    before = catalog.metadata_location("steps")
    catalog.ensure(STEPS)
    assert catalog.metadata_location("steps") == before


def test_changed_columns_move_neither_main_nor_audit(catalog: Catalog, write: Write) -> None:
    first = publish(catalog, write(1))
    candidate = catalog.stage("steps", [write(2)], {})
    catalog.ensure(table_with(*STEPS.columns, column("pace", "float64")))
    assert catalog.published("steps") == first
    assert catalog.candidate("steps") == candidate


# Required columns


FILLED = table_with(column("at", nullable=False), column("who", "string", personal=True))


def required(catalog: Catalog) -> set[str]:
    """Columns that readers expect a value in."""
    schema = static_table(catalog.metadata_location("steps")).schema()
    return {field.name for field in schema.fields if field.required}


def test_column_is_required_once_rows_are_published_that_all_have_it(
    catalog: Catalog, write: Write
) -> None:
    publish(catalog, write(1))  # the contract allows null in all columns
    assert required(catalog) == set()
    catalog.ensure(FILLED)
    assert required(catalog) == set(), "what is published was not looked at under this contract"
    publish(catalog, write(2))
    assert required(catalog) == {"at"}
    catalog.ensure(STEPS)
    assert required(catalog) == set()


def test_null_in_a_required_column_is_taken_and_readers_can_read_it(
    catalog: Catalog, write: Write, read_iceberg: IcebergReader
) -> None:
    catalog.ensure(FILLED)
    publish(catalog, write(1))
    candidate = catalog.stage("steps", [write(2, at=pa.array([None], pa.int64()))], {})
    assert required(catalog) == {"at"}, "a candidate changes nothing"
    catalog.publish(candidate)
    assert required(catalog) == set()
    location = catalog.metadata_location("steps")
    assert static_table(location).scan().to_arrow()["at"].to_pylist() == [None]
    assert [row["at"] for row in read_iceberg(location)] == [None]


def test_table_of_an_older_version_gets_required_columns_when_it_is_published_next(
    catalog: Catalog, write: Write, storage: Storage
) -> None:
    catalog.ensure(FILLED)
    publish(catalog, write(1))
    where = (storage.namespace, "steps")
    with storage.iceberg.load_table(where).transaction() as transaction:
        with transaction.update_schema(allow_incompatible_changes=True) as update:
            update.make_column_optional("at")
        transaction.remove_properties("stedi.required-columns")
    publish(catalog, write(2))
    assert required(catalog) == set()
    catalog.ensure(FILLED)
    publish(catalog, write(3))
    assert required(catalog) == {"at"}
