"""Landing files in a bucket: every object once, whatever its key is."""

import gzip
import json
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest

from stedi_assets.lakehouse.landing.ledger import LandingFolder
from stedi_assets.lakehouse.names import readable
from stedi_assets.read import read_table
from stedi_assets.resources import open_storage
from stedi_assets.settings import Settings
from stedi_assets_tests.aws_servers import BUCKET
from stedi_assets_tests.conftest import Aws, IcebergReader
from stedi_assets_tests.support import catalog_of, customer, device, phone, refresh, under

OBJECTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "customer": lambda number: customer(f"{number}@x.io", "s"),
    "accelerometer": lambda number: phone("ann@x.io", number)[0],
    "step_trainer": lambda number: device("s", number)[0],
}
SOURCES = list(OBJECTS)

STRANGE_KEYS = (
    "a b.json",
    " leading.json",
    "trailing .json",
    unicodedata.normalize("NFC", "ü.json"),
    unicodedata.normalize("NFD", "ü.json"),
    "日本/🙂.json",
    "no\u00a0break.json",
    "a\tb.json",
    "day=2024-01-01/hour=7/x.json",
    "a+b.json",
    "a%20b.json",
    "a%2Fb.json",
    "%.json",
    "a&b.json",
    "a;b.json",
    "a#b.json",
    "a?b.json",
    "a?versionId=c&d.json",
    "'quoted'.json",
    '"quoted".json',
    "a[1].json",
    "a*.json",
    "**/x.json",
    "{a,b}.json",
    "<a>$|^`~!@,:.json",
    "UPPER.JSON",
    "/".join(["x" * 200] * 4) + "/" + "x" * 150 + ".json",
)
# A server that keeps objects in folders cannot have these; S3 can.
KEYS_OF_NO_PATH = (
    "a//b.json",
    "/a.json",
    "a\\b.json",
    "http://x.json",
    "one.json",
    "one.json/two.json",
    "x" * 950 + ".json",
)


class Bucket:
    """A bucket with landing files, or a prefix of one."""

    def __init__(self, client: Any, name: str, prefix: str = "") -> None:
        self.client, self.name, self.prefix = client, name, prefix

    @property
    def uri(self) -> str:
        return f"s3://{self.name}/{self.prefix}".rstrip("/")

    def put(self, key: str, *objects: dict[str, Any]) -> str:
        """Write an object of JSON lines; gives its ETag."""
        return self.put_bytes(key, "".join(json.dumps(line) + "\n" for line in objects).encode())

    def put_bytes(self, key: str, content: bytes, **options: Any) -> str:
        put = self.client.put_object(
            Bucket=self.name, Key=self.prefix + key, Body=content, **options
        )
        return str(put["ETag"])


@pytest.fixture
def landing(aws: Aws) -> Bucket:
    """The landing root that `settings` point to."""
    return Bucket(aws.s3.client(), BUCKET, f"{uuid4().hex}/")


@pytest.fixture
def settings(aws: Aws, landing: Bucket) -> Settings:
    return under(aws.folder(), landing=landing.uri)


@pytest.fixture
def new_bucket(aws: Aws) -> Callable[[], Bucket]:
    """Makes buckets of a test's own."""

    def make() -> Bucket:
        bucket = Bucket(aws.s3.client(), f"bucket-{uuid4().hex}")
        bucket.client.create_bucket(Bucket=bucket.name)
        return bucket

    return make


@dataclass(frozen=True)
class Taken:
    """What Dagster shows of a landing table after a refresh of it."""

    files: dict[str, int]
    warnings: str

    @classmethod
    def of(cls, result: dg.ExecuteInProcessResult, table: str) -> "Taken":
        [shown] = (m for m in landed(result) if m.asset_key.path[-1] == table)
        files = {
            name.removesuffix("_files"): int(str(value.value))
            for name, value in shown.metadata.items()
            if name.endswith("_files")
        }
        checks = result.get_asset_check_evaluations()
        said = [
            c.description or "" for c in checks if not c.passed and c.asset_key == shown.asset_key
        ]
        return cls(files, " ".join(said))


def landed(result: dg.ExecuteInProcessResult) -> list[dg.AssetMaterialization]:
    return list(result.asset_materializations_for_node("landing"))


def take_in(settings: Settings, source: str = "customer") -> Taken:
    """Refresh the landing table of a source."""
    table = f"{source}_landing"
    return Taken.of(refresh(settings, only=[table]), table)


def files_of(settings: Settings, source: str = "customer") -> list[str]:
    """The landing file of each row of the source's table, relative to its landing folder."""
    rows = read_table(f"{source}_landing", settings=settings).source_file.to_pyarrow().to_pylist()
    return sorted(file.removeprefix(f"{source}/landing/") for file in rows)


def counted(new: int = 0, duplicate: int = 0, changed: int = 0, ignored: int = 0) -> dict[str, int]:
    return {
        "new": new,
        "duplicate": duplicate,
        "changed": changed,
        "held_back": 0,
        "ignored": ignored,
    }


# Listing


def test_more_keys_than_a_page_of_a_listing_holds_are_taken_in_once(
    settings: Settings, landing: Bucket
) -> None:
    def put(number: int) -> None:
        landing.put(f"step_trainer/landing/{number % 7}/{number}.json", *device("s", number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(put, range(1_100)))
    assert take_in(settings, "step_trainer") == Taken(counted(new=1_100), "")
    assert len(set(files_of(settings, "step_trainer"))) == 1_100
    put(1_100)
    assert take_in(settings, "step_trainer") == Taken(counted(new=1), "")
    assert len(set(files_of(settings, "step_trainer"))) == 1_101


def test_folder_markers_and_foreign_files_are_ignored_and_counted(
    settings: Settings, landing: Bucket
) -> None:
    ignored = (
        "",
        "2024/",
        "2024/x.json/",
        "2024_$folder$",
        "2024/_SUCCESS",
        "2024/readme.txt",
        "x.json.tmp",
        "x.json ",
        ".hidden.json",
        "..json",
        "_temporary/0/x.json",
    )
    for name in ignored:
        landing.put_bytes(f"customer/landing/{name}", b"")
    landing.put("customer/landing/2024/a.json", customer("ann@x.io"))
    assert take_in(settings) == Taken(counted(new=1, ignored=len(ignored)), "")
    assert files_of(settings) == ["2024/a.json"]


def test_neighbours_of_the_landing_folder_are_not_read(settings: Settings, landing: Bucket) -> None:
    for key in (
        "customer/landing2/x.json",
        "customer/landing_old/x.json",
        "customer/landing.json",
        "customer/x.json",
        "customer2/landing/x.json",
        "customer/customer/landing/x.json",
    ):
        landing.put(key, customer("bob@x.io"))
    landing.put("customer/landing/x.json", customer("ann@x.io"))
    assert take_in(settings) == Taken(counted(new=1), "")
    assert files_of(settings) == ["x.json"]


# Keys


@pytest.mark.parametrize("source", SOURCES)
def test_strange_keys_are_taken_in_once(settings: Settings, landing: Bucket, source: str) -> None:
    for number, name in enumerate(STRANGE_KEYS):
        landing.put(f"{source}/landing/{name}", OBJECTS[source](number))
    assert take_in(settings, source) == Taken(counted(new=len(STRANGE_KEYS)), "")
    assert files_of(settings, source) == sorted(STRANGE_KEYS)
    assert take_in(settings, source) == Taken(counted(), "")


@pytest.mark.parametrize("source", SOURCES)
def test_keys_that_are_no_paths_are_taken_in_once(aws: Aws, source: str) -> None:
    client = aws.glue.client("s3")  # moto's own S3 takes keys as they are
    landing = Bucket(client, f"bucket-{uuid4().hex}")
    client.create_bucket(Bucket=landing.name)
    for number, name in enumerate(KEYS_OF_NO_PATH):
        landing.put(f"{source}/landing/{name}", OBJECTS[source](number))
    settings = under(
        aws.folder(),
        lakehouse=f"{landing.uri}/lakehouse",
        landing=landing.uri,
        s3_endpoint=aws.glue.endpoint,
    )
    assert take_in(settings, source) == Taken(counted(new=len(KEYS_OF_NO_PATH)), "")
    assert files_of(settings, source) == sorted(map(readable, KEYS_OF_NO_PATH))
    assert take_in(settings, source) == Taken(counted(), "")


# Content


def test_replaced_object_of_the_same_size_is_reported(settings: Settings, landing: Bucket) -> None:
    before = landing.put("customer/landing/a.json", customer("ann@x.io"))
    take_in(settings)
    after = landing.put("customer/landing/a.json", customer("bob@x.io"))
    assert before != after
    found = take_in(settings)
    assert found.files == counted(changed=1)
    assert "customer/landing/a.json changed after it was taken in" in found.warnings
    [email] = read_table("customer_landing", settings=settings).email.to_pyarrow().to_pylist()
    assert email == "ann@x.io"


def test_object_put_again_with_the_same_content_is_no_news(
    settings: Settings, landing: Bucket
) -> None:
    before = landing.put("customer/landing/a.json", customer("ann@x.io"))
    take_in(settings)
    assert landing.put("customer/landing/a.json", customer("ann@x.io")) == before
    assert take_in(settings) == Taken(counted(), "")


def test_object_put_again_in_parts_is_no_news(settings: Settings, landing: Bucket) -> None:
    content = many_customers()
    before = landing.put_bytes("customer/landing/a.json", content)
    take_in(settings)
    assert put_in_parts(landing, "customer/landing/a.json", content) != before
    assert take_in(settings) == Taken(counted(), "")


def test_same_content_under_another_key_is_a_duplicate(settings: Settings, landing: Bucket) -> None:
    landing.put("customer/landing/a.json", customer("ann@x.io"))
    take_in(settings)
    for name in ("b.json", "2024/a.json"):
        landing.put(f"customer/landing/{name}", customer("ann@x.io"))
    assert take_in(settings) == Taken(counted(duplicate=2), "")
    put_in_parts(landing, "customer/landing/c.json", many_customers())
    landing.put_bytes("customer/landing/d.json", many_customers())
    assert take_in(settings) == Taken(counted(new=1, duplicate=1), "")
    assert set(files_of(settings)) == {"a.json", "c.json"}


def many_customers() -> bytes:
    """More than 5 MiB, the least that a part of an upload holds that is not its last."""
    lines = [json.dumps(customer(f"{number}@x.io", phone="1" * 60_000)) for number in range(90)]
    return "\n".join(lines).encode()


def put_in_parts(landing: Bucket, key: str, content: bytes) -> str:
    """Upload an object in two parts; gives its ETag."""
    place = {"Bucket": landing.name, "Key": landing.prefix + key}
    upload = place | {"UploadId": landing.client.create_multipart_upload(**place)["UploadId"]}
    parts = [
        landing.client.upload_part(**upload, PartNumber=number, Body=body)["ETag"]
        for number, body in ((1, content[: 5 << 20]), (2, content[5 << 20 :]))
    ]
    numbered = [{"PartNumber": number, "ETag": etag} for number, etag in enumerate(parts, 1)]
    done = landing.client.complete_multipart_upload(**upload, MultipartUpload={"Parts": numbered})
    assert done["ETag"].strip('"').endswith("-2")
    return str(done["ETag"])


def test_object_uploaded_in_parts_is_taken_in_whole(settings: Settings, landing: Bucket) -> None:
    put_in_parts(landing, "customer/landing/a.json", many_customers())
    assert take_in(settings) == Taken(counted(new=1), "")
    assert files_of(settings) == ["a.json"] * 90


@pytest.mark.parametrize("encoding", [{}, {"ContentEncoding": "gzip"}], ids=["plain", "declared"])
def test_packed_objects_are_unpacked(
    settings: Settings, landing: Bucket, encoding: dict[str, str]
) -> None:
    clean = "".join(json.dumps(customer(f"{n}@x.io")) + "\n" for n in range(3)).encode()
    spread = json.dumps([customer(f"{n}@x.io") for n in range(3, 5)], indent=1).encode()
    for name, content in (("clean.json.gz", clean), ("spread.json.gz", spread)):
        landing.put_bytes(f"customer/landing/{name}", gzip.compress(content), **encoding)
    assert take_in(settings) == Taken(counted(new=2), "")
    assert files_of(settings) == ["clean.json.gz"] * 3 + ["spread.json.gz"] * 2


# Places


def test_landing_root_may_be_a_bucket_of_its_own(
    aws: Aws, new_bucket: Callable[[], Bucket]
) -> None:
    landing = new_bucket()
    settings = under(aws.folder(), landing=landing.uri)
    assert settings.landing_root == f"s3://{landing.name}"
    landing.put("customer/landing/2024/a.json", customer("ann@x.io"))
    landing.put("x/customer/landing/b.json", customer("bob@x.io"))
    assert take_in(settings) == Taken(counted(new=1), "")
    assert files_of(settings) == ["2024/a.json"]


def test_lakehouse_may_be_a_bucket_of_its_own(new_bucket: Callable[[], Bucket], aws: Aws) -> None:
    bucket = new_bucket()
    settings = under(aws.folder(), lakehouse=f"{bucket.uri}/", landing=None)
    bucket.put("landing/customer/landing/a.json", customer("ann@x.io"))
    assert take_in(settings) == Taken(counted(new=1), "")
    assert files_of(settings) == ["a.json"]
    listed = bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
    assert {entry["Key"].split("/")[0] for entry in listed} == {"landing", "warehouse"}


def test_landing_files_below_a_folder_named_like_a_warehouse_are_read_anew(
    aws: Aws, landing: Bucket
) -> None:
    settings = under(aws.folder(), landing=f"{landing.uri}/warehouse")
    landing.put("warehouse/customer/landing/metadata/a.json", customer("ann@x.io"))
    files = LandingFolder(settings.landing_root, open_storage(settings))
    path = "customer/landing/metadata/a.json"
    [before] = files.examine([path])
    landing.put("warehouse/customer/landing/metadata/a.json", customer("bob@x.io"))
    [after] = files.examine([path])
    assert before.digest != after.digest


def test_prefix_of_a_lakehouse_may_hold_what_a_path_may(
    aws: Aws, landing: Bucket, read_iceberg: IcebergReader
) -> None:
    folder = aws.folder()
    settings = under(folder, landing=landing.uri, lakehouse=f"{folder}/it's/a b+c=ü&;@,{{x}}~")
    landing.put("customer/landing/a.json", customer("ann@x.io"))
    assert take_in(settings) == Taken(counted(new=1), "")
    assert files_of(settings) == ["a.json"]
    metadata = catalog_of(settings).metadata_location("customer_landing")
    assert [row["email"] for row in read_iceberg(metadata)] == ["ann@x.io"]
