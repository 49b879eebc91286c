"""Reads topics as a member of the user's own consumer group, as fink-client does.

An offset is stored when its message was handled, and librdkafka commits what is stored: every second, when
a partition goes to another member, and at the end. So what a killed process had not handled comes again.

Nothing is passed over in silence: partitions begin at offsets that are known (`Assignment`), and
librdkafka resets none by itself, but tells of those that the broker no longer has.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as RawMessage

from finkbridge.access import Access
from finkbridge.broker.assignment import Assignment, Beginning, Received
from finkbridge.broker.config import Config, build_client, client_config
from finkbridge.broker.failures import (
    END_OF_PARTITION,
    LATE,
    NOTHING_TO_COMMIT,
    OUT_OF_RANGE,
    POLLED_TOO_LATE,
    SILENT,
    UNKNOWN,
    ErrorWatch,
    error_of,
)
from finkbridge.broker.lives import Lives
from finkbridge.broker.placing import ANSWER_S, OnAssign, Place, Start, fallback_of
from finkbridge.broker.reader import headers_of, stamp_of
from finkbridge.deferral import Deferral
from finkbridge.errors import BrokerError, UnknownTopicError
from finkbridge.values import Message

LOGGER = logging.getLogger(__name__)

SLICE_S = 0.2
"""Longest wait inside librdkafka for a message: between two, Ctrl-C and refused passwords are seen.

What is asked of the broker where partitions come or change takes longer, if it is silent.
"""
PATIENCE_S = 5.0
"""Longest wait for the broker to take the last offsets, and for the group to be left."""
DOWN_S = 2.0
"""When every broker refuses the connection for this long, none is there."""
RETRIED = SILENT | LATE
"""Errors after which librdkafka goes on by itself."""

POLLING: Config = {
    # A killed member's partitions are free again after so long; librdkafka's default is 45 s.
    "session.timeout.ms": 10_000,
    "max.poll.interval.ms": 3_600_000,
    "auto.commit.interval.ms": 1000,
    "socket.keepalive.enable": True,
    "fetch.queue.backoff.ms": 5,
    "topic.metadata.refresh.interval.ms": 30_000,
}
FORCED: Config = {
    "enable.auto.commit": True,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "auto.offset.reset": "error",
}


class Event(NamedTuple):
    """A message or an error, as librdkafka gave it, and how its partition stood then."""

    raw: RawMessage
    place: Place
    turn: int
    moves: int


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
        Takes the place of `start`: it gets confluent_kafka's consumer and partitions.
    """

    def __init__(
        self,
        cluster: str,
        settings: Access,
        start: Start | None = None,
        on_assign: OnAssign | None = None,
    ) -> None:
        self.cluster = cluster
        self.group = settings.group_id
        self.on_missing: Callable[[str], object] = lambda _: None
        """Told each topic that the cluster does not have just now."""
        self._missing: set[str] = set()
        self._topics: tuple[str, ...] = ()
        self._lives = Lives(cluster, settings)
        self._heard = False
        self._events: deque[Event] = deque()
        """What librdkafka gave, which gives each but once."""
        self._down_since: float | None = None
        self._watch = ErrorWatch(cluster)
        self._is_committed = False
        self._refused: KafkaError | None = None
        forced = FORCED | {
            "group.id": settings.group_id,
            "error_cb": self._watch,
            "on_commit": self._note_commit,
        }
        config = client_config(settings, POLLING, {})
        self._consumer = build_client(Consumer, cluster, config | forced)
        self.assignment = Assignment(
            self._consumer,
            cluster,
            self.group,
            Beginning(fallback_of(str(config.get("auto.offset.reset", "earliest"))), start, on_assign),
            is_incremental="cooperative" in str(config.get("partition.assignment.strategy", "")),
        )
        """The partitions that the group gives to this member."""

    @property
    def absent(self) -> set[str]:
        """The topics that were not there when it was last looked, every 10 s."""
        return self._lives.absent

    def subscribe(self, topics: Sequence[str]) -> None:
        """Join the group for these topics, by name."""
        self._topics = self.assignment.topics = tuple(topics)
        mine = self.assignment
        self._consumer.subscribe(
            list(topics), on_assign=self._assigned, on_revoke=mine.revoked, on_lost=mine.lost
        )

    def poll(
        self,
        count: int,
        timeout_s: float | None,
        linger_s: float = 0.0,
        into: list[Received] | None = None,
    ) -> list[Received]:
        """Return up to `count` messages; none when the time is over.

        What is stopped by Ctrl-C has taken nothing, or what it took is in `into`.

        Parameters
        ----------
        count
            How many at most.
        timeout_s
            Seconds to wait for the first one; None waits for ever.
        linger_s
            Seconds to wait for more, once there is one.
        into
            A list to extend by them, too.

        Raises
        ------
        AuthenticationError, UnreachableError
            The cluster refuses, or no broker was ever there.
        UnknownTopicError
            None of the topics is there, or ever was.
        BrokerError
            The broker tells of anything else that librdkafka does not mend by itself.
        """
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = SLICE_S if deadline is None else min(SLICE_S, deadline - time.monotonic())
            self.assignment.begin_new()
            with Deferral():  # what librdkafka gave, or told of partitions, it does not say again
                self._begin_renewed()
                if not self._events:
                    self._fetch(count, max(left, 0.0), linger_s)
                good = self._good(count)
                if into is not None:
                    into += good
            if good:
                self._heard = True
                return good
            self.assignment.begin_new()
            self._look()
            if deadline is not None and time.monotonic() >= deadline:
                return []

    def done(self, received: Iterable[Received]) -> None:
        """Note that messages were handled, and so all before them: their offsets may be committed."""
        self.assignment.done(received)

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
        with suppress(BrokerError, RuntimeError):  # which the commit tells of; it is closed already
            self._begin_renewed(now=True)
        closing = threading.Thread(target=self._close, daemon=True)
        closing.start()
        closing.join(PATIENCE_S)
        if not self._is_committed or self._refused is not None:
            said = error_of(self._refused, self.cluster) if self._refused else "no answer"
            LOGGER.warning(
                "the last offsets were not committed (%s): the newest alerts will come once more", said
            )

    def _close(self) -> None:
        with suppress(RuntimeError):  # it is closed already
            if ends := self.assignment.uncommitted():
                self._commit(ends)
            self._is_committed = True
            self._consumer.close()

    def _commit(self, ends: list[TopicPartition]) -> None:
        """Commit offsets by numbers: librdkafka forgets what is stored when it is told another place."""
        try:
            told = self._consumer.commit(offsets=ends, asynchronous=False) or ()
            self._refused = next((place.error for place in told if place.error is not None), None)
        except KafkaException as failure:
            self._refused = failure.args[0]

    def _begin_renewed(self, *, now: bool = False) -> None:
        """Begin anew with topics that were made again under their names."""
        for topic in self._lives.renewed(self._topics, now=now) if self._topics else ():
            self.assignment.renew(topic)

    def _metadata(self) -> Any:
        started = time.monotonic()
        while True:
            try:
                return self._consumer.list_topics(timeout=1.0)
            except KafkaException as failure:
                with Deferral():
                    self._take(event for event in [self._consumer.poll(0)] if event is not None)
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
        if not self._heard and not self.assignment.is_joined and time.monotonic() - self._down_since > DOWN_S:
            raise self._watch.silence("polling", answered=False)

    def _fetch(self, count: int, timeout_s: float, linger_s: float) -> None:
        """Take messages and errors from librdkafka."""
        first = self._consumer.poll(timeout_s)
        if first is None:
            return
        self._take([first])
        if count > 1:
            turns = self.assignment.turns
            more = self._consumer.consume(count - 1, linger_s)
            changed = self.assignment.changed(turns)  # of which turn are these? they come again
            self._take(event for event in more if _place_of(event) not in changed)
            self.assignment.begin_again(changed)

    def _take(self, events: Iterable[RawMessage]) -> None:
        mine = self.assignment
        for event in events:
            place = _place_of(event)
            self._events.append(Event(event, place, mine.turn_of(place), mine.moves_of(place)))

    def _good(self, count: int) -> list[Received]:
        """Return the messages up to the next error; note or raise the errors before them.

        What is behind an error that is raised stays for the next call, so no message is passed over.
        """
        good: list[Received] = []
        while self._events and len(good) < count:
            event = self._events[0]
            error = event.raw.error()
            if error is not None and good:
                break
            self._events.popleft()
            if error is not None:
                self._note(event, error)
            elif event.turn == self.assignment.turn_of(event.place):  # else it was taken meanwhile
                good.append(_received(event, good[-1].message.key if good else None))
        if good:
            self._watch.all_down = False
        return good

    def _note(self, event: Event, error: KafkaError) -> None:
        if error.code() == END_OF_PARTITION:  # which nobody needs to know, and a user may ask for
            return
        if error.code() in UNKNOWN:
            if not self._has_topic(event.place[0]):  # else it was made again with fewer partitions
                self._note_missing(event.place[0], error)
        elif error.code() in RETRIED:
            self._watch(error)
        elif error.code() in OUT_OF_RANGE and self.assignment.fallback != "error":
            if event.moves == self.assignment.moves_of(event.place):
                self._reset(event.place, int(event.raw.offset() or 0))
        elif error.code() == POLLED_TOO_LATE:
            LOGGER.warning("handling took too long, and the group gave the partitions away: joining again")
        else:
            raise error_of(error, self.cluster)

    def _reset(self, place: Place, due: int) -> None:
        if self.assignment.reset(place, due):  # what is behind it in the queue comes again
            self._events = deque(event for event in self._events if event.place != place)

    def _has_topic(self, topic: str) -> bool:
        try:
            found = self._consumer.list_topics(timeout=ANSWER_S).topics.get(topic)
        except KafkaException:  # which polling tells of
            return True
        return found is not None and bool(found.partitions)

    def _note_missing(self, topic: str, error: KafkaError) -> None:
        self.on_missing(topic)
        is_new = topic not in self._missing
        self._missing.add(topic)
        if self._missing.issuperset(self._topics) and not self.assignment.was_given:
            raise UnknownTopicError(
                f"cluster {self.cluster} has no topic {', '.join(self._topics)}: look at the names with "
                "`finkbridge topics list`"
            ) from KafkaException(error)
        if is_new:
            LOGGER.warning("cluster %s has no topic %s now: it is read once it is there", self.cluster, topic)

    def _assigned(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self._missing.difference_update(place.topic for place in partitions)
        self.assignment.assigned(consumer, partitions)

    def _note_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """Note a refusal; this is librdkafka's ``on_commit``."""
        is_nothing = error is not None and error.code() == NOTHING_TO_COMMIT
        self._refused = None if is_nothing else error
        if error is None:
            self.assignment.note_committed(partitions)


def _place_of(event: RawMessage) -> Place:
    return str(event.topic()), int(event.partition() or 0)


def _received(event: Event, last_key: bytes | None) -> Received:
    """Return librdkafka's message as ours; equal keys in a row, mostly a schema, are one object."""
    raw = event.raw
    own = raw.key()
    key = last_key if own == last_key else own
    stamp, kind = stamp_of(raw)
    message = Message(raw.partition(), raw.offset(), stamp, kind, key, raw.value(), headers_of(raw))
    return Received(raw.topic(), message, event.turn)
