"""Parts of a plan tile it, whatever the messages; an account has every offset once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.errors import ReconciliationError
from finkbridge.parts import Part, account, message_hash, parts_of
from finkbridge.values import (
    HEADER_BYTES,
    MESSAGE_BYTES,
    LastMessage,
    Message,
    OffsetRange,
    SegmentPlan,
    TopicGeneration,
    covers,
)


class Log:
    """Partitions with messages at some offsets, given in batches of some size."""

    def __init__(self, sizes: dict[int, dict[int, int]], batch: int = 3) -> None:
        self.messages = {
            p: [Message(p, o, 1000 + o, 1, None, bytes(size)) for o, size in sorted(found.items())]
            for p, found in sizes.items()
        }
        self.batch = batch
        self.looks = 0

    def fetch(self, topic: str, span: OffsetRange, /) -> Iterator[list[Message]]:
        found = [m for m in self.messages[span.partition] if span.start <= m.offset < span.end]
        for at in range(0, len(found), self.batch):
            yield found[at : at + self.batch]

    def confirm_holes(self, topic: str, holes: Sequence[OffsetRange], /) -> bool:
        self.looks += 1
        taken = {(p, m.offset) for p, found in self.messages.items() for m in found}
        return not any((h.partition, o) in taken for h in holes for o in range(h.start, h.end))

    def first_key(self, topic: str, /) -> bytes | None:
        return None


logs = st.dictionaries(
    st.integers(0, 3), st.dictionaries(st.integers(0, 20), st.integers(1, 9), max_size=12), min_size=1
)


@given(logs, st.integers(1, 2000), st.integers(1, 5))
def test_parts_tile_the_plan(sizes: dict[int, dict[int, int]], limit: int, batch: int) -> None:
    log = Log(sizes, batch)
    ranges = tuple(OffsetRange(p, 0, 21) for p in sorted(sizes))
    plan = SegmentPlan(1, TopicGeneration("c", "t", 1), ranges, limit)
    counts, messages = [], []
    for number, part in enumerate(parts_of(plan, log)):
        assert part.number == number
        assert sum(m.memory(None) for m in part.messages[:-1]) < limit
        counts += account(part, "t", log).counts([])
        messages += part.messages
    assert messages == [m for p in sorted(sizes) for m in log.messages[p]]
    assert all(count.reconciled for count in counts)
    for whole in ranges:
        assert covers([c.range for c in counts if c.range.partition == whole.partition], whole)


def kept(log: Log, limit: int) -> list[list[int]]:
    """Return the offsets of each part."""
    ranges = tuple(OffsetRange(p, 0, found[-1].offset + 1) for p, found in log.messages.items())
    plan = SegmentPlan(1, TopicGeneration("c", "t", 1), ranges, limit)
    return [[m.offset for m in part.messages] for part in parts_of(plan, log)]


def test_a_part_holds_few_messages_however_small_they_are() -> None:
    assert kept(Log({0: dict.fromkeys(range(5), 0)}), 2 * MESSAGE_BYTES) == [[0, 1], [2, 3], [4]]


def test_a_key_counts_where_it_is_another_one_and_where_a_part_or_range_begins() -> None:
    log = Log({0: dict.fromkeys(range(9), 0)})
    keys = [b"a" * 1000] * 6 + [b"b" * 1000] * 3
    log.messages[0] = [m._replace(key=key) for m, key in zip(log.messages[0], keys, strict=True)]
    assert kept(log, 1000 + 4 * MESSAGE_BYTES) == [[0, 1, 2, 3], [4, 5, 6], [7, 8]]
    log.messages = {p: [m._replace(partition=p) for m in log.messages[0][:2]] for p in (0, 1)}
    assert kept(log, 2000 + 3 * MESSAGE_BYTES) == [[0, 1, 0], [1]]


def test_headers_count() -> None:
    log = Log({0: dict.fromkeys(range(4), 0)})
    log.messages[0] = [m._replace(headers=(("name", bytes(1000)), ("none", None))) for m in log.messages[0]]
    each = MESSAGE_BYTES + 2 * HEADER_BYTES + 1008
    assert [m.memory(None) for m in log.messages[0]] == [each] * 4
    assert kept(log, 2 * each) == [[0, 1], [2, 3]]


def test_what_is_reported_is_the_bytes_of_the_values() -> None:
    message = Message(0, 0, 1, 1, b"key", b"value", (("name", b"header"),))
    log = Log({0: {}})
    assert account(Part(0, (OffsetRange(0, 0, 1),), [message]), "t", log).bytes == 5


def test_account_knows_last_messages_and_times() -> None:
    log = Log({0: {1: 2, 4: 3}, 1: {}})
    spans = (OffsetRange(0, 0, 6), OffsetRange(1, 5, 7))
    found = account(Part(0, spans, log.messages[0]), "t", log)
    assert found.last == (LastMessage(0, 4, message_hash(log.messages[0][1])),)
    assert (found.bytes, found.first_timestamp_ms, found.last_timestamp_ms) == (5, 1001, 1004)
    first, second = found.counts([(0, 4)])
    assert (first.rows, first.quarantined) == (1, 1)
    assert [(h.start, h.end) for h in first.holes] == [(0, 1), (2, 4), (5, 6)]
    assert (second.rows, second.holes) == (0, (OffsetRange(1, 5, 7),))


def test_no_holes_need_no_second_look() -> None:
    log = Log({0: {0: 1, 1: 1}})
    account(Part(0, (OffsetRange(0, 0, 2),), log.messages[0]), "t", log)
    assert log.looks == 0


def test_messages_that_were_not_asked_for_stop_the_segment() -> None:
    log = Log({0: {0: 1, 1: 1, 2: 1}, 1: {0: 1}})
    for stray in (log.messages[0][2], log.messages[1][0]):
        with pytest.raises(ReconciliationError, match="not asked for"):
            account(Part(0, (OffsetRange(0, 0, 2),), [*log.messages[0][:2], stray]), "t", log)


@pytest.mark.parametrize("order", [(1, 0), (0, 0)])
def test_offsets_out_of_order_stop_the_segment(order: tuple[int, int]) -> None:
    log = Log({0: {0: 1, 1: 1}})
    messages = [log.messages[0][i] for i in order]
    with pytest.raises(ReconciliationError, match="out of order"):
        account(Part(0, (OffsetRange(0, 0, 2),), messages), "t", log)


def test_hash_tells_value_key_and_time_apart() -> None:
    message = Message(0, 1, 2, 1, b"k", b"v")
    others = [message._replace(value=b"w"), message._replace(key=b"l"), message._replace(timestamp_ms=3)]
    assert len({message_hash(m) for m in [message, *others]}) == 4
    assert message_hash(message) == message_hash(message._replace(offset=9))
