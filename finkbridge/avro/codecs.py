"""Decompresses the block of a container file, within bounds: a message may be a bomb."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from functools import partial

from finkbridge import later

MAX_BLOCK_BYTES = 64 << 20
"""A hundred times the largest alert; what is larger once decompressed goes to quarantine."""


_ARROW = "finkbridge.avro.arrow_codecs"
"""Loaded when one of its codecs is met: Arrow is heavy, and Fink's alerts need none."""


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
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
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


def _whole(block: bytes, limit: int, *, ended: bool) -> bytes:
    if not ended and len(block) <= limit:
        raise EOFError("it ends too early")
    return block


CODECS: dict[str, Callable[[bytes, int], bytes]] = {
    "null": _null,
    "deflate": _deflate,
    "bzip2": _bzip2,
    "xz": _xz,
    "zstandard": partial(later.call, f"{_ARROW}:zstandard"),
    "snappy": partial(later.call, f"{_ARROW}:snappy"),
    "lz4": partial(later.call, f"{_ARROW}:lz4"),
}
