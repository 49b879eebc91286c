"""Alerts of the lake as records: what was landed can be shown."""

from __future__ import annotations

import json

import pytest

from finkbridge.avro.schemas import parse_schema
from finkbridge.lookup import Raw
from tests.support.lake import encode

FAR = {
    "timestamp-micros": 2**62,
    "timestamp-millis": -(2**60),
    "time-micros": 2**60,
    "local-timestamp-micros": 2**62,
}


@pytest.mark.parametrize("logical", FAR)
def test_a_time_that_python_has_no_value_for_is_its_number(logical: str) -> None:
    """The strict check takes it, and so do Arrow and the lake."""
    plain = {
        "type": "record",
        "name": "r",
        "fields": [{"name": "at", "type": "long"}, {"name": "x", "type": "int"}],
    }
    fields = [
        {"name": "at", "type": ["null", {"type": "long", "logicalType": logical}]},
        *plain["fields"][1:],
    ]
    schema = parse_schema(json.dumps({**plain, "fields": fields}).encode())
    far = b"\2" + encode(plain, {"at": FAR[logical], "x": 7})
    assert Raw(schema, far).record() == {"at": FAR[logical], "x": 7}
    near = Raw(schema, b"\2" + encode(plain, {"at": 1_000_000, "x": 7})).record()
    assert near["x"] == 7
    assert not isinstance(near["at"], int)
