"""The text of a landing file, unpacked and in UTF-8."""

import codecs
import re
import zlib
from collections.abc import Generator, Iterator
from itertools import chain
from typing import Any, BinaryIO

from stedi_assets.lakehouse.progress import SILENT, Progress

BLOCK = 8 << 20
"""Bytes that are read at once; each takes a round trip where the file is on S3."""

HEAD = 64 << 10
"""Bytes that quarantine keeps of a text that is too long."""

_PACKED = 1 << 14
"""Bytes that are unpacked at once; damaged ones are unpacked again byte by byte."""
_SNIFFED = 1 << 10

_GZIP = b"\x1f\x8b"

_FORMATS = {
    "a gzip file inside a gzip file": rb"\x1f\x8b\x08",
    "a zip archive": rb"PK(\x03\x04|\x05\x06)",
    "an xz file": rb"\xfd7zXZ\x00",
    "a zstd file": rb"\x28\xb5\x2f\xfd",
    "an lz4 file": rb"\x04\x22\x4d\x18",
    "a snappy file": rb"\xff\x06\x00\x00sNaPpY",
    "a 7-Zip archive": rb"7z\xbc\xaf\x27\x1c",
    "a tar archive": rb"(?s)(?=.{0,256}\x00).{257}ustar[\x00 ]",
    "an Avro file": rb"Obj\x01",
    "an Arrow file": rb"ARROW1\x00\x00",
    "a SQLite database": rb"SQLite format 3\x00",
    "a PDF document": rb"%PDF-\d\.\d\s+(?:%.*\s+)?\d+ \d+ obj\b",
    "a PNG image": rb"\x89PNG\r\n\x1a\n",
    "a JPEG image": rb"\xff\xd8\xff",
}
_WORDS = {
    "a bzip2 file": rb"BZh[1-9](1AY&SY|\x17rE8P\x90)",
    "a Parquet file": rb"PAR[1E]",
    "an ORC file": rb"ORC[\x00-\x1f]",
    "a PDF document": rb"%PDF-",
    "a GIF image": rb"GIF8[79]a",
}
"""Formats whose files begin as a text may begin."""
_OTHER = [(name, re.compile(magic)) for name, magic in _FORMATS.items()]
_OTHER_IF_BINARY = [(name, re.compile(magic)) for name, magic in _WORDS.items()]
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1d\x1f]")
"""Characters that no text has; 1E separates JSON texts."""

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF32_BE: "utf-32-be",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_UNMARKED = {
    "utf-16-le": re.compile(rb"(?:[\t\n\r -~]\x00){2,}"),
    "utf-16-be": re.compile(rb"(?:\x00[\t\n\r -~]){2,}"),
}
_INVALID_AS_HALF = "stedi.invalid_as_half"
"""Error handler that decodes what is no character as half a surrogate pair."""
_HALF, _NO_UTF_8 = "\udcff", b"\xff"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}".encode()


class DamagedFileError(Exception):
    """The rest of a compressed file cannot be unpacked."""


class OtherFormatError(Exception):
    """A file is not text but something else; the message says what.

    Attributes:
        head: Its first bytes.
    """

    def __init__(self, name: str, head: bytes) -> None:
        """Say what it is."""
        super().__init__(f"the file is {name}, not JSON")
        self.head = head


def read_blocks(file: BinaryIO, progress: Progress = SILENT) -> Generator[bytes]:
    """The file's content in blocks, unpacked where it is gzip; closes the file after the last.

    Args:
        file: The file.
        progress: Is told how many bytes of it were read.

    Raises:
        DamagedFileError: After the last byte that could be unpacked.
    """
    with file:
        first = file.read(BLOCK)
        if not first.startswith(_GZIP):
            yield from _rest(first, file, progress)
        else:
            yield from _gathered(_unpacked(_rest(first, file, progress)))


def _rest(first: bytes, file: BinaryIO, progress: Progress) -> Iterator[bytes]:
    block = first
    while block:
        progress.advance(size=len(block))
        yield block
        block = file.read(BLOCK)


def _unpacked(blocks: Iterator[bytes]) -> Iterator[bytes]:
    unpacker = zlib.decompressobj(wbits=31)
    for block in blocks:
        for at in range(0, len(block), _PACKED):
            rest = block[at : at + _PACKED]
            while rest:
                if unpacker.eof:  # a file may hold several gzip members
                    # Python's gzip ignores zeros after a member, too.
                    rest = rest.lstrip(b"\0")
                    if not rest:
                        break
                    unpacker = zlib.decompressobj(wbits=31)
                yield from _unpack(unpacker, rest)
                rest = unpacker.unused_data
    if not unpacker.eof:
        raise DamagedFileError("the gzip file is cut off here")


def _unpack(unpacker: Any, packed: bytes) -> Iterator[bytes]:
    while True:
        before = unpacker.copy()
        try:
            # A few bytes may unpack to a lot, but only a block of it is held at once.
            unpacked = unpacker.decompress(packed, BLOCK)
        except zlib.error:
            break
        yield unpacked
        packed = unpacker.unconsumed_tail
        if not packed and len(unpacked) < BLOCK:
            return
    # Byte by byte, to get all bytes before the damage.
    for i in range(len(packed)):
        try:
            yield before.decompress(packed[i : i + 1])
        except zlib.error:
            break
    raise DamagedFileError("the gzip file is damaged here")


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of a good size."""
    parts: list[bytes] = []
    size = 0
    try:
        for piece in pieces:
            parts.append(piece)
            size += len(piece)
            if size >= BLOCK:
                yield b"".join(parts)
                parts, size = [], 0
    except DamagedFileError:
        yield b"".join(parts)
        raise
    if size:
        yield b"".join(parts)


def text_blocks(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """A file's content as UTF-8, whatever encoding of Unicode it is in.

    UTF-8 itself is passed on as it is, right or wrong.

    Raises:
        OtherFormatError: It is no text.
    """
    head, damage = b"", None
    try:
        while len(head) < _SNIFFED and (block := next(blocks, None)) is not None:
            head += block
    except DamagedFileError as error:
        damage = error
    if name := _other_format(head):
        raise OtherFormatError(name, head[:HEAD])
    encoding = _encoding(head)
    whole = chain([head] if head else [], _raising(damage) if damage else blocks)
    yield from _decoded(whole, encoding) if encoding else whole


def _other_format(head: bytes) -> str | None:
    """The format of a file that begins like this, if it is not text."""
    formats = chain(_OTHER, _OTHER_IF_BINARY if _is_binary(head[:_SNIFFED]) else ())
    return next((name for name, magic in formats if magic.match(head)), None)


def _is_binary(head: bytes) -> bool:
    if _CONTROL.search(head):
        return True
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return True
    return False


def _raising(error: DamagedFileError) -> Iterator[bytes]:
    raise error
    yield b""


def _encoding(head: bytes) -> str | None:
    """The encoding of a file that begins like this; None for UTF-8."""
    for mark, encoding in _MARKS.items():
        if head.startswith(mark):
            return encoding
    return next((name for name, like in _UNMARKED.items() if like.match(head)), None)


def _decoded(blocks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    # What is no character, such as half a surrogate pair, becomes bytes that are no UTF-8, and so
    # quarantines its object.
    decoder = codecs.getincrementaldecoder(encoding)(_INVALID_AS_HALF)
    for block in blocks:
        text = decoder.decode(block).encode("utf-8", "surrogatepass")
        yield text.replace(_HALF.encode("utf-8", "surrogatepass"), _NO_UTF_8)
    if decoder.getstate()[0]:
        yield _REPLACEMENT


def _as_half(error: UnicodeError) -> tuple[str | bytes, int]:
    try:
        return codecs.lookup_error("surrogatepass")(error)
    except UnicodeDecodeError as other:
        return _HALF, other.end


codecs.register_error(_INVALID_AS_HALF, _as_half)
