"""Names that differ whatever the case."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finkbridge.surveys.names import unique_names


def test_first_keeps_its_name_and_others_make_way() -> None:
    assert unique_names(["a", "A", "b"]) == ["a", "A_", "b"]
    assert unique_names(["_Topic", "x"], ["_topic"]) == ["_Topic_", "x"]
    assert unique_names(["_topic", "_topic_", "_TOPIC"], ["_topic"]) == ["_topic_2", "_topic_", "_TOPIC_3"]
    assert unique_names(["a", "A", "a_", "a_2"]) == ["a", "A_3", "a_", "a_2"]


@given(st.lists(st.text("aA_2", min_size=1, max_size=4), unique=True), st.sets(st.sampled_from(["a", "_A"])))
def test_no_two_are_alike_and_free_names_stay(names: list[str], reserved: set[str]) -> None:
    found = unique_names(names, reserved)
    lowered = [name.lower() for name in [*found, *reserved]]
    assert len(set(lowered)) == len(lowered) == len(names) + len(reserved)
    mine = [name.lower() for name in [*reserved, *names]]
    assert all(a == b for a, b in zip(names, found, strict=True) if mine.count(a.lower()) == 1)


def test_many_alike_take_no_quadratic_time() -> None:
    names = [f"{bits:017b}".replace("1", "A").replace("0", "a") for bits in range(1 << 17)]
    assert len({name.lower() for name in unique_names(names)}) == len(names)  # else this runs for hours
