"""Where the partitions of a group's member begin, as numbers: so what it did not handle can be had again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Literal

from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    OFFSET_INVALID,
    OFFSET_STORED,
    KafkaException,
    TopicPartition,
)

from finkbridge.errors import SettingsError

LOGGER = logging.getLogger(__name__)

ANSWER_S = 10.0
"""Longest wait for a partition's offsets."""
SETTLE_S = 5.0
"""The same, where it is asked for again soon."""

ENDS = (OFFSET_BEGINNING, OFFSET_END)
UNPLACED = (OFFSET_INVALID, OFFSET_STORED)
"""Of partitions that go on where the group is."""

Place = tuple[str, int]
"""Topic and partition."""
Start = Literal["earliest", "latest"] | datetime | int
"""Where to begin: an end of each partition, a time, or an offset."""
OnAssign = Callable[[Any, Any], object]
"""confluent_kafka's callback: the consumer, and its new partitions."""
Fallback = Literal["earliest", "latest", "error"]
"""Where to begin where the group is nowhere, or at offsets that the broker no longer has."""

_FALLBACKS: dict[str, Fallback] = {"latest": "latest", "end": "latest", "largest": "latest", "error": "error"}
"""Others begin at the first message."""


def fallback_of(reset: str) -> Fallback:
    """Return what a value of librdkafka's ``auto.offset.reset`` means."""
    return _FALLBACKS.get(reset.lower(), "earliest")


def place_of(place: TopicPartition) -> Place:
    """Return topic and partition."""
    return place.topic, place.partition


class _Wish:
    """confluent_kafka's consumer, for a user's ``on_assign``: what it assigns is noted, and done after it."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self.offsets: dict[Place, int] | None = None
        """None: it assigned nothing."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._consumer, name)

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        self.offsets = (self.offsets or {}) | {place_of(place): place.offset for place in partitions}

    incremental_assign = assign


def wished(on_assign: OnAssign, consumer: Any, partitions: Sequence[TopicPartition]) -> list[TopicPartition]:
    """Return the partitions that a user's callback assigns, with its offsets; all, if it assigns none."""
    wish, mine = _Wish(consumer), list(map(place_of, partitions))
    on_assign(wish, list(partitions))
    offsets = dict.fromkeys(mine, OFFSET_INVALID) if wish.offsets is None else wish.offsets
    return [TopicPartition(*place, offsets[place]) for place in mine if place in offsets]


def settle(consumer: Any, places: Sequence[TopicPartition], fallback: Fallback) -> dict[Place, int]:
    """Give partitions without an offset the group's, or else the fallback's; all as numbers.

    Only where nothing is known, and `fallback` is an error, there is no number: librdkafka tells of it.
    Return the group's.

    Raises
    ------
    KafkaException
        The broker does not answer.
    """
    free = [place for place in places if place.offset in UNPLACED]
    told = consumer.committed(free, timeout=SETTLE_S) if free else ()
    if errors := [place.error for place in told if place.error is not None]:
        raise KafkaException(errors[0])
    committed = {place_of(place): place.offset for place in told if place.offset >= 0}
    otherwise = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END, "error": OFFSET_INVALID}[fallback]
    for place in free:
        place.offset = committed.get(place_of(place), otherwise)
    for place in places:
        if place.offset in ENDS:
            low, end = consumer.get_watermark_offsets(place, timeout=SETTLE_S)
            place.offset = end if place.offset == OFFSET_END else low
    return committed


def begin(consumer: Any, places: Sequence[TopicPartition], start: Start) -> list[TopicPartition]:
    """Give partitions the offset that they are to begin at; return them, without those that have none there.

    Raises
    ------
    KafkaException
        The broker does not answer.
    SettingsError
        An offset is behind the end of every partition.
    """
    marks = [consumer.get_watermark_offsets(place, timeout=ANSWER_S) for place in places]
    if isinstance(start, datetime):
        stamp = max(0, int(start.timestamp() * 1000))  # Kafka takes no time before 1970
        asked = [TopicPartition(*place_of(place), stamp) for place in places]
        found = [place.offset for place in consumer.offsets_for_times(asked, timeout=ANSWER_S)]
        offsets = [end if o < 0 else o for o, (_, end) in zip(found, marks, strict=True)]
    elif isinstance(start, int):
        _tell_short(places, [end for _, end in marks], start)
        offsets = [OFFSET_INVALID if end < start else max(start, low) for low, end in marks]
    else:
        offsets = [low if start == "earliest" else end for low, end in marks]
    for place, offset in zip(places, offsets, strict=True):
        place.offset = offset
    return [place for place in places if place.offset >= 0]


def _tell_short(places: Sequence[TopicPartition], ends: Sequence[int], start: int) -> None:
    """Tell of partitions that end before an offset: to move them to their ends would skip messages."""
    if all(end < start for end in ends):
        raise SettingsError(
            f"offset {start} is behind the end of every partition, and the group stays where it is: say an "
            f"offset up to {max(ends)}, or latest"
        )
    for place, end in zip(places, ends, strict=True):
        if end < start:
            LOGGER.warning(
                "%s partition %d ends at %d, before %d: it goes on where the group is",
                place.topic,
                place.partition,
                end,
                start,
            )


def tell_shared(consumer: Any, topics: Sequence[str], count: int, group: str) -> None:
    """Tell of partitions that other members read: to begin somewhere moves this member's own alone."""
    found = consumer.list_topics(timeout=ANSWER_S).topics
    there = sum(len(found[topic].partitions) for topic in topics if topic in found)
    if count < there:
        LOGGER.warning(
            "other members of group %s read %d of %d partitions, which stay where the group is: to move them "
            "too, end those members and begin there again",
            group,
            there - count,
            there,
        )
