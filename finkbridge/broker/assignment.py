"""The partitions that a group gives to one member, and where it is in each of them.

Each time that a partition is given to the member is a turn of its own: what was received in an earlier one,
and not handled, is another member's, or comes again.

librdkafka gets offsets as numbers only. A logical one (the first message, the end) makes it ask the broker,
and where it is told another place meanwhile, it asks once more after half a second, and goes there: back over
what was given, or on over what was not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaException, TopicPartition

from finkbridge.broker.failures import COORDINATING, ELECTING, LATE, SILENT, UNKNOWN, error_of
from finkbridge.broker.placing import (
    ANSWER_S,
    UNPLACED,
    Fallback,
    OnAssign,
    Place,
    Start,
    begin,
    place_of,
    settle,
    tell_shared,
    wished,
)
from finkbridge.deferral import Deferral
from finkbridge.values import Message

LOGGER = logging.getLogger(__name__)

PASSING = SILENT | LATE | ELECTING | UNKNOWN | COORDINATING
"""Errors after which a broker is asked once more."""
RENEWED_S = 60.0
"""For so long after a topic was made again, partitions of it that the member is given begin anew."""


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


class Beginning(NamedTuple):
    """Where a member begins in the partitions that it is given."""

    fallback: Fallback
    """Where the group is nowhere, or where the broker no longer has messages."""
    start: Start | None = None
    """For those of the first assignment, whatever the group has read; None: where it is."""
    on_assign: OnAssign | None = None
    """Takes the place of `start`."""


class Assignment:
    """The partitions of one member. Not for several threads.

    Parameters
    ----------
    consumer
        librdkafka's.
    cluster, group
        Their names, for messages.
    beginning
        Where to begin in each.
    is_incremental
        Whether the group gives and takes single partitions, and leaves the others alone.
    """

    def __init__(
        self, consumer: Consumer, cluster: str, group: str, beginning: Beginning, *, is_incremental: bool
    ) -> None:
        self._consumer = consumer
        self._cluster, self._group = cluster, group
        self.fallback = beginning.fallback
        self._start, self._on_assign = beginning.start, beginning.on_assign
        self.topics: Sequence[str] = ()
        """What is subscribed to."""
        self._is_incremental = is_incremental
        self.is_joined = False
        """Whether the group has given this member its partitions, which may be none."""
        self.is_lost = False
        """Whether the group took its partitions back, as it was not heard of, and gave it none since."""
        self.count = 0
        """How many partitions the member has."""
        self.was_given = False
        """Whether it ever had one."""
        self.ended = 0
        """How many turns have ended: then what was received before may be stale."""
        self._new: list[Place] = []
        """Partitions that the group gave, and that are not begun with yet."""
        self._failure: BaseException | None = None
        """Why not."""
        self._again: set[Place] = set()
        """Partitions that are to begin anew, which librdkafka refused."""
        self._has_begun = False
        self._renewed: dict[str, float] = {}
        """Topics that were made again, and when that was noticed."""
        self._turns: dict[Place, int] = {}
        self._begins: dict[Place, int] = {}
        """Where each partition that is read began in its present turn."""
        self._placed: dict[Place, int] = {}
        """Where librdkafka was told to read on, last: its position, until it gives a message."""
        self._moves: dict[Place, int] = {}
        """How often it was told so."""
        self._handled: dict[Place, int] = {}
        """One behind the last handled message of the present turn, where there is one."""
        self._committed: dict[Place, int] = {}
        """The group's offsets, as far as this member knows."""
        self._left: dict[Place, tuple[int | None, int]] = {}
        """Of partitions that were taken: the group's offset as known then, and how far they were handled."""

    @property
    def turns(self) -> dict[Place, int]:
        """How often each partition was taken from the member, or begun anew; absent is 0."""
        return self._turns.copy()

    def turn_of(self, place: Place) -> int:
        """Return which turn of a partition this is."""
        return self._turns.get(place, 0)

    def moves_of(self, place: Place) -> int:
        """Return how often librdkafka was told where to read on: what it lacked before, it tells again."""
        return self._moves.get(place, 0)

    def is_current(self, received: Received) -> bool:
        """Whether a message is of the present turn of its partition; else it is not to be handled."""
        return received.turn == self.turn_of(received.place)

    def done(self, received: Iterable[Received]) -> None:
        """Note that messages were handled, and so all before them: their offsets may be committed."""
        for place, end in self._ends_of(received).items():
            self._store(place, end)

    def note_committed(self, partitions: Iterable[TopicPartition]) -> None:
        """Take note of what was committed."""
        self._committed |= {place_of(p): p.offset for p in partitions if p.error is None and p.offset >= 0}

    def uncommitted(self) -> list[TopicPartition]:
        """Return how far partitions are handled of which the group does not know it, to be committed."""
        ends = {place: end for place, end in self._handled.items() if self._committed.get(place) != end}
        return _partitions(ends)

    def changed(self, since: Mapping[Place, int]) -> set[Place]:
        """Return the partitions whose turn ended since `turns` was as given."""
        return {place for place, turn in self._turns.items() if since.get(place, 0) != turn}

    def begin_again(self, places: Iterable[Place]) -> None:
        """Begin anew in some partitions, in their present turn.

        Raises
        ------
        BrokerError
            librdkafka refuses; `begin_new` tries again.
        """
        self._again.update(places)
        if not self._again:
            return
        self._move({place: at for place, at in self._begins.items() if place in self._again})
        self._again = set()

    def renew(self, topic: str) -> None:
        """Begin anew with a topic that was made again under its name: old offsets mean other messages.

        Raises
        ------
        BrokerError
            librdkafka refuses.
        """
        LOGGER.warning("topic %s was deleted and made again: reading it from its first message", topic)
        self._renewed[topic] = time.monotonic()
        places = [place for place in self._begins if place[0] == topic]
        self._end_turns(places)
        for known in (self._left, self._committed):
            for place in [place for place in known if place[0] == topic]:
                del known[place]
        self._begin_at(dict.fromkeys(places, 0))
        for place in places:
            self._store(place, 0)  # where it is not there, the first one is next

    def reset(self, place: Place, due: int) -> bool:
        """Go on where the broker has messages, and tell of those that it no longer has.

        False where that was done already, and librdkafka stopped there once more, as others were moved.

        Parameters
        ----------
        place
            Topic and partition.
        due
            The offset that librdkafka asked for, and did not get.

        Raises
        ------
        BrokerError
            The broker does not answer; it is asked for the same offset again.
        """
        if place not in self._begins:
            return False  # it went to another member meanwhile
        if due < self._placed.get(place, due):
            self._move(self._positions([place]))
            return False
        try:
            low, end = self._consumer.get_watermark_offsets(TopicPartition(*place), timeout=ANSWER_S)
        except KafkaException as failure:
            self._move({place: due})  # so that it is told again
            raise error_of(failure.args[0], self._cluster) from None
        goes_on = low if self.fallback == "earliest" else due if low <= due <= end else end
        if 0 <= due < low:
            why = "offsets [%d, %d) expired before group %s had read them; it goes on at %d"
            LOGGER.warning(f"%s partition %d: {why}", *place, due, low, self._group, goes_on)
        elif due >= 0:  # it ends later by now, maybe
            why = "it ends before %d, where it was to go on: was it cut, or made again? It goes on at %d"
            LOGGER.warning(f"%s partition %d: {why}", *place, due, goes_on)
        self._begin_at({place: goes_on})
        return True

    def lag(self) -> int | None:
        """Return how many offsets of the partitions are not yet read; None where not known."""
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

    def assigned(self, _consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        """Take partitions that the group gives; this is librdkafka's ``on_assign``."""
        self.is_joined, self.is_lost = True, False
        self.was_given = self.was_given or bool(partitions)
        self.count += len(partitions)
        self._new += map(place_of, partitions)
        try:
            self._begin_new()
        except BaseException as error:  # noqa: BLE001 - which confluent_kafka would not let through
            self._failure = error
        if self._new:
            with suppress(KafkaException):
                self._assign([])  # else librdkafka begins by itself

    def begin_new(self) -> None:
        """Begin with the partitions that the group gave, if that failed when it did.

        Raises
        ------
        BaseException
            Why it failed, at first; the next call tries again.
        """
        if self._failure is not None:
            failure, self._failure = self._failure, None
            raise failure
        if self._new:
            self._begin_new()
        if self._again:
            self.begin_again(())

    def revoked(self, _consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        """Let go of partitions; this is librdkafka's ``on_revoke``."""
        self.count = max(0, self.count - len(partitions))
        gone = {place_of(place) for place in partitions}
        self._left |= {p: (self._committed.get(p), self._handled[p]) for p in gone & self._handled.keys()}
        self._new = [place for place in self._new if place not in gone]
        self._end_turns(gone)

    def lost(self, consumer: Any, partitions: Sequence[TopicPartition]) -> None:
        """Let go of partitions that may be another member's already; this is librdkafka's ``on_lost``."""
        self.is_lost = True
        self.revoked(consumer, partitions)

    def _ends_of(self, received: Iterable[Received]) -> dict[Place, int]:
        return {r.place: r.message.offset + 1 for r in received if self.is_current(r)}

    def _begin_new(self) -> None:
        """Begin with new partitions; where the broker does not say where the group is, they stay new."""
        places = [TopicPartition(*place) for place in self._new]
        moved: Sequence[TopicPartition] = ()
        if self._on_assign is not None:
            places = wished(self._on_assign, self._consumer, places)
        elif self._start is not None and not self._has_begun:
            moved = self._begin(places, self._start)
        for place in places:
            if time.monotonic() - self._renewed.get(place.topic, -RENEWED_S) < RENEWED_S:
                place.offset = 0
        free = [place for place in places if place.offset in UNPLACED]
        try:
            committed = settle(self._consumer, places, self.fallback)
        except KafkaException as failure:
            error = failure.args[0]
            if self._on_assign is None and not moved and error.code() in PASSING:
                return  # polling tells of a silent broker
            raise error_of(error, self._cluster) from None
        resumed = [place for place in free if self._resume(place, committed.get(place_of(place)))]
        with Deferral():
            self._place(places)
            for place in (*moved, *resumed):  # so the group is there too, though nothing may come
                self._store(place_of(place), place.offset)

    def _begin(self, places: Sequence[TopicPartition], start: Start) -> Sequence[TopicPartition]:
        try:
            tell_shared(self._consumer, self.topics, len(places), self._group)
            return begin(self._consumer, places, start) if places else ()
        except KafkaException as failure:
            raise error_of(failure.args[0], self._cluster) from None

    def _resume(self, place: TopicPartition, committed: int | None) -> bool:
        """Go on in a partition behind what this member has handled, if nobody moved the group since.

        So it is after a broker that was away for longer than a member may be silent: what was handled
        meanwhile could not be committed.
        """
        at = place_of(place)
        known, handled = self._left.get(at, (None, 0))
        self._committed.pop(at, None)
        if committed is not None:
            self._committed[at] = committed
        if known != committed or handled <= (committed or 0):
            return False
        place.offset = handled
        return True

    def _place(self, places: list[TopicPartition]) -> None:
        self._assign(places)
        self._has_begun = True  # a partition that comes later has messages that nobody has read yet
        self._new = []
        begins = {place_of(place): place.offset for place in places}
        for at in begins:
            self._left.pop(at, None)
        self._begins |= begins
        self._note_placed(begins)

    def _assign(self, places: list[TopicPartition]) -> None:
        if self._is_incremental:
            self._consumer.incremental_assign(places)
        else:
            self._consumer.assign(places)

    def _begin_at(self, offsets: Mapping[Place, int]) -> None:
        """Begin anew in some partitions: what was handled of them says nothing any more."""
        for place in offsets:
            self._handled.pop(place, None)
        self._begins |= offsets
        self.begin_again(offsets)

    def _move(self, offsets: Mapping[Place, int]) -> None:
        """Go on elsewhere in some partitions: librdkafka seeks in none that it has stopped to read."""
        if not offsets:
            return
        moved = dict(offsets)
        try:
            if self._is_incremental:
                there = set(map(place_of, self._consumer.assignment()))
                self._consumer.incremental_unassign(
                    _partitions({p: o for p, o in moved.items() if p in there})
                )
            else:
                moved = self._positions(map(place_of, self._consumer.assignment())) | moved
            self._assign(_partitions(moved))
            self._note_placed(moved)
        except KafkaException as failure:
            raise error_of(failure.args[0], self._cluster) from None

    def _positions(self, places: Iterable[Place]) -> dict[Place, int]:
        """Return where librdkafka is in some partitions."""
        told = self._consumer.position([TopicPartition(*place) for place in places])
        known = {place_of(place): place.offset for place in told}
        return {at: o if o >= 0 else self._placed.get(at, OFFSET_INVALID) for at, o in known.items()}

    def _note_placed(self, offsets: Mapping[Place, int]) -> None:
        self._placed |= offsets
        self._moves |= {place: self.moves_of(place) + 1 for place in offsets}

    def _end_turns(self, places: Collection[Place]) -> None:
        self.ended += 1
        for place in places:
            self._turns[place] = self.turn_of(place) + 1
            for known in (self._begins, self._placed, self._handled):
                known.pop(place, None)

    def _store(self, place: Place, end: int) -> None:
        self._handled[place] = end
        try:
            self._consumer.store_offsets(offsets=[TopicPartition(*place, end)])
        except KafkaException:  # the partition is another member's by now, which reads the message again
            LOGGER.info("%s partition %d went to another member", *place)


def _partitions(offsets: Mapping[Place, int]) -> list[TopicPartition]:
    return [TopicPartition(*place, offset) for place, offset in offsets.items()]
