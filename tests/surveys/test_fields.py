"""Fields are read by path and as one type, or are null."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from finkbridge.surveys.fields import AlertFields


def fields(**columns: pa.Array) -> AlertFields:
    return AlertFields(pa.table(columns))


def test_a_null_struct_has_null_fields() -> None:
    column = pa.array([{"a": 1.5}, None, {"a": None}], pa.struct({"a": pa.float32()}))
    assert fields(s=column).read("s.a", pa.float32()).to_pylist() == [1.5, None, None]
    assert np.isnan(fields(s=column).numbers("s.a")).tolist() == [False, True, True]


@pytest.mark.parametrize("last", [2.5, None])
def test_a_slice_of_records_has_fields_of_its_own_rows(last: float | None) -> None:
    rows = [{"a": 9.0}, {"a": 1.5}, {"a": last}, None if last is None else {"a": 4.5}, {"a": 9.0}]
    column = pa.array(rows, pa.struct({"a": pa.float64()})).slice(1, 3)
    expected = [1.5, last, None if last is None else 4.5]
    assert fields(s=column).read("s.a", pa.float64()).to_pylist() == expected


def test_maps_are_read_by_key() -> None:
    column = pa.array([[("m0", 0.5), ("m1", -1.0)], [], None], pa.map_(pa.string(), pa.float32()))
    assert fields(stats=column).read("stats.m0", pa.float32()).to_pylist() == [0.5, None, None]
    assert fields(stats=column).read("stats.m1", pa.float32(), -1).to_pylist() == [None, None, None]


def test_chunks_become_one_array() -> None:
    chunked = pa.chunked_array([[1, 2], [], [3]])
    assert AlertFields(pa.table({"n": chunked})).integers("n").to_pylist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("values", "wanted", "expected"),
    [
        (pa.array([1, 2**40], pa.int64()), pa.int32(), [1, None]),
        (pa.array([1, -(2**31)], pa.int32()), pa.int64(), [1, -(2**31)]),
        (pa.array([1, 2], pa.int32()), pa.float32(), [1.0, 2.0]),
        (pa.array([0.5, 1e300], pa.float64()), pa.float32(), [0.5, None]),
        (pa.array(["a", "b"], pa.large_string()), pa.string(), ["a", "b"]),
        (pa.array(["a", "b"], pa.string_view()), pa.string(), ["a", "b"]),
        (pa.array(["a", "b"]).dictionary_encode(), pa.string(), ["a", "b"]),
        (pa.array(["1", "2"]), pa.int64(), [None, None]),
        (pa.array(["1", "2"]), pa.float64(), [None, None]),
        (pa.array([1.0, 2.0]), pa.int64(), [None, None]),
        (pa.array([1, 2]), pa.string(), [None, None]),
        (pa.array([True, False]), pa.float32(), [None, None]),
        (pa.array([1, 0]), pa.bool_(), [None, None]),
        (pa.array([[1], []]), pa.int64(), [None, None]),
        (pa.nulls(2), pa.float64(), [None, None]),
    ],
)
def test_types(values: pa.Array, wanted: pa.DataType, expected: list[object]) -> None:
    read = fields(x=values).read("x", wanted)
    assert read.type == wanted
    assert read.to_pylist() == expected


@pytest.mark.parametrize("path", ["absent", "absent.a", "s.absent", "s.a.deeper", "x.a"])
def test_absent_fields_are_null(path: str) -> None:
    table = fields(s=pa.array([{"a": 1}], pa.struct({"a": pa.int64()})), x=pa.array([1]))
    assert table.read(path, pa.string()).to_pylist() == [None]
