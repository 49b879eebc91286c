"""Pure planning: what the ledger has and what the broker has become the offset ranges of segments.

Half-open ranges throughout. Offsets have holes, so a range's number of offsets is only an upper bound of
its messages; sizes are estimates from the mean message seen so far, and the byte limit of a segment is
enforced where it is fetched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from finkbridge.values import OffsetRange

MEAN_MESSAGE_BYTES = 64_000
"""Size of a message of a topic that was never drained: between ZTF's 53 kB and LSST's 231 kB."""


@dataclass(frozen=True, slots=True)
class PartitionState:
    """Where one partition stands at the start of a run."""

    partition: int
    next: int
    """First offset that is not in the lake."""
    low: int
    """First offset that the broker still has."""
    end: int
    """One behind the last offset that can be read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one run may take, and how large a segment is."""

    segment_bytes: int
    max_messages: int | None = None
    max_bytes: int | None = None


def expired(state: PartitionState) -> OffsetRange | None:
    """Range that left the broker before it was drained, or None."""
    if state.low <= state.next:
        return None
    return OffsetRange(state.partition, state.next, state.low)


def backlog(states: Iterable[PartitionState]) -> list[OffsetRange]:
    """Ranges that wait at the broker, without those that expired."""
    ranges = ((s.partition, max(s.next, s.low), s.end) for s in states)
    return [OffsetRange(p, start, end) for p, start, end in ranges if start < end]


def clip(ranges: Iterable[OffsetRange], offsets: int) -> list[OffsetRange]:
    """First `offsets` offsets of the ranges, in order."""
    clipped = []
    for r in ranges:
        if offsets <= 0:
            break
        take = min(r.offsets, offsets)
        clipped.append(OffsetRange(r.partition, r.start, r.start + take))
        offsets -= take
    return clipped


def cut(whole: OffsetRange, offsets: int) -> list[OffsetRange]:
    """Tile a range by pieces of at most `offsets` offsets, as equal as can be."""
    pieces = max(1, -(-whole.offsets // offsets))
    marks = [whole.start + whole.offsets * i // pieces for i in range(pieces + 1)]
    return [OffsetRange(whole.partition, a, b) for a, b in pairwise(marks)]


def segments(
    states: Sequence[PartitionState], limits: Limits, mean_bytes: float | None = None
) -> list[tuple[OffsetRange, ...]]:
    """Group a topic's backlog into segments.

    Parameters
    ----------
    states
        The topic's partitions.
    limits
        Of the run and of a segment.
    mean_bytes
        Mean size of the topic's messages so far; None for a topic never drained.

    Returns
    -------
    list of tuple of OffsetRange
        One tuple a segment. Small ranges share a segment; a range larger than a segment is cut into
        consecutive ones. Together they tile the backlog, or its beginning where the run is limited.
    """
    mean = max(1.0, mean_bytes or MEAN_MESSAGE_BYTES)
    allowed = limits.max_messages
    if limits.max_bytes is not None:
        by_bytes = max(min(1, limits.max_bytes), int(limits.max_bytes / mean))
        allowed = by_bytes if allowed is None else min(allowed, by_bytes)
    waiting = backlog(states)
    if allowed is not None:
        waiting = clip(waiting, allowed)
    return _pack(waiting, max(1, int(limits.segment_bytes / mean)))


def _pack(ranges: Iterable[OffsetRange], capacity: int) -> list[tuple[OffsetRange, ...]]:
    packed: list[tuple[OffsetRange, ...]] = []
    shared: list[OffsetRange] = []
    room = capacity
    for r in sorted(ranges):
        if r.offsets > capacity:
            packed += [(piece,) for piece in cut(r, capacity)]
            continue
        if r.offsets > room:
            packed.append(tuple(shared))
            shared, room = [], capacity
        shared.append(r)
        room -= r.offsets
    if shared:
        packed.append(tuple(shared))
    return packed
