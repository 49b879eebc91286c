"""Logs that were cut and grew again, under the same topic id: other messages have offsets that were drained.

A broker that was behind may become a partition's leader (an unclean election): what it had not copied is
gone. Each change of a leader has a number, its epoch, which comes with the ends of a topic at no cost. So
only where that is not the one noted, the last message in the lake is held against the broker's.
"""

from __future__ import annotations

from finkbridge import backlog, later
from finkbridge.backlog import TopicAtBroker
from finkbridge.broker import Broker
from finkbridge.ledger import Ledger
from finkbridge.ledger.store import LedgerPartition
from finkbridge.parts import message_hash
from finkbridge.values import OffsetRange


def unproved(seen: TopicAtBroker, partitions: dict[int, LedgerPartition]) -> list[LedgerPartition]:
    """Return the partitions whose leader changed since what is in the lake was last seen to be the broker's.

    One that ends before the lake does is left out: nothing is in the place of what it lost yet.
    """
    return [
        partitions[p]
        for p, marks in seen.watermarks.items()
        if p in partitions
        and marks.end >= partitions[p].next_offset
        and (marks.leader_epoch is None or marks.leader_epoch != partitions[p].leader_epoch)
    ]


def cut_at(
    broker: Broker, seen: TopicAtBroker, known: LedgerPartition, ledger: Ledger, row_id: int
) -> int | None:
    """Return the first offset at which the broker has another message than the lake; None if it has none."""
    if known.last_offset is None or backlog.same_partition(broker, seen, known, ledger, row_id):
        return None
    low, high = max(known.first_offset, seen.watermarks[known.partition].low), known.last_offset
    while low < high:
        middle = (low + high) // 2
        span = OffsetRange(known.partition, middle, known.last_offset + 1)
        if _agree(broker, seen.topic, span, ledger, row_id):
            low = middle + 1
        else:
            high = middle
    return low


def _agree(broker: Broker, topic: str, span: OffsetRange, ledger: Ledger, row_id: int) -> bool:
    """Whether the first message of a range is the one in the lake."""
    there = broker.first_message(topic, span)
    if there is None:
        return False
    kept = later.call("finkbridge.witness:kept_message", ledger, row_id, span.partition, there.offset)
    return kept is not None and message_hash(kept) == message_hash(there)
