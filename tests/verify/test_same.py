"""Arrow columns are equal where every value is, NaN to itself, and nowhere else."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from finkbridge.verify.same import differing_rows, same
from tests.support.lake import same as same_python

KIND = pa.struct(
    [
        ("x", pa.float32()),
        ("s", pa.string()),
        ("l", pa.list_(pa.struct([("y", pa.float64()), ("b", pa.binary())]))),
        ("m", pa.map_(pa.string(), pa.float64())),
    ]
)
numbers = st.none() | st.sampled_from([0.0, 1.5, math.nan, math.inf])
texts = st.none() | st.sampled_from(["", "a"])
entries = st.fixed_dictionaries({"y": numbers, "b": st.none() | st.sampled_from([b"", b"\0"])})
structs = st.fixed_dictionaries(
    {
        "x": numbers,
        "s": texts,
        "l": st.none() | st.lists(st.none() | entries, max_size=3),
        "m": st.none() | st.lists(st.tuples(st.sampled_from("ab"), numbers), max_size=2),
    }
)
columns = st.lists(st.none() | structs, min_size=1, max_size=6)


@given(columns, columns, st.integers(0, 3))
def test_as_python_compares_them(a: list[Any], b: list[Any], cut: int) -> None:
    b = (b + a)[: len(a)]
    left, right = pa.array(a, KIND)[cut:], pa.array(b, KIND)[cut:]
    due = [i for i, pair in enumerate(zip(a[cut:], b[cut:], strict=True)) if not same_python(*pair)]
    assert same(left, right) == (not due)
    assert list(differing_rows(left, right)) == due
    assert same(left, left)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (pa.array([0.0]), pa.array([-0.0])),
        (pa.array([1], pa.int32()), pa.array([1], pa.int64())),
        (pa.array([1.0]), pa.array([1.0, 1.0])),
        (pa.array([[1]]), pa.array([1])),
        (pa.array([{"x": 1}]), pa.array([{"y": 1}])),
    ],
)
def test_what_is_not_the_same(a: pa.Array, b: pa.Array) -> None:
    assert not same(a, b)


def test_names_of_items_do_not_matter() -> None:
    a = pa.array([[1.0]], pa.list_(pa.field("item", pa.float64())))
    assert same(a, pa.array([[1.0]], pa.list_(pa.field("element", pa.float64()))))


def test_every_nan_is_equal_whatever_its_bits() -> None:
    quiet, other = (np.array([bits], np.uint32).view(np.float32) for bits in (0x7FC00000, 0x7FC00001))
    assert same(pa.array(quiet), pa.array(other))
    assert not same(pa.array(quiet), pa.array(np.zeros(1, np.float32)))


def test_nulls_of_an_enum_are_equal_whatever_its_dictionary() -> None:
    """Of a null struct, say: one decoder has the symbols there, and the other has none."""

    def null_struct(*symbols: str) -> pa.Array:
        enum = pa.DictionaryArray.from_arrays(pa.array([0, None], pa.int32()), pa.array(["A", *symbols]))
        return pa.StructArray.from_arrays([enum], ["e"], mask=pa.array([False, True]))

    assert same(null_struct("B", "C"), null_struct())
    assert not same(null_struct("B", "C")[:1], pa.concat_arrays([null_struct()[1:]]))
