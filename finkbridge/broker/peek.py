"""Looks at the first messages of many partitions at once, and asks where epochs of their leaders ended."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import ClassVar

from confluent_kafka import Message as RawMessage
from confluent_kafka import TopicPartition

from finkbridge.access import Access
from finkbridge.broker.config import Config
from finkbridge.broker.failures import END_OF_PARTITION
from finkbridge.broker.placing import Place
from finkbridge.broker.reader import FORCED, PEEK, WAIT_S, RangeReader, stamp_of
from finkbridge.errors import BrokerTimeoutError

NO_END = 2**62
"""An offset behind the end of any partition."""

_ALL: Config = {"isolation.level": "read_uncommitted"}


class FirstReader(RangeReader):
    """Reads the first message of partitions, all of them in one go."""

    BATCH_MESSAGES: ClassVar[int] = 1
    """Most who peek want one, and should not wait for more."""

    def first_timestamps_ms(self, offsets: Mapping[Place, int]) -> dict[Place, int | None]:
        """Return the timestamp (Unix ms) of the first message at or behind an offset, of many partitions.

        None where there is none, where the offset has expired, and where nothing came in time.
        """
        events = self._first_events(TopicPartition(*where, offset) for where, offset in offsets.items())
        return {where: _time_of(events[where]) if where in events else None for where in offsets}

    def _first_events(self, asked: Iterable[TopicPartition]) -> dict[Place, RawMessage]:
        """Return the first that is told of each partition: a message, its end or an error."""
        places = list(asked)
        found: dict[Place, RawMessage] = {}
        waiting = {(place.topic, place.partition) for place in places}
        deadline = time.monotonic() + self._timeout_s
        self._turn += 1
        self._watch.clear()
        self._idle.assign(places)
        try:
            while waiting and time.monotonic() < deadline:
                self._watch.raise_refusal()
                for event in self._consumer.consume(len(waiting), WAIT_S):
                    where = (event.topic(), event.partition())
                    if where in waiting:
                        found[where] = event
                        waiting.remove(where)
                        self._consumer.pause([TopicPartition(*where)])  # what follows is not looked at
        finally:
            self._consumer.resume(places)  # or it would last
            self._consumer.unassign()
        if places and not found:
            raise self._watch.silence("reading first messages", answered=self._answered)
        self._answered = True
        return found


class _EpochReader(FirstReader):
    """Asks where epochs of partitions ended, once. See `epoch_ends`."""

    def ends(self, topic: str, epochs: Mapping[int, int]) -> dict[int, int]:
        """Return where each partition is gone on with, which is no offset that was asked for."""
        asked = (TopicPartition(topic, p, NO_END, leader_epoch=epoch) for p, epoch in epochs.items())
        events = self._first_events(asked)
        return {p: int(event.offset()) for (_, p), event in events.items() if _is_place(event)}


class _OrEarliest(_EpochReader):
    FORCED: ClassVar[Config] = FORCED | {"auto.offset.reset": "earliest"} | _ALL


class _OrLatest(_EpochReader):
    FORCED: ClassVar[Config] = FORCED | {"auto.offset.reset": "latest"} | _ALL


def epoch_ends(
    cluster: str, settings: Access, timeout_s: float, topic: str, epochs: Mapping[int, int]
) -> dict[int, int]:
    """Return where epochs of partitions ended in what is their log now.

    A client that goes on at an offset of an epoch is told by the leader where that epoch ended (KIP-320): if
    that is before the offset, the log was cut, and the client goes on there. So one that claims an offset
    which is behind any end is told it always. librdkafka asks as it learns of a partition's leader, hence a
    new client each time; and it may have learned too early, or the leader may not know epochs. Then the
    client goes on at the begin or at the end, as it is set. So two are asked that are set differently, anew
    until the time is up: only what they agree on is an answer.

    Raises
    ------
    BrokerTimeoutError
        There is a partition without an answer, as of a leader that does not show all it has yet.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = _agreed(cluster, settings, timeout_s, topic, epochs)
        unknown = sorted(epochs.keys() - found.keys())
        if not unknown:
            return found
        if time.monotonic() >= deadline:
            raise BrokerTimeoutError(
                f"cluster {cluster}: no answer to whether {topic} partition {unknown[0]} was cut when its "
                "leader changed: run again"
            )
        time.sleep(WAIT_S)  # a leader that has just become one tells its epochs a moment later


def _agreed(
    cluster: str, settings: Access, timeout_s: float, topic: str, epochs: Mapping[int, int]
) -> dict[int, int]:
    """Ask two clients that are set differently, and return what they agree on."""
    told = []
    for kind in (_OrEarliest, _OrLatest):
        with closing(kind(cluster, settings, PEEK, timeout_s)) as reader:
            told.append(reader.ends(topic, epochs))
    first, last = told
    return {p: end for p, end in first.items() if last.get(p) == end}


def _is_place(event: RawMessage) -> bool:
    """Whether what is told of a partition has an offset: a message, or the partition's end."""
    error = event.error()
    return error is None or error.code() == END_OF_PARTITION


def _time_of(event: RawMessage) -> int | None:
    """Return a message's timestamp; None where it has none, for the end of a partition, and for an error."""
    return stamp_of(event)[0] if event.error() is None else None
