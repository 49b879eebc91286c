"""Steps 2-6 of the way through the house, from the coordinator: plans go out, come back, are committed.

A plan that cannot be landed is split into smaller ones, down to the message that does it, which goes to
quarantine: `finkbridge.attempts` has the rule.

A plan is committed only when the ledger's end of each of its partitions is where the plan starts: what comes
back early waits for its turn.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from finkbridge import backlog
from finkbridge.attempts import Attempts, Back, error_line, is_fault, reason_of
from finkbridge.backlog import TopicAtBroker
from finkbridge.broker import Broker
from finkbridge.budget import SchemaBudget
from finkbridge.errors import (
    BrokerTimeoutError,
    FinkbridgeError,
    LakeError,
    NameTakenError,
    RangeExpiredError,
    UnreachableError,
)
from finkbridge.ledger import Coordinator
from finkbridge.ledger.store import LedgerPartition
from finkbridge.plan import in_lanes
from finkbridge.planning import Planner
from finkbridge.report import DrainReport
from finkbridge.settling import Key, key_of
from finkbridge.values import LandedPart, SegmentPlan
from finkbridge.workers import Task, run_task
from finkbridge.workforce import Workforce

STOP_WITHIN_S = 5.0
"""How long a run that is told to stop waits for segments that are nearly done."""

Landed = tuple[LandedPart, ...]


class Listener(Protocol):
    """Who watches a run."""

    def planned(self, offsets: int) -> None:
        """Take note of offsets that are to be drained."""

    def committed(self, plan: SegmentPlan, parts: Landed) -> None:
        """Take note of a plan that is in the lake."""


class Silent:
    """A listener that does nothing."""

    def planned(self, offsets: int) -> None:
        """Do nothing."""

    def committed(self, plan: SegmentPlan, parts: Landed) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Crew:
    """Who does the work of a run, and who watches it."""

    workers: Workforce
    task: Callable[[SegmentPlan], Task]
    listener: Listener
    stopping: threading.Event
    """Set to end the run early."""
    pause: Callable[[], None]
    """Called after each round of commits."""
    budget: SchemaBudget
    """Of the topics' writer schemas."""


@dataclass(slots=True)
class Execution:
    """One run's plans on their way."""

    coordinator: Coordinator
    brokers: Mapping[str, Broker]
    planner: Planner
    report: DrainReport
    crew: Crew
    _attempts: Attempts[Task, Landed] = field(init=False)
    _queue: deque[SegmentPlan] = field(default_factory=deque)
    _back: list[tuple[Task, Landed | None]] = field(default_factory=list)
    """Plans that are landed (or expired: None) and wait for their turn to be committed."""
    _failed: set[Key] = field(default_factory=set)
    """Topics of which a plan failed: what follows in them could not be committed."""
    _down: set[str] = field(default_factory=set)
    """Clusters that no longer answer: each of their topics would wait for it anew."""
    _silent: set[Key] = field(default_factory=set)
    """Topics of which a plan failed as no broker answered."""

    def __post_init__(self) -> None:
        self._attempts = Attempts(self.crew.workers, run_task, self)

    @property
    def lost_workers(self) -> bool:
        """Whether a worker died, which may have left what it was writing."""
        return self._attempts.lost_workers

    def execute(self, plans: Sequence[SegmentPlan]) -> None:
        """Land and commit plans; what goes wrong with one is reported, and its plan stays pending."""
        self._queue.extend(in_lanes(plans, max(1, self.crew.workers.count)))
        if self.crew.workers.count:
            self._submit()
            for name in {plan.source.cluster for plan in plans}:
                self.brokers[name].expect_to_tell_group()
        while (self._queue or self._attempts.is_busy()) and not self.crew.stopping.is_set():
            self._submit()
            self._collect(0.5)
            self.crew.pause()
        if self.crew.stopping.is_set():
            self._stop()
        self._tell_groups()

    def is_wanted(self, task: Task) -> bool:
        """Whether a plan can still be committed in this run; what ends it may have ended its workers, too."""
        if task.plan.source.cluster in self._down or key_of(task.plan) in self._failed:
            return False
        return not self.crew.stopping.is_set()

    def pieces(self, task: Task) -> Sequence[Task]:
        """Split a plan that cannot be landed."""
        if sum(r.offsets for r in task.plan.ranges) < 2:
            return ()
        return [self.crew.task(plan) for plan in self.planner.split(task.plan)]

    def refused(self, task: Task, error: Exception) -> Task | None:
        """Have a message go to quarantine unseen."""
        if task.refusal:
            return None
        self.planner.clear(task.plan)
        return replace(task, refusal=reason_of(error, task.timeout_s))

    def _submit(self) -> None:
        most = self.crew.workers.count + 1  # one more, so that no worker waits
        while self._queue and self._attempts.running < most:
            task = self.crew.task(self._queue.popleft())
            if self.is_wanted(task):
                self._attempts.start(task)

    def _collect(self, timeout_s: float) -> None:
        for back in self._attempts.wait(timeout_s):
            self._take(back)
        while self._commit_next():
            pass

    def _take(self, back: Back[Task, Landed]) -> None:
        """Note what came back; where one thought dead left other files of these names, take new names."""
        task, landed, error = back
        if error is None or isinstance(error, RangeExpiredError):
            self._back.append((task, landed))
        elif isinstance(error, NameTakenError) and self.is_wanted(task):
            self._queue.extendleft(self.planner.rename(task.plan))
        elif is_fault(error):
            self._fail(task.plan, f"{_place(task.plan)} cannot even be set aside: {error_line(error)}")
        else:
            self._fail_by(task.plan, error)

    def _commit_next(self) -> bool:
        """Commit the first plan whose turn it is; return whether there was one."""
        for waiting in self._back:
            task, parts = waiting
            if self._is_next(task.plan):
                self._back.remove(waiting)
                self._settle(task, parts)
                return True
        return False

    def _settle(self, task: Task, parts: Landed | None) -> None:
        """Commit a plan, or plan anew: one whose messages expired, or that brings too many schemas by now."""
        plan = task.plan
        try:
            if not self._same_generation(plan):
                return
            if parts is None:
                self._queue.extendleft(reversed(self.planner.replan(plan)))
                return
            if self.crew.budget.is_late(plan, parts):
                self._queue.extendleft(self.planner.again(plan))
                return
        except LakeError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever one topic meets, the others go on
            self._fail_by(plan, error)
            return
        self._commit(task, parts)

    def _is_next(self, plan: SegmentPlan) -> bool:
        ends = self._ends(*key_of(plan))
        return all(ends[r.partition].next_offset == r.start for r in plan.ranges)

    def _ends(self, cluster: str, topic: str) -> dict[int, LedgerPartition]:
        return self.coordinator.ledger.partitions(self.planner.generations[cluster, topic].row_id)

    def _same_generation(self, plan: SegmentPlan) -> bool:
        """Look whether the topic was recreated during the fetch: the messages may be of either life."""
        broker, known = self.brokers[plan.source.cluster], self.planner.generations[key_of(plan)]
        topic = plan.source.topic
        topic_id = broker.topic_ids([topic])[topic]
        marks = {} if topic_id and known.topic_id else broker.watermarks([topic])
        seen = TopicAtBroker(broker.name, topic, topic_id, {p: m for (_, p), m in marks.items()})
        if backlog.same_generation(broker, seen, known, self.coordinator.ledger):
            return True
        self._fail(plan, f"{topic}: the topic was recreated during the run: run again for its new life")
        return False

    def _commit(self, task: Task, parts: Landed) -> None:
        plan = task.plan
        try:
            self.coordinator.commit_segment(plan, parts)
        except LakeError:
            raise
        except FinkbridgeError as error:
            self._fail(plan, str(error))
        except Exception as error:  # noqa: BLE001 - what the ledger cannot hold is of one message, too
            self._attempts.blame(task, error)
        else:
            self.crew.budget.note(plan, parts)
            self.report.topic(plan.source).add(parts)
            self.crew.listener.committed(plan, parts)

    def _fail_by(self, plan: SegmentPlan, error: Exception) -> None:
        """Note an error; a silence that was told of the cluster or topic is not told again in other words."""
        cluster, key = plan.source.cluster, key_of(plan)
        if isinstance(error, UnreachableError | BrokerTimeoutError):
            is_told = cluster in self._down or key in self._silent
            self._silent.add(key)
            if cluster not in self._down and backlog.is_down(self.brokers[cluster], error):
                self._down.add(cluster)
            if is_told:
                self._failed.add(key)
                return
        self._fail(plan, error_line(error))

    def _fail(self, plan: SegmentPlan, problem: str) -> None:
        self._failed.add(key_of(plan))
        if problem not in self.report.problems:
            self.report.problems.append(problem)

    def _stop(self) -> None:
        until = time.monotonic() + STOP_WITHIN_S
        while self._attempts.running and time.monotonic() < until:
            self._collect(0.2)
        if self.coordinator.ledger.pending_plans():
            self.report.problems.append(
                "the run was told to stop: what is left is finished first by the next run"
            )

    def _tell_groups(self) -> None:
        """Let the brokers' own lag tools agree; a refusal changes nothing."""
        for name, broker in self.brokers.items():
            ends = {
                (report.topic, partition): row.next_offset
                for report in self.report.topics.values()
                if report.cluster == name and report.messages > report.salvaged  # of those it may have none
                for partition, row in self._ends(name, report.topic).items()
            }
            if ends:
                broker.tell_group(ends)


def _place(plan: SegmentPlan) -> str:
    return f"{plan.source.topic}: the message at {plan.ranges[0].partition}:{plan.ranges[0].start}"
