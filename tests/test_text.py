"""Text of strangers, made such that everything can hold it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.errors import SchemaError
from finkbridge.text import storable
from finkbridge.values import Message, Rejected


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("as it is: é \\ 星", "as it is: é \\ 星"),
        ("\ud800x", "\\ud800x"),
        ("a\0b", "a\\0b"),
        ("1\n2\r\n3\x854\u20285\n", "1 2 3 4 5"),
        ("x" * 21, "x" * 17 + "..."),
        ("\ud800" * 20, "\\ud800\\ud800\\ud80..."),
    ],
)
def test_storable(text: str, stored: str) -> None:
    assert storable(text, 20) == stored


@given(st.text(st.characters(exclude_categories=())), st.integers(4, 40))
def test_whatever_it_is_it_can_be_stored_and_is_stored_the_same_again(text: str, limit: int) -> None:
    stored = storable(text, limit)
    assert len(stored) <= limit
    assert "\0" not in stored
    assert len(stored.splitlines()) <= 1
    stored.encode()
    assert storable(stored, limit) == stored


def test_what_quotes_strangers_is_stored_so_everywhere() -> None:
    rejected = Rejected(Message(0, 0, None, 0, None, None), "\ud800" * 9_000_000, None, "a\0b")
    assert len(rejected.reason) == 1_000
    assert rejected.reference == "a\\0b"
    assert str(SchemaError("x\ud800")) == "x\\ud800"
