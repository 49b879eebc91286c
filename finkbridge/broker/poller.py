"""Reads topics as a member of the user's own consumer group, as fink-client does.

An offset is stored when its message was handled, and librdkafka commits what is stored: every second, when
a partition goes to another member, and at the end. So what a killed process had not handled comes again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage

from finkbridge.access import Access
from finkbridge.broker.config import Config, build_client, client_config
from finkbridge.broker.failures import LATE, SILENT, UNKNOWN, ErrorWatch, error_of
from finkbridge.broker.lives import Lives
from finkbridge.broker.reader import headers_of, stamp_of
from finkbridge.broker.trail import Trail
from finkbridge.errors import SettingsError, UnknownTopicError
from finkbridge.values import Message

LOGGER = logging.getLogger(__name__)

SLICE_S = 0.2
"""Longest stay inside librdkafka: between two, Ctrl-C and refused passwords are seen."""
PATIENCE_S = 5.0
"""Longest wait for the broker to take the last offsets, and for the group to be left."""
ANSWER_S = 10.0
"""Longest wait for a partition's offsets."""
DOWN_S = 2.0
"""When every broker refuses the connection for this long, none is there."""
RETRIED = SILENT | LATE
"""Errors after which librdkafka goes on by itself."""

POLLING: Config = {
    # A killed member's partitions are free again after so long; librdkafka's default is 45 s.
    "session.timeout.ms": 10_000,
    "max.poll.interval.ms": 3_600_000,
    "auto.commit.interval.ms": 1000,
    "auto.offset.reset": "earliest",
    "socket.keepalive.enable": True,
    "fetch.queue.backoff.ms": 5,
    "topic.metadata.refresh.interval.ms": 30_000,
}
FORCED: Config = {
    "enable.auto.commit": True,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
}

Place = Literal["earliest", "latest"] | datetime | int
"""Where to begin: an end of each partition, a time, or an offset."""
OnAssign = Callable[[Any, Any], object]
"""confluent_kafka's callback: the consumer, and its new partitions."""


class Received(NamedTuple):
    """A message, and the topic that it came in."""

    topic: str
    message: Message


class Poller:
    """One member of the cluster's consumer group. Not for several threads.

    Parameters
    ----------
    cluster
        The cluster's name, for messages.
    settings
        Servers, group, credentials and librdkafka keys.
    start
        Where the partitions of the first assignment begin, whatever the group has read; None: where it is.
    on_assign
        Takes the place of `start`: it gets confluent_kafka's own consumer and partitions.
    """

    def __init__(
        self,
        cluster: str,
        settings: Access,
        start: Place | None = None,
        on_assign: OnAssign | None = None,
    ) -> None:
        self.cluster = cluster
        self.group = settings.group_id
        self.is_joined = False
        """Whether the group has given this member its partitions, which may be none."""
        self.is_lost = False
        """Whether the group took its partitions back, as it was not heard of, and gave it none since."""
        self.on_missing: Callable[[str], object] = lambda _: None
        """Told each topic that the cluster does not have just now."""
        self.partitions = 0
        self._start = start
        self._on_assign = on_assign
        self._has_begun = False
        self._lives, self._trail = Lives(cluster, settings), Trail()
        self._handled: dict[tuple[str, int], int] = {}
        """Where the group is, or begins, in each partition that this member has."""
        self._renewed: set[str] = set()
        """Topics that are to be read from their first message."""
        self._topics: tuple[str, ...] = ()
        self._missing: set[str] = set()
        self._heard = False
        self._events: deque[RawMessage] = deque()
        self._down_since: float | None = None
        self._watch = ErrorWatch(cluster)
        forced = FORCED | {
            "group.id": settings.group_id,
            "error_cb": self._watch,
            "on_commit": self._committed,
        }
        self._refused: KafkaError | None = None
        self._consumer = build_client(Consumer, cluster, client_config(settings, POLLING, forced))

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group for these topics, by name."""
        self._topics = tuple(topics)
        self._consumer.subscribe(
            list(topics), on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )

    def poll(self, count: int, timeout_s: float | None, linger_s: float = 0.0) -> list[Received]:
        """Return up to `count` messages; none when the time is over.

        Parameters
        ----------
        count
            How many at most.
        timeout_s
            Seconds to wait for the first one; None waits for ever.
        linger_s
            Seconds to wait for more, once there is one.

        Raises
        ------
        AuthenticationError, UnreachableError
            The cluster refuses, or no broker was ever there.
        UnknownTopicError
            None of the topics is there.
        BrokerError
            The broker tells of anything else that librdkafka does not mend by itself.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = SLICE_S if deadline is None else min(SLICE_S, deadline - time.monotonic())
            self._begin_renewed()
            if not self._events:
                self._fetch(count, max(left, 0.0), linger_s)
            if good := self._good(count):
                self._heard = True
                received = _received(good)
                self._tell_expired(received)
                return received
            self._look()
            if deadline is not None and time.monotonic() >= deadline:
                return []

    def go_back(self, kept: Iterable[Received]) -> None:
        """Give again what was taken from the broker by a call that was stopped in the middle.

        Parameters
        ----------
        kept
            What the caller has of it, and of earlier calls that it has not handled: it is not given again.
        """
        nexts = self._handled | {(r.topic, r.message.partition): r.message.offset + 1 for r in kept}
        self._events.clear()
        try:
            for place in self._consumer.assignment():
                key = place.topic, place.partition
                self._consumer.seek(TopicPartition(*key, nexts.get(key, OFFSET_BEGINNING)))
        except KafkaException as failure:
            raise error_of(failure.args[0], self.cluster) from None
        self._trail.begin(nexts)

    def done(self, received: Iterable[Received]) -> None:
        """Note that messages were handled, and so all before them: their offsets may be committed."""
        ends = {(r.topic, r.message.partition): r.message.offset + 1 for r in received}
        for (topic, partition), end in ends.items():
            self._store(TopicPartition(topic, partition, end))

    def lag(self) -> int | None:
        """Return how many offsets of this member's partitions are not yet read; None where not known."""
        lag = 0
        try:
            for place in self._consumer.position(self._consumer.assignment()):
                _, end = self._consumer.get_watermark_offsets(place, cached=True)
                if place.offset < 0 or end < 0:
                    return None
                lag += max(0, end - place.offset)
        except KafkaException:
            return None
        return lag

    def topics(self) -> dict[str, int]:
        """Return the number of partitions of each topic of the cluster, Kafka's own left out."""
        found = self._metadata().topics
        return {name: len(found[name].partitions) for name in sorted(found) if not name.startswith("__")}

    def brokers(self) -> dict[int, str]:
        """Return host and port of each broker."""
        return {number: f"{b.host}:{b.port}" for number, b in self._metadata().brokers.items()}

    def committed(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int | None]:
        """Return the group's offset of each partition, without joining it; None where it has none."""
        asked = [TopicPartition(*place) for place in partitions]
        self._metadata()  # tells a refusal, or that nobody is there
        try:
            told = self._consumer.committed(asked, timeout=ANSWER_S)
        except KafkaException as failure:
            raise error_of(failure.args[0], self.cluster) from None
        return {(p.topic, p.partition): p.offset if p.offset >= 0 else None for p in told}

    def close(self) -> None:
        """Commit what was handled, and leave the group; within seconds, whatever the broker does."""
        self._begin_renewed(now=True)
        closing = threading.Thread(target=self._close, daemon=True)
        closing.start()
        closing.join(PATIENCE_S)
        if closing.is_alive() or self._refused is not None:
            said = error_of(self._refused, self.cluster) if self._refused else "no answer"
            LOGGER.warning(
                "the last offsets were not committed (%s): the newest alerts will come once more", said
            )

    def _close(self) -> None:
        try:
            self._consumer.commit(asynchronous=False)
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError._NO_OFFSET:  # noqa: SLF001 - librdkafka's public name
                self._refused = failure.args[0]
        except RuntimeError:  # it is closed already
            return
        self._consumer.close()

    def _begin_renewed(self, *, now: bool = False) -> None:
        """Begin anew with topics that were made again under their names: old offsets mean other messages."""
        for topic in self._lives.renewed(self._topics, now=now) if self._topics else ():
            LOGGER.warning("topic %s was deleted and made again: reading it from its first message", topic)
            self._renewed.add(topic)
        for topic in tuple(self._renewed):
            places = [place for place in self._consumer.assignment() if place.topic == topic]
            self._events = deque(event for event in self._events if event.topic() != topic)
            rewound = [self._rewind(place) for place in places]
            if rewound and all(rewound):
                self._renewed.discard(topic)

    def _rewind(self, place: TopicPartition) -> bool:
        """Go on with the first message that a partition has; return False where it is not read yet."""
        self._trail.forget([(place.topic, place.partition)])
        try:
            self._consumer.seek(TopicPartition(place.topic, place.partition, OFFSET_BEGINNING))
        except KafkaException:
            return False
        self._store(TopicPartition(place.topic, place.partition, 0))  # where it is not there, it is the first
        return True

    def _metadata(self) -> Any:
        started = time.monotonic()
        while True:
            try:
                return self._consumer.list_topics(timeout=1.0)
            except KafkaException as failure:
                self._consumer.poll(0)
                self._look()
                if time.monotonic() - started > ANSWER_S:
                    raise error_of(failure.args[0], self.cluster) from None

    def _look(self) -> None:
        """Raise what librdkafka tells only its error callback."""
        self._watch.raise_refusal()
        if not self._watch.all_down:
            self._down_since = None
            return
        self._down_since = self._down_since or time.monotonic()
        if not self._heard and not self.is_joined and time.monotonic() - self._down_since > DOWN_S:
            raise self._watch.silence("polling", answered=False)

    def _fetch(self, count: int, timeout_s: float, linger_s: float) -> None:
        """Take messages and errors from librdkafka, which gives each but once."""
        first = self._consumer.poll(timeout_s)
        if first is not None:
            self._events.append(first)
            if count > 1:
                self._events.extend(self._consumer.consume(count - 1, linger_s))

    def _good(self, count: int) -> list[RawMessage]:
        """Return the messages up to the next error; note or raise the errors before them.

        What is behind an error that is raised stays for the next call, so no message is passed over.
        """
        good: list[RawMessage] = []
        while self._events and len(good) < count:
            error = self._events[0].error()
            if error is None:
                good.append(self._events.popleft())
            elif good:
                break
            else:
                self._note(self._events.popleft(), error)
        if good:
            self._watch.all_down = False
        return good

    def _note(self, event: RawMessage, error: KafkaError) -> None:
        if error.code() in UNKNOWN:
            self._note_missing(str(event.topic()), error)
        elif error.code() in RETRIED:
            self._watch(error)
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001 - librdkafka's public name
            LOGGER.warning("handling took too long, and the group gave the partitions away: joining again")
        else:
            raise error_of(error, self.cluster)

    def _note_missing(self, topic: str, error: KafkaError) -> None:
        self.on_missing(topic)
        if topic not in self._missing:
            self._missing.add(topic)
            LOGGER.warning("cluster %s has no topic %s now: it is read once it is there", self.cluster, topic)
        if self._missing.issuperset(self._topics):
            raise UnknownTopicError(
                f"cluster {self.cluster} has no topic {', '.join(self._topics)}: look at the names with "
                "`finkbridge topics list`"
            ) from KafkaException(error)

    def _assigned(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self.is_joined, self.is_lost, self.partitions = True, False, len(partitions)
        self._missing.difference_update(place.topic for place in partitions)
        self._follow(partitions)
        if self._on_assign is not None:
            self._on_assign(consumer, partitions)
            self._place(p for p in partitions if p.offset >= 0)
            return
        if self._start is None or self._has_begun:
            return
        self._has_begun = True  # a partition that comes later has messages that nobody has read yet
        self._tell_shared(len(partitions))
        if not partitions:
            return
        moved = []
        for place, offset in zip(partitions, self._begin(partitions, self._start), strict=True):
            if offset is not None:
                place.offset = offset
                moved.append(place)
        consumer.assign(partitions)
        self._place(moved)
        for place in moved:  # so the group is there too, though nothing may come
            self._store(place)

    def _place(self, places: Iterable[TopicPartition]) -> None:
        """Note that partitions begin elsewhere than the group is."""
        self._handled |= (moved := {(p.topic, p.partition): p.offset for p in places})
        self._trail.forget(moved)

    def _begin(self, places: list[TopicPartition], start: Place) -> Sequence[int | None]:
        """Return the offset at which each partition begins; None where it stays where the group is."""
        try:
            marks = [self._consumer.get_watermark_offsets(p, timeout=ANSWER_S) for p in places]
            if isinstance(start, datetime):
                stamp = max(0, int(start.timestamp() * 1000))  # Kafka takes no time before 1970
                asked = [TopicPartition(p.topic, p.partition, stamp) for p in places]
                found = [p.offset for p in self._consumer.offsets_for_times(asked, timeout=ANSWER_S)]
                return [end if o < 0 else o for o, (_, end) in zip(found, marks, strict=True)]
        except KafkaException as failure:
            raise error_of(failure.args[0], self.cluster) from None
        if isinstance(start, int):
            self._tell_short(
                {p: end for p, (_, end) in zip(places, marks, strict=True) if end < start}, start, len(places)
            )
            return [None if end < start else max(start, low) for low, end in marks]
        return [low if start == "earliest" else end for low, end in marks]

    def _follow(self, places: list[TopicPartition]) -> None:
        """Note where the group is in new partitions."""
        keys = [(place.topic, place.partition) for place in places]
        self._trail.forget(keys)
        for key in keys:
            self._handled.pop(key, None)
        try:
            told = self._consumer.committed(places, timeout=ANSWER_S)
        except KafkaException:  # which polling tells of
            return
        known = {(p.topic, p.partition): p.offset for p in told if p.offset >= 0}
        self._handled |= known
        self._trail.begin(known)

    def _tell_expired(self, received: Sequence[Received]) -> None:
        """Tell of messages that the broker no longer has, and that the group never read."""
        read = ((r.topic, r.message.partition, r.message.offset) for r in received)
        for topic, span in self._trail.passed_over(read):
            place = TopicPartition(topic, span.partition)
            try:
                low, _ = self._consumer.get_watermark_offsets(place, timeout=ANSWER_S)
            except KafkaException:
                continue
            if low > span.start:  # else they are holes, as transactions and compaction leave
                LOGGER.warning(
                    "%s partition %d: offsets [%d, %d) expired before group %s had read them",
                    topic,
                    span.partition,
                    span.start,
                    min(low, span.end),
                    self.group,
                )

    def _tell_shared(self, count: int) -> None:
        """Tell of partitions that other members read: to begin somewhere moves this member's own alone."""
        try:
            found = self._consumer.list_topics(timeout=ANSWER_S).topics
        except KafkaException:  # which polling tells of
            return
        there = sum(len(found[topic].partitions) for topic in self._topics if topic in found)
        if count < there:
            LOGGER.warning(
                "other members of group %s read %d of %d partitions, which stay where the group is: to move "
                "them too, end those members and begin there again",
                self.group,
                there - count,
                there,
            )

    def _tell_short(self, ends: dict[TopicPartition, int], start: int, count: int) -> None:
        """Tell of partitions that end before an offset: to move them to their ends would skip messages."""
        if len(ends) == count:
            last = max(ends.values())
            raise SettingsError(
                f"offset {start} is behind the end of every partition, and the group stays where it is: say "
                f"an offset up to {last}, or latest"
            )
        for place, end in ends.items():
            LOGGER.warning(
                "%s partition %d ends at %d, before %d: it goes on where the group is",
                place.topic,
                place.partition,
                end,
                start,
            )

    def _store(self, place: TopicPartition) -> None:
        self._handled[place.topic, place.partition] = place.offset
        try:
            self._consumer.store_offsets(offsets=[place])
        except KafkaException:  # the partition is another member's by now, which reads the message again
            LOGGER.info("%s partition %d went to another member", place.topic, place.partition)

    def _revoked(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        self.partitions = max(0, self.partitions - len(partitions))

    def _lost(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self.is_lost = True
        self._revoked(consumer, partitions)

    def _committed(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        """Note a refusal; this is librdkafka's ``on_commit``."""
        is_nothing = error is not None and error.code() == KafkaError._NO_OFFSET  # noqa: SLF001
        self._refused = None if is_nothing else error


def _received(raw: list[RawMessage]) -> list[Received]:
    """Return librdkafka's messages as ours; equal keys in a row, mostly a schema, are one object."""
    found, key = [], None
    for m in raw:
        own = m.key()
        key = key if own == key else own
        stamp, kind = stamp_of(m)
        message = Message(m.partition(), m.offset(), stamp, kind, key, m.value(), headers_of(m))
        found.append(Received(m.topic(), message))
    return found
