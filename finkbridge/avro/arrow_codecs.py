"""The codecs of container files that Arrow decompresses; see `finkbridge.avro.codecs`."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa


@contextmanager
def _refusing() -> Iterator[None]:
    """Turn Arrow's errors into Python's."""
    try:
        yield
    except pa.ArrowException as error:
        raise OSError(str(error)) from error


def zstandard(data: bytes, limit: int) -> bytes:
    """Return Zstandard's frame, decompressed."""
    if not data:
        raise EOFError("it ends too early")
    with _refusing(), pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return bytes(stream.read(limit + 1))


def snappy(data: bytes, limit: int) -> bytes:
    """Avro's snappy: the raw format, whose first varint is the size, and a CRC-32 behind it."""
    raw, checksum = data[:-4], data[-4:]
    block = _sized(raw, _size_of(raw), limit, "snappy")
    if zlib.crc32(block) != int.from_bytes(checksum, "big"):
        raise ValueError("damaged snappy block: wrong checksum")
    return block


def _size_of(raw: bytes) -> int:
    size = 0
    for shift, byte in enumerate(raw[:5]):
        size |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return size
    raise ValueError("damaged snappy block: no size")


def lz4(data: bytes, limit: int) -> bytes:
    """Return the block of fastavro's lz4: the size as four bytes, then the raw format."""
    return _sized(data[4:], int.from_bytes(data[:4], "little"), limit, "lz4_raw")


def _sized(raw: bytes, size: int, limit: int, codec: str) -> bytes:
    if size > limit:
        raise ValueError(f"more than {limit} bytes once decompressed")
    with _refusing():
        return bytes(pa.decompress(raw, decompressed_size=size, codec=codec, asbytes=True))
