"""Step 2 of the way through the house: fetch offset ranges as parts, and account for every offset."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import xxhash

from finkbridge.errors import ReconciliationError
from finkbridge.values import LastMessage, Message, OffsetRange, RangeCount, SegmentPlan


class MessageSource(Protocol):
    """Where messages come from: a broker, or an archive."""

    def fetch(self, topic: str, span: OffsetRange, /) -> Iterator[list[Message]]:
        """Yield all messages of a range, in order, in batches."""

    def confirm_holes(self, topic: str, holes: Sequence[OffsetRange], /) -> bool:
        """Look a second time whether there is no message in these ranges."""

    def first_key(self, topic: str, /) -> bytes | None:
        """Return the key of a topic's first message; None where it has none."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Messages that land together, and the offset ranges that they are all of."""

    number: int
    ranges: tuple[OffsetRange, ...]
    messages: list[Message]


@dataclass(frozen=True, slots=True)
class Account:
    """What a part is made of, known before its messages are landed and forgotten."""

    present: tuple[tuple[OffsetRange, int], ...]
    """Each range with its number of messages."""
    times: dict[OffsetRange, tuple[int | None, int | None]]
    """Earliest and latest timestamp of each range, Unix ms; None without any."""
    holes: dict[OffsetRange, tuple[OffsetRange, ...]]
    last: tuple[LastMessage, ...]
    """Of each partition that has a message."""
    bytes: int
    first_timestamp_ms: int | None
    last_timestamp_ms: int | None

    def counts(self, rejected: Collection[tuple[int, int]]) -> tuple[RangeCount, ...]:
        """Return what became of each range, given (partition, offset) of what was quarantined."""
        found = []
        for span, messages in self.present:
            bad = sum(p == span.partition and span.start <= o < span.end for p, o in rejected)
            found.append(RangeCount(span, messages - bad, bad, self.holes[span], *self.times[span]))
        return tuple(found)


def parts_of(plan: SegmentPlan, source: MessageSource) -> Iterator[Part]:
    """Fetch a plan's ranges; cut behind the first message with which a part's memory reaches the byte limit.

    The cuts follow from the messages alone, so that a retry makes the same parts. The first message of a part
    and of a range counts with its key.
    """
    number, size = 0, 0
    ranges: list[OffsetRange] = []
    messages: list[Message] = []
    for span in plan.ranges:
        start, key = span.start, None
        for batch in source.fetch(plan.source.topic, span):
            for message in batch:
                messages.append(message)
                size += message.memory(key)
                key = message.key
                if size < plan.byte_limit:
                    continue
                end = message.offset + 1
                yield Part(number, (*ranges, OffsetRange(span.partition, start, end)), messages)
                number, size, ranges, messages, start, key = number + 1, 0, [], [], end, None
        if start < span.end:
            ranges.append(OffsetRange(span.partition, start, span.end))
    if ranges:
        yield Part(number, tuple(ranges), messages)


def account(part: Part, topic: str, source: MessageSource) -> Account:
    """Tell messages from holes, and have the source confirm the holes.

    Raises
    ------
    ReconciliationError
        A hole proves to hold messages at a second look, or there are messages of other offsets.
    """
    mine = _by_range(part)
    offsets = {span: _offsets(span, messages) for span, messages in mine.items()}
    if sum(map(len, offsets.values())) != len(part.messages):
        raise ReconciliationError(
            f"{topic}: the broker gave messages that were not asked for; nothing of this segment was "
            "committed, the next run tries again"
        )
    holes = {span: span.missing(present) for span, present in offsets.items()}
    everything = [hole for found in holes.values() for hole in found]
    if everything and not source.confirm_holes(topic, everything):
        raise ReconciliationError(
            f"{topic}: a second look at the broker shows messages that the first did not; nothing of this "
            "segment was committed, the next run tries again"
        )
    times = {span: _times(messages) for span, messages in mine.items()}
    return Account(
        present=tuple((span, len(present)) for span, present in offsets.items()),
        times=times,
        holes=holes,
        last=tuple(_last(m) for m in {m.partition: m for m in part.messages}.values()),
        bytes=sum(m.size for m in part.messages),
        first_timestamp_ms=min((t for t, _ in times.values() if t is not None), default=None),
        last_timestamp_ms=max((t for _, t in times.values() if t is not None), default=None),
    )


def message_hash(message: Message) -> str:
    """Return a hash of what a topic's recreation would change: value, key and timestamp."""
    digest = xxhash.xxh3_128(message.value or b"")
    digest.update(message.key or b"")
    digest.update(str(message.timestamp_ms).encode())
    return digest.hexdigest()


def _by_range(part: Part) -> dict[OffsetRange, list[Message]]:
    of_partition: dict[int, list[Message]] = {}
    for message in part.messages:
        of_partition.setdefault(message.partition, []).append(message)
    return {
        span: [m for m in of_partition.get(span.partition, ()) if span.start <= m.offset < span.end]
        for span in part.ranges
    }


def _times(messages: Sequence[Message]) -> tuple[int | None, int | None]:
    found = [m.timestamp_ms for m in messages if m.timestamp_ms is not None]
    return min(found, default=None), max(found, default=None)


def _offsets(span: OffsetRange, messages: Sequence[Message]) -> list[int]:
    found = [m.offset for m in messages]
    if any(a >= b for a, b in pairwise(found)):
        raise ReconciliationError(
            f"partition {span.partition}: the broker gave offsets out of order; run again"
        )
    return found


def _last(message: Message) -> LastMessage:
    return LastMessage(message.partition, message.offset, message_hash(message))
