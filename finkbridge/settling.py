"""Step 1, its first part: settle what a dead run left, and in which of its lives each topic is.

Pending plans are kept, and finished first, whatever today's limits and topics say. Where their messages are
gone, they are committed from the files that the dead run left (`finkbridge.salvage`); only what these do not
have is abandoned, and a gap is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from finkbridge import backlog, cuts, later
from finkbridge.backlog import TopicAtBroker, is_there
from finkbridge.broker import Broker, Watermarks
from finkbridge.errors import SalvageError
from finkbridge.ledger import Coordinator
from finkbridge.ledger.store import KnownGeneration, LedgerPartition
from finkbridge.report import DrainReport
from finkbridge.retire import clear_closed, set_lost_aside
from finkbridge.settings import Settings
from finkbridge.values import LastMessage, OffsetRange, SegmentPlan, covers

EXPIRED = "expired at the broker before it was drained"
RECREATED = "the topic was recreated before it was drained"
CUT = "the broker lost messages of it before they were drained"
DELETED = "the topic was deleted before it was drained"

Key = tuple[str, str]
"""Cluster and topic."""


class Settler:
    """Settles, for one run, what was before it.

    Parameters
    ----------
    coordinator
        Of the lake.
    brokers
        By cluster.
    settings
        How what a dead run left is decoded.
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
        self._settings = settings
        self._report = report
        self.generations = self._ledger.generations()
        """The newest life of each topic."""

    def pending(self) -> dict[Key, list[SegmentPlan]]:
        """Return what a dead run left, by cluster and topic; finish setting aside what it gave up."""
        self._report.problems += set_lost_aside(self._coordinator)
        plans = sorted(self._ledger.pending_plans(), key=lambda p: (key_of(p), p.number))
        return {key: list(mine) for key, mine in groupby(plans, key_of)}

    def close_deleted(self, key: Key, plans: Sequence[SegmentPlan]) -> None:
        """Close the plans of a topic that is no more, if the broker says so of this very topic."""
        cluster, topic = key
        if self._brokers[cluster].is_gone(topic):
            try:
                left = self.salvaged(plans, self.generations[key], {}, DELETED)
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
        if not any(key_of(plan) == key for plan in self._ledger.pending_plans()):
            self._give_up([], self.generations[key], DELETED)

    def settle(
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
            left = self.salvaged(left, known, {}, RECREATED, seen)
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
        rest = self.salvaged(left, known, marks, CUT, seen)
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
        left = self.salvaged(left, generation, seen.watermarks, EXPIRED)
        nexts = nexts_of(self._ledger.partitions(generation.row_id))
        if not _stand(left, seen, nexts):
            self.abandon(left, [plan for plan in left if not is_there(plan, seen.watermarks)])
            return []
        if left:
            self._report.topic(generation.source).lag = sum(r.offsets for plan in left for r in plan.ranges)
        return left

    def salvaged(
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
        who = self._coordinator, self._settings, self._report
        left: list[SegmentPlan] = later.call("finkbridge.salvage:salvage", *who, plans, loss)
        return left

    def abandon(self, plans: Sequence[SegmentPlan], gone: Sequence[SegmentPlan] = ()) -> None:
        """Put plans off; what they left is deleted, and set aside of those whose messages are gone."""
        self._coordinator.abandon(plans, gone)  # first: it refuses where another coordinator has the lake
        self._report.problems += clear_closed(self._coordinator, plans, gone)

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


def key_of(plan: SegmentPlan) -> Key:
    """Return cluster and topic of a plan."""
    return plan.source.cluster, plan.source.topic


def nexts_of(partitions: Mapping[int, LedgerPartition]) -> dict[int, int]:
    """Return the lake's end in each partition."""
    return {p: row.next_offset for p, row in partitions.items()}
