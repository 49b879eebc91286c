"""Datums put together for a machine that walks them: as many at a time as the processor's cache holds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Self, overload

import numpy as np
import numpy.typing as npt

JOINED_BYTES = 256 << 10
"""To walk datums one by one costs a call for each, and to join all of them a copy that leaves the cache."""


class Spans(Sequence[bytes]):
    """Datums that lie in one piece of memory, as when a piece of a file was read: they are walked there.

    Parameters
    ----------
    data
        The memory.
    starts, ends
        Where in it each datum begins, and the byte behind it.
    """

    def __init__(
        self, data: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> None:
        if len(ends) and (starts.min() < 0 or ends.max() > len(data) or (ends < starts).any()):
            raise ValueError("a datum is not within its memory")
        self.data, self.starts, self.ends = data, starts, ends

    def __len__(self) -> int:
        return len(self.ends)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> bytes | Self:
        if isinstance(index, slice):
            return type(self)(self.data, self.starts[index], self.ends[index])
        return self.data[self.starts[index] : self.ends[index]].tobytes()


class Joined(NamedTuple):
    """Some datums in a row."""

    first: int
    """Number of the first of them, among all."""
    data: npt.NDArray[np.uint8]
    starts: npt.NDArray[np.int64]
    """Where each begins in the data."""
    ends: npt.NDArray[np.int64]


def joined(datums: Sequence[bytes]) -> Iterator[Joined]:
    """Yield all datums in their order, a few at a time; one that is large is alone, and not copied."""
    if isinstance(datums, Spans):
        yield Joined(0, datums.data, *map(np.ascontiguousarray, (datums.starts, datums.ends)))
        return
    for first, last in _portions(datums):
        some = datums[first:last]
        sizes = np.fromiter(map(len, some), np.int64, len(some))
        ends = np.cumsum(sizes)
        yield Joined(first, np.frombuffer(b"".join(some) or b"\0", np.uint8), ends - sizes, ends)


def total_bytes(datums: Sequence[bytes]) -> int:
    """Return the bytes of all datums."""
    return int((datums.ends - datums.starts).sum()) if isinstance(datums, Spans) else sum(map(len, datums))


def _portions(datums: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """Yield half-open ranges of numbers of at most `JOINED_BYTES` bytes, or of one datum."""
    first, size = 0, 0
    for number, datum in enumerate(datums):
        if size and size + len(datum) > JOINED_BYTES:
            yield first, number
            first, size = number, 0
        size += len(datum)
    if first < len(datums):
        yield first, len(datums)
