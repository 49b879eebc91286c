"""Decompresses the block of a container file, within bounds: a message may be a bomb."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable

import pyarrow as pa

MAX_BLOCK_BYTES = 64 << 20
"""A hundred times the largest alert; what is larger once decompressed goes to quarantine."""


def decompress(codec: str, data: bytes, limit: int = MAX_BLOCK_BYTES) -> bytes:
    """Return the decompressed block, of at most `limit` bytes.

    Raises
    ------
    ValueError
        When the codec is unknown, the data is damaged, or there is more than `limit`.
    """
    if codec not in CODECS:
        raise ValueError(f"unknown codec {codec[:40]!r}")
    try:
        block = CODECS[codec](data, limit)
    except (OSError, EOFError, zlib.error, lzma.LZMAError, pa.ArrowException) as error:
        raise ValueError(f"damaged {codec} block: {str(error)[:100]}") from error
    if len(block) > limit:
        raise ValueError(f"more than {limit} bytes once decompressed")
    return block


def _null(data: bytes, _limit: int) -> bytes:
    return data


def _deflate(data: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj(-15)
    block = stream.decompress(data, limit + 1)
    return _whole(block, limit, ended=stream.eof)


def _bzip2(data: bytes, limit: int) -> bytes:
    stream = bz2.BZ2Decompressor()
    block = stream.decompress(data, limit + 1)
    return _whole(block, limit, ended=stream.eof)


def _xz(data: bytes, limit: int) -> bytes:
    stream = lzma.LZMADecompressor(memlimit=256 << 20)
    block = stream.decompress(data, limit + 1)
    return _whole(block, limit, ended=stream.eof)


def _zstandard(data: bytes, limit: int) -> bytes:
    if not data:
        raise EOFError("it ends too early")
    with pa.CompressedInputStream(pa.BufferReader(data), "zstd") as stream:
        return bytes(stream.read(limit + 1))


def _snappy(data: bytes, limit: int) -> bytes:
    """Avro's snappy: the raw format, whose first varint is the size, and a CRC-32 behind it."""
    raw, checksum = data[:-4], data[-4:]
    block = _sized(raw, _snappy_size(raw), limit, "snappy")
    if zlib.crc32(block) != int.from_bytes(checksum, "big"):
        raise ValueError("damaged snappy block: wrong checksum")
    return block


def _snappy_size(raw: bytes) -> int:
    size = 0
    for shift, byte in enumerate(raw[:5]):
        size |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return size
    raise ValueError("damaged snappy block: no size")


def _lz4(data: bytes, limit: int) -> bytes:
    """Return the block of fastavro's lz4: the size as four bytes, then the raw format."""
    return _sized(data[4:], int.from_bytes(data[:4], "little"), limit, "lz4_raw")


def _sized(raw: bytes, size: int, limit: int, codec: str) -> bytes:
    if size > limit:
        raise ValueError(f"more than {limit} bytes once decompressed")
    return bytes(pa.decompress(raw, decompressed_size=size, codec=codec, asbytes=True))


def _whole(block: bytes, limit: int, *, ended: bool) -> bytes:
    if not ended and len(block) <= limit:
        raise EOFError("it ends too early")
    return block


CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "null": _null,
    "deflate": _deflate,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstandard": _zstandard,
    "snappy": _snappy,
    "lz4": _lz4,
}
