"""Holes gathered into sweeps."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finkbridge.broker.holes import SWEEP_DISTANCE, falls_in, span_of, sweeps
from finkbridge.values import OffsetRange


def test_near_holes_share_a_sweep_and_others_do_not() -> None:
    near = [OffsetRange(0, 10, 11), OffsetRange(0, 11 + SWEEP_DISTANCE, 400)]
    far = OffsetRange(0, 401 + SWEEP_DISTANCE, 900)
    other = OffsetRange(1, 12, 13)
    empty = OffsetRange(0, 5, 5)
    assert list(sweeps([other, far, empty, *reversed(near)])) == [tuple(near), (far,), (other,)]
    assert span_of(tuple(near)) == OffsetRange(0, 10, 400)
    assert list(sweeps([])) == []


@st.composite
def holes(draw: st.DrawFn) -> list[OffsetRange]:
    steps = draw(st.lists(st.tuples(st.integers(1, 500), st.integers(0, 500)), max_size=20))
    found, at = [], 0
    for gap, size in steps:
        found.append(OffsetRange(0, at + gap, at + gap + size))
        at += gap + size
    return found


@given(holes())
def test_sweeps_hold_each_offset_of_each_hole_and_no_other(missing: list[OffsetRange]) -> None:
    groups = list(sweeps(missing))
    assert [hole for group in groups for hole in group] == [hole for hole in missing if hole.offsets]
    gone = {offset for hole in missing for offset in range(hole.start, hole.end)}
    swept: set[int] = set()
    for group in groups:
        span = span_of(group)
        inside = {offset for offset in range(span.start, span.end) if falls_in(offset, group)}
        assert inside == gone & set(range(span.start, span.end))
        swept |= inside
    assert swept == gone
