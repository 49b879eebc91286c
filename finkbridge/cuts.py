"""Where partitions go on whose log may have been cut and have grown again, under the same topic id.

A broker that was behind may become a partition's leader (an unclean election): what it had not copied is
gone, and other messages get its offsets. Each change of a leader has a number, its epoch, which comes with
the ends of a topic at no cost. The ledger notes it with what was seen of a partition; where it is a later one
now, Kafka is asked where the noted one ended: a log that had more by then was cut there. A ledger that was
rebuilt has no epochs: there messages tell.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from finkbridge import backlog, later
from finkbridge.backlog import TopicAtBroker
from finkbridge.broker import Broker
from finkbridge.ledger import Ledger
from finkbridge.ledger import seen as looks
from finkbridge.ledger.store import KnownGeneration, LedgerPartition
from finkbridge.parts import message_hash
from finkbridge.values import OffsetRange, Resumption, SegmentPlan


class Life(NamedTuple):
    """What one generation of a topic has of a partition."""

    row_id: int
    """Of the generation."""
    partition: LedgerPartition


def resume(
    broker: Broker, seen: TopicAtBroker, known: KnownGeneration, ledger: Ledger, left: Sequence[SegmentPlan]
) -> Resumption:
    """Return where the partitions of a topic's present life go on, and which of them were cut.

    Parameters
    ----------
    broker
        Of the topic.
    seen
        The topic, as it is there now.
    known
        Its life.
    ledger
        Of the lake.
    left
        Pending plans of it: like the newest look, they tell what the broker has shown.
    """
    mine = {p: row for p, row in ledger.partitions(known.row_id).items() if p in seen.watermarks}
    starts = {p: row.next_offset for p, row in mine.items()}
    marks = seen.watermarks
    changed = [
        p for p, row in mine.items() if row.leader_epoch is None or row.leader_epoch != marks[p].leader_epoch
    ]
    if not changed:
        return Resumption(starts)
    asked = {
        p: epoch
        for p in changed
        if (epoch := mine[p].leader_epoch) is not None and epoch < (marks[p].leader_epoch or 0)
    }
    shown, older = _shown(ledger, known, left), lives(ledger, known)
    ends = broker.epoch_ends(seen.topic, asked)
    cut = {p: at for p, at in ends.items() if at < max(starts[p], shown.get(p, 0))}
    for p in (p for p in changed if p in cut or p not in ends):
        starts[p] = start_of(broker, seen, older[p], ledger, cut.get(p))
        if starts[p] < mine[p].next_offset:
            cut.setdefault(p, starts[p])
    sure = {*mine}.difference(changed).union(ends)
    return Resumption(starts, epochs_at(seen, starts, sure), cut)


def begin(
    broker: Broker, seen: TopicAtBroker, known: KnownGeneration, ledger: Ledger, partitions: Collection[int]
) -> dict[int, int]:
    """Return where partitions begin that a life does not have yet, and an older one of the same log does.

    A rebuilt ledger is such a one: it knows of no partition of a life without a file that tells of it.
    """
    if seen.topic_id is None or known.source.generation == 1:
        return {}
    older = lives(ledger, known)
    return {p: start_of(broker, seen, older[p], ledger) for p in partitions if p in older}


def epochs_at(seen: TopicAtBroker, starts: Mapping[int, int], sure: Collection[int] = ()) -> dict[int, int]:
    """Return the epochs at which the broker has what is before the starts: it shows that, or it is sure."""
    marks = seen.watermarks
    return {
        p: epoch
        for p, start in starts.items()
        if (epoch := marks[p].leader_epoch) is not None and (p in sure or start <= marks[p].end)
    }


def start_of(
    broker: Broker, seen: TopicAtBroker, mine: Sequence[Life], ledger: Ledger, cut: int | None = None
) -> int:
    """Return where a partition goes on: at the first offset of which the lake lacks the message.

    A log is only ever cut at its end. So what the broker has before the first message that is another one is
    in the lake, byte for byte: nothing is doubled. All from it on is drained, and what the lake has of these
    offsets are other messages, which it keeps: nothing is lost but what the broker lost. Of that, what it had
    shown and was not drained is named, as a gap of the life that is over.

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
    cut
        Where Kafka says that the log was cut. Messages are compared from there on only: a run may have
        drained what came in the place of the others already. None: not known, and messages alone tell.
    """
    row_id, newest = mine[0]
    has_last = cut is None and newest.last_offset is not None
    if has_last and backlog.same_partition(broker, seen, newest, ledger, row_id):
        return newest.next_offset
    marks = seen.watermarks[newest.partition]
    other = _first_other(broker, seen, mine, ledger, max(cut or 0, marks.low))
    if other is not None:
        return other
    return newest.next_offset if cut is None else min(newest.next_offset, max(cut, marks.end))


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


def _shown(ledger: Ledger, known: KnownGeneration, left: Sequence[SegmentPlan]) -> dict[int, int]:
    """Return ends that the broker has shown, by partition."""
    with ledger.reading() as connection:
        shown = looks.ends(connection, known.row_id)
    for r in (r for plan in left for r in plan.ranges):
        shown[r.partition] = max(r.end, shown.get(r.partition, 0))
    return shown


def _first_other(
    broker: Broker, seen: TopicAtBroker, mine: Sequence[Life], ledger: Ledger, lowest: int
) -> int | None:
    """Return where the broker's messages begin to be others than those of the lake; None if none is."""
    found, end = None, seen.watermarks[mine[0].partition.partition].end
    for life in mine:
        row = life.partition
        start, stop = max(row.first_offset, lowest), min(row.next_offset, end)
        end = min(end, row.first_offset)
        if start >= stop:
            continue
        other = _first_other_of(broker, seen.topic, OffsetRange(row.partition, start, stop), ledger, life)
        if other is None or other > start:
            return found if other is None else other
        found = start
    return None if found is None else lowest  # nothing is as it was


def _first_other_of(broker: Broker, topic: str, span: OffsetRange, ledger: Ledger, life: Life) -> int | None:
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
