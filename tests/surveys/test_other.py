"""Alerts of other schemas land with nulls and no night of their own."""

from __future__ import annotations

import pyarrow as pa

from finkbridge.surveys import COMMON_SCHEMA, describe
from finkbridge.values import UNDATED_NIGHT


def test_everything_is_null() -> None:
    found = describe(pa.table({"objectId": ["ZTF18abcdefg", "x"], "triggerId": [1, 2]}), "other")
    assert found.columns.schema.equals(COMMON_SCHEMA, check_metadata=True)
    assert found.columns.num_rows == 2
    assert all(column.null_count == 2 for column in found.columns.columns)
    assert found.night.tolist() == [UNDATED_NIGHT] * 2
    assert found.rejected == {}


def test_no_alerts() -> None:
    assert describe(pa.table({"a": pa.array([], pa.int64())}), "other").columns.num_rows == 0
