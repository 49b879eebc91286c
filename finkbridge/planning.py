"""Step 1 of the way through the house: from what brokers and ledger say to plans that are written down.

Before anything new is planned, what was before is settled (`finkbridge.settling`). A plan that cannot be
landed as it is, is put off in favour of others of the same offsets.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from finkbridge import backlog, cuts
from finkbridge.backlog import Look, TopicAtBroker
from finkbridge.broker import Broker
from finkbridge.errors import FinkbridgeError, GenerationError, LakeError
from finkbridge.ledger import Coordinator
from finkbridge.ledger.store import KnownGeneration
from finkbridge.plan import MEAN_MESSAGE_BYTES, Limits, PartitionState, Waiting, expired, segments, share
from finkbridge.plan import backlog as ranges_waiting
from finkbridge.report import DrainReport
from finkbridge.retire import delete_landed, greatest_number
from finkbridge.settings import Settings
from finkbridge.settling import EXPIRED, Key, Settler, key_of, nexts_of
from finkbridge.values import MESSAGE_BYTES, SegmentPlan, TopicGeneration

SPLIT_INTO = 4
"""Pieces of a plan that kills its worker: more of them find the message sooner, and leave more files."""


class Planner:
    """Plans one run.

    Parameters
    ----------
    coordinator
        Of the lake.
    brokers
        By cluster.
    settings
        Limits, where new topics start, and how what a dead run left is decoded.
    report
        Of the run.
    """

    def __init__(
        self,
        coordinator: Coordinator,
        brokers: Mapping[str, Broker],
        settings: Settings,
        report: DrainReport,
    ) -> None:
        self._coordinator = coordinator
        self._ledger = coordinator.ledger
        self._brokers = brokers
        self._settings = settings.drain
        self._report = report
        self._means = self._ledger.mean_message_bytes()
        self.settler = Settler(coordinator, brokers, settings, report)
        self.generations = self.settler.generations
        self._left: set[int] = set()

    def plan(
        self, look: Look, asked: Iterable[Key], pending: Mapping[Key, list[SegmentPlan]]
    ) -> list[SegmentPlan]:
        """Return all plans of the run: what a dead run left first, then the backlog of what is asked for."""
        kept: list[SegmentPlan] = []
        waiting: dict[TopicGeneration, Waiting] = {}
        wanted, down = set(asked), set[str]()
        for seen in (topic for topic in look.topics if topic.cluster not in down):
            key = (seen.cluster, seen.topic)
            try:
                generation, left = self.settler.settle(seen, pending.get(key, []))
                kept += left
                behind = self._waiting(seen, generation, left)  # of all: what is not asked for is told, too
                if key in wanted:
                    waiting[generation.source] = behind
            except LakeError:
                raise
            except FinkbridgeError as error:  # of this topic or cluster alone
                self._report.problems.append(str(error))
                if backlog.is_down(self._brokers[seen.cluster], error):
                    down.add(seen.cluster)  # or each of its topics would wait as long
        self._left = {plan.number for plan in kept}
        plans = kept + self._plan_new(waiting)
        for plan in plans:
            self._report.planned(plan)
        return plans

    def estimated_bytes(self, plan: SegmentPlan) -> float:
        """Return the bytes that a plan will fetch, by the mean message of its topic so far."""
        return self._mean(self.generations[key_of(plan)]) * sum(r.offsets for r in plan.ranges)

    def replan(self, plan: SegmentPlan) -> list[SegmentPlan]:
        """Put a plan whose messages expired meanwhile off, record the gap, and plan what is still there."""
        source = plan.source
        generation = self.generations[source.cluster, source.topic]
        marks = {p: m for (_, p), m in self._brokers[source.cluster].watermarks([source.topic]).items()}
        if gone := [r.partition for r in plan.ranges if r.partition not in marks]:
            raise GenerationError(
                f"{source.topic}: partition {gone[0]} is no more, so the topic was recreated during the run: "
                "run again for its new life"
            )
        states = [
            PartitionState(r.partition, r.start, min(marks[r.partition].low, r.end), r.end)
            for r in plan.ranges
        ]
        self._report.replanned(plan)
        if not self.settler.salvaged([plan], generation, marks, EXPIRED):
            return []
        self.settler.abandon([plan], gone=[plan])
        self._record_gaps(generation, states)
        rest = tuple(ranges_waiting(states))
        made = self._coordinator.add_plans(generation, [rest] if rest else [], plan.byte_limit)
        for new in made:
            self._report.planned(new)
        return made

    def clear(self, plan: SegmentPlan) -> None:
        """Delete what a plan left in the lake, so that it can land in another way."""
        self._coordinator.check()  # first: another coordinator may have committed it
        delete_landed(self._coordinator, [plan])

    def again(self, plan: SegmentPlan) -> list[SegmentPlan]:
        """Put a plan off in favour of one of the same offsets, which is landed anew."""
        self.settler.abandon([plan])
        return self._coordinator.add_plans(self.generations[key_of(plan)], [plan.ranges], plan.byte_limit)

    def rename(self, plan: SegmentPlan) -> list[SegmentPlan]:
        """Put a plan off whose names are taken by other files, in favour of one with a number of its own.

        Where a dead run left the plan, the files are what that run left, and are deleted. Else they stay: a
        ledger that was put back from a copy gives numbers twice, and what has them may be the only copy.
        """
        if plan.number in self._left:
            return self.again(plan)
        self._coordinator.abandon([plan])
        self._coordinator.skip_numbers(greatest_number(self._ledger.lake, plan.source.topic))
        return self._coordinator.add_plans(self.generations[key_of(plan)], [plan.ranges], plan.byte_limit)

    def split(self, plan: SegmentPlan) -> list[SegmentPlan]:
        """Put a plan off in favour of smaller ones of the same offsets, which land or fail by themselves."""
        generation = self.generations[key_of(plan)]
        self.settler.abandon([plan])
        self._report.replanned(plan)
        piece = -(-sum(r.offsets for r in plan.ranges) // SPLIT_INTO)
        made = self._coordinator.add_plans(generation, segments(plan.ranges, piece, 1.0), plan.byte_limit)
        for new in made:
            self._report.planned(new)
        return made

    def _mean(self, generation: KnownGeneration) -> float:
        return max(1.0, self._means.get(generation.row_id, MEAN_MESSAGE_BYTES))

    def _plan_new(self, waiting: Mapping[TopicGeneration, Waiting]) -> list[SegmentPlan]:
        """Share what the run may take over all topics, and write it down as plans."""
        made: list[SegmentPlan] = []
        segment_bytes = self._settings.segment_bytes
        taken = share(waiting, Limits(self._settings.max_messages, self._settings.max_bytes))
        for source in sorted(taken):
            generation = self.generations[source.cluster, source.topic]
            planned = segments(taken[source], segment_bytes, waiting[source].mean_bytes + MESSAGE_BYTES)
            made += self._coordinator.add_plans(generation, planned, segment_bytes)
        return made

    def _waiting(
        self, seen: TopicAtBroker, generation: KnownGeneration, kept: Sequence[SegmentPlan]
    ) -> Waiting:
        """Return what waits behind the plans that stand; record what is lost."""
        nexts = self._nexts(seen, generation)
        self._record_gaps(generation, backlog.states(seen, nexts))
        self._tell_short(seen, nexts)
        nexts |= {p: max(o, seen.watermarks[p].low) for p, o in nexts.items() if p in seen.watermarks}
        for r in (r for plan in kept for r in plan.ranges):
            nexts[r.partition] = max(nexts[r.partition], r.end)
        states = list(backlog.states(seen, nexts))
        planned = sum(r.offsets for plan in kept for r in plan.ranges)
        self._report.topic(generation.source).lag = planned + sum(max(0, s.end - s.next) for s in states)
        return Waiting(ranges_waiting(states), self._mean(generation))

    def _nexts(self, seen: TopicAtBroker, generation: KnownGeneration) -> dict[int, int]:
        """Return each partition's end in the lake; one never seen before gets its start written down."""
        known = nexts_of(self._ledger.partitions(generation.row_id))
        new = [p for p in seen.watermarks if p not in known]
        if not new:
            return known
        broker = self._brokers[seen.cluster]
        first = cuts.begin(broker, seen, generation, self._ledger, new)
        # a partition that was added to a known topic, or a recreated topic, holds only what is new
        start = self._settings.start if not known and generation.source.generation == 1 else "earliest"
        rest = [p for p in new if p not in first]
        first |= backlog.starts(broker, seen, rest, start) if rest else {}
        self._coordinator.start_partitions(generation, first, cuts.epochs_at(seen, first))
        return known | first

    def _record_gaps(self, generation: KnownGeneration, states: Iterable[PartitionState]) -> None:
        for state in states:
            if gap := expired(state):
                self._coordinator.commit_gap(generation, gap, EXPIRED)
                self._report.lost(generation.source, gap)

    def _tell_short(self, seen: TopicAtBroker, nexts: Mapping[int, int]) -> None:
        """Tell of partitions that end before what the lake has, though the topic is the same."""
        for state in backlog.states(seen, nexts):
            if state.end < state.next:
                self._report.problems.append(
                    f"cluster {seen.cluster}: {seen.topic} partition {state.partition} ends at {state.end}, "
                    f"and the lake has it up to {state.next}: its leader may not show all yet, or the broker "
                    "lost messages it had; run again, and ask the cluster's owner if it stays so"
                )
