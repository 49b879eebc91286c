"""Sends what is selected to the target, and proves that it is there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from typing import Any

import polars as pl

from finkbridge.broker import Broker, create_topic
from finkbridge.broker.resumable import Progress, ResumableProducer
from finkbridge.errors import BrokerError, SettingsError
from finkbridge.ledger.adopt import open_known
from finkbridge.republish.index import Index
from finkbridge.republish.proof import Report, prove
from finkbridge.republish.request import Pace, Request
from finkbridge.settings import Settings
from finkbridge.values import Message

COMMIT_MESSAGES = 2_000
COMMIT_BYTES = 32_000_000
COMMIT_S = 1.0
"""A transaction is committed at the first of these: what it has is seen by readers then."""

TARGET = {
    "retention.ms": "-1",  # with their old timestamps, any retention would delete the messages at once
    "message.timestamp.type": "CreateTime",
    "max.message.bytes": "10485760",
}

Watch = Callable[[int, int], None]
"""Told how many messages are done, and of how many."""


def republish(
    settings: Settings, request: Request, watch: Watch | None = None, stopping: threading.Event | None = None
) -> Report:
    """Put archived messages back on a topic, byte for byte, and prove it.

    Parameters
    ----------
    settings
        Lake and clusters.
    request
        What, where, how fast.
    watch
        Told of progress.
    stopping
        Set it to end early: the same request goes on from there.

    Raises
    ------
    SettingsError, LakeError, DecodeError, BrokerError
        It cannot be had; what is committed stays, and the same request goes on from there.
    """
    stop, cluster = stopping or threading.Event(), settings.cluster(request.cluster)
    with (
        open_known(settings.lake, settings.ledger_url) as ledger,
        closing(Index(ledger, request.selection)) as index,
    ):
        request.check(index.source.cluster)
        report = Report(request.selection.topic, request.target, index.frame.height)
        report.undated = int(index.frame["timestamp_ms"].null_count())
        if not report.selected:
            report.problems.append("nothing of the lake is selected")
            return report
        job = request.job(cluster.group_id, index.source.cluster, index.source.generation)
        with ExitStack() as stack:
            broker = stack.enter_context(
                Broker(request.cluster, cluster, timeout_s=settings.broker_timeout_s)
            )
            broker.topics()  # tells of a cluster that is not there, where a transaction only waits
            producer = stack.enter_context(ResumableProducer(request.cluster, cluster, job))
            if not create_topic(cluster, request.target, max(index.partitions()) + 1, TARGET):
                _refuse_to_expire(broker, request.target, index.frame)
            sender = Sender(producer, request.target, _begin(broker, producer, request, index))
            report.before = sender.total
            for done in sender.send(
                _paced(index.messages(_rest(index.frame, sender.done)), request.pace, stop)
            ):
                (watch or _nobody)(done, report.selected)
            report.sent, report.bytes = sender.total - report.before, sender.bytes
            if not stop.is_set():
                prove(broker, request.target, index, sender.done, report)
    return report


def _nobody(_done: int, _of: int) -> None:
    """Watch nothing."""


def _refuse_to_expire(broker: Broker, target: str, frame: pl.DataFrame) -> None:
    """Raise SettingsError where a topic that was there would lose by their age what it is about to get."""
    kept_ms, oldest_ms = broker.retention_ms([target])[target], frame["timestamp_ms"].min()
    if kept_ms is None or kept_ms < 0 or not isinstance(oldest_ms, int):
        return
    if oldest_ms + kept_ms < time.time() * 1000:
        raise SettingsError(
            f"{target} keeps messages for {kept_ms / 86_400_000:,.1f} days, and some of these are older: the "
            "broker would delete them. Choose a new topic, which keeps all of them, or set retention.ms to -1"
        )


def _begin(
    broker: Broker, producer: ResumableProducer, request: Request, index: Index
) -> dict[int, Progress]:
    """Return how far the job is in each partition, where it begins in those that have nothing yet."""
    ends = {p: marks for (_, p), marks in _marks(broker, request.target).items()}
    wanted = index.partitions()
    if missing := [p for p in wanted if p not in ends]:
        raise SettingsError(
            f"{request.target} has {len(ends)} partitions, and messages are of partition {missing[-1]}: give "
            f"it {missing[-1] + 1}, or choose another --to"
        )
    done = producer.progress(request.target, wanted)
    held = sum(marks.end - marks.low for marks in ends.values())
    if held and not done and not request.append:
        raise SettingsError(
            f"{request.target} holds {held:,} offsets that are not of this work: choose a new topic, or "
            "--append"
        )
    new = {p: Progress(0, ends[p].end, 0) for p in wanted if p not in done}
    if (
        new
    ):  # noted before the first message: what a process leaves that dies in its first transaction is ours
        producer.begin()
        producer.commit(request.target, new)
    return done | new


def _marks(broker: Broker, topic: str) -> Mapping[tuple[str, int], Any]:
    until = time.monotonic() + 10
    while True:
        try:
            return broker.watermarks([topic])
        except BrokerError:
            if time.monotonic() > until:  # a topic that was made just now is not known everywhere at once
                raise
            time.sleep(0.1)


class Sender:
    """Sends messages in transactions, each with how far the work is.

    Parameters
    ----------
    producer
        Open.
    target
        Topic.
    done
        How far each partition is; kept up to date.
    """

    def __init__(self, producer: ResumableProducer, target: str, done: dict[int, Progress]) -> None:
        self._producer = producer
        self._target = target
        self.done = done
        self.bytes = 0
        """Of the messages' values that this process sent."""
        self._count = self._pending = 0
        self._began = 0.0
        self._touched: set[int] = set()

    @property
    def total(self) -> int:
        """Messages that this job has sent, whichever process."""
        return sum(progress.sent for progress in self.done.values())

    def send(self, messages: Iterator[Message | None]) -> Iterator[int]:
        """Send all; None: nothing comes for a while. Yields, after each commit, the total so far."""
        for message in messages:
            if message is not None:
                self._add(message)
            if self._is_due(waiting=message is None):
                self._commit()
                yield self.total
        if self._count:
            self._commit()
        yield self.total

    def _add(self, message: Message) -> None:
        if not self._count:
            self._producer.begin()
            self._began = time.monotonic()
        p = message.partition
        self._producer.send(self._target, p, message)
        self.done[p] = Progress(message.offset + 1, self.done[p].start, self.done[p].sent + 1)
        self._touched.add(p)
        self._count += 1
        self._pending += message.size
        self.bytes += message.size

    def _is_due(self, *, waiting: bool) -> bool:
        if not self._count:
            return False
        full = self._count >= COMMIT_MESSAGES or self._pending >= COMMIT_BYTES
        return waiting or full or time.monotonic() - self._began >= COMMIT_S

    def _commit(self) -> None:
        self._producer.commit(self._target, {p: self.done[p] for p in self._touched})
        self._count = self._pending = 0
        self._touched.clear()


def _rest(frame: pl.DataFrame, done: Mapping[int, Progress]) -> pl.DataFrame:
    nexts = pl.DataFrame(
        {"partition": list(done), "next": [progress.next for progress in done.values()]},
        schema={"partition": pl.Int32, "next": pl.Int64},
    )
    joined = frame.join(nexts, on="partition", how="left", maintain_order="left")
    return joined.filter(pl.col("offset") >= pl.col("next")).drop("next")


def _paced(
    messages: Iterator[tuple[int, Message]], pace: Pace, stop: threading.Event
) -> Iterator[Message | None]:
    """Yield messages when they are due, and None before each wait."""
    at, before = time.monotonic(), None
    for due_ms, message in messages:
        wait_s = 1 / pace.rate if pace.rate and before is not None else 0.0
        if pace.speed and before is not None:
            wait_s = max(wait_s, min((due_ms - before) / 1000 / pace.speed, pace.longest_pause_s))
        before = due_ms
        at += wait_s
        if (left := at - time.monotonic()) > 0:
            if left > COMMIT_S:
                yield None
            stop.wait(left)
        if stop.is_set():
            return
        yield message
