"""Container files of ours: written hashed, read back proven.

The sync marker of such a file is the hash of its header. So the same header and datums give the same bytes,
and a header that is not what was written is noticed.
"""

from __future__ import annotations

import mmap
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt
import xxhash

from finkbridge.avro.container import ContainerError, Header, block_prefix, encode_header, read_header

PORTION_BYTES = 1 << 20
"""Blocks are joined to portions of about this size, to spare calls for small messages."""


class Written(NamedTuple):
    """A file that was written, and where the datums lie in it."""

    bytes: int
    checksum: str
    """xxh3-128 of the file's bytes, hex."""
    positions: npt.NDArray[np.int64]
    """Byte at which each datum starts."""
    lengths: npt.NDArray[np.int64]
    """Bytes of each datum."""


def write_container(
    path: Path,
    metadata: Mapping[str, bytes],
    datums: Sequence[bytes],
    prefix: Callable[[int], bytes] = block_prefix,
) -> Written:
    """Write a container file, codec null; syncing it is the caller's.

    Parameters
    ----------
    path
        The file; one that is there is overwritten.
    metadata
        All of the header; the same metadata give the same bytes.
    datums
        One for each block.
    prefix
        Gives what precedes a datum of so many bytes.
    """
    sync = _sync_marker(metadata)
    positions = np.empty(len(datums), np.int64)
    with path.open("wb") as file:
        sink = _Sink(file)
        sink.write(encode_header(metadata, sync))
        for index, datum in enumerate(datums):
            lead = prefix(len(datum))
            positions[index] = sink.bytes + len(lead)
            sink.write(lead, datum, sync)
        checksum = sink.finish()
    return Written(sink.bytes, checksum, positions, np.fromiter(map(len, datums), np.int64, len(datums)))


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    """Give a file's bytes without reading them; one without any, or a pipe or device, raises ValueError."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise ValueError("it is no plain file")
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    try:
        yield data
    finally:
        with suppress(BufferError):  # the traceback of an error still sees it: it closes with that
            data.close()


def read_proven_header(data: mmap.mmap) -> Header:
    """Read the header of a file that `write_container` wrote.

    Raises
    ------
    ContainerError
        When any byte of it is not as it was written.
    """
    header = read_header(data)
    proven = header.sync == _sync_marker(header.metadata)
    if not proven or encode_header(header.metadata, header.sync) != data[: header.end]:
        raise ContainerError("the header is not as it was written, noticed", header.end)
    return header


def hash_all(pieces: Iterable[bytes]) -> bytes:
    """Return the xxh3-128 of pieces in a row, in hex."""
    hasher = xxhash.xxh3_128()
    for piece in pieces:
        hasher.update(piece)
    return hasher.hexdigest().encode()


def _sync_marker(metadata: Mapping[str, bytes]) -> bytes:
    return xxhash.xxh3_128(encode_header(metadata, b"")).digest()


class _Sink:
    """A file that counts and hashes what it is given, in portions."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._hash = xxhash.xxh3_128()
        self._pieces: list[bytes] = []
        self._pending = 0
        self.bytes = 0

    def write(self, *pieces: bytes) -> None:
        self._pieces += pieces
        size = sum(map(len, pieces))
        self.bytes += size
        self._pending += size
        if self._pending >= PORTION_BYTES:
            self._flush()

    def finish(self) -> str:
        """Write what is pending and return the checksum."""
        self._flush()
        return self._hash.hexdigest()

    def _flush(self) -> None:
        portion = b"".join(self._pieces)
        self._hash.update(portion)
        self._file.write(portion)
        self._pieces, self._pending = [], 0
