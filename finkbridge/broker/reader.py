"""Reads offset ranges of one cluster, by position: the hot path of a drain."""

from __future__ import annotations

import json
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from operator import methodcaller
from typing import ClassVar

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage

from finkbridge.access import Access
from finkbridge.broker.config import Config, build_client, client_config, private_group
from finkbridge.broker.failures import END_OF_PARTITION, OUT_OF_RANGE, UNKNOWN, ErrorWatch, error_of
from finkbridge.broker.idle import Idle
from finkbridge.broker.standing import Place, Series, Standing
from finkbridge.errors import GenerationError, RangeExpiredError
from finkbridge.values import Headers, Message, OffsetRange

UNREADABLE: Headers = (("finkbridge: a header's name is not UTF-8, so none could be read", None),)
"""Headers of a message whose own ones the client library cannot give."""
NO_TIME = -1
"""Timestamp of a message whose producer gave none."""
ASK_S = 1.0
"""Longest wait for the reason of a silence."""
WAIT_S = 0.05
"""Longest wait for a batch to fill: what a hole at the end of a range may cost."""

SLOW_S = 60.0
"""Longest wait for a message of which bytes keep coming: on a slow line, a fetch takes longer than an answer
should. librdkafka gives up a request by then, too."""

READING: Config = {
    # tells once a second how long each connection has been idle
    "statistics.interval.ms": 1000,
    "socket.keepalive.enable": True,
    # A full queue is looked at again at once: the default of 1 s would idle more than it fetches.
    "fetch.queue.backoff.ms": 5,
    # A range ends at most this long after its last message: nothing here waits for new messages.
    "fetch.wait.max.ms": 20,
    # A topic that was deleted is told after a second instead of thirty.
    "topic.metadata.propagation.max.ms": 1000,
}
BULK: Config = READING | {
    "fetch.message.max.bytes": 4_000_000,
    # what is read ahead while a segment is decoded, and thrown away where the next is of another partition
    "queued.max.messages.kbytes": 8_192,
}
"""To read whole ranges fast; a message that is larger still comes, alone."""
PEEK: Config = READING | {
    "fetch.message.max.bytes": 1,
    "queued.min.messages": 1,
    "queued.max.messages.kbytes": 1,
}
"""To look at single messages: takes as few bytes from the broker as it gives."""
FORCED: Config = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "enable.partition.eof": True,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    # Nobody joins a group here, so a slow lake must not count as a dead consumer.
    "max.poll.interval.ms": 86_400_000,
}


class RangeReader:
    """One consumer, kept from range to range. Not for several threads.

    Parameters
    ----------
    cluster : str
        The cluster's name, for messages.
    settings : Access
        Servers, credentials and librdkafka keys.
    speed : Config
        `BULK` or `PEEK`.
    timeout_s : float
        Seconds without progress after which the broker counts as gone.
    """

    FORCED: ClassVar[Config] = FORCED
    BATCH_MESSAGES: ClassVar[int] = 100
    """Of one batch at most: 5 MB of ZTF, 23 MB of LSST. librdkafka waits for so many, or `WAIT_S`."""

    def __init__(self, cluster: str, settings: Access, speed: Config, timeout_s: float) -> None:
        self._cluster = cluster
        self._timeout_s = timeout_s
        self._watch = ErrorWatch(cluster)
        self._answered = False
        self._turn = 0
        self._heard = 0.0
        self._reached = 0
        forced = self.FORCED | {
            "group.id": private_group(settings),
            "error_cb": self._watch,
            "stats_cb": self._note_traffic,
        }
        self._consumer = build_client(Consumer, cluster, client_config(settings, speed, forced))
        self._standing = Standing(self._consumer)
        self._idle = Idle(self._consumer)

    def close(self) -> None:
        """Give the connections back."""
        self._standing.take()
        self._idle.end()
        self._consumer.close()

    def read(
        self, topic: str, span: OffsetRange, series: Series | None = None
    ) -> Generator[list[Message], None, None]:
        """Yield the messages of `span`, in order, in batches; ended by position, whatever the holes.

        Parameters
        ----------
        topic : str
            A topic that is there.
        span : OffsetRange
            Of one of its partitions.
        series : Series or None
            Whose ranges follow each other: what was read ahead behind one begins the next. None: none do.

        Raises
        ------
        RangeExpiredError, GenerationError, UnknownTopicError
            The broker no longer has what was planned.
        AuthenticationError, UnreachableError, BrokerTimeoutError
            The cluster refuses, is not there, or made no progress in time.
        """
        if not span.offsets:
            return
        self._turn += 1
        turn = self._turn
        self._watch.clear()
        before = self._standing.take()
        if series is None or before != Place(series, span.partition, span.start):
            self._check_known(topic)
            self._idle.assign([TopicPartition(topic, span.partition, span.start)])
        is_read = False
        try:
            for batch in self._batches(topic, span):
                yield batch
                if turn != self._turn:
                    raise RuntimeError("a reader reads one range at a time: finish it before the next")
            is_read = True
        finally:
            if turn == self._turn:
                self._leave(topic, span, series if is_read else None)

    def _leave(self, topic: str, span: OffsetRange, series: Series | None) -> None:
        """Stand behind a range that was read to its very end, if there is more; else give it back."""
        if series is not None and self._reached == span.end and self._has_more(topic, span):
            self._standing.stay(Place(series, span.partition, span.end))
        else:
            self._consumer.unassign()

    def _has_more(self, topic: str, span: OffsetRange) -> bool:
        """Whether the last answer to a fetch told of messages behind a range."""
        place = TopicPartition(topic, span.partition)
        _, end = self._consumer.get_watermark_offsets(place, cached=True)
        return bool(end > span.end)

    def _batches(self, topic: str, span: OffsetRange) -> Iterator[list[Message]]:
        position, key, moved = span.start, None, time.monotonic()
        while position < span.end:
            raw = self._consumer.consume(min(self.BATCH_MESSAGES, span.end - position), WAIT_S)
            batch, key = _messages(raw, key)
            reached = batch[-1].offset + 1 if batch else position
            if len(batch) < len(raw) and reached < span.end:
                reached = max(
                    reached, self._end_among(raw, topic, OffsetRange(span.partition, reached, span.end))
                )
            self._reached = reached
            if reached > span.end:
                batch = [message for message in batch if message.offset < span.end]
            if batch:
                yield batch
            if reached > position:
                position, self._answered, moved = reached, True, time.monotonic()
            else:
                self._complain(topic, moved)

    def _end_among(self, raw: list[RawMessage], topic: str, rest: OffsetRange) -> int:
        """Return the partition's end if it is told among `raw`, else 0; raise what else is."""
        end = 0
        for event, error in ((m, m.error()) for m in raw if m.error() is not None):
            if error.code() == END_OF_PARTITION:
                end = event.offset()
                if end < rest.end:
                    self._check_still_there(topic, rest)
            elif error.code() in OUT_OF_RANGE:
                self._check_still_there(topic, rest)
                raise error_of(error, self._cluster)
            elif event.topic() is not None:
                raise error_of(error, self._cluster)
            else:  # about the group, say: none of a range's business, but it may explain a silence
                self._watch(error)
        return int(end)

    def _check_still_there(self, topic: str, rest: OffsetRange) -> None:
        """Raise if the broker's offsets do not enclose what is left of a range."""
        try:
            asked = TopicPartition(topic, rest.partition)
            low, end = self._consumer.get_watermark_offsets(asked, timeout=self._timeout_s)
        except KafkaException as failure:
            raise error_of(failure.args[0], self._cluster) from None
        where = f"cluster {self._cluster}: {topic} partition {rest.partition}"
        if end < rest.end:
            advice = "it was recreated or cut, so plan it again"
            raise GenerationError(f"{where} ends at {end}, before the planned {rest.end}: {advice}")
        if low > rest.start:
            advice = "the lost range is a gap, the rest can be read from there"
            raise RangeExpiredError(f"{where} begins at {low}, behind {rest.start}: {advice}", low)

    def is_gone(self, topic: str) -> bool:
        """Whether the cluster says that it has no such topic: not that it forbids it, nor nothing at all."""
        try:
            told = self._consumer.list_topics(topic, timeout=self._timeout_s).topics[topic].error
        except KafkaException:
            return False
        return told is not None and told.code() in UNKNOWN

    def _check_known(self, topic: str) -> None:
        """Raise if the cluster says that it has no such topic; a silent cluster says nothing."""
        with suppress(KafkaException):
            told = self._consumer.list_topics(topic, timeout=ASK_S).topics[topic].error
            if told is not None:
                raise error_of(told, self._cluster)

    def _note_traffic(self, told: str) -> None:
        """Take librdkafka's statistics: bytes may be coming, though no message is whole."""
        idle_us = [broker["rxidle"] for broker in json.loads(told)["brokers"].values()]
        idle_s = min((idle / 1e6 for idle in idle_us if idle >= 0), default=None)
        if idle_s is not None:
            self._heard = max(self._heard, time.monotonic() - idle_s)

    def _complain(self, topic: str, moved: float) -> None:
        """Raise if the credentials are refused, or if nothing came for too long since the last progress."""
        self._watch.raise_refusal()
        now = time.monotonic()
        if now > moved + max(self._timeout_s, SLOW_S) or now > max(moved, self._heard) + self._timeout_s:
            if not self._watch.all_down:
                self._check_known(topic)
            raise self._watch.silence(f"reading {topic}", answered=self._answered)


def stamp_of(message: RawMessage) -> tuple[int | None, int]:
    """Return a message's timestamp (Unix ms), None where it has none, and its type."""
    kind, stamp = message.timestamp()
    return (int(stamp) if kind and stamp != NO_TIME else None), kind


_read_headers = methodcaller("headers")
"""Not ``message.headers()``: where a name is no text, confluent_kafka sets an error *and* gives a list with a
hole. A hot call, which Python has specialised, does not look for the error, and what touches the hole dies.
"""


def headers_of(message: RawMessage) -> Headers:
    """Return a message's headers; `UNREADABLE` where one has a name that is no text: none can be had then."""
    try:
        headers = _read_headers(message)
    except (SystemError, UnicodeDecodeError):  # confluent_kafka decodes all names at once, or fails
        return UNREADABLE
    return tuple(headers) if headers else ()


def _messages(raw: list[RawMessage], key: bytes | None) -> tuple[list[Message], bytes | None]:
    """Return librdkafka's messages as ours, with the last key.

    Most keys are one schema of 26-70 kB: equal keys in a row become one object, beginning with `key`.
    """
    messages = [
        Message(
            m.partition(),
            m.offset(),
            *stamp_of(m),
            key := (key if (own := m.key()) == key else own),
            m.value(),
            headers_of(m),
        )
        for m in raw
        if m.error() is None
    ]
    return messages, key
