"""Steps 2-6 of the way through the house, from the coordinator: plans go out, come back, are committed.

Where a worker dies, each plan that was with one is tried again in a process of its own. One that ends it
again is split into smaller plans, down to the message that does it, which goes to quarantine.

A plan is committed only when the ledger's end of each of its partitions is where the plan starts: what comes
back early waits for its turn.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from dataclasses import dataclass, field, replace
from typing import Protocol

from finkbridge import backlog
from finkbridge.backlog import TopicAtBroker
from finkbridge.broker import Broker
from finkbridge.budget import SchemaBudget
from finkbridge.errors import (
    BrokerError,
    FinkbridgeError,
    LakeError,
    RangeExpiredError,
    ReconciliationError,
)
from finkbridge.ledger import Coordinator
from finkbridge.ledger.store import LedgerPartition
from finkbridge.planning import Key, Planner
from finkbridge.report import DrainReport
from finkbridge.values import LandedPart, SegmentPlan
from finkbridge.workers import Task, run_task
from finkbridge.workforce import WorkerDiedError, Workforce

log = logging.getLogger(__name__)

DEATHS = 2
"""Processes that a message must end, each alone, before it goes to quarantine: one may have had bad luck."""

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
    lost_workers: bool = False
    """Whether a worker died, which may have left what it was writing."""
    _queue: deque[SegmentPlan] = field(default_factory=deque)
    _running: dict[Future[Landed], SegmentPlan] = field(default_factory=dict)
    _suspects: list[SegmentPlan] = field(default_factory=list)
    """Plans that were with workers when one died."""
    _alone: dict[Future[Landed], Task] = field(default_factory=dict)
    """Suspects on their way, each in a process of its own, one after the other."""
    _deaths: Counter[int] = field(default_factory=Counter)
    """Of processes that had nothing but the plan of one offset, by its number."""
    _back: list[tuple[SegmentPlan, Landed | None]] = field(default_factory=list)
    """Plans that are landed (or expired: None) and wait for their turn to be committed."""
    _failed: set[Key] = field(default_factory=set)
    """Topics of which a plan failed: what follows in them could not be committed."""

    def execute(self, plans: Iterable[SegmentPlan]) -> None:
        """Land and commit plans; what goes wrong with one is reported, and its plan stays pending."""
        self._queue.extend(plans)
        while self._is_busy() and not self.crew.stopping.is_set():
            self._submit()
            done, _ = wait([*self._running, *self._alone], timeout=0.5, return_when=FIRST_COMPLETED)
            self._collect(done)
            self.crew.pause()
        if self.crew.stopping.is_set():
            self._stop()
        self._tell_groups()

    def _is_busy(self) -> bool:
        return bool(self._queue or self._running or self._suspects or self._alone)

    def _submit(self) -> None:
        for plan in self._suspects:
            self._submit_alone(self.crew.task(plan))
        self._suspects.clear()
        most = self.crew.workers.count + 1  # one more, so that no worker waits
        while self._queue and len(self._running) < most:
            plan = self._queue.popleft()
            if _key(plan) not in self._failed:
                self._running[self.crew.workers.submit(run_task, self.crew.task(plan))] = plan

    def _submit_alone(self, task: Task) -> None:
        if _key(task.plan) not in self._failed:
            self._alone[self.crew.workers.submit_alone(run_task, task)] = task

    def _collect(self, done: Iterable[Future[Landed]]) -> None:
        for future in done:
            task = self._alone.pop(future, None)
            plan = task.plan if task else self._running.pop(future)
            try:
                self._back.append((plan, future.result()))
            except RangeExpiredError:
                self._back.append((plan, None))
            except LakeError:
                raise
            except FinkbridgeError as error:
                self._fail(plan, str(error))
            except BrokenExecutor:
                self.lost_workers = True
                self._suspects.append(plan)
            except WorkerDiedError as death:
                self.lost_workers = True
                self._judge(task or self.crew.task(plan), death)
            except Exception as error:  # noqa: BLE001 - whatever one plan meets, the others go on
                self._fail_unexpectedly(plan, error)
        while self._commit_next():
            pass

    def _commit_next(self) -> bool:
        """Commit the first plan whose turn it is; return whether there was one."""
        for waiting in self._back:
            plan, parts = waiting
            if not self._is_next(plan):
                continue
            self._back.remove(waiting)
            try:
                if parts is None:
                    self._queue.extendleft(reversed(self.planner.replan(plan)))
                elif self.crew.budget.is_late(plan, parts):
                    self._queue.extendleft(self.planner.again(plan))
                elif self._same_generation(plan):
                    self._commit(plan, parts)
            except (BrokerError, ReconciliationError) as error:
                self._fail(plan, str(error))
            return True
        return False

    def _is_next(self, plan: SegmentPlan) -> bool:
        ends = self._ends(*_key(plan))
        return all(ends[r.partition].next_offset == r.start for r in plan.ranges)

    def _ends(self, cluster: str, topic: str) -> dict[int, LedgerPartition]:
        return self.coordinator.ledger.partitions(self.planner.generations[cluster, topic].row_id)

    def _same_generation(self, plan: SegmentPlan) -> bool:
        """Look whether the topic was recreated during the fetch: the messages may be of either life."""
        broker, known = self.brokers[plan.source.cluster], self.planner.generations[_key(plan)]
        topic = plan.source.topic
        topic_id = broker.topic_ids([topic])[topic]
        marks = {} if topic_id and known.topic_id else broker.watermarks([topic])
        seen = TopicAtBroker(broker.name, topic, topic_id, {p: m for (_, p), m in marks.items()})
        if backlog.same_generation(broker, seen, known, self.coordinator.ledger):
            return True
        self._fail(plan, f"{topic}: the topic was recreated during the run: run again for its new life")
        return False

    def _commit(self, plan: SegmentPlan, parts: Landed) -> None:
        self.coordinator.commit_segment(plan, parts)
        self.crew.budget.note(plan, parts)
        self.report.topic(plan.source).add(parts)
        self.crew.listener.committed(plan, parts)

    def _fail(self, plan: SegmentPlan, problem: str) -> None:
        self._failed.add(_key(plan))
        if problem not in self.report.problems:
            self.report.problems.append(problem)

    def _fail_unexpectedly(self, plan: SegmentPlan, error: Exception) -> None:
        said = " ".join(str(error).split()) or "no more is known"
        log.debug("plan %d of %s", plan.number, plan.source.topic, exc_info=error)
        self._fail(plan, f"{plan.source.topic}: unexpected {type(error).__name__}: {said}")

    def _judge(self, task: Task, death: WorkerDiedError) -> None:
        """Decide about a plan that had a process for itself, which died: split it down to one message."""
        plan = task.plan
        if self.crew.stopping.is_set():
            return  # what ends the run may have ended its workers, too
        log.info("plan %d of %s: its process %s", plan.number, plan.source.topic, death)
        if sum(r.offsets for r in plan.ranges) > 1:
            self._suspects += self.planner.split(plan)
            return
        self._deaths[plan.number] += 1
        if task.refusal:
            self._fail(plan, f"{_place(plan)} cannot even be fetched: its process {death}")
        elif self._deaths[plan.number] < DEATHS:
            self._submit_alone(task)
        else:
            self._submit_alone(replace(task, refusal=_refusal(task, death)))

    def _stop(self) -> None:
        until = time.monotonic() + STOP_WITHIN_S
        while self._running and time.monotonic() < until:
            self._collect(wait(self._running, timeout=0.2, return_when=FIRST_COMPLETED).done)
        self.report.problems.append(
            "the run was told to stop: what is left is finished first by the next run"
        )

    def _tell_groups(self) -> None:
        """Let the brokers' own lag tools agree; a refusal changes nothing."""
        for name, broker in self.brokers.items():
            ends = {
                (report.topic, partition): row.next_offset
                for report in self.report.topics.values()
                if report.cluster == name and report.messages
                for partition, row in self._ends(name, report.topic).items()
            }
            if ends:
                broker.tell_group(ends)


def _refusal(task: Task, death: WorkerDiedError) -> str:
    if death.is_timeout:
        return f"takes longer than {task.timeout_s:g} s to decode"
    return f"kills the decoder: its process {death}"


def _place(plan: SegmentPlan) -> str:
    return f"{plan.source.topic}: the message at {plan.ranges[0].partition}:{plan.ranges[0].start}"


def _key(plan: SegmentPlan) -> Key:
    return plan.source.cluster, plan.source.topic
