"""Files of other formats, as they may end up in a landing folder."""

import bz2
import gzip
import lzma
import tarfile
import zipfile
from io import BytesIO

import pyarrow as pa
import pyarrow.parquet as pq

from stedi_assets_tests.lakehouse.landing.records import ONE


def archive() -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("a.json", ONE)
    return packed.getvalue()


def parquet() -> bytes:
    packed = BytesIO()
    pq.write_table(pa.table({"user": ["ann@x.io"]}), packed)
    return packed.getvalue()


def tar() -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as file:
        file.addfile(tarfile.TarInfo("a.json"))
    return packed.getvalue()


OTHERS = {
    "a zip archive": archive(),
    "a bzip2 file": bz2.compress(ONE.encode()),
    "an xz file": lzma.compress(ONE.encode()),
    "a zstd file": pa.compress(ONE.encode(), "zstd", asbytes=True),
    "a Parquet file": parquet(),
    "an Avro file": b"Obj\x01\x04\x14avro.codec\x08null",
    "a SQLite database": b"SQLite format 3\0" + bytes(84),
    "a PDF document": b"%PDF-1.7\n1 0 obj\n<<>>\n",
    "a GIF image": b"GIF89a\x01\x00\x01\x00\x80",
    "an ORC file": b"ORC\n\x03\x00\x00",
    "a tar archive": tar(),
    "a PNG image": b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR",
    "a gzip file inside a gzip file": gzip.compress(gzip.compress(ONE.encode())),
}
