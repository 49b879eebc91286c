"""Planning tiles the backlog: no offset twice, none left out, none beyond the limits."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finkbridge.plan import Limits, PartitionState, backlog, clip, cut, expired, segments
from finkbridge.values import OffsetRange, covers


@st.composite
def states(draw: st.DrawFn) -> list[PartitionState]:
    found = []
    for partition in range(draw(st.integers(0, 6))):
        low = draw(st.integers(0, 10**6))
        end = low + draw(st.integers(0, 200))
        found.append(PartitionState(partition, draw(st.integers(0, end)), low, end))
    return found


limits = st.builds(
    Limits,
    segment_bytes=st.integers(1, 10**9),
    max_messages=st.none() | st.integers(1, 10**5),
    max_bytes=st.none() | st.integers(1, 10**10),
)
means = st.none() | st.floats(1, 10**7)


@given(states(), st.integers(1, 10**9), means)
def test_segments_tile_the_whole_backlog(found, segment_bytes, mean):
    planned = segments(found, Limits(segment_bytes), mean)
    assert all(planned)
    for waiting in backlog(found):
        pieces = [r for s in planned for r in s if r.partition == waiting.partition]
        assert covers(pieces, waiting)
    assert {r.partition for s in planned for r in s} == {r.partition for r in backlog(found)}


@given(states(), limits, means)
def test_a_limited_run_takes_the_beginning_of_each_partition_and_no_more(found, limit, mean):
    ranges = [r for s in segments(found, limit, mean) for r in s]
    if limit.max_messages is not None:
        assert sum(r.offsets for r in ranges) <= limit.max_messages
    for state in found:
        pieces = [r for r in ranges if r.partition == state.partition]
        if pieces:
            assert covers(pieces, OffsetRange(state.partition, max(state.next, state.low), pieces[-1].end))
            assert pieces[-1].end <= state.end


@given(states(), limits, means)
def test_a_partitions_segments_are_in_order(found, limit, mean):
    for state in found:
        starts = [r.start for s in segments(found, limit, mean) for r in s if r.partition == state.partition]
        assert starts == sorted(starts)


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
    quiet = [PartitionState(p, 5, 0, 6) for p in range(10)]
    assert segments(quiet, Limits(64_000_000)) == [tuple(OffsetRange(p, 5, 6) for p in range(10))]


def test_a_deep_backlog_makes_segments_of_one_range_each_sized_by_the_mean_message():
    deep = [PartitionState(0, 0, 0, 1000)]
    planned = segments(deep, Limits(segment_bytes=100_000), mean_bytes=1000)
    assert len(planned) == 10
    assert all(len(s) == 1 and s[0].offsets == 100 for s in planned)


@given(st.integers(0, 100), st.integers(0, 10**6), st.integers(0, 10**4), st.integers(1, 10**4))
def test_cut_tiles(partition, start, length, offsets):
    whole = OffsetRange(partition, start, start + length)
    assert covers(cut(whole, offsets), whole)
    assert all(piece.offsets <= offsets for piece in cut(whole, offsets))


def test_clip_takes_from_the_front():
    assert clip([OffsetRange(0, 0, 5), OffsetRange(1, 0, 5)], 7) == [
        OffsetRange(0, 0, 5),
        OffsetRange(1, 0, 2),
    ]
