"""Planning tiles the backlog: no offset twice, none left out, none beyond the limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.plan import Limits, PartitionState, Waiting, backlog, cut, expired, in_lanes, segments, share
from finkbridge.values import OffsetRange, SegmentPlan, TopicGeneration, covers


@st.composite
def states(draw: st.DrawFn) -> list[PartitionState]:
    found = []
    for partition in range(draw(st.integers(0, 6))):
        low = draw(st.integers(0, 10**6))
        end = low + draw(st.integers(0, 200))
        found.append(PartitionState(partition, draw(st.integers(0, end)), low, end))
    return found


means = st.floats(1, 10**7)
limits = st.builds(
    Limits,
    max_messages=st.none() | st.integers(1, 2000),
    max_bytes=st.none() | st.integers(1, 10**10),
)


@st.composite
def topics(draw: st.DrawFn) -> dict[TopicGeneration, Waiting]:
    """Draw what waits of up to four topics."""
    found = draw(st.lists(st.tuples(states(), means), max_size=4))
    return {
        TopicGeneration("ztf", f"topic-{number}", 1): Waiting(backlog(mine), mean)
        for number, (mine, mean) in enumerate(found)
    }


def counts(taken: Mapping[TopicGeneration, Sequence[OffsetRange]]) -> list[int]:
    return [r.offsets for ranges in taken.values() for r in ranges]


def whole(waiting: Mapping[TopicGeneration, Waiting]) -> dict[tuple[TopicGeneration, int], OffsetRange]:
    return {(source, r.partition): r for source, mine in waiting.items() for r in mine.ranges}


@pytest.mark.parametrize("field", ["next", "low", "end"])
def test_what_is_no_offset_is_never_planned(field):
    sound = PartitionState(0, 5, 3, 9)
    with pytest.raises(ValueError, match=f"{field}=-1001"):
        replace(sound, **{field: -1001})


@given(states(), st.integers(1, 10**9), means)
def test_segments_tile_the_whole_backlog(found, segment_bytes, mean):
    planned = segments(backlog(found), segment_bytes, mean)
    assert all(planned)
    for waiting in backlog(found):
        pieces = [r for s in planned for r in s if r.partition == waiting.partition]
        assert covers(pieces, waiting)
    assert {r.partition for s in planned for r in s} == {r.partition for r in backlog(found)}


@given(states(), st.integers(1, 10**9), means)
def test_a_partitions_segments_are_in_order(found, segment_bytes, mean):
    for state in found:
        planned = segments(backlog(found), segment_bytes, mean)
        starts = [r.start for s in planned for r in s if r.partition == state.partition]
        assert starts == sorted(starts)


@given(topics(), limits)
def test_a_limited_run_takes_the_beginning_of_each_partition(waiting, limit):
    ranges = whole(waiting)
    for source, taken in share(waiting, limit).items():
        assert taken == sorted(taken)
        for mine in taken:
            all_of_it = ranges.pop((source, mine.partition))  # so that none comes twice
            assert mine.start == all_of_it.start
            assert 0 < mine.offsets <= all_of_it.offsets


@given(topics(), st.integers(1, 2000))
def test_a_run_takes_all_messages_that_it_may(waiting, most):
    backlog_messages = sum(r.offsets for r in whole(waiting).values())
    assert sum(counts(share(waiting, Limits(max_messages=most)))) == min(most, backlog_messages)
    assert sum(counts(share(waiting, Limits()))) == backlog_messages


@given(topics(), limits)
def test_no_run_takes_more_than_it_may_but_one_message(waiting, limit):
    taken = share(waiting, limit)
    messages = sum(counts(taken))
    size = sum(r.offsets * waiting[source].mean_bytes for source, mine in taken.items() for r in mine)
    assert limit.allow(messages, size * (1 - 1e-9)) or messages == 1
    if waiting and whole(waiting):
        assert messages >= 1


@given(topics(), limits)
def test_shares_are_equal_but_where_a_backlog_is_shorter(waiting, limit):
    """No range has two messages more than another one that could have had more."""
    taken = {(s, r.partition): r.offsets for s, mine in share(waiting, limit).items() for r in mine}
    left = [taken.get(key, 0) for key, r in whole(waiting).items() if taken.get(key, 0) < r.offsets]
    assert max(taken.values(), default=0) <= min(left, default=2**63) + 1


@given(topics(), st.integers(0, 1000))
def test_no_partition_starves_where_there_is_one_message_for_each(waiting, more):
    ranges = whole(waiting)
    taken = share(waiting, Limits(max_messages=max(1, len(ranges) + more)))
    assert {(source, r.partition) for source, mine in taken.items() for r in mine} == ranges.keys()


@given(topics(), st.integers(0, 1000))
def test_no_topic_starves_where_there_is_one_message_for_each(waiting, more):
    busy = {source for source, _ in whole(waiting)}
    assert share(waiting, Limits(max_messages=max(1, len(busy) + more))).keys() == busy


@given(topics(), limits, st.randoms())
def test_shares_do_not_depend_on_the_order_of_topics_and_partitions(waiting, limit, random):
    shuffled = {
        source: Waiting(random.sample(mine.ranges, len(mine.ranges)), mine.mean_bytes)
        for source, mine in random.sample(list(waiting.items()), len(waiting))
    }
    assert share(shuffled, limit) == share(waiting, limit)


def test_a_small_topic_is_taken_whole_and_the_rest_is_shared():
    deep, small, wide = (TopicGeneration("ztf", name, 1) for name in ("deep", "small", "wide"))
    waiting = {
        deep: Waiting([OffsetRange(0, 10, 1000)], 100.0),
        small: Waiting([OffsetRange(0, 5, 7)], 100.0),
        wide: Waiting([OffsetRange(0, 0, 50), OffsetRange(1, 0, 60)], 100.0),
    }
    shared = {
        deep: [OffsetRange(0, 10, 20)],
        small: [OffsetRange(0, 5, 7)],
        wide: [OffsetRange(0, 0, 9), OffsetRange(1, 0, 9)],
    }
    assert share(waiting, Limits(max_messages=30)) == shared
    assert share(waiting, Limits(max_bytes=3000)) == shared


@given(states())
def test_what_expired_and_what_waits_tile_what_is_not_in_the_lake(found):
    waiting = {r.partition: r for r in backlog(found)}
    for state in found:
        gap = expired(state)
        pieces = [r for r in (gap, waiting.get(state.partition)) if r]
        if gap:
            assert gap.end == state.low
        if pieces:
            assert covers(pieces, OffsetRange(state.partition, state.next, max(state.end, pieces[-1].end)))


def test_a_quiet_topics_ten_partitions_make_one_segment():
    quiet = [OffsetRange(p, 5, 6) for p in range(10)]
    assert segments(quiet, 64_000_000, 50_000.0) == [tuple(quiet)]


def test_a_deep_backlog_makes_segments_of_one_range_each_sized_by_the_mean_message():
    planned = segments([OffsetRange(0, 0, 1000)], 100_000, 1000.0)
    assert len(planned) == 10
    assert all(len(s) == 1 and s[0].offsets == 100 for s in planned)


@given(st.integers(0, 100), st.integers(0, 10**6), st.integers(0, 10**4), st.integers(1, 10**4))
def test_cut_tiles(partition, start, length, offsets):
    whole = OffsetRange(partition, start, start + length)
    assert covers(cut(whole, offsets), whole)
    assert all(piece.offsets <= offsets for piece in cut(whole, offsets))


@given(topics(), st.integers(1, 10**8), st.integers(1, 5))
def test_lanes_have_every_plan_once_and_each_partition_in_order(waiting, segment_bytes, lanes):
    pieces = [
        (source, ranges)
        for source, w in waiting.items()
        for ranges in segments(w.ranges, segment_bytes, w.mean_bytes)
    ]
    plans = [SegmentPlan(number, source, ranges, 0) for number, (source, ranges) in enumerate(pieces, 1)]
    ordered = in_lanes(plans, lanes)
    assert sorted(plan.number for plan in ordered) == [plan.number for plan in plans]
    for chain in {(plan.source, plan.ranges[0].partition) for plan in plans}:
        mine = [p.number for p in ordered if (p.source, p.ranges[0].partition) == chain]
        assert mine == sorted(mine)


def test_as_many_partitions_as_workers_are_drained_side_by_side():
    source = TopicGeneration("ztf", "t", 1)
    plans = [
        SegmentPlan(number, source, (OffsetRange(number % 3, number, number + 1),), 0) for number in range(9)
    ]
    found = [plan.ranges[0].partition for plan in in_lanes(plans, 2)]
    assert found == [0, 1, 0, 1, 0, 1, 2, 2, 2]
