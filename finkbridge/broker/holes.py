"""Offsets without a message, gathered so that few looks at the broker confirm many. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

from finkbridge.values import OffsetRange

SWEEP_DISTANCE = 200
"""Offsets between two holes up to which one read over both is cheaper than a second seek."""

Sweep = tuple[OffsetRange, ...]
"""Neighbouring holes of one partition, in order."""


def sweeps(holes: Iterable[OffsetRange]) -> Iterator[Sweep]:
    """Yield the holes, empty ones left out, in groups that are read in one go."""
    group: list[OffsetRange] = []
    for hole in sorted(hole for hole in holes if hole.offsets):
        if group and not _is_near(group[-1], hole):
            yield tuple(group)
            group = []
        group.append(hole)
    if group:
        yield tuple(group)


def _is_near(before: OffsetRange, after: OffsetRange) -> bool:
    return before.partition == after.partition and after.start - before.end <= SWEEP_DISTANCE


def span_of(sweep: Sweep) -> OffsetRange:
    """Return the range from the first hole's start to the last one's end."""
    return OffsetRange(sweep[0].partition, sweep[0].start, max(hole.end for hole in sweep))


def falls_in(offset: int, sweep: Sequence[OffsetRange]) -> bool:
    """Whether `offset` is in one of the holes, which are in order and do not overlap."""
    at = bisect_right(sweep, offset, key=lambda hole: hole.start) - 1
    return at >= 0 and offset < sweep[at].end
