r"""Avro object container files, the part of the format that finkbridge needs: header, blocks, framing.

A file is ``Obj\x01``, a map of metadata, a sync marker of 16 bytes, and blocks: a count of records, their
size in bytes, the records, the sync marker again. Ours have one record per block: so each message is framed.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from finkbridge.avro.codecs import MAX_BLOCK_BYTES, decompress

Data = bytes | mmap.mmap
"""What is read: bytes, or a map of a file, which is sliced and indexed like them."""

MAGIC = b"Obj\x01"
SYNC_BYTES = 16
MAX_METADATA = 1_000
"""Entries of a header that is read; honest ones have two to six."""


class Header(NamedTuple):
    """The header of a container file."""

    metadata: dict[str, bytes]
    sync: bytes
    end: int
    """Byte behind the header, where the first block starts."""


class Block(NamedTuple):
    """Where the datum of a block of one record lies in the file."""

    start: int
    end: int


class ContainerError(ValueError):
    """The bytes are no container file as they should be; says at which byte."""

    def __init__(self, problem: str, at: int) -> None:
        super().__init__(f"{problem} at byte {at}")


def encode_long(number: int) -> bytes:
    """Return a number as Avro's ``long``: zigzag, seven bits a byte, the lowest first."""
    zigzag = (number << 1) ^ (number >> 63)
    out = bytearray()
    while zigzag > 0x7F:
        out.append((zigzag & 0x7F) | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def encode_bytes(data: bytes) -> bytes:
    """Return data as Avro's ``bytes``: its length, then itself."""
    return encode_long(len(data)) + data


def encode_header(metadata: Mapping[str, bytes], sync: bytes) -> bytes:
    """Return the header of a container file."""
    entries = [encode_bytes(key.encode()) + encode_bytes(value) for key, value in metadata.items()]
    return b"".join([MAGIC, encode_long(len(entries)), *entries, b"\0", sync])


def block_prefix(datum_bytes: int) -> bytes:
    """Return what precedes the datum in a block of one record."""
    return b"\x02" + encode_long(datum_bytes)


def read_long(data: Data, at: int) -> tuple[int, int]:
    """Return the ``long`` at byte `at` and the byte behind it."""
    number = shift = 0
    start = at
    while shift < 70:
        try:
            byte = data[at]
        except IndexError:
            raise ContainerError("cut off", start) from None
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (number >> 1) ^ -(number & 1), at
        shift += 7
    raise ContainerError("bad varint", start)


def read_header(data: Data) -> Header:
    """Read the header of a container file (bytes, or a map of the file).

    Raises
    ------
    ContainerError
        When it is none; however hostile, no more is read than is there.
    """
    if data[: len(MAGIC)] != MAGIC:
        raise ContainerError("no Avro container file", 0)
    metadata: dict[str, bytes] = {}
    count, at = read_long(data, len(MAGIC))
    while count:
        if count < 0:
            count = -count
            _, at = read_long(data, at)
        if count + len(metadata) > MAX_METADATA:
            raise ContainerError("too many metadata entries", at)
        for _ in range(count):
            key, at = _read_bytes(data, at)
            metadata[key.decode(errors="replace")], at = _read_bytes(data, at)
        count, at = read_long(data, at)
    sync = data[at : at + SYNC_BYTES]
    if len(sync) < SYNC_BYTES:
        raise ContainerError("cut off", at)
    return Header(metadata, sync, at + SYNC_BYTES)


def read_blocks(data: Data, header: Header) -> Iterator[Block]:
    """Yield the blocks of a file that has one record in each.

    Raises
    ------
    ContainerError
        When a block is cut, has another count than one, or another sync marker than the header.
    """
    at = header.end
    while at < len(data):
        start, end = _read_frame(data, at, header.sync)
        yield Block(start, end)
        at = end + SYNC_BYTES


def unwrap(value: bytes, header: Header, limit: int = MAX_BLOCK_BYTES) -> bytes:
    """Return the one datum of a container file that is itself a message's value.

    Raises
    ------
    ValueError
        When there is another number of records than one, the file is damaged, or larger than `limit`.
    """
    codec = header.metadata.get("avro.codec", b"null").decode(errors="replace")
    start, end = _read_frame(value, header.end, header.sync)
    if end + SYNC_BYTES != len(value):
        raise ContainerError("bytes left after the first block", end + SYNC_BYTES)
    return decompress(codec, value[start:end], limit)


def _read_frame(data: Data, at: int, sync: bytes) -> tuple[int, int]:
    count, start = read_long(data, at)
    if count != 1:
        raise ContainerError(f"a block of {count} records where one is due", at)
    size, start = read_long(data, start)
    end = start + size
    if size < 0 or end + SYNC_BYTES > len(data):
        raise ContainerError("cut off", at)
    if data[end : end + SYNC_BYTES] != sync:
        raise ContainerError("wrong sync marker", end)
    return start, end


def _read_bytes(data: Data, at: int) -> tuple[bytes, int]:
    size, start = read_long(data, at)
    end = start + size
    if size < 0 or end > len(data):
        raise ContainerError("cut off", at)
    return data[start:end], end
