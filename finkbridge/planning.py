"""Step 1 of the way through the house: from what brokers and ledger say to plans that are written down.

Before anything new is planned, what a dead run left is settled: its pending plans are kept and finished
first, whatever today's limits and topics say; where their messages are gone, they are committed from the
files that the dead run left (`finkbridge.salvage`). Only what these do not have is abandoned, and a gap is
recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from finkbridge import backlog, cuts, later
from finkbridge.backlog import Look, TopicAtBroker, is_there
from finkbridge.broker import Broker, Watermarks
from finkbridge.errors import FinkbridgeError, GenerationError, LakeError, SalvageError
from finkbridge.ledger import Coordinator
from finkbridge.ledger.store import KnownGeneration, LedgerPartition
from finkbridge.plan import MEAN_MESSAGE_BYTES, Limits, PartitionState, Waiting, expired, segments, share
from finkbridge.plan import backlog as ranges_waiting
from finkbridge.report import DrainReport
from finkbridge.retire import clear_closed, delete_landed, greatest_number, set_lost_aside
from finkbridge.settings import Settings
from finkbridge.values import MESSAGE_BYTES, LastMessage, OffsetRange, SegmentPlan, TopicGeneration, covers

EXPIRED = "expired at the broker before it was drained"
RECREATED = "the topic was recreated before it was drained"
CUT = "the broker lost messages of it before they were drained"
DELETED = "the topic was deleted before it was drained"

SPLIT_INTO = 4
"""Pieces of a plan that kills its worker: more of them find the message sooner, and leave more files."""

Key = tuple[str, str]
"""Cluster and topic."""


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
        self._whole_settings = settings
        self._report = report
        self._means = self._ledger.mean_message_bytes()
        self.generations = self._ledger.generations()
        self._left: set[int] = set()

    def pending(self) -> dict[Key, list[SegmentPlan]]:
        """Return what a dead run left, by cluster and topic; finish setting aside what it gave up."""
        self._report.problems += set_lost_aside(self._coordinator)
        plans = sorted(self._ledger.pending_plans(), key=lambda p: (_key(p), p.number))
        return {key: list(mine) for key, mine in groupby(plans, _key)}

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
                generation, left = self._settle(seen, pending.get(key, []))
                kept += left
                if key in wanted:
                    waiting[generation.source] = self._waiting(seen, generation, left)
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
        return self._mean(self.generations[_key(plan)]) * sum(r.offsets for r in plan.ranges)

    def close_deleted(self, key: Key, plans: Sequence[SegmentPlan]) -> None:
        """Close the plans of a topic that is no more, if the broker says so of this very topic."""
        cluster, topic = key
        if self._brokers[cluster].is_gone(topic):
            try:
                left = self._salvaged(plans, self.generations[key], {}, DELETED)
            except SalvageError as error:
                self._report.problems.append(str(error))
            else:
                self._give_up(left, self.generations[key], DELETED)
            return
        self._report.problems.append(
            f"cluster {cluster} does not list {topic}, nor does it say that it was deleted: what was planned "
            "of it waits; check the user's rights on it"
        )

    def give_up_deleted(self, key: Key) -> None:
        """Record what was seen of a topic that is surely no more, and never landed, as lost.

        Not while plans of it wait to be closed: what a dead run landed of them may be committed yet.
        """
        if not any(_key(plan) == key for plan in self._ledger.pending_plans()):
            self._give_up([], self.generations[key], DELETED)

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
        if not self._salvaged([plan], generation, marks, EXPIRED):
            return []
        self._abandon([plan], gone=[plan])
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
        self._abandon([plan])
        return self._coordinator.add_plans(self.generations[_key(plan)], [plan.ranges], plan.byte_limit)

    def rename(self, plan: SegmentPlan) -> list[SegmentPlan]:
        """Put a plan off whose names are taken by other files, in favour of one with a number of its own.

        Where a dead run left the plan, the files are what that run left, and are deleted. Else they stay: a
        ledger that was put back from a copy gives numbers twice, and what has them may be the only copy.
        """
        if plan.number in self._left:
            return self.again(plan)
        self._coordinator.abandon([plan])
        self._coordinator.skip_numbers(greatest_number(self._ledger.lake, plan.source.topic))
        return self._coordinator.add_plans(self.generations[_key(plan)], [plan.ranges], plan.byte_limit)

    def split(self, plan: SegmentPlan) -> list[SegmentPlan]:
        """Put a plan off in favour of smaller ones of the same offsets, which land or fail by themselves."""
        generation = self.generations[_key(plan)]
        self._abandon([plan])
        self._report.replanned(plan)
        piece = -(-sum(r.offsets for r in plan.ranges) // SPLIT_INTO)
        made = self._coordinator.add_plans(generation, segments(plan.ranges, piece, 1.0), plan.byte_limit)
        for new in made:
            self._report.planned(new)
        return made

    def _settle(
        self, seen: TopicAtBroker, left: list[SegmentPlan]
    ) -> tuple[KnownGeneration, list[SegmentPlan]]:
        """Return the topic's generation, a new one if it was recreated, and the pending plans that stand."""
        key = (seen.cluster, seen.topic)
        known = self.generations.get(key)
        if known is not None and backlog.same_generation(
            self._brokers[seen.cluster], seen, known, self._ledger
        ):
            self.generations[key] = known = self._with_topic_id(known, seen.topic_id)
            self.generations[key] = present = self._resume(seen, known, left)
            return present, self._keep(seen, known, left) if present is known else []
        if known is not None:
            left = self._salvaged(left, known, {}, RECREATED, seen)
            self._give_up(left, known, RECREATED)
        self.generations[key] = self._coordinator.add_generation(seen.cluster, seen.topic, seen.topic_id)
        return self.generations[key], []

    def _resume(
        self, seen: TopicAtBroker, known: KnownGeneration, left: Sequence[SegmentPlan]
    ) -> KnownGeneration:
        """Return the life that a topic goes on in: a new one where its log was cut."""
        if seen.topic_id is None:
            return known  # then `same_generation` has looked at the messages
        found = cuts.resume(self._brokers[seen.cluster], seen, known, self._ledger, left)
        if not found.cut:
            self._coordinator.note_epochs(known, found.epochs)
            return known
        marks = {
            p: mark._replace(end=min(mark.end, found.cut.get(p, mark.end)))
            for p, mark in seen.watermarks.items()
        }
        rest = self._salvaged(left, known, marks, CUT, seen)
        if len(rest) < len(left):
            return self._resume(seen, known, rest)  # the lake has more of the older life now
        gone = [plan for plan in left if not is_there(plan, marks)]
        new, lost = self._coordinator.begin_behind(known, found, left, gone, CUT)
        self._clear_given_up(known, left, gone, lost)
        where = ", ".join(f"partition {p} from offset {at} on" for p, at in sorted(found.cut.items()))
        self._report.problems.append(
            f"cluster {seen.cluster}: the broker lost messages it had: {seen.topic} {where}; what gets their "
            f"offsets is drained as generation {new.source.generation}, and the lake keeps what it has; ask "
            "the cluster's owner what else was lost"
        )
        return new

    def _with_topic_id(self, known: KnownGeneration, topic_id: str | None) -> KnownGeneration:
        """Write an id down when it is first seen: a broker may begin to give them."""
        if known.topic_id is not None or topic_id is None:
            return known
        return self._coordinator.note_topic_id(known, topic_id)

    def _keep(
        self, seen: TopicAtBroker, generation: KnownGeneration, left: list[SegmentPlan]
    ) -> list[SegmentPlan]:
        """Return the pending plans if all of them can still be done; else abandon them, to plan afresh."""
        left = self._salvaged(left, generation, seen.watermarks, EXPIRED)
        nexts = _nexts_of(self._ledger.partitions(generation.row_id))
        if not _stand(left, seen, nexts):
            self._abandon(left, [plan for plan in left if not is_there(plan, seen.watermarks)])
            return []
        if left:
            self._report.topic(generation.source).lag = sum(r.offsets for plan in left for r in plan.ranges)
        return left

    def _salvaged(
        self,
        plans: Sequence[SegmentPlan],
        generation: KnownGeneration,
        marks: Mapping[int, Watermarks],
        reason: str,
        next_life: TopicAtBroker | None = None,
    ) -> list[SegmentPlan]:
        """Return the pending plans of a life that were not committed from their own files.

        That is done where the broker, by the marks that it has of this life, cannot give them again. Where
        the life is over, what was landed may be of the next one.
        """
        if all(is_there(plan, marks) for plan in plans):
            return list(plans)
        broker = self._brokers[generation.source.cluster]

        def is_later(last: LastMessage) -> bool | None:
            return next_life is not None and backlog.is_of(broker, next_life, last)

        loss = later.call("finkbridge.salvage:Loss", generation, marks, reason, is_later)
        who = self._coordinator, self._whole_settings, self._report
        left: list[SegmentPlan] = later.call("finkbridge.salvage:salvage", *who, plans, loss)
        return left

    def _abandon(self, plans: Sequence[SegmentPlan], gone: Sequence[SegmentPlan] = ()) -> None:
        self._coordinator.abandon(plans, gone)  # first: it refuses where another coordinator has the lake
        self._report.problems += clear_closed(self._coordinator, plans, gone)

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
        known = _nexts_of(self._ledger.partitions(generation.row_id))
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

    def _give_up(self, plans: Sequence[SegmentPlan], generation: KnownGeneration, reason: str) -> None:
        """Record what was planned or seen of a life that is over, and never landed, as lost."""
        lost = self._coordinator.give_up(plans, generation, reason)
        self._clear_given_up(generation, plans, plans, lost)

    def _clear_given_up(
        self,
        generation: KnownGeneration,
        plans: Sequence[SegmentPlan],
        gone: Sequence[SegmentPlan],
        lost: Iterable[OffsetRange],
    ) -> None:
        """Delete what plans left that were given up, but for those that are gone, and tell what is lost."""
        self._report.problems += clear_closed(self._coordinator, plans, gone)
        for gap in lost:
            self._report.lost(generation.source, gap)


def _nexts_of(partitions: Mapping[int, LedgerPartition]) -> dict[int, int]:
    return {p: row.next_offset for p, row in partitions.items()}


def _stand(plans: Sequence[SegmentPlan], seen: TopicAtBroker, nexts: Mapping[int, int]) -> bool:
    """Whether pending plans follow each other from the lake's end, and the broker has their messages.

    A run that died while it replanned may have left a hole before them, which no commit would ever fill.
    """
    for partition, mine in groupby(sorted(r for plan in plans for r in plan.ranges), lambda r: r.partition):
        ranges = list(mine)
        whole = OffsetRange(partition, ranges[0].start, ranges[-1].end)
        marks = seen.watermarks.get(partition)
        if marks is None or whole.start != nexts.get(partition):
            return False
        if whole.start < marks.low or whole.end > marks.end:
            return False
        if not covers(ranges, whole):
            return False
    return True


def _key(plan: SegmentPlan) -> Key:
    return plan.source.cluster, plan.source.topic
