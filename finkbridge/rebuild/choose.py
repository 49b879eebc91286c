"""Pure choice: which of the plans whose files are found were committed, when the ledger that knew is lost.

Two rules of planning decide. A plan begins where the lake ends, or behind plans that are pending: so of two
plans of the same offsets, the one with the lower number had been given up when the other was made. And a plan
is committed whole: one of which a part is missing never was.

Files of one generation that overlap hold the same messages, whichever is taken: so a choice that should be
wrong about history is still right about content.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise

from finkbridge.values import OffsetRange, TopicGeneration

_Covered = defaultdict[tuple[TopicGeneration, int], list[OffsetRange]]
"""By generation and partition: ranges of taken plans, in order."""


@dataclass(frozen=True, slots=True)
class FoundPlan:
    """The files of one plan, as far as a choice must know them."""

    number: int
    source: TopicGeneration
    ranges: tuple[OffsetRange, ...]
    """Of all its parts, joined where they follow each other; none is empty."""
    is_whole: bool
    """All its parts are there, and undamaged."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Plans that make a ledger, and the others."""

    taken: tuple[FoundPlan, ...]
    """By number; no two overlap."""
    superseded: tuple[FoundPlan, ...]
    """All their offsets are in taken plans."""
    left: tuple[FoundPlan, ...]
    """Not whole, or overlapping in part: some of their offsets are in no taken plan."""
    gaps: tuple[tuple[TopicGeneration, OffsetRange], ...]
    """Between taken plans."""


def choose(found: Iterable[FoundPlan]) -> Choice:
    """Choose the plans that were committed: whole ones, the highest number first, as long as none overlap."""
    taken: list[FoundPlan] = []
    rest: list[FoundPlan] = []
    covered: _Covered = defaultdict(list)
    for plan in sorted(found, key=lambda p: p.number, reverse=True):
        if plan.is_whole and not any(_overlaps(r, covered[plan.source, r.partition]) for r in plan.ranges):
            taken.append(plan)
            for r in plan.ranges:
                insort(covered[plan.source, r.partition], r)
        else:
            rest.append(plan)
    superseded = [p for p in rest if _is_covered(p, covered)]
    left = [p for p in rest if not _is_covered(p, covered)]
    gaps = sorted((source, gap) for (source, _), spans in covered.items() for gap in _between(spans))
    return Choice(tuple(taken[::-1]), tuple(superseded[::-1]), tuple(left[::-1]), tuple(gaps))


def in_order(plans: Sequence[FoundPlan]) -> list[FoundPlan]:
    """Return plans so that those of a partition come in the order of their offsets, else by number."""
    queues: defaultdict[tuple[TopicGeneration, int], list[tuple[int, int]]] = defaultdict(list)
    for at, plan in enumerate(plans):
        for r in plan.ranges:
            heappush(queues[plan.source, r.partition], (r.start, at))
    missing = [len(plan.ranges) for plan in plans]
    heads = [queue[0][1] for queue in queues.values()]
    ready: list[tuple[int, int]] = []
    ordered: list[FoundPlan] = []
    while heads or ready:
        for at in heads:
            missing[at] -= 1
            if not missing[at]:
                heappush(ready, (plans[at].number, at))
        if not ready:
            break
        plan = plans[heappop(ready)[1]]
        ordered.append(plan)
        mine = [queues[plan.source, r.partition] for r in plan.ranges]
        for queue in mine:
            heappop(queue)
        heads = [queue[0][1] for queue in mine if queue]
    crossed = set(plans).difference(ordered)  # no order is right for them, and no planner makes such plans
    return ordered + sorted(crossed, key=lambda plan: plan.number)


def joined(ranges: Iterable[OffsetRange]) -> tuple[OffsetRange, ...]:
    """Return ranges in order, with those that follow each other joined and empty ones dropped."""
    found: list[OffsetRange] = []
    for r in sorted(ranges):
        if found and (found[-1].partition, found[-1].end) == (r.partition, r.start):
            found[-1] = OffsetRange(r.partition, found[-1].start, r.end)
        elif r.offsets:
            found.append(r)
    return tuple(found)


def _overlaps(r: OffsetRange, spans: Sequence[OffsetRange]) -> bool:
    """Whether a range has an offset of spans, which are in order and do not overlap each other."""
    at = bisect_left(spans, r)
    return (at > 0 and spans[at - 1].end > r.start) or (at < len(spans) and spans[at].start < r.end)


def _is_covered(plan: FoundPlan, covered: _Covered) -> bool:
    return all(_is_within(r, covered.get((plan.source, r.partition), [])) for r in plan.ranges)


def _is_within(r: OffsetRange, spans: Sequence[OffsetRange]) -> bool:
    at = r.start
    for span in spans[max(0, bisect_left(spans, r) - 1) :]:
        if span.start > at or at >= r.end:
            break
        at = max(at, span.end)
    return at >= r.end


def _between(spans: Sequence[OffsetRange]) -> Iterator[OffsetRange]:
    for a, b in pairwise(spans):
        if a.end < b.start:
            yield OffsetRange(a.partition, a.end, b.start)
