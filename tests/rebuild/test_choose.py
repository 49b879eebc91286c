"""Which plans were committed, told from their files alone: against every history that planning can make."""

from __future__ import annotations

import random
from collections import defaultdict
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from finkbridge.rebuild.choose import FoundPlan, choose, in_order, joined
from finkbridge.values import OffsetRange, TopicGeneration

SOURCE = TopicGeneration("ztf", "t", 1)


def plan(number: int, *ranges: tuple[int, int, int], is_whole: bool = True) -> FoundPlan:
    return FoundPlan(number, SOURCE, tuple(OffsetRange(*r) for r in ranges), is_whole)


def test_whole_plans_that_follow_each_other_are_taken() -> None:
    plans = [plan(1, (0, 0, 5), (1, 3, 4)), plan(2, (0, 5, 9)), plan(4, (1, 4, 6))]
    choice = choose(plans[::-1])
    assert choice.taken == tuple(plans)
    assert (choice.superseded, choice.left, choice.gaps) == ((), (), ())


def test_later_plan_of_the_same_offsets_wins() -> None:
    given_up, first, second = plan(1, (0, 0, 9)), plan(2, (0, 0, 5)), plan(3, (0, 5, 9))
    choice = choose([first, given_up, second])
    assert choice.taken == (first, second)
    assert choice.superseded == (given_up,)


def test_plan_of_which_a_part_is_missing_was_not_committed() -> None:
    torn, rest = plan(2, (0, 5, 9), is_whole=False), plan(3, (0, 20, 30))
    choice = choose([plan(1, (0, 0, 5)), torn, rest])
    assert choice.taken == (plan(1, (0, 0, 5)), rest)
    assert choice.left == (torn,)
    assert choice.gaps == ((SOURCE, OffsetRange(0, 5, 20)),)


def test_earlier_plan_is_taken_where_the_later_one_is_torn() -> None:
    whole, torn = plan(1, (0, 0, 9)), plan(2, (0, 3, 6), is_whole=False)
    choice = choose([whole, torn])
    assert choice.taken == (whole,)
    assert choice.superseded == (torn,)


def torn(number: int, *parts: tuple[tuple[int, int, int], bool], is_whole: bool = False) -> FoundPlan:
    name = f"plan {number}"
    made = tuple(
        FoundPlan(number, SOURCE, (OffsetRange(*r),), whole, name=name, part=at)
        for at, (r, whole) in enumerate(parts)
    )
    ranges = joined(OffsetRange(*r) for r, _ in parts)
    return FoundPlan(number, SOURCE, ranges, is_whole, made, name)


def test_whole_parts_of_a_torn_plan_are_taken_each_for_itself() -> None:
    plan2 = torn(2, ((0, 5, 7), True), ((0, 7, 8), False), ((0, 8, 9), True))
    choice = choose([plan(1, (0, 0, 5)), plan2, plan(3, (0, 9, 12))])
    assert choice.taken == (plan(1, (0, 0, 5)), plan2.parts[0], plan2.parts[2], plan(3, (0, 9, 12)))
    assert choice.left == (plan2.parts[1],)
    assert choice.gaps == ((SOURCE, OffsetRange(0, 7, 8)),)
    assert [unit.ranges[0].start for unit in in_order(choice.taken)] == [0, 5, 8, 9]


def test_parts_of_given_up_plans_fill_gaps_and_make_none() -> None:
    given_up = torn(1, ((0, 0, 5), True), ((0, 5, 7), True), ((0, 7, 9), True), is_whole=True)
    cut = torn(3, ((0, 7, 8), True), ((0, 6, 7), False))
    choice = choose([given_up, plan(2, (0, 0, 5)), cut])
    assert choice.taken == (given_up.parts[1], plan(2, (0, 0, 5)), cut.parts[0])
    assert choice.gaps == ()
    assert given_up.parts[2] in choice.left


def test_other_lives_and_clusters_do_not_overlap() -> None:
    others = [
        FoundPlan(n, TopicGeneration(c, t, g), (OffsetRange(0, 0, 9),), True)
        for n, (c, t, g) in enumerate([("a", "t", 1), ("a", "t", 2), ("b", "t", 1), ("a", "u", 1)])
    ]
    assert choose(others).taken == tuple(others)


def test_joined() -> None:
    ranges = [OffsetRange(0, 5, 9), OffsetRange(1, 9, 12), OffsetRange(0, 0, 5), OffsetRange(2, 4, 4)]
    assert joined(ranges) == (OffsetRange(0, 0, 9), OffsetRange(1, 9, 12))


plans = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 2), st.integers(0, 30), st.integers(1, 9)), min_size=1, max_size=3),
        st.booleans(),
    ),
    max_size=12,
).map(
    lambda made: [
        FoundPlan(
            n, SOURCE, joined({p: OffsetRange(p, a, a + size) for p, a, size in ranges}.values()), whole
        )
        for n, (ranges, whole) in enumerate(made)
    ]
)


@given(plans)
def test_any_choice_tiles(found: list[FoundPlan]) -> None:
    choice = choose(found)
    assert sorted(choice.taken + choice.superseded + choice.left, key=lambda p: p.number) == found
    by_partition: defaultdict[int, list[OffsetRange]] = defaultdict(list)
    for r in [r for p in choice.taken for r in p.ranges] + [gap for _, gap in choice.gaps]:
        by_partition[r.partition].append(r)
    for ranges in by_partition.values():
        assert all(a.end == b.start for a, b in pairwise(sorted(ranges)))
    taken = {(r.partition, o) for p in choice.taken for r in p.ranges for o in range(r.start, r.end)}
    for p in choice.superseded + choice.left:
        mine = {(r.partition, o) for r in p.ranges for o in range(r.start, r.end)}
        assert (mine <= taken) == (p in choice.superseded)
        later = {
            (r.partition, o)
            for q in choice.taken
            if q.number > p.number
            for r in q.ranges
            for o in range(r.start, r.end)
        }
        assert not p.is_whole or mine & later
    assert sorted(in_order(choice.taken), key=lambda p: p.number) == list(choice.taken)


def history(seed: int) -> tuple[list[FoundPlan], list[FoundPlan]]:
    """Return what files a lake's life left, and what was committed: planned, torn, given up, planned anew."""
    chance = random.Random(seed)
    ends = dict.fromkeys(range(3), 0)
    found: list[FoundPlan] = []
    committed: list[FoundPlan] = []
    number = 0
    for _ in range(chance.randint(1, 6)):
        at, pending = dict(ends), []
        for _ in range(chance.randint(1, 4)):
            number += 1
            ranges = []
            for p in chance.sample(range(3), chance.randint(1, 3)):
                size = chance.randint(1, 9)
                ranges.append((p, at[p], at[p] + size))
                at[p] += size
            pending.append(plan(number, *sorted(ranges)))
        for made in pending:
            if any(ends[r.partition] != r.start for r in made.ranges) or chance.random() < 0.3:
                # given up, or the run died: the files may be there, or some of them
                if chance.random() < 0.7:
                    found.append(
                        plan(made.number, *map(as_tuple, made.ranges), is_whole=chance.random() < 0.5)
                    )
                continue
            found.append(made)
            committed.append(made)
            ends |= {r.partition: r.end for r in made.ranges}
    return found, committed


def as_tuple(r: OffsetRange) -> tuple[int, int, int]:
    return r.partition, r.start, r.end


@given(st.integers(0, 2**32))
def test_committed_plans_are_taken_whatever_was_given_up(seed: int) -> None:
    found, committed = history(seed)
    choice = choose(found)
    assert set(committed) <= set(choice.taken)
    for extra in set(choice.taken) - set(committed):  # of no offset that another has: it is no double
        assert extra.is_whole


@given(st.integers(0, 2**32))
def test_order_is_that_of_the_offsets(seed: int) -> None:
    _, committed = history(seed)
    shuffled = random.Random(seed).sample(committed, len(committed))
    renumbered = [
        FoundPlan(n, p.source, p.ranges, p.is_whole)
        for n, p in zip(random.Random(seed).sample(range(99), len(shuffled)), shuffled, strict=True)
    ]
    ordered = in_order(renumbered)
    assert sorted(p.number for p in ordered) == sorted(p.number for p in renumbered)
    for partition in range(3):
        starts = [r.start for p in ordered for r in p.ranges if r.partition == partition]
        assert starts == sorted(starts)


def test_plans_that_have_no_order_are_all_there() -> None:
    crossed = [plan(1, (0, 0, 5), (1, 5, 9)), plan(2, (0, 5, 9), (1, 0, 5))]
    assert in_order(crossed) == crossed
