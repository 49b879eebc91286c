"""Pure choice: which of the plans whose files are found were committed, when the ledger that knew is lost.

A plan begins where the lake ends, or behind plans that are pending: so of two plans of the same offsets, the
one with the lower number had been given up when the other was made. Plans of which all parts are there come
first. Then each part that proves its own ranges fills what they leave: a plan of which a part is missing was
committed, and a file of it was lost or damaged since; or its run died while it gave the parts their names,
one after the other. Either way the messages are those of their offsets, and maybe nowhere else.

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
    """The files of one plan, or of a part of it, as far as a choice must know them."""

    number: int
    source: TopicGeneration
    ranges: tuple[OffsetRange, ...]
    """Of all its parts, joined where they follow each other; none is empty."""
    is_whole: bool
    """All its parts are there, and undamaged."""
    parts: tuple[FoundPlan, ...] = ()
    """Of a plan: each part, with its own ranges."""
    name: str = ""
    """Tells the plan, and its parts, from another one with the same number."""
    part: int | None = None
    """Which one of `parts` it is; None for a plan."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Plans, and parts of plans that are not whole, which make a ledger; and the others."""

    taken: tuple[FoundPlan, ...]
    """By number, parts as they were given; no two overlap."""
    superseded: tuple[FoundPlan, ...]
    """All their offsets are in taken plans."""
    left: tuple[FoundPlan, ...]
    """Not whole, or overlapping in part: some of their offsets are in nothing that was taken."""
    gaps: tuple[tuple[TopicGeneration, OffsetRange], ...]
    """Between taken plans."""


def choose(found: Iterable[FoundPlan]) -> Choice:
    """Choose what makes a ledger: whole plans, highest number first, then parts; none may overlap."""
    taken = _Taken()
    plans = sorted(found, key=lambda p: (p.number, p.name), reverse=True)
    rest = [plan for plan in plans if not (plan.is_whole and taken.take(plan))]
    torn = [plan for plan in rest if not plan.is_whole and taken.is_apart(plan)]
    for plan in torn:
        for part in plan.parts:
            taken.take(part)
    for plan in rest:
        for part in plan.parts:
            if taken.is_inside(part):  # behind the end, the next drain can have more than given up plans have
                taken.take(part)
    rest = [unit for plan in rest for unit in taken.not_taken(plan)]
    covered = taken.covered
    superseded = [p for p in rest if _is_covered(p, covered)]
    left = [p for p in rest if not _is_covered(p, covered)]
    gaps = sorted((source, gap) for (source, _), spans in covered.items() for gap in _between(spans))
    units = sorted(taken.units, key=lambda p: (p.number, p.name, p.part or 0))
    return Choice(tuple(units), tuple(superseded[::-1]), tuple(left[::-1]), tuple(gaps))


class _Taken:
    """What was taken so far."""

    def __init__(self) -> None:
        self.units: dict[FoundPlan, None] = {}
        self.covered: _Covered = defaultdict(list)

    def take(self, unit: FoundPlan) -> bool:
        """Take a plan or part if it is whole and overlaps with nothing."""
        if not unit.is_whole or not self.is_apart(unit):
            return False
        self.units[unit] = None
        for r in unit.ranges:
            insort(self.covered[unit.source, r.partition], r)
        return True

    def is_apart(self, unit: FoundPlan) -> bool:
        """Whether no offset of it is taken."""
        return not any(_overlaps(r, self.covered[unit.source, r.partition]) for r in unit.ranges)

    def is_inside(self, unit: FoundPlan) -> bool:
        """Whether it ends, in each partition, before the end of what is taken."""
        spans = ((r, self.covered[unit.source, r.partition]) for r in unit.ranges)
        return all(mine and r.end <= mine[-1].end for r, mine in spans)

    def not_taken(self, plan: FoundPlan) -> list[FoundPlan]:
        """Return the parts of a plan that are left; the plan itself where nothing of it is taken."""
        parts = [part for part in plan.parts if part not in self.units]
        return [plan] if len(parts) == len(plan.parts) else parts


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
