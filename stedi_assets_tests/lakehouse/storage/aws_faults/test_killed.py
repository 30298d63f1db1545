"""A server that is killed or goes away loses and doubles nothing."""

import gc
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError

from stedi_assets.lakehouse.faults import explain
from stedi_assets.lakehouse.state import Snapshot
from stedi_assets.resources import open_storage
from stedi_assets_tests.aws_servers import BUCKET, S3Server
from stedi_assets_tests.conftest import Aws, IcebergReader
from stedi_assets_tests.fault_proxy import (
    Exchange,
    FaultProxy,
    Match,
    drop,
    lose_answer,
)
from stedi_assets_tests.lakehouse.storage.aws_faults.support import (
    DUCKDB,
    LANDING,
    SILENT,
    US,
    Site,
    around_publications,
    assert_whole,
    everything,
    glue,
    glue_error,
    land,
    s3,
    said,
)
from stedi_assets_tests.refresh.pipeline.support import FIRST, FIRST_COUNTS
from stedi_assets_tests.support import (
    counts,
    refresh,
    snapshots,
)


@dataclass
class Killable:
    """An S3 server of a test's own, and proxies before it and before Glue."""

    server: S3Server
    site: Site
    started: list[threading.Thread] = field(default_factory=list)

    def kill_and_start(self, _: Exchange) -> None:
        """SIGKILL, and a start while the request is tried again."""
        self.server.kill()
        self.started.append(threading.Thread(target=self.server.start))
        self.started[-1].start()


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with S3Server(tmp_path_factory.mktemp("killed")) as server:
        server.client().create_bucket(Bucket=BUCKET)
        yield server


@pytest.fixture
def killable(aws: Aws, own_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Killable]:
    monkeypatch.setenv("STEDI_S3_ENDPOINT", own_server.endpoint)
    with FaultProxy(own_server.endpoint) as before_s3, FaultProxy(aws.glue.endpoint) as before_glue:
        site = Site(Aws(own_server, aws.glue).folder(), before_s3, before_glue)
        site.deliver("first.json", FIRST)
        yield (made := Killable(own_server, site))
        for thread in made.started:
            thread.join()


@pytest.mark.parametrize(
    ("match", "skip"),
    [
        pytest.param(s3("GET", "accelerometer/landing/", US), 0, id="we read"),
        pytest.param(s3("PUT", "/accelerometer_landing/data/", DUCKDB), 0, id="Parquet"),
        pytest.param(s3("GET", "/accelerometer_landing/data/", DUCKDB), 0, id="the engine reads"),
        pytest.param(s3("PUT", "/accelerometer_landing/metadata/", US), 3, id="metadata"),
    ],
)
def test_server_killed_while_files_are_taken_in(
    killable: Killable, match: Match, skip: int, read_iceberg: IcebergReader
) -> None:
    killable.site.s3.when(match, killable.kill_and_start, skip=skip, times=1)
    result = land(killable.site.settings)
    assert (result.success, said(result)) == (True, {})
    assert len(killable.started) == 1
    assert_whole(killable.site.direct, read_iceberg, FIRST_COUNTS)
    before = snapshots(killable.site.direct)
    assert land(killable.site.direct).success
    assert snapshots(killable.site.direct) == before
    assert counts(killable.site.direct) == {table: FIRST_COUNTS[table] for table in LANDING}


def test_server_killed_around_publications(
    killable: Killable, read_iceberg: IcebergReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once between metadata and catalog, once as soon as the catalog points to it."""
    site = killable.site

    def kill_before(candidate: Snapshot) -> None:
        if candidate.table == "customer_trusted":
            site.glue.when(glue("UpdateTable"), killable.kill_and_start, times=1)

    def kill_after(candidate: Snapshot) -> None:
        if candidate.table == "accelerometer_trusted":
            site.s3.when(everything, killable.kill_and_start, times=1)

    around_publications(monkeypatch, kill_before, kill_after)
    result = refresh(site.settings)
    assert (result.success, said(result)) == (True, {})
    assert len(killable.started) == 2
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    before = snapshots(site.direct)
    assert refresh(site.direct).success
    assert snapshots(site.direct) == before


@pytest.mark.usefixtures("impatient")
def test_server_killed_for_long_fails_the_refresh_and_the_next_one_completes_it(
    killable: Killable, read_iceberg: IcebergReader
) -> None:
    site = killable.site
    site.s3.when(s3("PUT", "/customers_curated/data/"), lambda _: killable.server.kill(), times=1)
    result = refresh(site.settings)
    killable.server.start()
    assert said(result) == {
        "customers_curated": f"{site.s3.endpoint} did not answer over several tries; nothing is "
        "lost: check the network, and AWS_DEFAULT_REGION or the endpoint in the settings, and "
        "refresh again."
    }
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    assert refresh(site.direct).success
    assert counts(site.direct) == FIRST_COUNTS


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("operation", "code"),
    [
        ("CreateTable", "AlreadyExistsException"),
        ("UpdateTable", "ConcurrentModificationException"),
    ],
)
def test_answer_of_glue_that_is_lost_loses_and_doubles_nothing(
    site: Site, operation: str, code: str, read_iceberg: IcebergReader
) -> None:
    """Asked again, Glue says that the table is there already, or has another version by now."""
    site.glue.when(glue(operation), lose_answer(), skip=1, times=1)
    site.glue.when(glue(operation), glue_error(code), skip=1, times=1)
    result = land(site.settings)
    assert all("nothing is lost: refresh again" in sentence for sentence in said(result).values())
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    assert land(site.direct).success
    assert counts(site.direct) == {table: FIRST_COUNTS[table] for table in LANDING}


@pytest.mark.usefixtures("impatient")
def test_publication_of_which_the_answer_is_lost_is_published_once(
    site: Site, read_iceberg: IcebergReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(candidate: Snapshot) -> None:
        if candidate.table == "accelerometer_landing":
            site.glue.when(glue("UpdateTable"), lose_answer(), times=1)
            changed = glue_error("ConcurrentModificationException")
            site.glue.when(glue("UpdateTable"), changed, times=1)

    around_publications(monkeypatch, lose)
    result = land(site.settings)
    assert (result.success, said(result)) == (True, {})
    assert counts(site.direct)["accelerometer_landing"] == FIRST_COUNTS["accelerometer_landing"]
    assert_whole(site.direct, read_iceberg, FIRST_COUNTS)
    result = land(site.direct)
    assert (result.success, said(result)) == (True, {})
    assert counts(site.direct) == {table: FIRST_COUNTS[table] for table in LANDING}


@pytest.mark.usefixtures("impatient")
def test_upload_that_failed_does_not_begin_again(site: Site) -> None:
    upload = open_storage(site.settings).io.new_output(f"{site.folder}/uploaded").create()
    upload.write(b"1")
    site.s3.when(s3("PUT"), drop())
    with pytest.raises(ConnectionClosedError):
        upload.close()
    site.s3.clear()
    del upload
    gc.collect()
    assert site.s3.requests == []
    assert not (site.folder / "uploaded").exists()


@pytest.mark.usefixtures("impatient")
def test_upload_to_a_server_that_went_away_is_tried_by_the_client_alone(
    killable: Killable, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: list[float] = []
    monkeypatch.setattr("smart_open.s3.time", SimpleNamespace(sleep=paused.append))
    direct = killable.site.direct
    upload = open_storage(direct).io.new_output(f"{killable.site.folder}/uploaded").create()
    upload.write(b"1")
    killable.server.kill()
    with pytest.raises(EndpointConnectionError) as error:
        upload.close()
    killable.server.start()
    assert paused == []
    assert explain(error.value) == SILENT.format(direct.s3_endpoint)
