"""Reads topics as a member of the user's own consumer group, as fink-client does.

An offset is stored when its message was handled, and librdkafka commits what is stored: every second, when
a partition goes to another member, and at the end. So what a killed process had not handled comes again.

Nothing is passed over in silence: partitions begin at offsets that are known (`finkbridge.broker.placing`),
and librdkafka resets none by itself, but tells of those that the broker no longer has. Each time that a
partition is given to the member is a turn of its own; what was received in an earlier one, and not handled,
is another member's, or comes again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_INVALID,
    Consumer,
    KafkaError,
    KafkaException,
    TopicPartition,
)
from confluent_kafka import Message as RawMessage

from finkbridge.access import Access
from finkbridge.broker.config import Config, build_client, client_config
from finkbridge.broker.failures import (
    END_OF_PARTITION,
    LATE,
    OUT_OF_RANGE,
    SILENT,
    UNKNOWN,
    ErrorWatch,
    error_of,
)
from finkbridge.broker.lives import Lives
from finkbridge.broker.placing import (
    ANSWER_S,
    Place,
    Start,
    begin,
    fallback_of,
    place_of,
    settle,
    tell_shared,
)
from finkbridge.broker.reader import headers_of, stamp_of
from finkbridge.errors import BrokerError, UnknownTopicError
from finkbridge.values import Message

LOGGER = logging.getLogger(__name__)

SLICE_S = 0.2
"""Longest wait inside librdkafka for a message: between two, Ctrl-C and refused passwords are seen."""
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
RENEWED_S = 60.0
"""For so long after a topic was made again, partitions of it that the member is given begin anew."""

OnAssign = Callable[[Any, Any], object]
"""confluent_kafka's callback: the consumer, and its new partitions."""


class Received(NamedTuple):
    """A message, and the topic that it came in."""

    topic: str
    message: Message
    turn: int = 0
    """Which time its partition was given to the member; in a later one it comes again, if not handled."""

    @property
    def place(self) -> Place:
        """Topic and partition."""
        return self.topic, self.message.partition


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
        start: Start | None = None,
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
        self._lives = Lives(cluster, settings)
        self._renewed: dict[str, float] = {}
        """Topics that were made again, and when that was noticed."""
        self._begins: dict[Place, int] = {}
        """Where each partition began in its present turn: a number, or librdkafka's for the first message."""
        self._placed: dict[Place, int] = {}
        """Where librdkafka was told to read on, last: its position, until it gives a message."""
        self._handled: dict[Place, int] = {}
        """One behind the last handled message of the present turn, where there is one."""
        self._turns: dict[Place, int] = {}
        self.ended = 0
        """How many turns have ended: then what was received before may be stale."""
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
        config = client_config(settings, POLLING, {})
        self._fallback = fallback_of(str(config.get("auto.offset.reset", "earliest")))
        strategy = str(config.get("partition.assignment.strategy", ""))
        self._is_incremental = "cooperative" in strategy
        self._consumer = build_client(Consumer, cluster, config | forced)

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
                return _received(good, self._turns)
            self._look()
            if deadline is not None and time.monotonic() >= deadline:
                return []

    def is_current(self, received: Received) -> bool:
        """Whether a message is of the present turn of its partition; else it is not to be handled."""
        return received.turn == self._turns.get(received.place, 0)

    def go_back(self, kept: Iterable[Received]) -> None:
        """Give again what was taken from the broker by a call that was stopped in the middle.

        Parameters
        ----------
        kept
            What the caller has of it, and of earlier calls that it has not handled: it is not given again.
        """
        ends = {r.place: r.message.offset + 1 for r in kept if self.is_current(r)}
        nexts = self._begins | self._handled | ends
        self._events.clear()
        places = map(place_of, self._consumer.assignment())
        self._move({place: nexts.get(place, OFFSET_INVALID) for place in places})

    def done(self, received: Iterable[Received]) -> None:
        """Note that messages were handled, and so all before them: their offsets may be committed."""
        ends = {r.place: r.message.offset + 1 for r in received if self.is_current(r)}
        for place, end in ends.items():
            self._store(place, end)

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
        with suppress(BrokerError, RuntimeError):  # which the commit tells of; it is closed already
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
            self._renewed[topic] = time.monotonic()
            places = [place_of(p) for p in self._consumer.assignment() if p.topic == topic]
            self._end_turns(places)
            self._begin_at(dict.fromkeys(places, OFFSET_BEGINNING))
            for place in places:
                self._store(place, 0)  # where it is not there, the first one is next

    def _begin_at(self, offsets: Mapping[Place, int]) -> None:
        """Begin anew in some partitions: what was handled of them says nothing any more."""
        for place in offsets:
            self._handled.pop(place, None)
        self._begins |= offsets
        self._move(offsets)

    def _move(self, offsets: Mapping[Place, int]) -> None:
        """Go on elsewhere in some partitions: librdkafka seeks in none that it has stopped to read."""
        moved = dict(offsets)
        try:
            if self._is_incremental:
                self._consumer.incremental_unassign(_places(moved))
                self._consumer.incremental_assign(_places(moved))
            else:
                for other in self._consumer.position(self._consumer.assignment()):
                    at = place_of(other)
                    known = other.offset if other.offset >= 0 else self._placed.get(at, OFFSET_INVALID)
                    moved.setdefault(at, known)
                self._consumer.assign(_places(moved))
            self._placed |= moved
        except KafkaException as failure:
            raise error_of(failure.args[0], self.cluster) from None

    def _end_turns(self, places: Collection[Place]) -> None:
        """Let go of what was received of some partitions, and not handled."""
        self.ended += 1
        for place in places:
            self._turns[place] = self._turns.get(place, 0) + 1
            for known in (self._begins, self._placed, self._handled):
                known.pop(place, None)
        self._events = deque(e for e in self._events if (e.topic(), e.partition()) not in places)

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
                turns = self._turns.copy()
                more = self._consumer.consume(count - 1, linger_s)  # partitions may go and come in it
                self._events.extend(more if turns == self._turns else self._of_same_turn(more, turns))

    def _of_same_turn(self, events: Iterable[RawMessage], turns: Mapping[Place, int]) -> list[RawMessage]:
        """Leave out what may be of turns that ended meanwhile; those that began since begin anew."""
        changed = {place for place, turn in self._turns.items() if turns.get(place, 0) != turn}
        mine = changed.intersection(map(place_of, self._consumer.assignment()))
        self._move({place: self._begins.get(place, OFFSET_INVALID) for place in mine})
        return [event for event in events if (event.topic(), event.partition()) not in changed]

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
        if error.code() == END_OF_PARTITION:  # which nobody needs to know, and a user may ask for
            return
        if error.code() in UNKNOWN:
            if not self._has_topic(str(event.topic())):  # else it was made again with fewer partitions
                self._note_missing(str(event.topic()), error)
        elif error.code() in RETRIED:
            self._watch(error)
        elif error.code() in OUT_OF_RANGE and self._fallback != "error":
            self._reset((str(event.topic()), int(event.partition() or 0)), int(event.offset() or 0))
        elif error.code() == KafkaError._MAX_POLL_EXCEEDED:  # noqa: SLF001 - librdkafka's public name
            LOGGER.warning("handling took too long, and the group gave the partitions away: joining again")
        else:
            raise error_of(error, self.cluster)

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
        if self._missing.issuperset(self._topics):
            raise UnknownTopicError(
                f"cluster {self.cluster} has no topic {', '.join(self._topics)}: look at the names with "
                "`finkbridge topics list`"
            ) from KafkaException(error)
        if is_new:
            LOGGER.warning("cluster %s has no topic %s now: it is read once it is there", self.cluster, topic)

    def _reset(self, place: Place, due: int) -> None:
        """Go on where the broker has messages, and tell of those that it no longer has."""
        if place not in set(map(place_of, self._consumer.assignment())):
            return  # it went to another member meanwhile
        try:
            low, end = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=ANSWER_S)
        except KafkaException as failure:
            self._move({place: due})  # so that it is told again
            raise error_of(failure.args[0], self.cluster) from None
        goes_on = low if self._fallback == "earliest" else due if low <= due <= end else end
        if 0 <= due < low:
            why = "offsets [%d, %d) expired before group %s had read them; it goes on at %d"
            LOGGER.warning(f"%s partition %d: {why}", *place, due, low, self.group, goes_on)
        elif due >= 0:  # it ends later by now, maybe
            why = "it ended before %d, where the group is: it was cut or made again; it goes on at %d"
            LOGGER.warning(f"%s partition %d: {why}", *place, due, goes_on)
        self._begin_at({place: goes_on})

    def _assigned(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self.is_joined, self.is_lost = True, False
        self.partitions += len(partitions)
        self._missing.difference_update(place.topic for place in partitions)
        places = [TopicPartition(*place_of(place)) for place in partitions]
        moved: Sequence[TopicPartition] = ()
        if self._on_assign is not None:
            self._on_assign(consumer, partitions)
            wanted = {place_of(place): place.offset for place in consumer.assignment()}
            for place in places:
                place.offset = wanted.get(place_of(place), OFFSET_INVALID)
        elif self._start is not None and not self._has_begun:
            self._has_begun = True  # a partition that comes later has messages that nobody has read yet
            moved = self._begin(places, self._start)
        for place in places:
            if time.monotonic() - self._renewed.get(place.topic, -RENEWED_S) < RENEWED_S:
                place.offset = OFFSET_BEGINNING
        self._place(places)
        for place in moved:  # so the group is there too, though nothing may come
            self._store(place_of(place), place.offset)

    def _begin(self, places: Sequence[TopicPartition], start: Start) -> Sequence[TopicPartition]:
        try:
            tell_shared(self._consumer, self._topics, len(places), self.group)
            return begin(self._consumer, places, start) if places else ()
        except KafkaException as failure:
            raise error_of(failure.args[0], self.cluster) from None

    def _place(self, places: list[TopicPartition]) -> None:
        """Begin with partitions that the group has given to this member."""
        try:
            settle(self._consumer, places, self._fallback)
        except KafkaException:  # which polling tells of; librdkafka asks for the group's offsets itself
            return
        self._begins |= (begins := {place_of(place): place.offset for place in places})
        self._placed |= begins
        if not self._is_incremental:
            self._consumer.assign(places)
        elif self._on_assign is None:  # else it has assigned them
            self._consumer.incremental_assign(places)

    def _store(self, place: Place, end: int) -> None:
        self._handled[place] = end
        try:
            self._consumer.store_offsets(offsets=[TopicPartition(*place, end)])
        except KafkaException:  # the partition is another member's by now, which reads the message again
            LOGGER.info("%s partition %d went to another member", *place)

    def _revoked(self, _consumer: Any, partitions: list[TopicPartition]) -> None:
        self.partitions = max(0, self.partitions - len(partitions))
        self._end_turns({place_of(place) for place in partitions})

    def _lost(self, consumer: Any, partitions: list[TopicPartition]) -> None:
        self.is_lost = True
        self._revoked(consumer, partitions)

    def _committed(self, error: KafkaError | None, _: list[TopicPartition]) -> None:
        """Note a refusal; this is librdkafka's ``on_commit``."""
        is_nothing = error is not None and error.code() == KafkaError._NO_OFFSET  # noqa: SLF001
        self._refused = None if is_nothing else error


def _places(offsets: Mapping[Place, int]) -> list[TopicPartition]:
    return [TopicPartition(*place, offset) for place, offset in offsets.items()]


def _received(raw: list[RawMessage], turns: Mapping[Place, int]) -> list[Received]:
    """Return librdkafka's messages as ours; equal keys in a row, mostly a schema, are one object."""
    found, key = [], None
    for m in raw:
        own = m.key()
        key = key if own == key else own
        stamp, kind = stamp_of(m)
        message = Message(m.partition(), m.offset(), stamp, kind, key, m.value(), headers_of(m))
        found.append(Received(m.topic(), message, turns.get((m.topic(), m.partition()), 0)))
    return found
