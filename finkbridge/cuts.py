"""Logs that were cut and grew again, under the same topic id: other messages have offsets that were drained.

A broker that was behind may become a partition's leader (an unclean election): what it had not copied is
gone. Each change of a leader has a number, its epoch, which comes with the ends of a topic at no cost. So
only where that is not the one noted, the last message in the lake is held against the broker's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from finkbridge import backlog, later
from finkbridge.backlog import TopicAtBroker
from finkbridge.broker import Broker
from finkbridge.ledger import Ledger
from finkbridge.ledger.store import KnownGeneration, LedgerPartition
from finkbridge.parts import message_hash
from finkbridge.values import OffsetRange


class Life(NamedTuple):
    """What one generation of a topic has of a partition."""

    row_id: int
    """Of the generation."""
    partition: LedgerPartition


def lives(ledger: Ledger, known: KnownGeneration) -> dict[int, list[Life]]:
    """Return what the lake has of each partition's log, the newest generation first.

    One that has another id at Kafka is of another log. One without an id, as in a rebuilt ledger, may be of
    this one: its messages tell.
    """
    found: dict[int, list[Life]] = {}
    for generation in ledger.generations_of(known.source):
        if generation.topic_id not in (None, known.topic_id):
            break
        for number, partition in ledger.partitions(generation.row_id).items():
            found.setdefault(number, []).append(Life(generation.row_id, partition))
    return found


def unproved(seen: TopicAtBroker, partitions: Mapping[int, LedgerPartition]) -> list[int]:
    """Return the partitions of which what is in the lake may not be the broker's any more.

    Their leader changed since it was last seen to be, or they end before the lake does.
    """
    return [
        p
        for p, marks in seen.watermarks.items()
        if p in partitions
        and (
            marks.end < partitions[p].next_offset
            or marks.leader_epoch is None
            or marks.leader_epoch != partitions[p].leader_epoch
        )
    ]


def cut_at(broker: Broker, seen: TopicAtBroker, mine: Sequence[Life], ledger: Ledger) -> int | None:
    """Return the first offset at which the broker has another message than the lake; None if it has none.

    Parameters
    ----------
    broker
        Of the topic.
    seen
        The topic, as it is there now.
    mine
        Of one partition, the newest first. Each holds up to where the one after it begins: a log may be cut
        again, before the place where it was cut the last time.
    ledger
        Of the lake.
    """
    row_id, newest = mine[0]
    if newest.last_offset is not None and backlog.same_partition(broker, seen, newest, ledger, row_id):
        return None
    marks, cut = seen.watermarks[newest.partition], None
    end = marks.end
    for life in mine:
        start, stop = max(life.partition.first_offset, marks.low), min(life.partition.next_offset, end)
        end = min(end, life.partition.first_offset)
        if start >= stop:
            continue
        other = _first_other(broker, seen.topic, OffsetRange(newest.partition, start, stop), ledger, life)
        if other is None:
            return cut
        if other > start:
            return other
        cut = start
    return None if cut is None else marks.low  # nothing is as it was


def first_missing(broker: Broker, seen: TopicAtBroker, mine: Sequence[Life], ledger: Ledger) -> int:
    """Return the first offset of which the lake does not have the broker's message."""
    cut = cut_at(broker, seen, mine, ledger)
    return mine[0].partition.next_offset if cut is None else cut


def _first_other(broker: Broker, topic: str, span: OffsetRange, ledger: Ledger, life: Life) -> int | None:
    """Return where in a range the broker's messages begin to be others than those of the lake."""
    low, high, probe = span.start, span.end, span.end - 1  # the last one first: mostly it is the same
    while low < high:
        if _agree(broker, topic, OffsetRange(span.partition, probe, span.end), ledger, life):
            low = probe + 1
        else:
            high = probe
        probe = (low + high) // 2
    if low == span.end or broker.first_message(topic, OffsetRange(span.partition, low, span.end)) is None:
        return None
    return low


def _agree(broker: Broker, topic: str, span: OffsetRange, ledger: Ledger, life: Life) -> bool:
    """Whether the first message of a range is the one in the lake."""
    there = broker.first_message(topic, span)
    if there is None:
        return False
    place = life.row_id, span.partition, there.offset
    kept = later.call("finkbridge.witness:kept_message", ledger, *place)
    return kept is not None and message_hash(kept) == message_hash(there)
