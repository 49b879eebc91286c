"""What means "none" becomes null, and nothing else does."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from finkbridge.surveys.sentinels import without_sentinels


def test_text() -> None:
    none = ["null", "nan", "", "Fail 503", "Fail 404"]
    kept = ["Unknown", "Fail", "Fail 5033", "Failed 503", "annull", "SN Ia", " "]
    assert without_sentinels(pa.array([*none, *kept, None])).to_pylist() == [None] * 5 + kept + [None]


@pytest.mark.parametrize("arrow_type", [pa.float32(), pa.float64()])
def test_floats(arrow_type: pa.DataType) -> None:
    values = pa.array([-999.0, math.nan, math.inf, -math.inf, None, -998.0, -1.0, 0.0], arrow_type)
    assert without_sentinels(values).to_pylist() == [None] * 5 + [-998.0, -1.0, 0.0]
    assert without_sentinels(values, -1).to_pylist() == [None] * 5 + [-998.0, None, 0.0]


def test_integers() -> None:
    values = pa.array([-999, -1, 0, None, 3367463101415010117])
    assert without_sentinels(values).to_pylist() == [None, -1, 0, None, 3367463101415010117]
    assert without_sentinels(values, -1).to_pylist() == [None, None, 0, None, 3367463101415010117]


def test_other_types_and_empty_arrays_come_back() -> None:
    assert without_sentinels(pa.array([True, None])).to_pylist() == [True, None]
    for arrow_type in (pa.string(), pa.float32(), pa.int64(), pa.bool_()):
        assert without_sentinels(pa.array([], arrow_type)).type == arrow_type
