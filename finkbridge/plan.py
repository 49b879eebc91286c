"""Pure planning: what the ledger has and what the broker has become the offset ranges of segments.

Half-open ranges throughout. Offsets have holes, so a range's number of offsets is only an upper bound of
its messages; sizes are estimates from the mean message seen so far, and the byte limit of a segment is
enforced where it is fetched.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from finkbridge.values import OffsetRange, SegmentPlan, TopicGeneration

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

    def __post_init__(self) -> None:
        if min(self.next, self.low, self.end) < 0:
            raise ValueError(f"not the state of a partition: {self}")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one run may take; None is all that waits."""

    max_messages: int | None = None
    max_bytes: int | None = None

    def allow(self, messages: int, size: float) -> bool:
        """Whether a run may take so many messages of so many bytes."""
        most_messages = math.inf if self.max_messages is None else self.max_messages
        most_bytes = math.inf if self.max_bytes is None else self.max_bytes
        return messages <= most_messages and size <= most_bytes


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of one topic waits at its broker."""

    ranges: Sequence[OffsetRange]
    mean_bytes: float
    """Mean size of the topic's messages so far."""


def expired(state: PartitionState) -> OffsetRange | None:
    """Range that left the broker before it was drained, or None."""
    if state.low <= state.next:
        return None
    return OffsetRange(state.partition, state.next, state.low)


def backlog(states: Iterable[PartitionState]) -> list[OffsetRange]:
    """Ranges that wait at the broker, without those that expired."""
    ranges = ((s.partition, max(s.next, s.low), s.end) for s in states)
    return [OffsetRange(p, start, end) for p, start, end in ranges if start < end]


def share(
    waiting: Mapping[TopicGeneration, Waiting], limits: Limits
) -> dict[TopicGeneration, list[OffsetRange]]:
    """Take the beginning of each range, as many messages of each as the run's limits allow.

    Short ranges are taken whole, and what they leave is for the others. What cannot be shared evenly goes,
    message by message, to each topic's longest range first, so that every topic gets on.

    Parameters
    ----------
    waiting
        By topic.
    limits
        Of the run, over all topics. One message is always taken, however large.

    Returns
    -------
    dict
        What the run takes, of the topics that it takes anything of; partitions ascend.
    """
    turns = _turns(waiting)
    level = _level(turns, limits)
    messages, size = _cost(turns, level)
    taken: dict[TopicGeneration, list[OffsetRange]] = {}
    for turn in turns:
        count = min(level, turn.whole.offsets)
        one_more = limits.allow(messages + 1, size + turn.mean_bytes) or messages == 0
        if count < turn.whole.offsets and one_more:
            count, messages, size = count + 1, messages + 1, size + turn.mean_bytes
        if count:
            insort(taken.setdefault(turn.source, []), replace(turn.whole, end=turn.whole.start + count))
    return taken


def cut(whole: OffsetRange, offsets: int) -> list[OffsetRange]:
    """Tile a range by pieces of at most `offsets` offsets, as equal as can be."""
    pieces = max(1, -(-whole.offsets // offsets))
    marks = [whole.start + whole.offsets * i // pieces for i in range(pieces + 1)]
    return [OffsetRange(whole.partition, a, b) for a, b in pairwise(marks)]


def segments(
    ranges: Iterable[OffsetRange], segment_bytes: int, mean_bytes: float
) -> list[tuple[OffsetRange, ...]]:
    """Group a topic's ranges into segments.

    Parameters
    ----------
    ranges
        One a partition.
    segment_bytes
        How large a segment may be.
    mean_bytes
        Mean memory of the topic's messages.

    Returns
    -------
    list of tuple of OffsetRange
        One tuple a segment. Small ranges share a segment; a range larger than a segment is cut into
        consecutive ones. Together they tile the ranges.
    """
    return _pack(ranges, max(1, int(segment_bytes / mean_bytes)))


def in_lanes(plans: Iterable[SegmentPlan], lanes: int) -> list[SegmentPlan]:
    """Order plans so that whoever has done one mostly finds the next of its partition.

    That many partitions are drained side by side, each in its order; a consumer goes on where it stands.
    """
    chains: dict[tuple[TopicGeneration, int], deque[SegmentPlan]] = {}
    for plan in plans:
        chains.setdefault((plan.source, plan.ranges[0].partition), deque()).append(plan)
    waiting, running = deque(chains.values()), list[deque[SegmentPlan]]()
    ordered: list[SegmentPlan] = []
    while waiting or running:
        while waiting and len(running) < lanes:
            running.append(waiting.popleft())
        ordered += [chain.popleft() for chain in running]
        running = [chain for chain in running if chain]
    return ordered


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


@dataclass(frozen=True, slots=True)
class _Turn:
    """One range that wants its share."""

    source: TopicGeneration
    whole: OffsetRange
    mean_bytes: float


def _turns(waiting: Mapping[TopicGeneration, Waiting]) -> list[_Turn]:
    """Return all ranges: the longest of each topic, then the second of each, and so on."""
    ranked = [
        (rank, -whole.offsets, _Turn(source, whole, mine.mean_bytes))
        for source, mine in waiting.items()
        for rank, whole in enumerate(sorted(mine.ranges, key=lambda r: (-r.offsets, r.partition)))
    ]
    return [turn for *_, turn in sorted(ranked, key=lambda r: (r[0], r[1], r[2].source))]


def _level(turns: Sequence[_Turn], limits: Limits) -> int:
    """Return how many messages every range may have, of those that have so many."""
    longest = max((turn.whole.offsets for turn in turns), default=0)
    return bisect_left(range(1, longest + 1), True, key=lambda n: not limits.allow(*_cost(turns, n)))


def _cost(turns: Iterable[_Turn], level: int) -> tuple[int, float]:
    """Return the messages, and their bytes, if every range has so many at most."""
    counts = [(min(level, turn.whole.offsets), turn.mean_bytes) for turn in turns]
    return sum(n for n, _ in counts), sum(n * mean for n, mean in counts)
